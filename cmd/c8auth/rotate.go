package main

// c8auth rotate: a token now, not at the next heartbeat.

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/spf13/cobra"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

func (p *program) rotateCommand() *cobra.Command {
	var force bool
	command := &cobra.Command{
		Use:   "rotate TENANT",
		Short: "Look after a tenant's token now",
		Long: `Rotate has a tenant's token looked after now, as the schedule does every five minutes:
it is replaced if that is due. --force replaces it in any case, unless it is less than a
minute old. Whatever fails, the token that is stored stays.

It needs lambda:InvokeFunction on <stack>-rotate.`,
		Example: `  c8auth rotate default
  c8auth rotate acme --force`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeTenant,
		RunE: p.does(func(ctx context.Context, args []string) error {
			d, err := p.deployment(ctx)
			if err != nil {
				return err
			}
			return p.rotate(ctx, d, args[0], force)
		}),
	}
	command.Flags().BoolVar(&force, "force", false, "replace the token though nothing else is due")
	return command
}

// rotate invokes the function rotate and tells what came of it.
func (p *program) rotate(ctx context.Context, d *deployment, tenant string, force bool) error {
	result, err := d.rotate(ctx, tenant, force)
	if err != nil {
		return err
	}
	if p.json {
		if err := p.show(result); err != nil {
			return err
		}
	}
	life := "It does not expire."
	if !result.ExpiresAt.IsZero() {
		life = fmt.Sprintf("It lives %s, until %s.", span(time.Duration(result.ExpiresIn)*time.Second), result.ExpiresAt.Format(time.RFC3339))
	}
	switch {
	case result.Outcome == c8auth.Waiting:
		return fail(statusAttention, "c8auth credentials set "+tenant, "no credentials are stored for %s", tenant)
	case p.json:
	case result.Outcome == c8auth.Rotated:
		p.say("%s has a new token (%s). %s", tenant, result.Reason, life)
	case force:
		p.say("The token of %s was replaced less than a minute ago. %s", tenant, life)
	default:
		p.say("No new token is due for %s. %s", tenant, life)
	}
	return nil
}

func (d *deployment) rotate(ctx context.Context, tenant string, force bool) (result c8auth.Result, _ error) {
	if err := c8auth.CheckTenant(tenant); err != nil {
		return result, err
	}
	event, err := json.Marshal(struct {
		Tenant string `json:"tenant"`
		Force  bool   `json:"force,omitempty"`
	}{tenant, force})
	if err != nil {
		return result, err
	}
	function := d.name + "-rotate"
	out, err := lambda.NewFromConfig(d.Config).Invoke(ctx, &lambda.InvokeInput{FunctionName: &function, Qualifier: aws.String("live"), Payload: event})
	if err != nil {
		return result, awsFailure(err, d.Region, "lambda:InvokeFunction", function)
	}
	if out.FunctionError != nil {
		var failed struct {
			Message string `json:"errorMessage"` // holds no secret: rotate's or Lambda's own words
		}
		_ = json.Unmarshal(out.Payload, &failed)
		return result, fail(0, "the token that is stored stays; the next heartbeat tries again, within five minutes", "rotate: %s", failed.Message)
	}
	if json.Unmarshal(out.Payload, &result) != nil {
		return result, fail(0, "", "%s does not answer as c8auth's does", function)
	}
	return result, nil
}
