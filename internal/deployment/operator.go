package main

// The operator's tool, and what was recorded of everything.

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cloudwatchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/c8auth/c8auth/internal/secretscan"
)

// c8auth runs the operator's tool, which is expected to end with a status and, after a comma,
// to print a text. It returns what of that it did, and all that was printed.
func (d *deployment) c8auth(want, stdin string, args ...string) (seen, printed string, _ error) {
	printed, err := d.run(stdin, []string{"C8AUTH_STACK=" + d.name, "TERM=dumb"}, filepath.Join(d.dir, "c8auth"), args...)
	all, status := printed, 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		all, status, err = err.Error(), exit.ExitCode(), nil
	}
	for _, one := range alternatives(want) {
		if before, text, _ := strings.Cut(one, ", "); before == fmt.Sprintf("status %d", status) && strings.Contains(all, text) {
			return one, printed, err
		}
	}
	return fmt.Sprintf("status %d: %s", status, all), printed, err
}

// tool is expect of what the operator's tool does.
func (d *deployment) tool(want, stdin string, args ...string) (printed string) {
	seen, printed, err := d.c8auth(want, stdin, args...)
	d.expect("c8auth "+strings.Join(args, " "), want)(seen, err)
	return printed
}

// operator lets the tool find its way.
func (d *deployment) operator() {
	d.tool("status 3, alarms reach nobody", "", "doctor")
	// A queue of the same account need not confirm.
	_, err := d.cli("sns", "subscribe", "--protocol", "sqs", "--topic-arn", d.arn("sns", d.name+"-alarms"), "--notification-endpoint", d.arn("sqs", d.name+"-failed"))
	d.done("a queue is subscribed to the alarms", err)
	// On AWS, alarms need a quarter of an hour to see that there is a token and that credentials are right again.
	d.within(map[bool]time.Duration{true: 20 * time.Minute}[d.onAWS], "c8auth status", "status 0", func() (string, error) {
		seen, _, err := d.c8auth("status 0", "", "status")
		return seen, err
	})
	d.tool("status 0", "", "doctor")
	d.tool("status 0", "", "doctor", "acme")
	d.tool("status 0, keeps its token", "", "rotate", "default")
	const forced = "status 0, has a new token (forced)"
	d.within(90*time.Second, "c8auth rotate default --force, as soon as it may", forced, func() (string, error) {
		seen, _, err := d.c8auth(forced, "", "rotate", "default", "--force")
		return seen, err
	})
	token, err := d.run("", []string{"C8AUTH_STACK=" + d.name}, filepath.Join(d.dir, "c8auth"), "token", "default")
	d.done("c8auth token default", err)
	d.expect("Communic8: status for that token", "200")(d.accepts(d.secret(strings.TrimSpace(token))))
	guest, err := d.newRole(d.aws, d.id.AccountID, "guest")
	d.done("a new role, guest", err)
	granted := d.tool("status 0, aws iam put-role-policy", "", "grant", "default", "--report", "--role", "arn:"+d.id.Partition+":iam::"+d.id.AccountID+":role/"+guest.role)
	_, err = d.shell(granted[max(0, strings.Index(granted, "aws iam ")):], "")
	d.done("the command that it prints", err)
	d.soon("with what it gives", reportsOne, func() (string, error) { return d.access(guest, "default", "acme") })
	d.done("guest is deleted", d.dismiss(guest.role))
	d.tool("status 1, Communic8 refuses the credentials", d.oauth("wrong"), "credentials", "set", "default")
	d.tool("status 0, has a new token (credentials_changed) or status 0, keeps its token", d.oauth(d.clientSecret), "credentials", "set", "default", "--now")
	d.expect("vend with no-cache", "200 a token")(shown(d.getAnew(d.administrator, "default")))
}

// arn is that of a resource of the stack's account and region.
func (d *deployment) arn(service, resource string) string {
	return arn.ARN{Partition: d.id.Partition, Service: service, Region: d.id.Region, AccountID: d.id.AccountID, Resource: resource}.String()
}

