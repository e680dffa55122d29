package main

// c8auth grant: policies that allow a role to fetch a tenant's token.

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/spf13/cobra"
)

func (p *program) grantCommand() *cobra.Command {
	var role string
	var report bool
	command := p.tenantCommand(&cobra.Command{
		Use:   "grant TENANT --role ARN",
		Short: "Print the policies that allow a role to fetch a tenant's token",
		Long: `Grant prints what allows a role to fetch a tenant's token, and changes nothing. That is a
policy for the role. For a role of another account, it is also parameters of the stack,
because both accounts must allow the request. With --report the role may also report that
Communic8 rejects the token, which then is replaced within seconds.

It needs cloudformation:DescribeStacks and secretsmanager:DescribeSecret.`,
		Example: `  c8auth grant default --role arn:aws:iam::123456789012:role/payroll
  c8auth grant default --role arn:aws:iam::210987654321:role/payroll --report
  c8auth grant acme --role arn:aws:iam::123456789012:role/payroll --json | jq .policy > policy.json`,
	}, func(ctx context.Context, tenant string) error {
		d, err := p.deployment(ctx)
		if err != nil {
			return err
		}
		g, err := d.grant(tenant, role, report)
		if err != nil {
			return err
		}
		if _, err := d.existing(ctx, "token", g.Tenant); err != nil {
			return err
		}
		if p.json {
			return p.stdout.json(g)
		}
		return p.instruct(d, g)
	})
	command.Flags().StringVar(&role, "role", "", "ARN of the IAM role")
	command.Flags().BoolVar(&report, "report", false, "it may also report that Communic8 rejects the token")
	_ = command.MarkFlagRequired("role") // fails only if there is no such flag
	return command
}

// granted is the output of c8auth grant --json.
type granted struct {
	Tenant  string `json:"tenant"`
	Role    string `json:"role"`    // ARN
	Account string `json:"account"` // of the role
	Policy  policy `json:"policy"`  // for the role
	// Parameters of the stack to change, and their new values. Only for a role of another account.
	Parameters map[string]string `json:"parameters,omitempty"`
}

type policy struct {
	Version   string
	Statement []statement
}

type statement struct {
	Effect   string
	Action   string
	Resource []string
}

// roleARN is the syntax of a role in the template's parameter OtherCallers.
var roleARN = regexp.MustCompile(`^arn:[a-z-]+:iam::\d{12}:role/[\w+=.@/-]+$`)

// grant returns the policy that allows the role to fetch the tenant's token and nothing else, and
// the parameters to change. The error says which ARN is expected.
func (d *deployment) grant(tenant, role string, report bool) (*granted, error) {
	id, err := arn.Parse(role)
	if err != nil || !roleARN.MatchString(role) {
		return nil, fail(statusUsage, "`aws iam get-role --role-name NAME --query Role.Arn`", "--role must be a role's ARN, such as arn:aws:iam::123456789012:role/payroll")
	}
	if id.Partition != d.id.Partition {
		return nil, fail(statusUsage, "", "a role of the partition %s can have no access to %s", id.Partition, d.id.Partition)
	}
	stage := d.outputs["Api"] + "/v1"
	resource := arn.ARN{Partition: d.id.Partition, Service: "execute-api", Region: d.id.Region, AccountID: d.id.AccountID, Resource: stage + "/GET/tokens/" + tenant}
	allow := statement{"Allow", "execute-api:Invoke", []string{resource.String()}}
	if report {
		resource.Resource = stage + "/POST/tokens/" + tenant + "/rejections"
		allow.Resource = append(allow.Resource, resource.String())
	}
	g := &granted{Tenant: tenant, Role: role, Account: id.AccountID, Policy: policy{"2012-10-17", []statement{allow}}}
	if id.AccountID != d.id.AccountID {
		g.Parameters = admit(d.parameters, tenant, id)
	}
	return g, nil
}

// admit returns the parameters to change so that the API's own policy allows the role to fetch the
// tenant's token. Their new values keep the callers and tenants of the old ones.
func admit(parameters map[string]string, tenant string, role arn.ARN) map[string]string {
	callers, tenants := list(parameters["OtherCallers"]), list(parameters["OtherCallersTenants"])
	if len(callers) == 0 { // the default value of OtherCallersTenants then allows nothing
		tenants = nil
	}
	changed := make(map[string]string)
	whole := "arn:" + role.Partition + ":iam::" + role.AccountID + ":root"
	if !slices.ContainsFunc(callers, func(c string) bool { return c == role.String() || c == whole || c == role.AccountID }) {
		changed["OtherCallers"] = strings.Join(append(callers, role.String()), ",")
	}
	if !slices.Contains(tenants, tenant) {
		changed["OtherCallersTenants"] = strings.Join(append(tenants, tenant), ",")
	}
	return changed
}

// list splits a parameter that is a list.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
}

// instruct prints the commands and parameters for people.
func (p *program) instruct(d *deployment, g *granted) error {
	text, err := json.MarshalIndent(g.Policy, "", "  ")
	if err != nil {
		return err
	}
	name := g.Role[strings.LastIndex(g.Role, "/")+1:]
	p.say("For the role, in account %s:", g.Account)
	fmt.Fprintf(p.stdout, "\naws iam put-role-policy --role-name %s --policy-name %s-%s --policy-document '%s'\n", name, d.name, g.Tenant, text)
	if g.Account == d.id.AccountID {
		return nil
	}
	p.stdout.printf("\n")
	p.say("For the API, in account %s:", d.id.AccountID)
	p.stdout.printf("\n")
	if len(g.Parameters) == 0 {
		p.say("Nothing: OtherCallers and OtherCallersTenants admit the role already.")
		return nil
	}
	p.say("Put these in the list parameter_overrides of samconfig.toml, and sam deploy:")
	p.stdout.printf("\n")
	for _, parameter := range []string{"OtherCallers", "OtherCallersTenants"} {
		if value, ok := g.Parameters[parameter]; ok {
			p.stdout.printf("%q\n", parameter+"="+value)
		}
	}
	p.stdout.printf("\n")
	p.say("This account then lets all of OtherCallers fetch all of OtherCallersTenants. Policies of their own accounts, such as the one above, decide which roles do.")
	return nil
}
