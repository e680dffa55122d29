package main

// Who calls: principals of this and of another account, and signed requests to the API.

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// caller is a principal with its AWS credentials.
type caller struct {
	role string // its name; empty for who is none
	aws.Credentials
}

// environ is the environment in which commands run as the caller. It is empty if the caller has
// no credentials.
func (c caller) environ() []string {
	if c.AccessKeyID == "" {
		return nil
	}
	return []string{"AWS_ACCESS_KEY_ID=" + c.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey, "AWS_SESSION_TOKEN=" + c.SessionToken}
}

// policy is a policy that allows an action on a resource.
func policy(action, resource string) string {
	return fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": %q, "Resource": %q}]}`, action, resource)
}

// trust is a policy by which a principal, of the kind "AWS" or "Service", may assume a role.
func trust(kind, principal string) string {
	return fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {%q: %q}, "Action": "sts:AssumeRole"}]}`, kind, principal)
}

// newRole has a principal make a role that its account may assume, with a policy unless that is
// empty, and assumes it.
func (d *deployment) newRole(maker caller, account, name, policy string) (c caller, _ error) {
	name = d.name + "-" + name
	arn, err := d.cliAs(maker, "iam create-role --query Role.Arn --role-name "+name+" --assume-role-policy-document", trust("AWS", account))
	if err != nil {
		return c, err
	}
	if account == d.identity.AccountID {
		d.roles = append(d.roles, name)
	}
	if policy != "" {
		if _, err := d.cliAs(maker, "iam put-role-policy --policy-name given --role-name "+name+" --policy-document", policy); err != nil {
			return c, err
		}
	}
	return d.assume(maker, arn)
}

// assume returns the credentials of a role, which a new one does not have at once.
func (d *deployment) assume(by caller, role string) (c caller, err error) {
	var out string
	d.until(time.Minute, func() bool {
		out, err = d.cliAs(by, "sts assume-role --query Credentials.[AccessKeyId,SecretAccessKey,SessionToken] --role-session-name deployment --role-arn", role)
		return err == nil || !d.onAWS
	})
	if keys := strings.Fields(out); err == nil && len(keys) == 3 {
		c.role = role[strings.LastIndex(role, "/")+1:]
		c.AccessKeyID, c.SecretAccessKey, c.SessionToken = keys[0], d.secret(keys[1]), d.secret(keys[2])
	}
	return c, err
}

// dismiss deletes roles that newRole has made, with their policies.
func (d *deployment) dismiss(roles ...string) (failed error) {
	for _, role := range slices.Clone(roles) { // which may be d.roles
		for _, policies := range []struct{ list, remove string }{
			{"iam list-attached-role-policies --query AttachedPolicies[].PolicyArn", "iam detach-role-policy --policy-arn"},
			{"iam list-role-policies --query PolicyNames[]", "iam delete-role-policy --policy-name"},
		} {
			names, err := d.cli(policies.list+" --role-name", role)
			failed = errors.Join(failed, err)
			for name := range strings.FieldsSeq(names) {
				_, err := d.cli(policies.remove, name, "--role-name", role)
				failed = errors.Join(failed, err)
			}
		}
		_, err := d.cli("iam delete-role --role-name", role)
		failed = errors.Join(failed, err)
		d.roles = slices.DeleteFunc(d.roles, func(r string) bool { return r == role && err == nil })
	}
	return failed
}

// answer is what the API or Communic8 answers.
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

// send sends a request, signed if the caller has credentials. header may be nil.
func (d *deployment) send(c caller, method, url, body string, header http.Header) (a answer, err error) {
	request, err := http.NewRequestWithContext(d.ctx, method, url, strings.NewReader(body))
	if err != nil {
		return a, err
	}
	if header != nil {
		request.Header = header
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
	a.status, a.header = response.StatusCode, response.Header
	_ = json.NewDecoder(response.Body).Decode(&a.body) // errors of API Gateway have other members
	d.secret(a.body.AccessToken)
	return a, nil
}

// get fetches a tenant's token.
func (d *deployment) get(c caller, tenant string) (answer, error) {
	return d.send(c, http.MethodGet, d.outputs["Url"]+"/tokens/"+tenant, "", nil)
}

// getAnew does so as the administrator, without the cache of vend.
func (d *deployment) getAnew(tenant string) (answer, error) {
	return d.send(d.administrator, http.MethodGet, d.outputs["Url"]+"/tokens/"+tenant, "", http.Header{"Cache-Control": {"no-cache"}})
}

// report reports that Communic8 rejects a version of the tenant's token. It repeats that while
// the API asks for it.
func (d *deployment) report(c caller, tenant, version string) (a answer, err error) {
	d.until(10*time.Second, func() bool {
		a, err = d.send(c, http.MethodPost, d.outputs["Url"]+"/tokens/"+tenant+"/rejections", fmt.Sprintf(`{"version":%q}`, version), nil)
		return err != nil || a.status != http.StatusServiceUnavailable
	})
	return a, err
}

// accepts is what Communic8 answers to a token.
func (d *deployment) accepts(token string) (string, error) {
	a, err := d.send(caller{}, http.MethodGet, d.communic8+"/int/v1/broadcast?limit=1", "", http.Header{"Authorization": {"Bearer " + token}})
	return fmt.Sprint(a.status), err
}

// shown is the answer as a cell of the table.
func shown(a answer, err error) (string, error) { return a.String(), err }

// access is what a caller gets of both tenants: the statuses of fetching a token and of reporting
// a version that there is not.
func (d *deployment) access(c caller) (string, error) {
	var seen []string
	for _, tenant := range []string{"default", "acme"} {
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
