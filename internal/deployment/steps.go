package main

// The life of a deployment, part by part. Each part leaves what the next ones need.

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// steps takes all steps, or ends before those that a failed one makes senseless.
func (d *deployment) steps() {
	defer func() {
		if reason := recover(); reason != nil && reason != (abandoned{}) {
			panic(reason)
		}
	}()
	for _, part := range []struct {
		name  string
		steps func()
	}{
		{"Build", d.builds},
		{"Production, as a change set", d.production},
		{"Deployment", d.create},
		{"A second tenant", d.secondTenant},
		{"The first token, by the commands that the stack prints", d.firstToken},
		{"Reported rejections", d.rejections},
		{"Callers", d.callers},
		{"The functions' own roles", d.functionRoles},
		{"New credentials", d.newCredentials},
		{"Parameters, each changed alone", d.parameters},
		{"The second tenant's heartbeat", d.heartbeat},
		{"Callers of other accounts", d.others},
		{"The operator's tool", d.operator},
		{"What was recorded", d.records},
		{"Deletion", d.deletion},
	} {
		d.section(part.name)
		part.steps()
	}
}

// done is what is seen of a step whose error alone says whether it is as expected.
func done(err error) (string, error) {
	if err != nil {
		return "", err
	}
	return "done", nil
}

// done is expect of such a step.
func (d *deployment) done(what string, err error) bool {
	return d.expect(what, "done")(done(err))
}

func (d *deployment) builds() {
	what := "sam build, and go build of Communic8's fake and of the tool"
	if d.from != d.root {
		what = "the checksums of the release in " + d.from + ", and go build of Communic8's fake"
	}
	d.must(what, "done")(done(d.build()))
}

// production has AWS validate the parameters of production, and makes nothing.
func (d *deployment) production() {
	stack := d.name + "-production"
	if _, err := d.deploy(stack, append(d.template(), "--config-env", "production", "--no-execute-changeset")...); !d.done("sam deploy --config-env production, not executed", err) {
		return
	}
	set, err := d.cli("cloudformation list-change-sets --query Summaries[].ChangeSetName --stack-name", stack)
	if err == nil {
		set, err = d.cli("cloudformation describe-change-set --query [Status,Changes[].ResourceChange.Action] --stack-name", stack, "--change-set-name", set)
	}
	d.expect("the change set: its status, what it does to resources", "CREATE_COMPLETE, Add")(strings.Join(slices.Compact(strings.Fields(set)), ", "), err)
	_, err = d.cli("cloudformation delete-stack --stack-name", stack)
	d.done("the change set is deleted", err)
}

// create deploys Communic8's fake and the stack.
func (d *deployment) create() {
	d.clientSecret = d.secret(rand.Text())
	d.must("Communic8's fake", "CREATE_COMPLETE")(d.deploy(d.name+"-communic8",
		"--template-file", filepath.Join(d.root, "internal/deployment/communic8/template.yaml"),
		"--parameter-overrides", "Architecture="+d.arch, "ClientSecret="+d.clientSecret))
	outputs, err := d.outputsOf(d.name + "-communic8")
	d.communic8 = strings.TrimSuffix(outputs["Url"], "/")
	d.done("its URL", err)
	d.must("Communic8: status for a made-up token", "401")(d.accepts("made-up"))
	d.must("sam deploy", "CREATE_COMPLETE")(d.deploy(d.name, d.defaults()...))
	d.must("outputs of the stack and of the tenant default", "8 and 2")(d.find())
	d.expect("output Api is the host of output Url", d.outputs["Api"])(strings.TrimPrefix(strings.SplitN(d.outputs["Url"], ".", 2)[0], "https://"), nil)
	d.expect("output AlarmsTell", "NOBODY")(strings.SplitN(d.outputs["AlarmsTell"], ".", 2)[0], nil)
	dashboard := d.outputs["Dashboard"][strings.LastIndex(d.outputs["Dashboard"], "/")+1:]
	_, err = d.cli("cloudwatch get-dashboard --dashboard-name", dashboard)
	d.done("output Dashboard names a dashboard", err)
	d.expect("alarms tell the topic", d.name+"-alarms")(d.told())
	d.expect("vend's alias", current)(d.alias())
	d.expect("the API's policy", "OnlyOverTLS")(d.statements())
	d.tool(0, "status 3, no credentials are stored", "", "status")
}

// defaults are the arguments of sam deploy for this machine or account.
func (d *deployment) defaults(parameters ...string) []string {
	args := append(d.template(), "--config-env", "default", "--parameter-overrides", "Architecture="+d.arch)
	if d.hasLogsRole {
		args = append(args, "ApiLogsRole=exists")
	}
	return append(args, parameters...)
}

