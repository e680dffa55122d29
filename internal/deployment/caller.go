package main

// Who calls: principals of this and of another account, and signed requests to the API.

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// caller is a principal with its AWS credentials.
type caller struct {
	role string // its name; empty for who is none
	aws.Credentials
}

// config is the AWS configuration with the caller's credentials.
func (c caller) config(of aws.Config) aws.Config {
	of.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c.Credentials, nil })
	return of
}

// environ is the environment in which commands run as the caller.
func (c caller) environ() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + c.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey, "AWS_SESSION_TOKEN=" + c.SessionToken}
}

// policy is a policy with one statement.
func policy(effect, action string, resources ...string) map[string]any {
	return map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{"Effect": effect, "Action": action, "Resource": resources}}}
}

// trust is a policy by which a principal, of the kind "AWS" or "Service", may assume a role.
func trust(kind, principal string) *string {
	return document(map[string]any{"Version": "2012-10-17", "Statement": []any{
		map[string]any{"Effect": "Allow", "Principal": map[string]any{kind: principal}, "Action": "sts:AssumeRole"},
	}})
}

// document is a policy as JSON.
func document(policy map[string]any) *string {
	text, err := json.Marshal(policy)
	if err != nil {
		panic(err) // of maps and strings: cannot be
	}
	return aws.String(string(text))
}

// newRole makes a role of the account of cfg that the account may assume, and assumes it.
func (d *deployment) newRole(cfg aws.Config, account, name string) (caller, error) {
	name = d.name + "-" + name
	made, err := iam.NewFromConfig(cfg).CreateRole(d.ctx, &iam.CreateRoleInput{
		RoleName: &name, AssumeRolePolicyDocument: trust("AWS", "arn:"+d.id.Partition+":iam::"+account+":root"),
	})
	if err != nil {
		return caller{}, err
	}
	if account == d.id.AccountID {
		d.roles = append(d.roles, name)
	}
	return d.assume(cfg, *made.Role.Arn)
}

// assume returns the credentials of a role, which a new one does not have at once.
func (d *deployment) assume(cfg aws.Config, role string) (c caller, err error) {
	for range 30 {
		var out *sts.AssumeRoleOutput
		out, err = sts.NewFromConfig(cfg).AssumeRole(d.ctx, &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("deployment")})
		if err == nil {
			c.role = role[strings.LastIndex(role, "/")+1:]
			c.AccessKeyID, c.SecretAccessKey, c.SessionToken = *out.Credentials.AccessKeyId, d.secret(*out.Credentials.SecretAccessKey), d.secret(*out.Credentials.SessionToken)
			return c, nil
		}
		if !d.onAWS {
			break
		}
		time.Sleep(2 * time.Second)
	}
	return c, err
}

// attach gives the caller a managed policy.
func (d *deployment) attach(c caller, policy string) error {
	_, err := iam.NewFromConfig(d.aws).AttachRolePolicy(d.ctx, &iam.AttachRolePolicyInput{RoleName: &c.role, PolicyArn: &policy})
	return err
}

// dismiss deletes a role that newRole has made, with its policies.
func (d *deployment) dismiss(role string) error {
	client := iam.NewFromConfig(d.aws)
	attached, err := client.ListAttachedRolePolicies(d.ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &role})
	if err != nil {
		return err
	}
	for _, p := range attached.AttachedPolicies {
		if _, err := client.DetachRolePolicy(d.ctx, &iam.DetachRolePolicyInput{RoleName: &role, PolicyArn: p.PolicyArn}); err != nil {
			return err
		}
	}
	inline, err := client.ListRolePolicies(d.ctx, &iam.ListRolePoliciesInput{RoleName: &role})
	if err != nil {
		return err
	}
	for _, name := range inline.PolicyNames {
		if _, err := client.DeleteRolePolicy(d.ctx, &iam.DeleteRolePolicyInput{RoleName: &role, PolicyName: &name}); err != nil {
			return err
		}
	}
	if _, err = client.DeleteRole(d.ctx, &iam.DeleteRoleInput{RoleName: &role}); err == nil {
		d.roles = slices.DeleteFunc(d.roles, func(r string) bool { return r == role })
	}
	return err
}

