package main

// The tenants that exist, and suggestions for names that do not.

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

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

// nearest returns the name with the smallest distance from typed: two at most, and no more than
// half of its characters. It returns "" if there is none.
func nearest(typed string, names []string) string {
	best, least := "", 3
	for _, name := range names {
		if n := distance(typed, name); n < least && 2*n <= len(name) {
			best, least = name, n
		}
	}
	return best
}

// distance returns how many characters must be added, removed, replaced, or swapped with the next
// one, to turn a into b (the Damerau-Levenshtein distance).
func distance(a, b string) int {
	rows := [][]int{make([]int, len(b)+1)} // rows[i][j] is the distance of a[:i] and b[:j]
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := append([]int{i}, make([]int, len(b))...)
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(rows[i-1][j]+1, row[j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], rows[i-2][j-2]+1)
			}
		}
		rows = append(rows, row)
	}
	return rows[len(a)][len(b)]
}
