package main

// The roles and log levels of the functions.

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// roles checks which of the tenant's secrets each function's role may read. It checks neither
// conditions of its policies nor the KMS key's policy.
func (doc *doctor) roles(ctx context.Context) finding {
	f := found("roles", "iam:SimulatePrincipalPolicy of secretsmanager:GetSecretValue", "rotate may read both secrets; vend may read the token, and not the credentials")
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
		if !may.secret.exists {
			f.Seen = "not checked, as secrets are missing"
			return f
		}
		config, err := doc.configuration(ctx, may.function)
		if err != nil {
			return f.failed(err)
		}
		role := aws.ToString(config.Role)
		out, err := iam.NewFromConfig(doc.Config).SimulatePrincipalPolicy(ctx, &iam.SimulatePrincipalPolicyInput{
			PolicySourceArn: &role, ActionNames: []string{"secretsmanager:GetSecretValue"}, ResourceArns: []string{may.secret.arn},
		})
		if err != nil {
			return f.failed(awsFailure(doc.Config, err, "iam:SimulatePrincipalPolicy", role))
		}
		allowed := len(out.EvaluationResults) == 1 && out.EvaluationResults[0].EvalDecision == iamtypes.PolicyEvaluationDecisionTypeAllowed
		if allowed != may.allowed {
			can := map[bool]string{true: "may", false: "may not"}[allowed]
			return f.actFor("deploy the stack again, which sets it right, and find out who changed the role", "the role %s of %s %s read %s", role, may.function, can, may.secret.name)
		}
	}
	return f
}

// configuration returns the configuration of rotate, or of vend at the alias that API Gateway
// invokes.
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

// aboveInfo are the log levels at which Lambda drops lines at INFO.
var aboveInfo = []string{"WARN", "ERROR", "FATAL"}

// logging checks that Lambda drops neither a function's lines at INFO, which have the metrics,
// nor its own lines.
func (doc *doctor) logging(ctx context.Context, function string) finding {
	f := found("logging of "+function, "lambda:GetFunctionConfiguration", "lines at INFO reach CloudWatch, and their metrics with them")
	config, err := doc.configuration(ctx, function)
	if err != nil {
		return f.failed(err)
	}
	if config.LoggingConfig == nil {
		return f
	}
	var lost []string
	if level := string(config.LoggingConfig.ApplicationLogLevel); slices.Contains(aboveInfo, level) {
		lost = append(lost, "ApplicationLogLevel is "+level+": lines at INFO are dropped and their metrics with them, so that "+
			map[string]string{"rotate": "each tenant's alarm life is raised", "vend": "vends are not counted"}[function])
	}
	if level := string(config.LoggingConfig.SystemLogLevel); slices.Contains(aboveInfo, level) {
		lost = append(lost, "SystemLogLevel is "+level+": Lambda's own lines on each invocation are dropped")
	}
	if lost == nil {
		return f
	}
	do := "`aws lambda update-function-configuration --function-name " + doc.name + "-" + function + " --logging-config LogFormat=JSON,ApplicationLogLevel=INFO,SystemLogLevel=INFO`"
	if function == "vend" {
		do += "; then publish a version and have the alias live lead to it, by `aws lambda publish-version` and `update-alias`"
	}
	return f.actFor(do, "%s", strings.Join(lost, "; "))
}