// dismissAll deletes all roles that newRole has made.
func (d *deployment) dismissAll() (err error) {
	for _, role := range slices.Clone(d.roles) {
		err = errors.Join(err, d.dismiss(role))
	}
	return err
}

// answer is what the API answers.
type answer struct {
	status int
	header http.Header
	body   struct {
		AccessToken string `json:"access_token"`
		Version     string `json:"version"`
		BaseURL     string `json:"base_url"`
		ExpiresIn   int    `json:"expires_in"`
		Outcome     string `json:"outcome"`
		Reason      string `json:"reason"`
		Error       string `json:"error"`
	}
}

// String is the answer without the token.
func (a answer) String() string {
	text := fmt.Sprint(a.status)
	switch {
	case a.body.AccessToken != "":
		text += " a token"
	case a.body.Outcome != "":
		text = strings.TrimSpace(text + " " + a.body.Outcome + " " + a.body.Reason)
	case a.body.Error != "":
		text += " " + a.body.Error
	default: // API Gateway's own
		return text
	}
	if a.header.Get("Cache-Control") != "no-store" {
		text += ", which may be cached"
	}
	if a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "" {
		text += ", without Retry-After"
	}
	return text
}

// call sends a request to the API, signed unless the caller has no credentials at all. header
// may be nil.
func (d *deployment) call(c caller, method, path, body string, header http.Header) (a answer, err error) {
	request, err := http.NewRequestWithContext(d.ctx, method, d.outputs["Url"]+path, strings.NewReader(body))
	if err != nil {
		return a, err
	}
	request.Header = header.Clone()
	if header == nil {
		request.Header = make(http.Header)
	}
	if c.AccessKeyID != "" {
		digest := sha256.Sum256([]byte(body))
		if err := v4.NewSigner().SignHTTP(d.ctx, c.Credentials, request, hex.EncodeToString(digest[:]), "execute-api", d.aws.Region, time.Now()); err != nil {
			return a, err
		}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return a, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	a.status, a.header = response.StatusCode, response.Header
	_ = json.Unmarshal(text, &a.body) // API Gateway's own errors have other members
	d.secret(a.body.AccessToken)
	return a, err
}

// get fetches a tenant's token.
func (d *deployment) get(c caller, tenant string) (answer, error) {
	return d.call(c, http.MethodGet, "/tokens/"+tenant, "", nil)
}

// getAnew does so without the cache of vend.
func (d *deployment) getAnew(c caller, tenant string) (answer, error) {
	return d.call(c, http.MethodGet, "/tokens/"+tenant, "", http.Header{"Cache-Control": {"no-cache"}})
}

// report reports that Communic8 rejects a version of the tenant's token. It repeats that while
// the API asks for it.
func (d *deployment) report(c caller, tenant, version string) (a answer, err error) {
	for range 5 {
		a, err = d.call(c, http.MethodPost, "/tokens/"+tenant+"/rejections", fmt.Sprintf(`{"version":%q}`, version), nil)
		if err != nil || a.status != http.StatusServiceUnavailable {
			break
		}
		time.Sleep(2 * time.Second)
	}
	return a, err
}

// shown is the answer as a cell of the table.
func shown(a answer, err error) (string, error) { return a.String(), err }

// access is what a caller gets of a tenant: the statuses of fetching its token and of reporting
// a version that there is not.
func (d *deployment) access(c caller, tenants ...string) (string, error) {
	var seen []string
	for _, tenant := range tenants {
		got, err := d.get(c, tenant)
		if err != nil {
			return "", err
		}
		reported, err := d.report(c, tenant, "00000000-0000-0000-0000-000000000000")
		if err != nil {
			return "", err
		}
		seen = append(seen, fmt.Sprintf("%s %d %d", tenant, got.status, reported.status))
	}
	return strings.Join(seen, ", "), nil
}

// accepts is what Communic8 answers to a token.
func (d *deployment) accepts(token string) (string, error) {
	request, err := http.NewRequestWithContext(d.ctx, http.MethodGet, d.communic8+"/int/v1/broadcast?limit=1", nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	return fmt.Sprint(response.StatusCode), response.Body.Close()
}
