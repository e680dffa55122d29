package main

// c8auth doctor: what is wrong, from the caller's end to Communic8.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/spf13/cobra"

	"github.com/c8auth/c8auth/pkg/c8auth"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

func (p *program) doctorCommand() *cobra.Command {
	var url string
	var measure bool
	command := &cobra.Command{
		Use:   "doctor [TENANT]",
		Short: "Find out what is wrong, from the caller's end to Communic8",
		Long: `Doctor goes all the way of a tenant's token, "default" if none is named, and says of each
step what it tried, what it saw, and what to do. It changes nothing and shows no secret.
If something is wrong, the exit status is 3. A step marked "?" could not be looked at.

It is at the same time the operator, who sees the stack, and a caller, who fetches the
token. A caller of another account, who does not see the stack, names the API with --url.

With --measure, or after a yes at the prompt, it measures what Communic8 does not
document: whether a new token ends the life of the one before, whether asking twice gives
the same, and what refusals look like. For that it reads the tenant's credentials, and has
two tokens made; one of them may end the life of the token in use. So it has rotate look
after the tenant at once, and callers may notice for a few seconds. What comes of it is a
report without secrets, to keep or to send on.

Besides what status needs: execute-api:Invoke as a caller, lambda:GetFunctionConfiguration,
iam:SimulatePrincipalPolicy, sqs:GetQueueUrl and GetQueueAttributes, sns:GetTopicAttributes.
To measure: secretsmanager:GetSecretValue on the credentials, and lambda:InvokeFunction on rotate.`,
		Example: `  c8auth doctor
  c8auth doctor acme --measure
  c8auth doctor --json | jq '.steps[] | select(.verdict == "wrong")'
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
			return doc.visit(ctx, measure)
		}),
	}
	command.Flags().StringVar(&url, "url", os.Getenv("C8AUTH_URL"), "the API's URL, the stack's output Url; also C8AUTH_URL")
	command.Flags().BoolVar(&measure, "measure", false, "measure what Communic8 does not document; it has tokens made")
	return command
}

// Verdicts on a step.
const (
	fine   = "ok"
	wrong  = "wrong"
	unseen = "?" // could not be looked at
)

// step is one of the examination.
type step struct {
	Name    string `json:"step"`
	Tried   string `json:"tried"`
	Seen    string `json:"seen"`
	Verdict string `json:"verdict"`
	Do      string `json:"do,omitempty"`
}

// doctor is one examination and what it has found out so far.
type doctor struct {
	*program
	url     string // of the API
	aws     aws.Config
	account string // the caller's
	*deployment
	patient  tenant
	vended   c8auth.Token // as a caller gets it; zero if there was none
	steps    []step
	measured *measurement
}

// visit examines everything, and tells as it goes.
func (doc *doctor) visit(ctx context.Context, measure bool) error {
	if err := doc.examine(ctx); err != nil {
		return err
	}
	var err error
	if !measure {
		measure, err = doc.consents(ctx)
	}
	if measure {
		doc.measured, err = doc.measure(ctx)
		if doc.measured != nil && !doc.json {
			doc.measured.print(doc.stdout)
		}
	}
	if doc.json {
		failed := doc.stdout.json(struct {
			Tenant   string       `json:"tenant"`
			Steps    []step       `json:"steps"`
			Measured *measurement `json:"measured,omitempty"`
		}{doc.patient.Name, doc.steps, doc.measured})
		if failed != nil {
			return failed
		}
	}
	if err != nil {
		return err
	}
	bad := 0
	for _, s := range doc.steps {
		if s.Verdict == wrong {
			bad++
		}
	}
	if bad > 0 {
		return fail(statusAttention, "", "%d of %d steps found something wrong", bad, len(doc.steps))
	}
	return nil
}

// examine takes one step after the other. One that all others need ends it, and only the
// end of ctx is an error.
func (doc *doctor) examine(ctx context.Context) error {
	if !doc.identity(ctx) {
		return ctx.Err()
	}
	if !doc.stack(ctx) && doc.url == "" {
		return ctx.Err()
	}
	if doc.api(ctx) {
		doc.signature(ctx)
	}
	if doc.deployment != nil {
		for _, look := range []func(context.Context){doc.stored, doc.roles, doc.logging, doc.schedule, doc.heartbeats, doc.letters, doc.ring, doc.subscribers} {
			look(ctx)
		}
	}
	doc.communic8(ctx)
	return ctx.Err()
}

// note adds a step and shows it.
func (doc *doctor) note(name, tried, verdict, seen, do string) {
	doc.steps = append(doc.steps, step{name, tried, seen, verdict, do})
	if doc.json {
		return
	}
	colour := map[string]string{fine: green, wrong: red, unseen: bold}[verdict]
	doc.stdout.paint(colour, "%-5s", verdict)
	doc.stdout.printf("  %-12s  %s [%s]\n", name, seen, tried)
	if do != "" {
		doc.stdout.paint(colour, "%21sDo: %s", "", do)
		doc.stdout.printf("\n")
	}
}

// noteFailure adds a step that came to an error: what is missing or wrong if blame says
// so, else what could not be looked at.
func (doc *doctor) noteFailure(name, tried, verdict string, err error) {
	doc.note(name, tried, verdict, err.Error(), remedy(err))
}

func remedy(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.do
	}
	return ""
}

// identity is who asks, and what AWS's clock says.
func (doc *doctor) identity(ctx context.Context) bool {
	const name, tried = "identity", "sts:GetCallerIdentity"
	var err error
	if doc.aws, err = doc.program.aws(ctx); err == nil && doc.aws.Region == "" {
		err = fail(0, "--region eu-central-1, or AWS_REGION", "no AWS region is configured")
	}
	if err != nil {
		doc.noteFailure(name, "the AWS configuration", wrong, err)
		return false
	}
	sent := time.Now()
	out, err := sts.NewFromConfig(doc.aws).GetCallerIdentity(ctx, nil)
	if err != nil {
		doc.noteFailure(name, tried, wrong, awsFailure(doc.aws, err, tried, "*"))
		return false
	}
	doc.account = aws.ToString(out.Account)
	doc.note(name, tried, fine, "you are "+aws.ToString(out.Arn), "")
	if at, ok := awsmiddleware.GetServerTime(out.ResultMetadata); ok {
		doc.clock(at.Sub(middle(sent, time.Now())))
	}
	return true
}

// skew is how far AWS's clock and this machine's may be apart.
const skew = time.Minute

// middle is the best guess at when an answer was given.
func middle(sent, received time.Time) time.Time { return sent.Add(received.Sub(sent) / 2) }

// clock is of AWS, which is how late a signature may be.
func (doc *doctor) clock(ahead time.Duration) {
	verdict, do := fine, ""
	if ahead.Abs() > skew {
		verdict, do = wrong, "set this machine's clock: from five minutes on, no signature is accepted"
	}
	doc.note("clock", "the Date that AWS answers with", verdict, "it is "+apart(ahead), do)
}

// apart puts the difference of two clocks into words. A Date has whole seconds.
func apart(ahead time.Duration) string {
	switch {
	case ahead.Abs() <= 2*time.Second:
		return "this machine's time"
	case ahead > 0:
		return span(ahead) + " ahead of this machine's time"
	}
	return span(-ahead) + " behind this machine's time"
}

func (doc *doctor) stack(ctx context.Context) bool {
	const name, tried = "stack", "cloudformation:DescribeStacks"
	d, err := doc.program.deployment(ctx)
	switch {
	case err == nil:
		doc.deployment = d
		if doc.url == "" {
			doc.url = d.outputs["Url"]
		}
		doc.note(name, tried, fine, fmt.Sprintf("%s in %s of account %s, API %s", d.name, d.Region, d.id.AccountID, d.outputs["Url"]), "")
	case doc.url != "":
		doc.note(name, tried, unseen, err.Error(), "nothing, if it is another account's: the rest is looked at from the caller's side alone")
	default:
		doc.note(name, tried, wrong, err.Error(), remedy(err)+"; a caller of another account names the API instead: --url")
	}
	return err == nil
}

// api looks whether API Gateway answers at all: without a signature, it refuses.
func (doc *doctor) api(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	const name = "API"
	tried := "GET " + doc.url + "/tokens/" + doc.patient.Name + ", unsigned"
	do := "is this machine online? Is that the stack's output Url?"
	if doc.deployment != nil && doc.parameters["VpcEndpoints"] != "" {
		do = "the API is private, and reached through the VPC endpoints " + doc.parameters["VpcEndpoints"] + " alone: run this in their network, with private DNS"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, doc.url+"/tokens/"+doc.patient.Name, nil)
	if err != nil {
		doc.note(name, tried, wrong, "that is no URL", "name the stack's output Url")
		return false
	}
	seen := &witness{base: transport(doc.aws)}
	if _, err = seen.RoundTrip(req); err != nil {
		doc.note(name, tried, wrong, c8auth.DescribeError(err), do)
		return false
	}
	if status := seen.saw().status; status != http.StatusForbidden {
		doc.note(name, tried, wrong, fmt.Sprintf("HTTP %d, and not API Gateway's 403", status), do)
		return false
	}
	doc.note(name, tried, fine, "HTTP 403, as it should be", "")
	return true
}

// signature fetches the token as a caller does.
func (doc *doctor) signature(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // the package caller is more patient
	defer cancel()
	const name = "signature"
	tried := "the same, signed"
	seen := &witness{base: transport(doc.aws)}
	token, err := (&caller.Source{URL: doc.url, Tenant: doc.patient.Name, AWS: doc.aws, Base: seen}).TokenContext(ctx)
	status := seen.saw().status
	refused, by := denialOf(seen.saw())
	switch {
	case err == nil:
		version, _ := token.Extra("version").(string)
		base, _ := token.Extra("base_url").(string)
		doc.vended = c8auth.Token{BaseURL: base, AccessToken: c8auth.NewSecret(token.AccessToken), TokenType: token.TokenType}
		left := "it does not expire"
		if !token.Expiry.IsZero() {
			left = span(time.Until(token.Expiry)) + " left"
		}
		doc.note(name, tried, fine, fmt.Sprintf("HTTP 200, a token (version %s, %s) that is good at %s", version, left, base), "")
	case errors.Is(err, caller.ErrDenied) && refused != "":
		doc.note(name, tried, fine, "the signature is accepted", "")
		doc.denied(refused, by)
	case errors.Is(err, caller.ErrDenied):
		doc.note(name, tried, wrong, strings.TrimPrefix(err.Error(), "c8auth: "), "")
	case status == http.StatusServiceUnavailable:
		doc.note(name, tried, wrong, "HTTP 503: allowed, but there is no living token", "see below for why")
	case status == 0:
		doc.note(name, tried, wrong, c8auth.DescribeError(err), "")
	default:
		doc.note(name, tried, wrong, fmt.Sprintf("HTTP %d: %s", status, strings.TrimPrefix(err.Error(), "c8auth: ")), "see below for why")
	}
}

// apiDenial is what API Gateway says to whom IAM does not allow it.
var apiDenial = regexp.MustCompile(`not authorized to perform: execute-api:Invoke on resource: arn:[\w-]+:execute-api:[\w-]+:[\d*]*:([\w*]+/[\w*]+/GET/tokens/[\w-]+)(?: because no (identity|resource)-based policy| with an (explicit) deny)?`)

// denialOf returns what may not be invoked, and by which policy if AWS says so: identity,
// resource, or explicit for one that denies.
func denialOf(a answer) (resource, policy string) {
	parts := apiDenial.FindSubmatch(a.body)
	if a.status != http.StatusForbidden || parts == nil {
		return "", ""
	}
	return string(parts[1]), string(parts[2]) + string(parts[3])
}

// denied says which statement is missing, and on which side.
func (doc *doctor) denied(resource, by string) {
	account, partition := "<the account of the API>", "aws"
	if doc.deployment != nil {
		account, partition = doc.id.AccountID, doc.id.Partition
	}
	arn := fmt.Sprintf("arn:%s:execute-api:%s:%s:%s", partition, doc.aws.Region, account, resource)
	here := fmt.Sprintf(`give your role, in account %s, {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": %q}`, doc.account, arn)
	there := fmt.Sprintf("have c8auth's operator add your role to the stack's parameter OtherCallers, and %s to OtherCallersTenants", doc.patient.Name)
	seen, do := "IAM does not allow it", here+"; and, as a caller of another account, "+there
	switch {
	case by == "explicit":
		seen, do = "a policy denies it", "look for it: of your organization, your role's boundary, or, if the stack's parameter VpcEndpoints is set, the API's own"
	case by == "resource":
		seen, do = "the API's own policy does not allow it to account "+doc.account, there
	case by == "identity":
		seen, do = "no policy of yours allows it", here
	case doc.deployment != nil: // the caller is of the API's account
		do = here
	}
	if doc.deployment != nil {
		do += "; c8auth grant prints it. If you are not to have the token, all is well here"
	}
	doc.note("IAM", "execute-api:Invoke on "+arn, wrong, seen, do)
}

// stored looks whether the tenant's two secrets are there.
func (doc *doctor) stored(ctx context.Context) {
	const name = "secrets"
	tried := fmt.Sprintf("secretsmanager:DescribeSecret of %[1]s/credentials/%[2]s and %[1]s/token/%[2]s", doc.name, doc.patient.Name)
	t, err := doc.deployment.secrets(ctx, doc.patient.Name)
	if err != nil {
		doc.noteFailure(name, tried, unseen, err)
		return
	}
	doc.patient = t
	for _, s := range []secret{t.credentials, t.token} {
		switch {
		case s.arn == "":
			doc.note(name, tried, wrong, "there is no "+s.name, "c8auth status shows which tenants there are; else deploy the tenant's stack")
			return
		case s.deleted:
			doc.note(name, tried, wrong, s.name+" is scheduled for deletion", "aws secretsmanager restore-secret --secret-id "+s.name)
			return
		}
	}
	switch {
	case t.Stored.IsZero():
		doc.note(name, tried, wrong, "no credentials are stored", "c8auth credentials set "+t.Name)
	case t.Version == "":
		doc.note(name, tried, wrong, "credentials, but no token yet", "see below for why")
	default:
		doc.note(name, tried, fine, fmt.Sprintf("credentials, stored %s ago, and a token", span(time.Since(t.Stored))), "")
	}
}

// roles looks who may read what. What conditions and the key's policy add is not asked.
func (doc *doctor) roles(ctx context.Context) {
	if doc.patient.credentials.arn == "" || doc.patient.token.arn == "" {
		return
	}
	const name, tried = "roles", "iam:SimulatePrincipalPolicy, of secretsmanager:GetSecretValue by rotate and vend"
	for _, may := range []struct {
		function string
		secret   secret
		allowed  bool
	}{
		{"rotate", doc.patient.credentials, true},
		{"rotate", doc.patient.token, true},
		{"vend", doc.patient.token, true},
		{"vend", doc.patient.credentials, false},
	} {
		function := doc.name + "-" + may.function
		config, err := doc.configuration(ctx, may.function)
		if err != nil {
			doc.noteFailure(name, tried, unseen, err)
			return
		}
		out, err := iam.NewFromConfig(doc.Config).SimulatePrincipalPolicy(ctx, &iam.SimulatePrincipalPolicyInput{
			PolicySourceArn: config.Role, ActionNames: []string{"secretsmanager:GetSecretValue"}, ResourceArns: []string{may.secret.arn},
		})
		if err != nil {
			doc.noteFailure(name, tried, unseen, awsFailure(doc.Config, err, "iam:SimulatePrincipalPolicy", aws.ToString(config.Role)))
			return
		}
		allowed := len(out.EvaluationResults) == 1 && out.EvaluationResults[0].EvalDecision == iamtypes.PolicyEvaluationDecisionTypeAllowed
		if allowed != may.allowed {
			can := map[bool]string{true: "may", false: "may not"}[allowed]
			doc.note(name, tried, wrong, fmt.Sprintf("the role %s of %s %s read %s", aws.ToString(config.Role), function, can, may.secret.name), "deploy the stack again, which sets it right, and find out who changed the role")
			return
		}
	}
	doc.note(name, tried, fine, "rotate may read both; vend may read the token, and not the credentials", "")
}

// configuration is that of rotate, or of the version of vend that callers get.
func (d *deployment) configuration(ctx context.Context, function string) (*lambda.GetFunctionConfigurationOutput, error) {
	name := d.name + "-" + function
	in := &lambda.GetFunctionConfigurationInput{FunctionName: &name}
	if function == "vend" {
		in.Qualifier = aws.String("live")
	}
	out, err := lambda.NewFromConfig(d.Config).GetFunctionConfiguration(ctx, in)
	if err != nil {
		return nil, awsFailure(d.Config, err, "lambda:GetFunctionConfiguration", name)
	}
	return out, nil
}

// aboveInfo are the log levels of Lambda at which lines at INFO are dropped.
var aboveInfo = []string{"WARN", "ERROR", "FATAL"}

// logging checks that Lambda drops none of the functions' lines at INFO, which carry metrics,
// and none of its own.
func (doc *doctor) logging(ctx context.Context) {
	const name, tried = "logging", "lambda:GetFunctionConfiguration of rotate and vend"
	complete := true
	for _, of := range []struct{ function, missing string }{{"rotate", "each tenant's alarm life rings"}, {"vend", "vends are not counted"}} {
		config, err := doc.configuration(ctx, of.function)
		if err != nil {
			doc.noteFailure(name, tried, unseen, err)
			return
		}
		if config.LoggingConfig == nil {
			continue
		}
		full := doc.name + "-" + of.function
		do := "aws lambda update-function-configuration --function-name " + full + " --logging-config LogFormat=JSON,ApplicationLogLevel=INFO,SystemLogLevel=INFO"
		if of.function == "vend" {
			do += "; then publish a version and have the alias live lead to it, by aws lambda publish-version and update-alias"
		}
		for _, level := range []struct{ setting, value, consequence string }{
			{"ApplicationLogLevel", string(config.LoggingConfig.ApplicationLogLevel), "lines at INFO are dropped, and their metrics with them, so that " + of.missing},
			{"SystemLogLevel", string(config.LoggingConfig.SystemLogLevel), "Lambda's own lines on each invocation are dropped"},
		} {
			if slices.Contains(aboveInfo, level.value) {
				complete = false
				doc.note(name, tried, wrong, fmt.Sprintf("%s of %s is %s: %s", level.setting, full, level.value, level.consequence), do)
			}
		}
	}
	if complete {
		doc.note(name, tried, fine, "both send their lines at INFO to CloudWatch, and their metrics with them", "")
	}
}

func (doc *doctor) schedule(ctx context.Context) {
	const name = "schedule"
	tried := "scheduler:ListSchedules of the group " + doc.name
	states, err := doc.schedules(ctx)
	switch state := states[doc.patient.Name]; {
	case err != nil:
		doc.noteFailure(name, tried, unseen, err)
	case state == "ENABLED":
		doc.note(name, tried, fine, doc.patient.Name+" is enabled", "")
	case state == "":
		doc.note(name, tried, wrong, doc.patient.Name+" is not there: nothing looks after the token", "deploy the tenant's stack again")
	default:
		doc.note(name, tried, wrong, doc.patient.Name+" is "+strings.ToLower(state)+": nothing looks after the token", "enable it, in the console of EventBridge Scheduler")
	}
}

// heartbeats looks at the last rotations.
func (doc *doctor) heartbeats(ctx context.Context) {
	const name = "heartbeats"
	tried := fmt.Sprintf("logs:FilterLogEvents of /aws/lambda/%s-rotate, the last %.0f minutes", doc.name, lately.Minutes())
	lines, err := doc.rotations(ctx, doc.patient.Name, time.Now().Add(-lately))
	if err != nil {
		doc.noteFailure(name, tried, unseen, err)
		return
	}
	doc.patient.hear(lines)
	last := doc.patient.Last
	if last == nil {
		doc.note(name, tried, wrong, "none", "is the schedule on, and is anything in the queue of what could not be delivered? c8auth rotate "+doc.patient.Name+" shows whether rotate works")
		return
	}
	seen := fmt.Sprintf("%d; the last, %s ago: ", len(lines), span(time.Since(last.At)))
	switch {
	case last.Error != "":
		doc.note(name, tried, wrong, seen+last.Error, last.remedy())
	case last.Fallback:
		doc.note(name, tried, wrong, seen+last.Hint, "c8auth credentials set "+doc.patient.Name)
	case time.Since(last.At) > silence:
		doc.note(name, tried, wrong, seen+last.Outcome, "is the schedule on? It should come every five minutes")
	case last.Outcome == string(c8auth.Waiting):
		doc.note(name, tried, wrong, seen+"waiting for credentials", "c8auth credentials set "+doc.patient.Name)
	default:
		seen += last.Outcome
		if last.Life != nil {
			seen += fmt.Sprintf("; token lifetime remaining: %d %%", int(*last.Life))
		}
		if last.Trial != "" {
			seen += fmt.Sprintf("; Communic8 on the token: %s (%s)", last.Trial, last.Detail)
		}
		doc.note(name, tried, fine, seen, "")
	}
}

// letters looks into the queues of what went wrong.
func (doc *doctor) letters(ctx context.Context) {
	const name = "dead letters"
	client := sqs.NewFromConfig(doc.Config)
	for _, of := range []struct{ queue, holds string }{{"undelivered", "heartbeats that never reached rotate"}, {"failed", "rotations that failed"}} {
		queue, holds := doc.name+"-"+of.queue, of.holds
		tried := "sqs:GetQueueAttributes of " + queue
		var out *sqs.GetQueueAttributesOutput
		at, err := client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &queue})
		if err == nil {
			out, err = client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
				QueueUrl: at.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameApproximateNumberOfMessages},
			})
		}
		if err != nil {
			doc.noteFailure(name, tried, unseen, awsFailure(doc.Config, err, "sqs:GetQueueUrl and GetQueueAttributes", queue))
			continue
		}
		n, err := strconv.Atoi(out.Attributes[string(sqstypes.QueueAttributeNameApproximateNumberOfMessages)])
		switch {
		case err != nil:
			doc.note(name, tried, unseen, "it does not say how many", "")
		case n == 0:
			doc.note(name, tried, fine, "no "+holds, "")
		default:
			doc.note(name, tried, wrong, fmt.Sprintf("%d %s, of all tenants", n, holds), fmt.Sprintf(
				`aws sqs receive-message --message-attribute-names All --queue-url %q shows one; mend what it names, then aws sqs purge-queue --queue-url %[1]q`, aws.ToString(at.QueueUrl)))
		}
	}
}

