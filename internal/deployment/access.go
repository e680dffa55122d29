package main

// Who may do what: callers, the functions' own roles, and callers of other accounts.

import (
	"regexp"
	"slices"
	"strings"
)

// What a caller gets of default and acme: the statuses of fetching a token and of reporting one.
const (
	nothing    = "default 403 403, acme 403 403"
	readsOne   = "default 200 403, acme 403 403"
	reportsOne = "default 200 200, acme 403 403"
	otherOne   = "default 403 403, acme 200 200"
)

// callers calls as principals of this account.
func (d *deployment) callers() {
	for _, c := range []struct {
		name, policy string
		caller       *caller
	}{
		{"unprivileged", "", &d.unprivileged},
		{"reader", d.tenant["CallerPolicy"], &d.reader},
		{"reporter", d.tenant["ReportingCallerPolicy"], &d.reporter},
		{"acme-reader", d.acme["CallerPolicy"], &d.acmeReader},
	} {
		var err error
		if *c.caller, err = d.newRole(d.administrator, d.identity.AccountID, c.name, ""); err == nil && c.policy != "" {
			_, err = d.cli("iam attach-role-policy --role-name", c.caller.role, "--policy-arn", c.policy)
		}
		d.must("a new role, "+c.name, "done")(done(err))
	}
	changed := func(change func(*caller)) caller {
		c := d.reporter
		change(&c)
		return c
	}
	for _, c := range []struct {
		what   string
		caller caller
		want   string
	}{
		{"no policy", d.unprivileged, nothing},
		{"CallerPolicy", d.reader, readsOne},
		{"ReportingCallerPolicy", d.reporter, reportsOne},
		{"what output GrantCaller gives", d.granted, reportsOne},
		{"CallerPolicy of acme (503: before its heartbeat)", d.acmeReader, "default 403 403, acme 503 403 or default 403 403, acme 200 403"},
		{"no signature", caller{}, nothing},
		{"a wrong secret access key", changed(func(c *caller) { c.SecretAccessKey += "x" }), nothing},
		{"no session token", changed(func(c *caller) { c.SessionToken = "" }), nothing},
		{"another session's token", changed(func(c *caller) { c.SessionToken = d.unprivileged.SessionToken }), nothing},
	} {
		d.soon("with "+c.what, c.want, func() (string, error) { return d.access(c.caller) })
	}
	d.expect("with CallerPolicy: a tenant that does not exist", "403")(shown(d.get(d.reader, "nobody")))
	d.expect("with CallerPolicy: a slash at the end", "403")(shown(d.get(d.reader, "default/")))
	if d.onAWS {
		d.expect("a test invocation by API Gateway", "400")(d.testInvocation())
	} else {
		d.skip("a test invocation by API Gateway", "MiniStack has none")
	}
}

// testInvocation has API Gateway invoke vend as its console does, which takes no
// execute-api:Invoke, and returns the status.
func (d *deployment) testInvocation() (string, error) {
	api := " --rest-api-id " + d.outputs["Api"]
	resource, err := d.cli("apigateway get-resources --query items[?path=='/tokens/{tenant}'].id" + api)
	if err != nil {
		return "", err
	}
	return d.cli("apigateway test-invoke-method --query status --http-method GET --path-with-query-string /tokens/default --resource-id " + resource + api)
}

// functionRoles sends requests with the roles of both functions.
func (d *deployment) functionRoles() {
	const (
		read     = "secretsmanager get-secret-value --secret-id "
		describe = "secretsmanager describe-secret --secret-id "
		write    = "secretsmanager put-secret-value --secret-string written --version-stages WRITTEN --secret-id " // nobody reads it
		create   = "secretsmanager create-secret --name "
		remove   = "secretsmanager delete-secret --secret-id "
		invoke   = "lambda invoke /dev/null --function-name "
		use      = "kms generate-data-key --key-spec AES_256 --key-id "
	)
	token, credentials := d.name+"/token/default", d.name+"/credentials/default"
	for _, function := range []string{"vend", "rotate"} {
		as, restore, err := d.become(function)
		if !d.done("the role of "+function+" is assumed", err) {
			continue
		}
		for _, request := range []struct{ what, vend, rotate, command string }{ // a function without an expectation does not try it
			{"read the token", "allowed", "allowed", read + token},
			{"write the token", "denied", "allowed", write + token},
			{"read the credentials", "denied", "allowed", read + credentials},
			{"describe the credentials", "denied", "allowed", describe + credentials},
			{"write the credentials", "denied", "denied", write + credentials},
			{"create a secret", "denied", "denied", create + d.name + "/token/other"},
			{"delete a token", "", "denied", remove + d.name + "/token/acme"},
			{"read a token of another stack", "denied", "denied", read + d.name + "2/token/default"},
			{"invoke rotate", "denied", "", invoke + d.name + "-rotate"},
			{"invoke vend", "", "denied", invoke + d.name + "-vend"},
			{"use the key by itself", "denied", "denied", use + "alias/" + d.name},
		} {
			want := map[string]string{"vend": request.vend, "rotate": request.rotate}[function]
			if want == "" {
				continue
			}
			d.soon(function+": "+request.what, want, func() (string, error) {
				_, err := d.cliAs(as, request.command)
				return may(err)
			})
		}
		d.done("the role of "+function+" can be assumed by Lambda alone again", restore())
	}
}

