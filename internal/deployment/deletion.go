package main

// What a deletion deletes, what stays, and the documented commands that remove it.

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// deletion deletes the second tenant and then everything, and removes what stays, as the
// documentation says; then it makes and deletes the stack again under the same name.
func (d *deployment) deletion() {
	page, _ := os.ReadFile(filepath.Join(d.root, "docs", "deploying.md")) // without it, there are no commands
	documented, err := documentedDeletion(string(page), d.name)
	if !d.done("the commands of docs/deploying.md", err) {
		return
	}
	d.done("the callers' roles are deleted", d.dismiss(d.roles...))
	before, err := d.snapshot("default")
	d.done("the tenant default is recorded", err)
	d.expect("sam delete, of acme", "deleted")(d.deletes(documented.tenant, d.name+"-acme"))
	d.expect("the tenant default", "unchanged")(d.since("default", before))
	d.expect("vend: default", "200 a token")(shown(d.getAnew("default")))
	d.expect("secrets that are left", "credentials/acme, credentials/default, token/acme, token/default")(d.left())
	_, err = d.shell(strings.ReplaceAll(documented.removeSecrets, "/default", "/acme"), "")
	d.done("acme's secrets are removed", err)
	d.soon("vend: acme", "404 unknown_tenant", func() (string, error) { return shown(d.getAnew("acme")) })
	for again := range 2 {
		if again == 1 {
			d.must("sam deploy, under the same name again", "CREATE_COMPLETE")(d.deploy(d.name, d.defaults()...))
		}
		key, err := d.shell(documented.key+`; echo "$key"`, "")
		key = strings.TrimSpace(key)
		d.done("the stack's key", err)
		state := func() (string, error) { return d.cli("kms describe-key --query KeyMetadata.KeyState --key-id", key) }
		d.expect("sam delete", "deleted")(d.deletes(documented.stack, d.name))
		d.expect("secrets that are left", "credentials/default, token/default")(d.left())
		d.expect("the key", "Enabled")(state())
		_, err = d.shell(documented.removeSecrets, "")
		d.done("the secrets are removed", err)
		_, err = d.shell(documented.removeKey, "", "key="+key)
		d.done("the key is removed", err)
		d.soon("secrets that are left", "none", d.left)
		d.soon("the key", "PendingDeletion", state)
	}
	d.expect("sam delete, of Communic8's fake", "deleted")(d.deletes("sam delete --stack-name "+d.name+"-communic8", d.name+"-communic8"))
}

// deletes runs a command that deletes a stack and says yes to all that it asks.
func (d *deployment) deletes(command, stack string) (string, error) {
	if _, err := d.shell(command, "y\ny\ny\n", d.deployer.environ()...); err != nil {
		return "", err
	}
	return d.status(stack)
}

// commands are those of the documentation that delete a deployment.
type commands struct{ tenant, stack, key, removeSecrets, removeKey string }

// documentedDeletion takes them from the page, for a stack of this name.
func documentedDeletion(page, stack string) (c commands, _ error) {
	_, section, _ := strings.Cut(page, "\n## Deleting\n")
	section, _, _ = strings.Cut(section, "\n## ")
	found := regexp.MustCompile(`(?m)^\$ (.*)$`).FindAllStringSubmatch(section, -1)
	into := []*string{&c.tenant, &c.stack, &c.key, &c.removeSecrets, &c.removeKey}
	if len(found) != len(into) {
		return c, errors.New("docs/deploying.md, Deleting, has not the five commands that are known here")
	}
	for i, command := range into {
		*command = strings.ReplaceAll(found[i][1], "c8auth", stack)
	}
	return c, nil
}

// left names the secrets that there are of the stack, those that are about to be deleted too.
func (d *deployment) left() (string, error) {
	out, err := d.cli("secretsmanager list-secrets --include-planned-deletion --query SecretList[].Name --filters Key=name,Values=" + d.name + "/")
	if err != nil || out == "" {
		return "none", err
	}
	names := strings.Fields(strings.ReplaceAll(out, d.name+"/", ""))
	slices.Sort(names)
	return strings.Join(names, ", "), nil
}

// cleanUp removes from AWS what a run that ended early has left.
func (d *deployment) cleanUp() {
	d.failFast, d.ctx = false, context.WithoutCancel(d.ctx)
	d.stacks = slices.DeleteFunc(d.stacks, func(stack string) bool {
		status, _ := d.settled(stack)
		return status == "deleted"
	})
	if len(d.stacks) == 0 {
		return
	}
	d.section("Cleaning up")
	d.done("the callers' roles are deleted", d.dismiss(d.roles...))
	key, noKey := d.cli("kms describe-key --query KeyMetadata.KeyId --key-id", "alias/"+d.name)
	for _, stack := range slices.Backward(d.stacks) {
		d.expect("sam delete, of "+stack, "deleted")(d.deletes("sam delete --no-prompts --stack-name "+stack, stack))
	}
	for _, secret := range []string{"credentials/default", "token/default", "credentials/acme", "token/acme"} {
		_, err := d.cli("secretsmanager delete-secret --force-delete-without-recovery --secret-id", d.name+"/"+secret)
		if err == nil || !strings.Contains(err.Error(), "(ResourceNotFoundException)") {
			d.done("the secret "+secret+" is removed", err)
		}
	}
	if noKey == nil {
		_, err := d.cli("kms schedule-key-deletion --pending-window-in-days 7 --key-id", key)
		d.done("the key is removed", err)
	}
}
