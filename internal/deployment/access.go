package main

// Who may do what: callers, the functions' own roles, and callers of other accounts.

import (
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
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
		if *c.caller, err = d.newRole(d.aws, d.id.AccountID, c.name); err == nil && c.policy != "" {
			err = d.attach(*c.caller, c.policy)
		}
		if !d.done("a new role, "+c.name, err) {
			panic(abandoned{})
		}
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
		d.soon("with "+c.what, c.want, func() (string, error) { return d.access(c.caller, "default", "acme") })
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
	api := []string{"--rest-api-id", d.outputs["Api"], "--output", "text"}
	resource, err := d.cli(append([]string{"apigateway", "get-resources", "--query", "items[?path=='/tokens/{tenant}'].id"}, api...)...)
	if err != nil {
		return "", err
	}
	return d.cli(append([]string{"apigateway", "test-invoke-method", "--query", "status", "--http-method", "GET", "--path-with-query-string", "/tokens/default", "--resource-id", resource}, api...)...)
}

// functionRoles sends requests with the roles of both functions.
func (d *deployment) functionRoles() {
	type send func(aws.Config) error
	type request struct {
		what, want string
		send
	}
	secrets := secretsmanager.NewFromConfig(d.aws)
	read := func(secret string) send {
		return func(cfg aws.Config) error {
			_, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(d.ctx, &secretsmanager.GetSecretValueInput{SecretId: &secret})
			return err
		}
	}
	describe := func(secret string) send {
		return func(cfg aws.Config) error {
			_, err := secretsmanager.NewFromConfig(cfg).DescribeSecret(d.ctx, &secretsmanager.DescribeSecretInput{SecretId: &secret})
			return err
		}
	}
	write := func(secret string) send { // the value that it has, under the same version: nothing changes
		return func(cfg aws.Config) error {
			held, err := secrets.GetSecretValue(d.ctx, &secretsmanager.GetSecretValueInput{SecretId: &secret})
			if err == nil {
				_, err = secretsmanager.NewFromConfig(cfg).PutSecretValue(d.ctx, &secretsmanager.PutSecretValueInput{SecretId: &secret, SecretString: held.SecretString, ClientRequestToken: held.VersionId})
			}
			return err
		}
	}
	create := func(cfg aws.Config) error {
		_, err := secretsmanager.NewFromConfig(cfg).CreateSecret(d.ctx, &secretsmanager.CreateSecretInput{Name: aws.String(d.name + "/token/other")})
		return err
	}
	remove := func(cfg aws.Config) error {
		_, err := secretsmanager.NewFromConfig(cfg).DeleteSecret(d.ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String(d.name + "/token/acme")})
		return err
	}
	invoke := func(function string) send {
		return func(cfg aws.Config) error {
			_, err := lambda.NewFromConfig(cfg).Invoke(d.ctx, &lambda.InvokeInput{FunctionName: aws.String(d.name + "-" + function), Payload: []byte(`{}`)})
			return err
		}
	}
	token, credentials, sibling := d.name+"/token/default", d.name+"/credentials/default", d.name+"2/token/default"
	for _, function := range []struct {
		name     string
		requests []request
	}{
		{"vend", []request{
			{"read the token", "allowed", read(token)},
			{"read the credentials", "denied", read(credentials)},
			{"describe the credentials", "denied", describe(credentials)},
			{"write the token", "denied", write(token)},
			{"write the credentials", "denied", write(credentials)},
			{"create a secret", "denied", create},
			{"read a token of another stack", "denied", read(sibling)},
			{"invoke rotate", "denied", invoke("rotate")},
		}},
		{"rotate", []request{
			{"read the token", "allowed", read(token)},
			{"write the token", "allowed", write(token)},
			{"read the credentials", "allowed", read(credentials)},
			{"describe the credentials", "allowed", describe(credentials)},
			{"write the credentials", "denied", write(credentials)},
			{"create a secret", "denied", create},
			{"delete a token", "denied", remove},
			{"read a token of another stack", "denied", read(sibling)},
			{"invoke vend", "denied", invoke("vend")},
		}},
	} {
		as, restore, err := d.become(function.name)
		if !d.done("the role of "+function.name+" is assumed", err) {
			continue
		}
		for _, r := range function.requests {
			d.soon(function.name+": "+r.what, r.want, func() (string, error) { return may(r.send(as.config(d.aws))) })
		}
		_, err = d.run("", as.environ(), "aws", "kms", "generate-data-key", "--key-spec", "AES_256", "--key-id", "alias/"+d.name, "--region", d.aws.Region)
		d.expect(function.name+": use the key by itself", "denied")(map[bool]string{true: "denied", false: "not denied"}[err != nil && strings.Contains(err.Error(), "AccessDenied")], nil)
		d.done("the role of "+function.name+" can be assumed by Lambda alone again", restore())
	}
}