// ring looks for alarms, those of other tenants left out.
func (doc *doctor) ring(ctx context.Context) {
	const name, tried = "alarms", "cloudwatch:DescribeAlarms"
	all, err := doc.alarms(ctx)
	if err != nil {
		doc.noteFailure(name, tried, unseen, err)
		return
	}
	quiet := true
	for _, a := range all {
		rest := strings.TrimPrefix(a.Name, doc.name+"/")
		if strings.Contains(rest, "/") && !strings.HasPrefix(rest, doc.patient.Name+"/") {
			continue
		}
		quiet = false
		seen, do, _ := strings.Cut(a.Description, " Do: ")
		doc.note(name, tried, wrong, a.Name+" rings: "+seen, do)
	}
	if quiet {
		doc.note(name, tried, fine, "none rings", "")
	}
}

// subscribers checks that alarms reach somebody.
func (doc *doctor) subscribers(ctx context.Context) {
	const name = "alarm topic"
	topic := doc.name + "-alarms"
	tried := "sns:GetTopicAttributes of " + topic
	arn := fmt.Sprintf("arn:%s:sns:%s:%s:%s", doc.id.Partition, doc.Region, doc.id.AccountID, topic)
	out, err := sns.NewFromConfig(doc.Config).GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: &arn})
	if _, missing := errors.AsType[*snstypes.NotFoundException](err); missing {
		doc.note(name, tried, wrong, "it is not there: alarms reach nobody", "deploy the stack again")
		return
	}
	if err != nil {
		doc.noteFailure(name, tried, unseen, awsFailure(doc.Config, err, "sns:GetTopicAttributes", topic))
		return
	}
	confirmed, err := strconv.Atoi(out.Attributes["SubscriptionsConfirmed"])
	if err != nil {
		doc.note(name, tried, unseen, "it does not say how many subscriptions are confirmed", "")
		return
	}
	seen := fmt.Sprintf("confirmed subscriptions: %d", confirmed)
	if pending, err := strconv.Atoi(out.Attributes["SubscriptionsPending"]); err == nil && pending > 0 {
		seen += fmt.Sprintf(", not confirmed: %d", pending)
	}
	if confirmed > 0 {
		doc.note(name, tried, fine, seen, "")
		return
	}
	doc.note(name, tried, wrong, "alarms reach nobody: "+seen, fmt.Sprintf(
		"deploy with AlarmEmail=you@example.com, or aws sns subscribe --topic-arn %s --protocol email --notification-endpoint you@example.com; then confirm by the link in the mail that AWS sends, which is good for three days", arn))
}

