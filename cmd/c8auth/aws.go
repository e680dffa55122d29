package main

// The AWS configuration, the deployment that it leads to, and errors of AWS.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// deployment is a stack that was made from template.yaml.
type deployment struct {
	aws.Config
	name       string  // of the stack
	id         arn.ARN // of the stack; it has the partition and the account
	parameters map[string]string
	outputs    map[string]string
}

// awsConfig returns the user's AWS configuration. What the SDK has to say besides is not for
// the user. The error must not be shown, except for its type.
func (p *program) awsConfig(ctx context.Context) (aws.Config, error) {
	return config.LoadDefaultConfig(ctx, config.WithRegion(p.region), config.WithSharedConfigProfile(p.profile), config.WithLogger(logging.Nop{}))
}

// aws returns the user's AWS configuration, with credentials in it.
func (p *program) aws(ctx context.Context) (aws.Config, error) {
	cfg, err := p.awsConfig(ctx)
	if profile, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		return cfg, fail(0, "`aws configure list-profiles` shows which there are", "there is no AWS profile %s", profile.Profile)
	}
	if err != nil {
		return cfg, fail(0, "`aws sts get-caller-identity` says more", "the AWS configuration cannot be read")
	}
	// The errors are not shown: that of a credential_process holds what it printed.
	keys, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return cfg, fail(0, "sign in (`aws sso login`, `aws configure`) or name a --profile; `aws sts get-caller-identity` shows whether it worked", "there are no AWS credentials, or they have expired")
	}
	if name := malformed(keys); name != "" {
		return cfg, fail(0, "set it again, where it is set: in the environment, or by the AWS profile", "the AWS %s is empty or has a character that none has, such as a newline at its end", name)
	}
	return cfg, nil
}

// malformed returns the name of the part of keys that cannot be in a header or is empty,
// and "" if there is none. Requests with such a part fail as if the connection did, or
// because the signature is wrong.
func malformed(keys aws.Credentials) string {
	for _, part := range []struct {
		name, value string
		optional    bool
	}{{"access key ID", keys.AccessKeyID, false}, {"secret access key", keys.SecretAccessKey, false}, {"session token", keys.SessionToken, true}} {
		other := strings.ContainsFunc(part.value, func(r rune) bool { return r < '!' || r > '~' })
		if other || part.value == "" && !part.optional {
			return part.name
		}
	}
	return ""
}

// elsewhere returns the settings that send requests for AWS to another endpoint, with its host;
// empty if there are none.
func elsewhere(cfg aws.Config) string {
	var found []string
	add := func(setting, value string) {
		host := "a malformed URL"
		if at, err := url.Parse(value); err == nil {
			host = at.Host // without user and password
		}
		found = append(found, setting+" ("+host+")")
	}
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_ENDPOINT_URL") && value != "" {
			add(name, value)
		}
	}
	if found == nil && cfg.BaseEndpoint != nil {
		add("endpoint_url of the AWS profile", *cfg.BaseEndpoint)
	}
	if found == nil || strings.EqualFold(os.Getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), "true") {
		return ""
	}
	return strings.Join(found, ", ")
}

// checkEndpoint returns do, the advice for a failed request to AWS. If requests are sent to
// another endpoint, it puts before do that this may be the cause.
func checkEndpoint(cfg aws.Config, do string) string {
	if at := elsewhere(cfg); at != "" {
		return "requests for AWS go elsewhere, by " + at + ": unset that, if it is from an older make run. Otherwise: " + do
	}
	return do
}

// transport returns the transport of requests to the API. Like that of the SDK, it trusts the
// certificates in AWS_CA_BUNDLE.
func transport(cfg aws.Config) http.RoundTripper {
	if client, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		return client.GetTransport()
	}
	return http.DefaultTransport
}

// deployment returns the stack that --stack names. The error says what to do.
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
		return nil, fail(0, checkEndpoint(cfg, "in another region? --region; under another name? --stack, or C8AUTH_STACK; in another account? --profile"),
			"there is no stack %s in %s of this account", p.stack, cfg.Region)
	}
	if err != nil {
		return nil, awsFailure(cfg, err, "cloudformation:DescribeStacks", "the stack "+p.stack)
	}
	d := &deployment{Config: cfg, name: p.stack, parameters: make(map[string]string), outputs: make(map[string]string)}
	if len(out.Stacks) != 1 {
		return nil, fail(0, checkEndpoint(cfg, "check whether a proxy answers instead of AWS"), "AWS (cloudformation in %s) gives a response without the stack", cfg.Region)
	}
	stack := out.Stacks[0]
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

// The error codes of AWS that awsFailure distinguishes, and others that it shows. Any other code
// is not shown, because a response can contain any text.
var (
	denied    = []string{"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
	expired   = []string{"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
	invalid   = []string{"InvalidClientTokenId", "UnrecognizedClientException", "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken"}
	throttled = []string{"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"}
	others    = []string{
		"DecryptionFailure", "EncryptionFailure", "InternalFailure", "InternalServiceError", "InvalidParameterException", "InvalidRequestException",
		"KMSAccessDeniedException", "KMSDisabledException", "KMSInvalidStateException", "KMSNotFoundException", "LimitExceededException", "NoSuchEntity",
		"QueueDoesNotExist", "ResourceConflictException", "ResourceNotFoundException", "ServiceException", "ServiceUnavailable", "ValidationException",
	}
)

// awsFailure maps an error of the SDK to one that says what to do. It shows nothing of the error
// but a known code and the HTTP status. action and resource are what IAM must allow.
func awsFailure(cfg aws.Config, err error, action, resource string) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	service, _, _ := strings.Cut(action, ":")
	api, isAPI := errors.AsType[smithy.APIError](err)
	status, code := 0, ""
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		status = answer.HTTPStatusCode()
	}
	if isAPI {
		code = api.ErrorCode()
	}
	switch {
	case status == 0:
		return fail(statusAgain, checkEndpoint(cfg, fmt.Sprintf("is %s a region's name, and this machine online?", cfg.Region)), "AWS (%s in %s) %s", service, cfg.Region, c8auth.DescribeError(err))
	case slices.Contains(denied, code):
		return fail(0, "have it granted, or use other credentials: --profile (`aws sts get-caller-identity` shows whose these are)", "IAM does not allow you the action %s on %s", action, resource)
	case slices.Contains(expired, code):
		return fail(0, "sign in again, as by `aws sso login`", "the AWS credentials have expired (%s)", code)
	case slices.Contains(invalid, code):
		return fail(0, checkEndpoint(cfg, "use other credentials (--profile), and check this machine's clock"), "AWS does not accept the credentials (%s)", code)
	case slices.Contains(throttled, code):
		return fail(statusAgain, "try again in a minute", "AWS throttles %s (%s)", action, code)
	case status >= http.StatusInternalServerError:
		return fail(statusAgain, "try again in a minute", "AWS (%s in %s) fails (HTTP %d)", service, cfg.Region, status)
	case slices.Contains(others, code):
		return fail(0, "", "%s on %s fails: %s", action, resource, code)
	case isAPI:
		return fail(0, "", "%s on %s fails (HTTP %d)", action, resource, status)
	}
	return fail(0, checkEndpoint(cfg, "check whether a proxy answers instead of AWS"), "AWS (%s in %s) gives a response that cannot be read (HTTP %d)", service, cfg.Region, status)
}
