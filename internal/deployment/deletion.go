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
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// deletion deletes the second tenant and then everything, and removes what stays, as the
// documentation says; then it makes and deletes the stack again under the same name.
func (d *deployment) deletion() {
	documented, err := documentedDeletion(d.root, d.name)
	if !d.done("the commands of docs/deploying.md", err) {
		return
	}
	d.done("the callers' roles are deleted", d.dismissAll())
	before, err := d.snapshot("default")
	d.done("the tenant default is recorded", err)
	d.expect("sam delete, of acme", "deleted")(d.deletes(documented.tenant, d.name+"-acme"))
	d.expect("the tenant default", "unchanged")(d.since("default", before))
	d.expect("vend: default", "200 a token")(shown(d.getAnew(d.administrator, "default")))
	d.expect("secrets that are left", "credentials/acme, credentials/default, token/acme, token/default")(d.left())
	_, err = d.shell(strings.ReplaceAll(documented.removeSecrets, "/default", "/acme"), "")
	d.done("acme's secrets are removed", err)
	d.soon("vend: acme", "404 unknown_tenant", func() (string, error) { return shown(d.getAnew(d.administrator, "acme")) })
	for again := range 2 {
		if again == 1 {
			d.must("sam deploy, under the same name again", "CREATE_COMPLETE")(d.deploy(d.name, d.defaults()...))
		}
		key, err := d.shell(documented.key+`; echo "$key"`, "")
		key = strings.TrimSpace(key)
		d.done("the stack's key", err)
		state := func() (string, error) {
			return d.cli("kms", "describe-key", "--key-id", key, "--query", "KeyMetadata.KeyState", "--output", "text")
		}
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
	if _, err := d.shell(command, "y\ny\ny\n", d.deployer...); err != nil {
		return "", err
	}
	found, err := d.describe(stack)
	if err != nil && strings.Contains(err.Error(), "does not exist") {
		d.forget(stack)
		return "deleted", nil
	}
	return string(found.StackStatus), err
}

// commands are those of the documentation that delete a deployment.
type commands struct{ tenant, stack, key, removeSecrets, removeKey string }

// documentedDeletion reads them for a stack of this name.
func documentedDeletion(root, stack string) (c commands, _ error) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "deploying.md"))
	if err != nil {
		return c, err
	}
	_, section, _ := strings.Cut(string(text), "\n## Deleting\n")
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
	out, err := secretsmanager.NewFromConfig(d.aws).ListSecrets(d.ctx, &secretsmanager.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true), Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{d.name + "/"}}}})
	if err != nil {
		return "", err
	}
	names := []string{}
	for _, secret := range out.SecretList {
		names = append(names, strings.TrimPrefix(*secret.Name, d.name+"/"))
	}
	slices.Sort(names)
	if len(names) == 0 {
		return "none", nil
	}
	return strings.Join(names, ", "), nil
}

// cleanUp removes from AWS what a run that ended early has left.
func (d *deployment) cleanUp() {
	if len(d.stacks) == 0 {
		return
	}
	d.section("Cleaning up")
	d.failFast, d.ctx = false, context.WithoutCancel(d.ctx)
	d.done("the callers' roles are deleted", d.dismissAll())
	key, noKey := d.cli("kms", "describe-key", "--key-id", "alias/"+d.name, "--query", "KeyMetadata.KeyId", "--output", "text")
	for _, stack := range slices.Backward(slices.Clone(d.stacks)) {
		if !d.settle(stack) {
			d.forget(stack)
			continue
		}
		d.expect("sam delete, of "+stack, "deleted")(d.deletes("sam delete --no-prompts --stack-name "+stack, stack))
	}
	client := secretsmanager.NewFromConfig(d.aws)
	for _, kind := range []string{"credentials/default", "token/default", "credentials/acme", "token/acme"} {
		_, err := client.DeleteSecret(d.ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String(d.name + "/" + kind), ForceDeleteWithoutRecovery: aws.Bool(true)})
		if _, missing := errors.AsType[*types.ResourceNotFoundException](err); !missing {
			d.done("the secret "+kind+" is removed", err)
		}
	}
	if noKey == nil {
		_, err := d.cli("kms", "schedule-key-deletion", "--pending-window-in-days", "7", "--key-id", key)
		d.done("the key is removed", err)
	}
}

// settle waits until no operation on a stack is under way and reports whether it exists.
func (d *deployment) settle(stack string) bool {
	for {
		found, err := d.describe(stack)
		if status := string(found.StackStatus); err != nil || status == "REVIEW_IN_PROGRESS" || !strings.HasSuffix(status, "_IN_PROGRESS") {
			return err == nil
		}
		time.Sleep(5 * time.Second)
	}
}
