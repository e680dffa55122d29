package main

// c8auth credentials set: credentials from Communic8's console are probed and stored.

import (
	"cmp"
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

func (p *program) credentialsCommand() *cobra.Command {
	credentials := &cobra.Command{
		Use:   "credentials",
		Short: "Store a tenant's credentials",
		Args:  cobra.NoArgs,
		RunE:  func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	var want setting
	set := p.tenantCommand(&cobra.Command{
		Use:   "set TENANT",
		Short: "Prompt for a tenant's credentials, probe them at Communic8, and store them",
		Long: `Set prompts for the credentials that Communic8's admin console shows, probes them at
Communic8, and stores them: the base URL with a client ID and client secret (OAuth 2; the
console calls them the token's ID and value), or with an access key. No secret is shown,
and none is accepted on the command line. If the standard input is not a terminal, it
must be the JSON itself, in one of two forms:

  {"base_url": "https://acme.communic8.com", "client_id": "…", "client_secret": "…"}
  {"base_url": "https://acme.communic8.com", "access_key": "…"}

Credentials that Communic8 does not accept are not stored, except with --insist. rotate
falls back only to the version before the latest: after wrong credentials were stored
twice in a row, it has none that work. Set warns before it does that.

To probe an ID and value, set requests a token, and Communic8 may then end the validity of
the token in use. So if credentials were stored before, a rotation follows at once, and
callers whose token is rejected get the new one. Otherwise the first token is there at the
next heartbeat, within five minutes; --now requests one at once.

It needs secretsmanager:DescribeSecret and PutSecretValue on the secret
<stack>/credentials/TENANT (to warn, what status needs), kms:Decrypt and GenerateDataKey on its key, and for a
rotation lambda:InvokeFunction on <stack>-rotate.`,
		Example: `  c8auth credentials set default
  c8auth credentials set default --now
  pass show communic8/acme | c8auth credentials set acme`,
	}, func(ctx context.Context, tenant string) error {
		want.tenant = tenant
		return p.set(ctx, want)
	})
	set.Flags().BoolVar(&want.now, "now", false, "request a token with them now")
	set.Flags().BoolVar(&want.insist, "insist", false, "store them even if Communic8 does not accept them, or cannot be reached from here")
	// The error of cobra repeats what was typed, which can be a secret.
	set.SetFlagErrorFunc(func(*cobra.Command, error) error {
		return errors.New("there is no such flag, and no flag takes a secret: c8auth prompts for secrets, or reads them from the standard input")
	})
	credentials.AddCommand(set)
	return credentials
}

// setting is the command line of c8auth credentials set.
type setting struct {
	tenant      string
	now, insist bool
}

// changed is the output of c8auth credentials set --json.
type changed struct {
	Tenant   string         `json:"tenant"`
	Secret   string         `json:"secret"`
	Version  string         `json:"version"`
	Rotation *c8auth.Result `json:"rotation,omitempty"`
}

func (p *program) set(ctx context.Context, want setting) error {
	d, err := p.deployment(ctx)
	if err != nil {
		return err
	}
	stored, err := d.existing(ctx, "credentials", want.tenant)
	if err != nil {
		return err
	}
	replaces := stored.version != ""
	value, err := p.askCredentials(ctx, want.tenant)
	if err != nil {
		return err
	}
	credentials, err := c8auth.ParseCredentials(value)
	if err != nil {
		return fail(0, "fix that and try again; nothing was stored", "%w", err)
	}

	p.say("Probing them at %s.", credentials.BaseURL)
	if replaces && credentials.ClientID != "" {
		p.say("That may end the validity of the token in use, so a rotation follows at once.")
	}
	disturbed, err := try(ctx, credentials, d.parameters["ProbePath"])
	if err != nil && want.insist && ctx.Err() == nil {
		p.stderr.line("", "", 0, "%s. The credentials are stored nevertheless, because of --insist.", err)
		err = nil
		if replaces {
			err = p.warn(ctx, d, want.tenant)
		}
	}
	out := changed{Tenant: want.tenant}
	if err == nil {
		out.Secret, out.Version, err = d.store(ctx, want.tenant, value)
	}
	if err == nil {
		p.say("Stored in %s.", out.Secret)
	}
	if disturbed && replaces || err == nil && want.now {
		result, failed := d.rotate(ctx, want.tenant, false)
		if failed == nil {
			out.Rotation = &result
			p.describe(result)
		}
		err = cmp.Or(err, failed)
	} else if err == nil {
		p.say("The next heartbeat requests a token with them, within five minutes; `c8auth rotate %s` does it now.", want.tenant)
	}
	if err == nil && p.json {
		err = p.stdout.json(out)
	}
	return err
}

// warn warns before credentials that Communic8 does not accept are stored. rotate falls back only
// to the version before the latest. So the warning is needed if the stored credentials have made
// no token either. At a terminal, warn asks for a confirmation. The error is that of a no.
func (p *program) warn(ctx context.Context, d *deployment, name string) error {
	t := d.inspect(ctx, []string{name}, false).Tenants[0]
	switch {
	case t.err != nil, t.rotationsErr != nil, t.IssuedAt.IsZero():
		p.stderr.line("", "", 0, "It could not be seen whether the credentials that are stored now work.")
	case !t.Changed:
		return nil
	default:
		p.stderr.line("", "", 0, "The credentials that are stored now have made no token; the ones before them have.")
	}
	p.stderr.line("", "", 0, "rotate falls back to the version before the latest only. If those that work are older than that, and these are wrong, the token is not replaced until you store the right ones.")
	if !isTerminal(p.stdin) {
		return nil
	}
	yes, err := p.confirm(ctx, "Store them? [y/N] ")
	if err == nil && !yes {
		return fail(0, "", "nothing was stored")
	}
	return err
}

// try probes credentials at Communic8. disturbed is whether Communic8 may have issued a token,
// which can revoke the one in use. The error is nil if Communic8 accepts the credentials.
func try(ctx context.Context, c c8auth.Credentials, probePath string) (disturbed bool, _ error) {
	const (
		again  = "nothing was stored; compare them with Communic8's console, or create a new value there. --insist stores them nevertheless"
		remote = "nothing was stored; is the base URL right? If Communic8 can be reached from AWS only, --insist stores them nevertheless"
		probe  = "nothing was stored; give the token's user the right to that path, or change the stack's parameter ProbePath. --insist stores them nevertheless"
	)
	endpoint := &c8auth.Endpoint{Client: c8auth.NewHTTPClient(), ProbePath: probePath}
	token := c8auth.Token{BaseURL: c.BaseURL, AccessToken: c.AccessKey}
	if c.ClientID != "" {
		grant, err := endpoint.RequestToken(ctx, c)
		switch {
		case errors.Is(err, c8auth.ErrUpstream):
			return true, fail(statusAgain, remote, "%w", err)
		case errors.Is(err, c8auth.ErrRefused):
			return false, fail(0, again, "%w", err)
		case err != nil:
			return true, fail(0, remote, "%w", err)
		}
		disturbed, token.AccessToken = true, grant.AccessToken
	}
	switch probed, detail := endpoint.Probe(ctx, token); {
	case probed == c8auth.ProbeRejected && disturbed:
		return true, fail(0, probe, "Communic8 issues a token, and then rejects it at %s (%s)", probePath, detail)
	case probed == c8auth.ProbeRejected:
		return false, fail(0, again, "Communic8 refuses the access key (%s)", detail)
	case probed == c8auth.ProbeInconclusive && !disturbed: // a token that was just issued counts as good, as in rotate
		return false, fail(0, remote, "whether Communic8 accepts the access key cannot be seen at %s: %s", probePath, detail)
	}
	return disturbed, nil
}

// store stores credentials in the tenant's secret. The SDK sets ClientRequestToken, so that a
// request that is repeated after a lost answer stores one version.
func (d *deployment) store(ctx context.Context, tenant string, value []byte) (name, version string, _ error) {
	name = d.name + "/credentials/" + tenant
	out, err := secretsmanager.NewFromConfig(d.Config).PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: aws.String(string(value))})
	if err != nil {
		return "", "", awsFailure(d.Config, err, "secretsmanager:PutSecretValue", name)
	}
	return name, aws.ToString(out.VersionId), nil
}