// outage is what to do about one of Communic8.
const outage = "is that the right instance, and does it answer elsewhere? Until it does, callers fail, but not for want of a token"

// communic8 presents the token, as a caller does.
func (doc *doctor) communic8(ctx context.Context) {
	const name = "Communic8"
	path := "/int/v1/broadcast?limit=1"
	if doc.deployment != nil {
		path = doc.parameters["ProbePath"]
	}
	switch {
	case doc.vended.BaseURL == "":
		doc.note(name, "not tried", unseen, "it takes a token, and you did not get one", "")
		return
	case path == "":
		doc.note(name, "not tried", unseen, "the stack's parameter ProbePath is empty", "")
		return
	}
	tried := "GET " + doc.vended.BaseURL + path + ", with the token"
	client, seen := watched()
	trial, detail := (&c8auth.Endpoint{Client: client, ProbePath: path}).Probe(ctx, doc.vended)
	status := seen.saw().status
	switch {
	case trial == c8auth.ProbeGood:
		doc.note(name, tried, fine, "it takes the token ("+detail+")", "")
	case trial == c8auth.ProbeRejected:
		doc.note(name, tried, wrong, "it rejects the token ("+detail+")", "c8auth rotate "+doc.patient.Name+" has it replaced, which callers see within a minute; if that does not help, give the token's user the right to that path")
	case status == 0:
		doc.note(name, tried, wrong, "it "+detail, outage)
	case status == http.StatusTooManyRequests || status >= 500:
		doc.note(name, tried, wrong, "it is busy or out of order ("+detail+")", outage)
	default:
		doc.note(name, tried, unseen, "whether it takes the token cannot be told: "+detail, "")
	}
	if ahead, ok := seen.saw().ahead(); ok {
		doc.note("clock", "the Date that Communic8 answers with", fine, "it is "+apart(ahead)+", which c8auth does not go by", "")
	}
}

// consents asks a person, if there is one, and returns whether to measure.
func (doc *doctor) consents(ctx context.Context) (bool, error) {
	if doc.json || !isTerminal(doc.stdin) || doc.deployment == nil || doc.patient.Stored.IsZero() || doc.patient.young() {
		return false, nil
	}
	doc.stderr.printf("\nShall I measure what Communic8 does not document? I would read the credentials of %s,\nhave two tokens made, and have rotate replace the one in use, which may die of it.\n", doc.patient.Name)
	yes := false
	err := doc.converse(ctx, func(c *conversation) error {
		answer, err := c.ask("Measure? [y/N] ", false)
		yes = strings.HasPrefix(strings.ToLower(answer), "y")
		return err
	})
	return yes && err == nil, err
}
