package main

// Parameters, and what runs behind the API when one has changed.

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// parameters changes one after the other. Those for callers of other accounts are changed in
// others, Architecture at the end.
func (d *deployment) parameters() {
	functions, vend, rotate := lambda.NewFromConfig(d.aws), aws.String(d.name+"-vend"), aws.String(d.name+"-rotate")
	stage := func(query string) func() (string, error) {
		return func() (string, error) {
			return d.cli("apigateway", "get-stage", "--rest-api-id", d.outputs["Api"], "--stage-name", "v1", "--output", "text", "--query", query)
		}
	}
	reserved := func(function *string) func() (string, error) {
		return func() (string, error) {
			out, err := functions.GetFunctionConcurrency(d.ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: function})
			if err != nil {
				return "", err
			}
			return fmt.Sprint(aws.ToInt32(out.ReservedConcurrentExecutions)), nil
		}
	}
	tooSmall := d.reservable()
	for _, p := range []struct {
		name, value, before string
		want                string // of what is live
		live                func() (string, error)
		skip                string // why it is not tried
	}{
		{"ProbePath", "/int/v1/broadcast?limit=2", "/int/v1/broadcast?limit=1", "/int/v1/broadcast?limit=2", func() (string, error) {
			out, err := functions.GetFunctionConfiguration(d.ctx, &lambda.GetFunctionConfigurationInput{FunctionName: rotate})
			if err != nil {
				return "", err
			}
			return out.Environment.Variables["C8AUTH_PROBE_PATH"], nil
		}, ""},
		{"LogRetention", "7", "30", "7 7 7", d.retention, ""},
		{"Tracing", "Active", "PassThrough", "True", stage("tracingEnabled"), ""},
		{"AlarmEmail", "success@simulator.amazonses.com", "", "success@simulator.amazonses.com", func() (string, error) {
			return d.cli("sns", "list-subscriptions", "--output", "text", "--query", "Subscriptions[?ends_with(TopicArn, ':"+d.name+"-alarms')].Endpoint")
		}, ""},
		{"VendConcurrency", "5", "0", "5", reserved(vend), tooSmall},
		{"RotateConcurrency", "2", "0", "2", reserved(rotate), tooSmall},
		{"VendProvisioned", "1", "0", "1", func() (string, error) {
			out, err := functions.GetProvisionedConcurrencyConfig(d.ctx, &lambda.GetProvisionedConcurrencyConfigInput{FunctionName: vend, Qualifier: aws.String("live")})
			if err != nil {
				return "", err
			}
			return fmt.Sprint(aws.ToInt32(out.RequestedProvisionedConcurrentExecutions)), nil
		}, map[bool]string{true: tooSmall}[d.onAWS]},
		{"ThrottleRate", "50", "100", "50.0", stage(`methodSettings."*/*".throttlingRateLimit`), ""},
		{"ThrottleBurst", "100", "200", "100", stage(`methodSettings."*/*".throttlingBurstLimit`), ""},
		{"ApiLogsRole", "exists", "create", "arn", func() (string, error) {
			out, err := d.cli("apigateway", "get-account", "--query", "cloudwatchRoleArn", "--output", "text")
			return strings.SplitN(out, ":", 2)[0], err
		}, map[bool]string{true: "the account has a role already"}[d.hasLogsRole]},
	} {
		if p.skip != "" {
			d.skip(p.name, p.skip)
			continue
		}
		seen, err := d.change(map[string]string{p.name: p.value})
		d.expect(p.name+"="+p.value, "UPDATE_COMPLETE")(seen, err)
		d.soon(p.name+": what is live", p.want, p.live)
		d.expect(p.name+": vend's alias", current)(d.alias())
		d.soon(p.name+": vend", "200 a token", func() (string, error) { return shown(d.get(d.reader, "default")) })
		if p.name != "ApiLogsRole" { // "create" would find the role that was kept
			d.expect(p.name+"="+p.before, "UPDATE_COMPLETE")(d.change(map[string]string{p.name: p.before}))
		}
	}
	d.architecture()
	for _, what := range []string{"Pace: callers are shifted step by step, and back"} {
		d.skip(what, map[bool]string{true: "it takes ten minutes and a faulty version", false: "MiniStack has no CodeDeploy"}[d.onAWS])
	}
}

