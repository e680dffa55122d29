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
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/c8auth/c8auth/internal/secretscan"
)

// tool is within of what the operator's tool does: it is expected to end with a status and, after
// a comma, to print a text. It returns all that was printed.
func (d *deployment) tool(patience time.Duration, want, stdin, command string) (printed string) {
	d.within(patience, "c8auth "+command, want, func() (_ string, err error) {
		printed, err = d.run(stdin, []string{"C8AUTH_STACK=" + d.name, "TERM=dumb"}, filepath.Join(d.dir, "c8auth"), strings.Fields(command)...)
		all, status := printed, 0
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			all, status, err = err.Error(), exit.ExitCode(), nil
		}
		for _, one := range alternatives(want) {
			if before, text, _ := strings.Cut(one, ", "); before == fmt.Sprintf("status %d", status) && strings.Contains(all, text) {
				return one, err
			}
		}
		return fmt.Sprintf("status %d: %s", status, all), err
	})
	return printed
}

// operator lets the tool find its way.
func (d *deployment) operator() {
	d.tool(0, "status 3, alarms reach nobody", "", "doctor")
	// A queue of the same account need not confirm.
	_, err := d.cli("sns subscribe --protocol sqs --topic-arn", d.arn("sns", d.name+"-alarms"), "--notification-endpoint", d.arn("sqs", d.name+"-failed"))
	d.done("a queue is subscribed to the alarms", err)
	// On AWS, alarms need a quarter of an hour to see that there is a token and that credentials are right again.
	d.tool(map[bool]time.Duration{true: 20 * time.Minute}[d.onAWS], "status 0", "", "status")
	d.tool(0, "status 0", "", "doctor")
	d.tool(0, "status 0", "", "doctor acme")
	d.tool(0, "status 0, keeps its token", "", "rotate default")
	d.tool(90*time.Second, "status 0, has a new token (forced)", "", "rotate default --force") // it is, if the token is a minute old
	token := d.tool(0, "status 0", "", "token default")
	d.expect("Communic8: status for that token", "200")(d.accepts(d.secret(strings.TrimSpace(token))))
	guest, err := d.newRole(d.administrator, d.identity.AccountID, "guest", "")
	d.done("a new role, guest", err)
	granted := d.tool(0, "status 0, aws iam put-role-policy", "", "grant default --report --role arn:"+d.identity.Partition+":iam::"+d.identity.AccountID+":role/"+guest.role)
	_, err = d.shell(granted[max(0, strings.Index(granted, "aws iam ")):], "")
	d.done("the command that it prints", err)
	d.soon("with what it gives", reportsOne, func() (string, error) { return d.access(guest) })
	d.done("guest is deleted", d.dismiss(guest.role))
	d.tool(0, "status 1, Communic8 refuses the credentials", d.oauth("wrong"), "credentials set default")
	d.tool(0, "status 0, has a new token (credentials_changed) or status 0, keeps its token", d.oauth(d.clientSecret), "credentials set default --now")
	d.expect("vend with no-cache", "200 a token")(shown(d.getAnew("default")))
}

// arn is that of a resource of the stack's account and region.
func (d *deployment) arn(service, resource string) string {
	return strings.Join([]string{"arn", d.identity.Partition, service, d.aws.Region, d.identity.AccountID, resource}, ":")
}

// records reads what AWS recorded: queues, metrics, logs.
func (d *deployment) records() {
	_, err := d.shell(`echo '{"tenant":"No.Body"}' | aws lambda invoke --invocation-type Event --payload fileb:///dev/stdin /dev/null --function-name `+d.name+"-rotate", "")
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
		d.within(10*time.Minute, "a metric of acme", "TokenLifePercent", func() (string, error) {
			return d.cli("cloudwatch list-metrics --namespace c8auth --metric-name TokenLifePercent --query Metrics[0].MetricName --dimensions Name=Tenant,Value=acme Name=Stack,Value=" + d.name)
		})
		d.soon("the access log has refusals", "true", func() (string, error) {
			lines, err := d.logged("/aws/apigateway/" + d.name)
			return fmt.Sprint(strings.Contains(lines, `"status":"403"`)), err
		})
		refused, err := d.get(d.unprivileged, "default")
		d.expect("Cache-Control of a refusal", "no-store")(refused.header.Get("Cache-Control"), err)
	}
	d.expect("secrets in the logs", "none")(d.leaks())
}

// messages returns whether there are any in a queue of the stack.
func (d *deployment) messages(queue string) (string, error) {
	client := sqs.NewFromConfig(d.aws) // MiniStack does not know the host that the aws command calls
	url, err := client.GetQueueUrl(d.ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(d.name + "-" + queue)})
	if err != nil {
		return "", err
	}
	const count = types.QueueAttributeNameApproximateNumberOfMessages
	out, err := client.GetQueueAttributes(d.ctx, &sqs.GetQueueAttributesInput{QueueUrl: url.QueueUrl, AttributeNames: []types.QueueAttributeName{count}})
	if err != nil {
		return "", err
	}
	if out.Attributes[string(count)] == "0" {
		return "is empty", nil
	}
	return "has messages", nil
}

// logged returns the lines of a log group.
func (d *deployment) logged(group string) (string, error) {
	return d.cli("logs filter-log-events --query events[].[message] --log-group-name", group)
}

// leaks names the stack's log groups that hold a secret. The functions' have to hold something.
func (d *deployment) leaks() (string, error) {
	var found []string
	for _, group := range []string{"/aws/lambda/" + d.name + "-vend", "/aws/lambda/" + d.name + "-rotate", "/aws/apigateway/" + d.name} {
		lines, err := d.logged(group)
		if err != nil {
			return "", err
		}
		if lines == "" && strings.Contains(group, "lambda") {
			return "", errors.New(group + " is empty")
		}
		if secretscan.Find(lines, d.secrets...) != nil {
			found = append(found, group)
		}
	}
	if found == nil {
		return "none", nil
	}
	return strings.Join(found, ", "), nil
}