// records reads what AWS recorded: queues, metrics, logs.
func (d *deployment) records() {
	_, err := lambda.NewFromConfig(d.aws).Invoke(d.ctx, &lambda.InvokeInput{FunctionName: aws.String(d.name + "-rotate"), InvocationType: lambdatypes.InvocationTypeEvent, Payload: []byte(`{"tenant":"No.Body"}`)})
	d.done("an asynchronous invocation that fails", err)
	d.within(time.Minute, "the queue of failed rotations", "has messages", func() (string, error) { return d.messages("failed") })
	d.expect("the queue of undelivered heartbeats", "is empty")(d.messages("undelivered"))
	if !d.onAWS {
		d.skip("metrics", "MiniStack makes none of log lines")
		d.skip("API Gateway's access log, and no-store on its own errors", "MiniStack has neither")
		d.skip("encryption by the stack's key", "MiniStack encrypts nothing")
		d.skip("what only the deployment of an API changes", "MiniStack serves the API that is not deployed yet")
		d.skip("API Gateway and Scheduler as principals", "MiniStack invokes functions without permission and role")
	} else {
		d.within(10*time.Minute, "TokenLifePercent of acme", "a metric", func() (string, error) {
			out, err := cloudwatch.NewFromConfig(d.aws).ListMetrics(d.ctx, &cloudwatch.ListMetricsInput{Namespace: aws.String("c8auth"), MetricName: aws.String("TokenLifePercent"),
				Dimensions: []cloudwatchtypes.DimensionFilter{{Name: aws.String("Stack"), Value: &d.name}, {Name: aws.String("Tenant"), Value: aws.String("acme")}}})
			if err != nil || len(out.Metrics) == 0 {
				return "no metric", err
			}
			return "a metric", nil
		})
		d.soon("the access log has refusals", "true", func() (string, error) {
			lines, err := d.logged("/aws/apigateway/"+d.name, `"status":"403"`)
			return fmt.Sprint(len(lines) > 0), err
		})
		refused, err := d.get(d.unprivileged, "default")
		d.expect("Cache-Control of a refusal", "no-store")(refused.header.Get("Cache-Control"), err)
	}
	d.expect("secrets in the logs", "none")(d.leaks())
}

// messages returns whether there are any in a queue of the stack.
func (d *deployment) messages(queue string) (string, error) {
	client := sqs.NewFromConfig(d.aws)
	url, err := client.GetQueueUrl(d.ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(d.name + "-" + queue)})
	if err != nil {
		return "", err
	}
	const count = sqstypes.QueueAttributeNameApproximateNumberOfMessages
	out, err := client.GetQueueAttributes(d.ctx, &sqs.GetQueueAttributesInput{QueueUrl: url.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{count}})
	if err != nil {
		return "", err
	}
	if out.Attributes[string(count)] == "0" {
		return "is empty", nil
	}
	return "has messages", nil
}

// logGroups are those of the stack.
func (d *deployment) logGroups() []string {
	return []string{"/aws/lambda/" + d.name + "-vend", "/aws/lambda/" + d.name + "-rotate", "/aws/apigateway/" + d.name}
}

// logged returns the lines of a log group in which a text is.
func (d *deployment) logged(group, text string) (lines []string, _ error) {
	pages := cloudwatchlogs.NewFilterLogEventsPaginator(cloudwatchlogs.NewFromConfig(d.aws), &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &group})
	for pages.HasMorePages() {
		page, err := pages.NextPage(d.ctx)
		if err != nil {
			return nil, err
		}
		for _, event := range page.Events {
			if strings.Contains(*event.Message, text) {
				lines = append(lines, *event.Message)
			}
		}
	}
	return lines, nil
}

// leaks names the log groups that hold a secret. The functions' have to hold something.
func (d *deployment) leaks() (string, error) {
	var found []string
	for i, group := range d.logGroups() {
		lines, err := d.logged(group, "")
		if err != nil {
			return "", err
		}
		if len(lines) == 0 && i < 2 {
			return "", errors.New(group + " is empty")
		}
		if secretscan.Find(strings.Join(lines, "\n"), d.secrets...) != nil {
			found = append(found, group)
		}
	}
	if found == nil {
		return "none", nil
	}
	return strings.Join(found, ", "), nil
}
