package main

// The AWS configuration, the deployment in it, and what AWS's errors mean.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
)

// deployment is a stack that was made from template.yaml.
type deployment struct {
	aws.Config
	name       string  // of the stack
	id         arn.ARN // which knows partition and account
	parameters map[string]string
	outputs    map[string]string
}

// aws returns the user's AWS configuration, with credentials in it. What the SDK has to
// say besides is not for the user.
func (p *program) aws(ctx context.Context) (aws.Config, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(p.region), config.WithSharedConfigProfile(p.profile), config.WithLogger(logging.Nop{}))
	if profile, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		return cfg, fail(0, "aws configure list-profiles shows which there are", "there is no AWS profile %s", profile.Profile)
	}
	if err != nil {
		return cfg, fail(0, "aws sts get-caller-identity says more", "the AWS configuration cannot be read")
	}
	// The errors are not shown: that of a credential_process holds what it printed.
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return cfg, fail(0, "sign in (aws sso login, aws configure) or name a --profile; aws sts get-caller-identity shows whether it worked", "there are no AWS credentials, or they have run out")
	}
	return cfg, nil
}

// deployment finds the stack.
func (p *program) deployment(ctx context.Context) (*deployment, error) {
	cfg, err := p.aws(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.Region == "" {
		return nil, fail(0, "name the one that the stack is in: --region eu-central-1, or AWS_REGION", "no AWS region is configured")
	}
	out, err := cloudformation.NewFromConfig(cfg).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &p.stack})
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "ValidationError" {
		return nil, fail(0, "in another region? --region; under another name? --stack, or C8AUTH_STACK; in another account? --profile",
			"there is no stack %s in %s of this account", p.stack, cfg.Region)
	}
	if err != nil {
		return nil, awsFailure(err, cfg.Region, "cloudformation:DescribeStacks", "the stack "+p.stack)
	}
	d := &deployment{Config: cfg, name: p.stack, parameters: make(map[string]string), outputs: make(map[string]string)}
	stack := out.Stacks[0] // it was asked for by name
	for _, parameter := range stack.Parameters {
		d.parameters[aws.ToString(parameter.ParameterKey)] = aws.ToString(parameter.ParameterValue)
	}
	for _, output := range stack.Outputs {
		d.outputs[aws.ToString(output.OutputKey)] = aws.ToString(output.OutputValue)
	}
	d.id, err = arn.Parse(aws.ToString(stack.StackId))
	if err != nil || d.outputs["Url"] == "" || d.outputs["Api"] == "" {
		return nil, fail(0, "name the one that sam deploy made: --stack, or C8AUTH_STACK", "the stack %s is not one of c8auth, or not complete", p.stack)
	}
	return d, nil
}

// tenants returns the names of the tenants that have a secret for a token.
func (d *deployment) tenants(ctx context.Context) (names []string, _ error) {
	prefix := d.name + "/token/"
	pages := secretsmanager.NewListSecretsPaginator(secretsmanager.NewFromConfig(d.Config), &secretsmanager.ListSecretsInput{
		Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{prefix}}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, awsFailure(err, d.Region, "secretsmanager:ListSecrets", "*")
		}
		for _, secret := range page.SecretList {
			names = append(names, strings.TrimPrefix(aws.ToString(secret.Name), prefix))
		}
	}
	slices.Sort(names)
	return names, nil
}

var (
	denial      = regexp.MustCompile(`^User: (arn:[\w:+=,.@/-]+) is not authorized`)
	denied      = []string{"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
	expired     = []string{"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
	unknown     = []string{"InvalidClientTokenId", "UnrecognizedClientException", "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken"}
	throttled   = []string{"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"}
	awsErrorKey = regexp.MustCompile(`^[A-Z][A-Za-z]{1,60}$`)
)

// awsFailure says what an error of AWS means. action and resource are what IAM must
// allow. Of AWS's messages it shows the caller's ARN alone: others quote the request.
func awsFailure(err error, region, action, resource string) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	service, _, _ := strings.Cut(action, ":")
	api, ok := errors.AsType[smithy.APIError](err)
	switch {
	case !ok:
		return fail(statusAgain, fmt.Sprintf("is %s a region's name, and this machine online?", region), "AWS (%s in %s) %s", service, region, unreachable(err))
	case slices.Contains(denied, api.ErrorCode()):
		who := "you"
		if match := denial.FindStringSubmatch(api.ErrorMessage()); match != nil {
			who = match[1]
		}
		return fail(0, "have it granted, or take other credentials: --profile", "IAM does not allow %s the action %s on %s", who, action, resource)
	case slices.Contains(expired, api.ErrorCode()):
		return fail(0, "sign in again, as by aws sso login", "the AWS credentials have expired (%s)", api.ErrorCode())
	case slices.Contains(unknown, api.ErrorCode()):
		return fail(0, "take others, as by --profile; and is this machine's clock right?", "AWS does not take the credentials (%s)", api.ErrorCode())
	case slices.Contains(throttled, api.ErrorCode()):
		return fail(statusAgain, "try again in a minute", "AWS is asked too often now for %s (%s)", action, api.ErrorCode())
	case awsErrorKey.MatchString(api.ErrorCode()):
		return fail(0, "", "%s on %s fails: %s", action, resource, api.ErrorCode())
	}
	return fail(0, "", "%s on %s fails", action, resource)
}

// unreachable puts an exchange that came to no answer into words.
func unreachable(err error) string {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "does not answer in time"
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok {
		return "cannot be reached: " + dial.Error()
	}
	return "gives no answer that can be read"
}
