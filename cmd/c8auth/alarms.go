package main

// The stack's CloudWatch alarms, the topic that they notify, and its dead-letter queues.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cloudwatchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// alarm is an alarm in the state ALARM.
type alarm struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// alarms returns the alarms of the stack and its tenants that are in the state ALARM, by name.
func (d *deployment) alarms(ctx context.Context) (alarms []alarm, _ error) {
	prefix := d.name + "/"
	pages := cloudwatch.NewDescribeAlarmsPaginator(cloudwatch.NewFromConfig(d.Config), &cloudwatch.DescribeAlarmsInput{
		AlarmNamePrefix: &prefix, StateValue: cloudwatchtypes.StateValueAlarm,
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, awsFailure(d.Config, err, "cloudwatch:DescribeAlarms", prefix+"*")
		}
		for _, one := range page.MetricAlarms {
			alarms = append(alarms, alarm{aws.ToString(one.AlarmName), aws.ToString(one.AlarmDescription)})
		}
	}
	slices.SortFunc(alarms, func(a, b alarm) int { return cmp.Compare(a.Name, b.Name) })
	return alarms, nil
}

// of returns the alarms of one tenant. If tenant is empty, it returns those of the stack.
func (d *deployment) of(tenant string, alarms []alarm) (its []alarm) {
	for _, a := range alarms {
		owner, _, owned := strings.Cut(strings.TrimPrefix(a.Name, d.name+"/"), "/")
		if owned && owner == tenant || !owned && tenant == "" {
			its = append(its, a)
		}
	}
	return its
}

// short returns the alarm's name without its prefix, the names of stack and tenant.
func (a alarm) short() string { return a.Name[strings.LastIndex(a.Name, "/")+1:] }

// checkAlarms returns a finding for each alarm.
func checkAlarms(alarms []alarm) (findings []finding) {
	for _, a := range alarms {
		seen, do, _ := strings.Cut(a.Description, " Do: ")
		findings = append(findings, found("alarm "+a.short(), "cloudwatch:DescribeAlarms", "").actFor(do, "the alarm %s is in the state ALARM: %s", a.Name, seen))
	}
	return findings
}

// checkTopic checks that the alarm topic has a confirmed subscription.
func (d *deployment) checkTopic(ctx context.Context) finding {
	topic := d.name + "-alarms"
	f := found("alarm topic", "sns:GetTopicAttributes of "+topic, "")
	arn := fmt.Sprintf("arn:%s:sns:%s:%s:%s", d.id.Partition, d.Region, d.id.AccountID, topic)
	out, err := sns.NewFromConfig(d.Config).GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: &arn})
	if _, missing := errors.AsType[*snstypes.NotFoundException](err); missing {
		return f.actFor("deploy the stack again", "alarms reach nobody: there is no topic %s", topic)
	}
	if err != nil {
		return f.failed(awsFailure(d.Config, err, "sns:GetTopicAttributes", topic))
	}
	confirmed, err := strconv.Atoi(out.Attributes["SubscriptionsConfirmed"])
	if err != nil {
		return f.failed(errors.New("it does not say how many subscriptions are confirmed"))
	}
	f.Seen = fmt.Sprintf("confirmed subscriptions: %d", confirmed)
	if pending, err := strconv.Atoi(out.Attributes["SubscriptionsPending"]); err == nil && pending > 0 {
		f.Seen += fmt.Sprintf(", not confirmed: %d", pending)
	}
	if confirmed == 0 {
		return f.actFor(fmt.Sprintf("deploy with AlarmEmail=you@example.com, or `aws sns subscribe --topic-arn %s --protocol email --notification-endpoint you@example.com`; then confirm by the link in the mail that AWS sends, which is valid for three days", arn),
			"alarms reach nobody: %s", f.Seen)
	}
	return f
}

// queue checks that a queue of the stack is empty. holds describes its messages, in the plural.
func (doc *doctor) queue(ctx context.Context, queue, holds string) finding {
	name := doc.name + "-" + queue
	f := found("queue "+queue, "sqs:GetQueueAttributes", "no %s", holds)
	const messages = sqstypes.QueueAttributeNameApproximateNumberOfMessages
	client := sqs.NewFromConfig(doc.Config)
	var out *sqs.GetQueueAttributesOutput
	at, err := client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
	if err == nil {
		out, err = client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: at.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{messages}})
	}
	if err != nil {
		return f.failed(awsFailure(doc.Config, err, "sqs:GetQueueUrl and GetQueueAttributes", name))
	}
	n, err := strconv.Atoi(out.Attributes[string(messages)])
	switch {
	case err != nil:
		return f.failed(errors.New("it does not say how many messages it has"))
	case n > 0:
		return f.actFor(fmt.Sprintf("`aws sqs receive-message --message-attribute-names All --queue-url %q` shows one; fix what it names, then `aws sqs purge-queue --queue-url %[1]q`", aws.ToString(at.QueueUrl)),
			"%d %s, of all tenants", n, holds)
	}
	return f
}