// firstToken goes from nothing to a token that Communic8 accepts.
func (d *deployment) firstToken() {
	d.soon("vend: before there is a token", "503 temporarily_unavailable", func() (string, error) { return shown(d.get(d.administrator, "default")) })
	d.expect("rotate: before there are credentials", "waiting")(d.rotates())
	d.must("output StoreCredentials", "done")(done(d.store("default", d.oauth(d.clientSecret))))
	out, err := d.shell(d.outputs["RotateNow"], "")
	d.must("output RotateNow (fresh: a heartbeat was faster)", "rotated first_token or fresh")(result(out), err)
	var got answer
	if !d.soon("vend", "200 a token", func() (_ string, err error) { // it reads again after a second
		got, err = d.get(d.administrator, "default")
		return got.String(), err
	}) {
		panic(abandoned{})
	}
	d.expect("vend: where the token is good", d.communic8)(got.body.BaseURL, nil)
	d.expect("vend: expires_in is a day, or some minutes less", "true")(fmt.Sprint(86400-900 < got.body.ExpiresIn && got.body.ExpiresIn <= 86400), nil)
	d.must("Communic8: status for the token", "200")(d.accepts(got.body.AccessToken))
	d.expect("rotate: again", "fresh")(d.rotates())
	d.expect("vend: a tenant that does not exist", "404 unknown_tenant")(shown(d.get(d.administrator, "nobody")))
	d.expect("vend: not a tenant's name", "400 invalid_request")(shown(d.get(d.administrator, "No.Body")))
	d.expect("vend: a slash at the end", "400 invalid_request")(shown(d.get(d.administrator, "default/")))
	d.expect("API: a path that does not exist", "403")(shown(d.send(d.administrator, http.MethodGet, d.outputs["Url"]+"/else", "", nil)))
	d.expect("API: a method that does not exist", "403")(shown(d.send(d.administrator, http.MethodPost, d.outputs["Url"]+"/tokens/default", "", nil)))

	d.granted, err = d.newRole(d.administrator, d.identity.AccountID, "granted", "")
	if err == nil {
		_, err = d.shell(strings.Replace(d.outputs["GrantCaller"], "ROLE", d.granted.role, 1), "")
	}
	d.done("output GrantCaller, for a new role", err)
	d.soon("output FetchToken, with the role's credentials", "the token", func() (string, error) {
		out, err := d.shell(d.outputs["FetchToken"], "", d.granted.environ()...)
		return map[bool]string{true: "the token", false: "no token"}[strings.Contains(out, got.body.AccessToken)], err
	})
}

// oauth is the JSON that a person stores for OAuth 2.
func (d *deployment) oauth(secret string) string {
	return fmt.Sprintf(`{"base_url": %q, "client_id": "4711", "client_secret": %q}`, d.communic8, secret)
}

// store stores a tenant's credentials by the command that the stack prints.
func (d *deployment) store(tenant, credentials string) error {
	_, err := d.shell(strings.Replace(d.outputs["StoreCredentials"], "/default", "/"+tenant, 1), credentials)
	return err
}

// rotates invokes rotate by the command that the stack prints, but does not force it, and returns
// outcome and reason, or the error.
func (d *deployment) rotates() (string, error) {
	out, err := d.shell(strings.Replace(d.outputs["RotateNow"], `,"force":true`, "", 1), "")
	return result(out), err
}

// result takes outcome and reason, or the error, from what rotate answered, which may be
// followed by something else.
func result(printed string) string {
	var out struct{ Outcome, Reason, ErrorMessage string }
	_ = json.NewDecoder(strings.NewReader(printed)).Decode(&out)
	return strings.TrimSpace(out.Outcome + " " + out.Reason + out.ErrorMessage)
}

// rejections reports a token that Communic8 accepts, and one that was revoked.
func (d *deployment) rejections() {
	before, err := d.getAnew("default")
	d.must("vend", "200 a token")(before.String(), err)
	d.expect("reported, while Communic8 accepts it", "200 kept")(shown(d.report(d.administrator, "default", before.body.Version)))
	d.done("every token is revoked", d.revoke())
	d.soon("Communic8: status for the token", "401", func() (string, error) { return d.accepts(before.body.AccessToken) })
	// A probe counts for five seconds. A heartbeat may be faster, and then another token has to be revoked.
	d.within(time.Minute, "reported, now that it is revoked", "200 rotated rejected", func() (string, error) {
		reported, err := d.report(d.administrator, "default", before.body.Version)
		if err == nil && reported.body.Outcome == "superseded" {
			before, _ = d.getAnew("default")
			err = d.revoke()
		}
		return reported.String(), err
	})
	after, err := d.getAnew("default")
	d.expect("vend with no-cache", "200 a token")(after.String(), err)
	d.expect("vend: the version is another one", "true")(fmt.Sprint(after.body.Version != before.body.Version), nil)
	d.expect("Communic8: status for the new token", "200")(d.accepts(after.body.AccessToken))
	d.expect("the first version, reported again", "200 superseded")(shown(d.report(d.administrator, "default", before.body.Version)))
}

// revoke revokes every token that Communic8 has issued so far.
func (d *deployment) revoke() error {
	name, variables := d.name+"-communic8", fmt.Sprintf("Variables={CLIENT_SECRET=%s,NOT_BEFORE=%d}", d.clientSecret, time.Now().UnixMicro())
	if _, err := d.cli("lambda update-function-configuration --function-name", name, "--environment", variables); err != nil {
		return err
	}
	_, err := d.cli("lambda wait function-updated-v2 --function-name", name)
	return err
}

// newCredentials stores wrong ones and what is no credentials, and then the right ones.
func (d *deployment) newCredentials() {
	d.done("wrong credentials are stored", d.store("default", d.oauth("wrong")))
	d.expect("rotate: the previous ones are used", "rotated credentials_changed")(d.rotates())
	d.soon("rotate's log says so", "true", func() (string, error) {
		lines, err := d.logged("/aws/lambda/" + d.name + "-rotate")
		return fmt.Sprint(strings.Contains(lines, `"credentials_fallback":true`)), err
	})
	d.done("what is no JSON is stored", d.store("default", "nonsense"))
	seen, err := d.rotates()
	const malformed = "malformed credentials: not a JSON object"
	if strings.Contains(seen, malformed) {
		seen = malformed
	}
	d.expect("rotate", malformed)(seen, err)
	d.expect("vend with no-cache", "200 a token")(shown(d.getAnew("default")))
	d.done("the right ones are stored", d.store("default", d.oauth(d.clientSecret)))
	d.expect("rotate (fresh: a heartbeat was faster)", "rotated credentials_changed or fresh")(d.rotates())
}
