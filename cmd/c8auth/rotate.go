package main

// c8auth rotate: a rotation check before the next heartbeat.

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/spf13/cobra"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

func (p *program) rotateCommand() *cobra.Command {
	var force bool
	command := p.tenantCommand(&cobra.Command{
		Use:   "rotate TENANT",
		Short: "Run a tenant's rotation check now",
		Long: `Rotate runs a tenant's rotation check now, as the schedule does every five minutes: the
token is replaced if a new one is due. --force replaces it in any case, unless it is less
than a minute old. If anything fails, the stored token stays.

It needs lambda:InvokeFunction on <stack>-rotate, and to name the tenants that exist
secretsmanager:DescribeSecret and ListSecrets.`,
		Example: `  c8auth rotate default
  c8auth rotate acme --force`,
	}, func(ctx context.Context, tenant string) error {
		d, err := p.deployment(ctx)
		if err != nil {
			return err
		}
		if err := d.known(ctx, tenant); err != nil {
			return err
		}
		result, err := d.rotate(ctx, tenant, force)
		if err == nil && p.json {
			err = p.stdout.json(result)
		}
		if err != nil {
			return err
		}
		switch {
		case result.Outcome == c8auth.Waiting:
			return fail(statusAttention, "`c8auth credentials set "+result.Tenant+"`", "no credentials are stored for %s", result.Tenant)
		case force && result.Outcome == c8auth.Fresh:
			return fail(statusAgain, "`c8auth rotate "+result.Tenant+" --force`, "+d.forcible(ctx, tenant, result.Version), "the token is less than a minute old, and was not replaced")
		}
		p.describe(result)
		return nil
	})
	command.Flags().BoolVar(&force, "force", false, "replace the token though nothing else is due")
	return command
}

// forcible describes when a token that is less than a minute old can be replaced.
func (d *deployment) forcible(ctx context.Context, tenant, version string) string {
	lines, _ := d.rotations(ctx, `{ ($.message = "rotation") && ($.tenant = "`+tenant+`") }`, time.Now().Add(-heartbeat))
	for _, line := range lines {
		if from := line.IssuedAt.Add(time.Minute + time.Second); line.Version == version && time.Now().Before(from) {
			return "from " + from.Format(time.RFC3339) + " on"
		}
	}
	return "in a minute"
}

// describe prints the result of a rotation for people.
func (p *program) describe(result c8auth.Result) {
	life := "It does not expire."
	if !result.ExpiresAt.IsZero() {
		life = fmt.Sprintf("It is valid for %s, until %s.", span(time.Duration(result.ExpiresIn)*time.Second), result.ExpiresAt.Format(time.RFC3339))
	}
	switch result.Outcome {
	case c8auth.Rotated:
		p.say("%s has a new token (%s). %s", result.Tenant, result.Reason, life)
	case c8auth.Fresh:
		p.say("%s keeps its token: no new one is due. %s", result.Tenant, life)
	}
}

// rotate invokes the function rotate.
func (d *deployment) rotate(ctx context.Context, tenant string, force bool) (result c8auth.Result, _ error) {
	event, err := json.Marshal(struct {
		Tenant string `json:"tenant"`
		Force  bool   `json:"force,omitempty"`
	}{tenant, force})
	if err != nil {
		return result, err
	}
	function := d.name + "-rotate"
	out, err := lambda.NewFromConfig(d.Config).Invoke(ctx, &lambda.InvokeInput{FunctionName: &function, Payload: event})
	if err != nil {
		return result, awsFailure(d.Config, err, "lambda:InvokeFunction", function)
	}
	if out.FunctionError != nil {
		var failed struct {
			Message string `json:"errorMessage"` // a text of rotate or of Lambda, without secrets
		}
		_ = json.Unmarshal(out.Payload, &failed)
		return result, fail(0, "the stored token is unchanged; the next heartbeat retries, within five minutes", "rotate: %s", failed.Message)
	}
	if json.Unmarshal(out.Payload, &result) != nil {
		return result, fail(0, "", "the answer of %s is not that of c8auth's rotate", function)
	}
	return result, nil
}
