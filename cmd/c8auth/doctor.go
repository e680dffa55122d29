package main

// c8auth doctor: checks of every step from the caller's request to Communic8.

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

func (p *program) doctorCommand() *cobra.Command {
	var url string
	var measure bool
	command := &cobra.Command{
		Use:   "doctor [TENANT]",
		Short: "Find out what is wrong, from the caller's request to Communic8",
		Long: `Doctor checks every step that a tenant's token takes ("default" if none is named), and
says of each what it tried, what it saw, and what to do. It changes nothing and shows no
secret. The exit status is 3 if a person must act, and 1 if a check could not be made.

It acts as the operator, who sees the stack, and as a caller, who fetches the token. A
caller of another account, who does not see the stack, names the API with --url.

With --measure, or after a yes at the prompt, it measures what Communic8 does not
document: whether a new token ends the validity of the one before, whether two requests
return the same token, and what refusals look like. For that it reads the tenant's
credentials and requests two tokens; one of them may end the validity of the token in
use. So doctor then invokes rotate, and requests of callers may fail for a few seconds.
The result is a report without secrets, to keep or to send on.

Besides what status needs: execute-api:Invoke as a caller, lambda:GetFunctionConfiguration,
iam:SimulatePrincipalPolicy, sqs:GetQueueUrl and GetQueueAttributes.
To measure: secretsmanager:GetSecretValue on the credentials, and lambda:InvokeFunction on rotate.`,
		Example: `  c8auth doctor
  c8auth doctor acme --measure
  c8auth doctor --json | jq '.steps[] | select(.verdict != "ok")'
  c8auth doctor acme --url https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1`,
		Args: func(command *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return oneTenant(command, args)
		},
		ValidArgsFunction: p.completeTenant,
		RunE: p.does(func(ctx context.Context, args []string) error {
			doc := &doctor{program: p, url: url, patient: tenant{Name: "default"}}
			if len(args) > 0 {
				doc.patient.Name = args[0]
			}
			return doc.run(ctx, measure)
		}),
	}
	command.Flags().StringVar(&url, "url", os.Getenv("C8AUTH_URL"), "the API's URL, the stack's output Url; also C8AUTH_URL")
	command.Flags().BoolVar(&measure, "measure", false, "measure what Communic8 does not document; it requests tokens")
	return command
}

// doctor is one run of c8auth doctor, with its findings so far.
type doctor struct {
	*program
	*deployment        // nil if the stack cannot be seen
	url         string // of the API
	aws         aws.Config
	account     string // the caller's
	patient     tenant
	vended      c8auth.Token // the token that vend returned; zero if it returned none
	version     string       // of vended
	steps       []finding
	measured    *measurement
}

// run makes all checks, and prints each finding at once.
func (doc *doctor) run(ctx context.Context, measure bool) error {
	err := doc.examine(ctx)
	if err == nil && !measure {
		measure, err = doc.consents(ctx)
	}
	if err == nil && measure {
		doc.measured, err = doc.measure(ctx)
		if doc.measured != nil && !doc.json {
			doc.measured.print(doc.stdout)
		}
	}
	verdict := verdictOf(doc.steps)
	if doc.json {
		failed := doc.stdout.json(struct {
			Verdict  string       `json:"verdict"`
			Tenant   string       `json:"tenant"`
			Steps    []finding    `json:"steps"`
			Measured *measurement `json:"measured,omitempty"`
		}{verdict, doc.patient.Name, doc.steps, doc.measured})
		if failed != nil {
			return failed
		}
	}
	if err != nil {
		return err
	}
	return conclusion(verdict)
}

// examine makes the checks. The error is that of a check without which the others cannot be made.
func (doc *doctor) examine(ctx context.Context) error {
	err := doc.identity(ctx)
	if err == nil {
		err = doc.stack(ctx)
	}
	if err == nil && doc.deployment != nil {
		if err = doc.known(ctx, doc.patient.Name); err != nil {
			doc.note(found("tenant", "secretsmanager:DescribeSecret and ListSecrets", "").failed(err))
		}
	}
	if err != nil {
		return &failure{Err: errors.New("the rest could not be checked"), Status: statusOf(err)}
	}
	if doc.api(ctx) {
		doc.signature(ctx)
	}
	if doc.deployment != nil {
		s := doc.inspect(ctx, []string{doc.patient.Name}, false)
		doc.patient = s.Tenants[0]
		doc.note(doc.patient.checks(s.At)...)
		doc.note(doc.cached(s.At)...)
		doc.note(doc.roles(ctx), doc.logging(ctx, "rotate"), doc.logging(ctx, "vend"))
		doc.note(doc.queue(ctx, "undelivered", "heartbeats that never reached rotate"), doc.queue(ctx, "failed", "rotations that failed"))
		alarms := checkAlarms(s.Alarms)
		if len(alarms)+len(doc.patient.Alarms) == 0 {
			alarms = []finding{s.alarms}
		}
		doc.note(append(alarms, s.topic)...)
	}
	doc.note(doc.communic8(ctx)...)
	return ctx.Err()
}

// note adds findings and, unless JSON is printed at the end, prints them.
func (doc *doctor) note(steps ...finding) {
	doc.steps = append(doc.steps, steps...)
	if doc.json {
		return
	}
	indent := 29
	if width := doc.stdout.columns(); width > 0 && width < 100 {
		indent = 9
	}
	for _, s := range steps {
		style := map[string]string{ok: green, act: red, unknown: bold}[s.Verdict]
		doc.stdout.line(style, sprintf("%-7s", s.Verdict), indent, "  %-18s  %s [%s]", s.Step, s.Seen, s.Tried)
		if s.Do != "" {
			doc.stdout.line(style, strings.Repeat(" ", indent)+"Do: "+s.Do, indent+4, "")
		}
	}
}

// consents asks whether to measure. It returns false without a terminal, or if measuring is not
// possible.
func (doc *doctor) consents(ctx context.Context) (bool, error) {
	if doc.json || !isTerminal(doc.stdin) || doc.deployment == nil || doc.patient.Stored.IsZero() || doc.patient.young() {
		return false, nil
	}
	doc.stderr.printf("\n")
	doc.stderr.line("", "", 0, "Measure what Communic8 does not document? That reads the credentials of %s, requests two tokens, and has rotate replace the one in use, whose validity may end.", doc.patient.Name)
	return doc.confirm(ctx, "Measure? [y/N] ")
}