// become assumes a function's role, which trusts this account until restore is called.
func (d *deployment) become(function string) (as caller, restore func() error, _ error) {
	role, err := d.cli("lambda get-function-configuration --query Role --function-name", d.name+"-"+function)
	if err != nil {
		return as, nil, err
	}
	set := func(trusted string) error {
		_, err := d.cli("iam update-assume-role-policy --role-name", role[strings.LastIndex(role, "/")+1:], "--policy-document", trusted)
		return err
	}
	if err := set(trust("AWS", d.identity.AccountID)); err != nil {
		return as, nil, err
	}
	as, err = d.assume(d.administrator, role)
	return as, func() error { return set(trust("Service", "lambda.amazonaws.com")) }, err
}

// others admits another account and an organization, makes the API private, and takes each
// back.
func (d *deployment) others() {
	foreign, organization := caller{role: "foreign"}, "o-a1b2c3d4e5"
	reaches := func(string, string) {}
	if d.onAWS {
		d.skip("callers of another account", "it takes credentials of a second account")
	} else {
		var err error
		foreign, err = d.newRole(rootOf(otherAccount), otherAccount, "foreign", policy("execute-api:Invoke", "*"))
		d.done("a role of another account, which its IAM allows everything", err)
		organization, err = d.cliAs(rootOf(otherAccount), "organizations describe-organization --query Organization.Id")
		d.done("that account's organization", err)
		reaches = func(when, want string) {
			d.soon("the role: "+when, want, func() (string, error) { return d.access(foreign) })
		}
	}
	change := func(name, value, policy string) {
		d.expect(name+"="+value, "UPDATE_COMPLETE")(d.change(name, value))
		d.expect("the API's policy", policy)(d.statements())
	}
	deploy := func(parameter, policy string) {
		d.expect("sam deploy, "+parameter, "UPDATE_COMPLETE")(d.deploy(d.name, d.defaults(parameter)...))
		d.expect("the API's policy", policy)(d.statements())
	}
	principal := map[bool]string{true: d.identity.AccountID, false: "arn:aws:iam::" + otherAccount + ":role/" + foreign.role}[d.onAWS]

	reaches("not admitted", nothing)
	deploy("OtherCallers="+principal, "OnlyOverTLS, OtherCallers")
	reaches("admitted by name", reportsOne)
	d.expect("a role of this account without a policy", nothing)(d.access(d.unprivileged))
	change("OtherCallersTenants", "acme", "OnlyOverTLS, OtherCallers")
	reaches("admitted to acme", otherOne)
	deploy(`OtherCallers=""`, "OnlyOverTLS")
	reaches("shut out", nothing)
	change("OtherCallersOrganization", organization, "OnlyOverTLS, OtherCallersOrganization")
	reaches("admitted by organization", otherOne)
	change("OtherCallersOrganization", "", "OnlyOverTLS")
	reaches("shut out", nothing)
	if d.onAWS {
		d.skip("VpcEndpoints", "it takes API Gateway a quarter of an hour each way, and an endpoint")
		return
	}
	change("VpcEndpoints", "vpce-0123456789abcdef0", "OnlyOverTLS, OnlyThroughTheseEndpoints")
	d.expect("with ReportingCallerPolicy, from elsewhere", nothing)(d.access(d.reporter))
	change("VpcEndpoints", "", "OnlyOverTLS")
	d.expect("with ReportingCallerPolicy, from elsewhere", reportsOne)(d.access(d.reporter))
	d.skip("a private API, through its endpoint", "MiniStack has no VPC endpoints")
}

var sid = regexp.MustCompile(`\\*"Sid\\*": *\\*"(\w+)`)

// statements are the Sids of the API's policy.
func (d *deployment) statements() (string, error) {
	policy, err := d.cli("apigateway get-rest-api --query policy --rest-api-id", d.outputs["Api"])
	return sids(policy), err
}

// sids are the Sids in a policy, which API Gateway quotes once or twice.
func sids(policy string) string {
	var found []string
	for _, match := range sid.FindAllStringSubmatch(policy, -1) {
		found = append(found, match[1])
	}
	slices.Sort(found)
	return strings.Join(found, ", ")
}
