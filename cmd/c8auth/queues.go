package main

// The stack's dead-letter queues.

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// queue checks that a queue of the stack is empty. holds describes its messages, in the plural.
func (doc *doctor) queue(ctx context.Context, queue, holds string) finding {
	name := doc.name + "-" + queue
	f := found("queue "+queue, "sqs:GetQueueAttributes", "no %s", holds)
	const messages = types.QueueAttributeNameApproximateNumberOfMessages
	client := sqs.NewFromConfig(doc.Config)
	var out *sqs.GetQueueAttributesOutput
	at, err := client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
	if err == nil {
		out, err = client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: at.QueueUrl, AttributeNames: []types.QueueAttributeName{messages}})
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
