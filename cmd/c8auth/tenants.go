package main

// The tenants that exist, and their secrets by DescribeSecret, which returns no values; suggestions
// for names that do not exist.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// tenants returns the names of the tenants that have a token secret, sorted.
func (d *deployment) tenants(ctx context.Context) (names []string, _ error) {
	prefix := d.name + "/token/"
	pages := secretsmanager.NewListSecretsPaginator(secretsmanager.NewFromConfig(d.Config), &secretsmanager.ListSecretsInput{
		Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{prefix}}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, awsFailure(d.Config, err, "secretsmanager:ListSecrets", "*")
		}
		for _, secret := range page.SecretList {
			if name := strings.TrimPrefix(aws.ToString(secret.Name), prefix); c8auth.CheckTenant(name) == nil {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// existing returns the tenant's secret of a kind, "credentials" or "token". It is an error
// if the secret cannot be seen, does not exist or is being deleted.
func (d *deployment) existing(ctx context.Context, kind, tenant string) (secret, error) {
	s, err := d.secret(ctx, kind, tenant)
	switch {
	case err != nil:
		return s, err
	case s.deleted:
		return s, fail(0, "`aws secretsmanager restore-secret --secret-id "+s.name+"`", "the secret %s is scheduled for deletion", s.name)
	case !s.exists:
		return s, d.noTenant(ctx, tenant)
	}
	return s, nil
}

// known returns an error if the tenant does not exist. Without the permission to see that, it
// returns nil, and a later step fails.
func (d *deployment) known(ctx context.Context, tenant string) error {
	if s, err := d.secret(ctx, "token", tenant); err == nil && !s.exists {
		return d.noTenant(ctx, tenant)
	}
	return nil
}

// noTenant returns the error for a tenant that does not exist, with the names of those that do.
func (d *deployment) noTenant(ctx context.Context, tenant string) error {
	deploy := fmt.Sprintf("`sam deploy --template tenant.yaml --stack-name %s-%s --parameter-overrides Stack=%[1]s Tenant=%[2]s`", d.name, tenant)
	names, err := d.tenants(ctx)
	list := cmp.Or(strings.Join(names, ", "), "none")
	switch near := nearest(tenant, names); {
	case err != nil:
		return fail(0, "is the name right? To make the tenant: "+deploy, "the stack %s has no tenant %s", d.name, tenant)
	case slices.Contains(names, tenant):
		return fail(0, deploy, "the tenant %s of %s is not complete", tenant, d.name)
	case near != "":
		return fail(0, fmt.Sprintf("did you mean %s? The tenants are: %s", near, list), "the stack %s has no tenant %s", d.name, tenant)
	}
	return fail(0, fmt.Sprintf("the tenants are: %s. To make %s: %s", list, tenant, deploy), "the stack %s has no tenant %s", d.name, tenant)
}

// secret is the metadata of a secret.
type secret struct {
	name    string
	exists  bool
	arn     string
	deleted bool      // whether it is scheduled for deletion
	version string    // with the label AWSCURRENT; empty: no value is stored
	changed time.Time // LastChangedDate, which a new value changes, and a new tag as well
}

func (d *deployment) secret(ctx context.Context, kind, tenant string) (secret, error) {
	name := d.name + "/" + kind + "/" + tenant
	out, err := secretsmanager.NewFromConfig(d.Config).DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		return secret{name: name}, nil
	}
	if err != nil {
		return secret{name: name}, awsFailure(d.Config, err, "secretsmanager:DescribeSecret", name)
	}
	s := secret{name: name, exists: true, arn: aws.ToString(out.ARN), deleted: out.DeletedDate != nil, changed: aws.ToTime(out.LastChangedDate).UTC().Truncate(time.Second)}
	for version, labels := range out.VersionIdsToStages {
		if slices.Contains(labels, "AWSCURRENT") { // a version with another label may be empty
			s.version = version
		}
	}
	return s, nil
}

// describe reads the metadata of the tenant's two secrets.
func (t *tenant) describe(ctx context.Context, d *deployment) {
	if t.token, t.err = d.secret(ctx, "token", t.Name); t.err == nil {
		t.credentials, t.err = d.secret(ctx, "credentials", t.Name)
	}
	t.Version = t.token.version
	if t.credentials.version != "" {
		t.Stored = t.credentials.changed
	}
}

// checkSecrets checks that both secrets exist and that credentials are stored.
func (t *tenant) checkSecrets(time.Time) finding {
	f := found("secrets", "secretsmanager:DescribeSecret of both", "both exist; credentials are stored")
	for _, s := range []secret{t.token, t.credentials} {
		switch {
		case t.err != nil:
			return f.failed(t.err)
		case !s.exists:
			return f.actFor("deploy the tenant's stack again", "there is no secret %s", s.name)
		case s.deleted:
			return f.actFor("`aws secretsmanager restore-secret --secret-id "+s.name+"`", "the secret %s is scheduled for deletion", s.name)
		}
	}
	if t.Stored.IsZero() {
		return f.actFor("`c8auth credentials set "+t.Name+"`", "no credentials are stored")
	}
	return f
}

// checkToken checks that a token is stored and valid.
func (t *tenant) checkToken(now time.Time) finding {
	f := found("token", "the same, and rotate's log", "stored %s ago", span(now.Sub(t.token.changed)))
	do := "`c8auth rotate " + t.Name + "` requests one, or says why there is none"
	switch {
	case t.err != nil:
		return f.failed(t.err)
	case !t.token.exists:
		f.Seen = "there is no secret for it"
	case t.Version == "" && t.Stored.IsZero():
		f.Seen = "none, as no credentials are stored"
	case t.Version == "" && t.Failures == 0 && now.Sub(t.Stored) <= silence:
		f.Seen = "none yet; the next heartbeat requests one"
	case t.Version == "":
		return f.actFor(do, "there is no token yet, and callers fail")
	case t.expired(now):
		return f.actFor(do, "the token expired %s ago, and callers fail", span(now.Sub(t.ExpiresAt)))
	case !t.ExpiresAt.IsZero():
		f.Seen = "valid for " + span(t.ExpiresAt.Sub(now))
	}
	return f
}

func (t *tenant) expired(now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt)
}

// nearest returns the name with the smallest distance from typed: two at most, and no more than
// half of its characters. It returns "" if there is none.
func nearest(typed string, names []string) string {
	for n := range 3 {
		for _, name := range names {
			if 2*n <= len(name) && within(n, typed, name) {
				return name
			}
		}
	}
	return ""
}

// within reports whether at most n characters must be added, removed, replaced, or swapped with the
// next one, to turn a into b.
func within(n int, a, b string) bool {
	switch {
	case a == "" || b == "":
		return len(a)+len(b) <= n
	case a[0] == b[0]:
		return within(n, a[1:], b[1:])
	case n == 0:
		return false
	}
	swapped := len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0]
	return within(n-1, a[1:], b) || within(n-1, a, b[1:]) || within(n-1, a[1:], b[1:]) || swapped && within(n-1, a[2:], b[2:])
}