// become assumes a function's role, which trusts this account until restore is called.
func (d *deployment) become(function string) (as caller, restore func() error, err error) {
	found, err := lambda.NewFromConfig(d.aws).GetFunctionConfiguration(d.ctx, &lambda.GetFunctionConfigurationInput{FunctionName: aws.String(d.name + "-" + function)})
	if err != nil {
		return as, nil, err
	}
	client, name := iam.NewFromConfig(d.aws), (*found.Role)[strings.LastIndex(*found.Role, "/")+1:]
	set := func(trusted *string) error {
		_, err := client.UpdateAssumeRolePolicy(d.ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &name, PolicyDocument: trusted})
		return err
	}
	if err := set(trust("AWS", "arn:"+d.id.Partition+":iam::"+d.id.AccountID+":root")); err != nil {
		return as, nil, err
	}
	as, err = d.assume(d.aws, *found.Role)
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
		root := caller{Credentials: aws.Credentials{AccessKeyID: otherAccount, SecretAccessKey: rootSecret}}
		there := root.config(d.aws)
		if foreign, err = d.newRole(there, otherAccount, "foreign"); err == nil {
			_, err = iam.NewFromConfig(there).PutRolePolicy(d.ctx, &iam.PutRolePolicyInput{RoleName: &foreign.role, PolicyName: &foreign.role,
				PolicyDocument: document(policy("Allow", "execute-api:Invoke", "arn:aws:execute-api:"+d.aws.Region+":"+d.id.AccountID+":"+d.outputs["Api"]+"/v1/*"))})
		}
		d.done("a role of another account, which its IAM allows everything", err)
		organization, err = d.run("", root.environ(), "aws", "organizations", "describe-organization", "--query", "Organization.Id", "--output", "text")
		organization = strings.TrimSpace(organization)
		d.done("that account's organization", err)
		reaches = func(when, want string) {
			d.soon("the role: "+when, want, func() (string, error) { return d.access(foreign, "default", "acme") })
		}
	}
	change := func(name, value, policy string) {
		d.expect(name+"="+value, "UPDATE_COMPLETE")(d.change(map[string]string{name: value}))
		d.expect("the API's policy", policy)(d.statements())
	}
	deploy := func(parameter, policy string) {
		d.expect("sam deploy, "+parameter, "UPDATE_COMPLETE")(d.deploy(d.name, d.defaults(parameter)...))
		d.expect("the API's policy", policy)(d.statements())
	}
	account := map[bool]string{true: d.id.AccountID, false: otherAccount}[d.onAWS]
	principal := map[bool]string{true: account, false: "arn:aws:iam::" + otherAccount + ":role/" + foreign.role}[d.onAWS]

	reaches("not admitted", nothing)
	deploy("OtherCallers="+principal, "OnlyOverTLS, OtherCallers")
	reaches("admitted by name", reportsOne)
	d.expect("a role of this account without a policy", nothing)(d.access(d.unprivileged, "default", "acme"))
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
	d.expect("with ReportingCallerPolicy, from elsewhere", nothing)(d.access(d.reporter, "default", "acme"))
	change("VpcEndpoints", "", "OnlyOverTLS")
	d.expect("with ReportingCallerPolicy, from elsewhere", reportsOne)(d.access(d.reporter, "default", "acme"))
	d.skip("a private API, through its endpoint", "MiniStack has no VPC endpoints")
}

var sid = regexp.MustCompile(`\\*"Sid\\*": *\\*"(\w+)`)

// statements are the Sids of the API's policy, which the API quotes once or twice.
func (d *deployment) statements() (string, error) {
	out, err := d.cli("apigateway", "get-rest-api", "--rest-api-id", d.outputs["Api"], "--query", "policy", "--output", "text")
	var found []string
	for _, match := range sid.FindAllStringSubmatch(out, -1) {
		found = append(found, match[1])
	}
	slices.Sort(found)
	return strings.Join(found, ", "), err
}