// architecture builds and deploys for the other processor.
func (d *deployment) architecture() {
	if !d.onAWS {
		d.skip("Architecture", "this machine runs functions for "+d.arch+" alone")
		return
	}
	d.arch = map[string]string{"arm64": "x86_64", "x86_64": "arm64"}[d.arch]
	d.done("sam build for "+d.arch, d.build())
	d.expect("sam deploy, Architecture="+d.arch, "UPDATE_COMPLETE")(d.deploy(d.name, d.defaults()...))
	d.expect("Architecture: vend's alias", current)(d.alias())
	d.expect("Architecture: vend", "200 a token")(shown(d.getAnew(d.reader, "default")))
	d.expect("Architecture: rotate", "fresh")(d.rotates("default"))
}

// reservable says why no concurrency can be reserved here. Empty means that it can.
func (d *deployment) reservable() string {
	if !d.onAWS {
		return "MiniStack's CloudFormation passes over it"
	}
	out, err := lambda.NewFromConfig(d.aws).GetAccountSettings(d.ctx, &lambda.GetAccountSettingsInput{})
	if err != nil || out.AccountLimit.UnreservedConcurrentExecutions == nil || *out.AccountLimit.UnreservedConcurrentExecutions < 110 {
		return "the account's concurrency is too small"
	}
	return ""
}

// retention returns for how many days each log of the stack is kept.
func (d *deployment) retention() (string, error) {
	var days []string
	for _, group := range d.logGroups() {
		out, err := cloudwatchlogs.NewFromConfig(d.aws).DescribeLogGroups(d.ctx, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &group})
		if err != nil {
			return "", err
		}
		if len(out.LogGroups) == 0 {
			return "", errors.New("there is no log group " + group)
		}
		days = append(days, fmt.Sprint(aws.ToInt32(out.LogGroups[0].RetentionInDays)))
	}
	return strings.Join(days, " "), nil
}

// current is what alias returns if callers reach the function that the template describes.
const current = "as the function"

// alias compares the version that callers of vend reach with what the function was last
// updated to.
func (d *deployment) alias() (string, error) {
	var found [2]string
	for i, qualifier := range []string{"$LATEST", "live"} {
		out, err := lambda.NewFromConfig(d.aws).GetFunctionConfiguration(d.ctx, &lambda.GetFunctionConfigurationInput{FunctionName: aws.String(d.name + "-vend"), Qualifier: &qualifier})
		if err != nil {
			return "", err
		}
		text, err := json.Marshal([]any{out.Environment, out.Timeout, out.MemorySize, out.CodeSha256, out.Architectures, out.KMSKeyArn, out.LoggingConfig, out.Role, out.TracingConfig, out.Runtime})
		if err != nil {
			return "", err
		}
		found[i] = string(text)
	}
	if found[0] != found[1] {
		return "the function has " + found[0] + ", the alias " + found[1], nil
	}
	return current, nil
}

// told returns the topics that alarms of the stack tell, which have to be there.
func (d *deployment) told() (string, error) {
	alarms, err := cloudwatch.NewFromConfig(d.aws).DescribeAlarms(d.ctx, &cloudwatch.DescribeAlarmsInput{AlarmNamePrefix: aws.String(d.name + "/")})
	if err != nil {
		return "", err
	}
	topics := make(map[string]bool)
	for _, alarm := range alarms.MetricAlarms {
		for _, topic := range append(alarm.AlarmActions, alarm.OKActions...) {
			topics[topic] = true
		}
	}
	var names []string
	for topic := range topics {
		if _, err := d.cli("sns", "get-topic-attributes", "--topic-arn", topic); err != nil {
			return "", err
		}
		names = append(names, topic[strings.LastIndex(topic, ":")+1:])
	}
	return strings.Join(names, ", "), nil
}
