package main

// Parameters, and what runs behind the API when one has changed.

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// parameters changes one after the other. Those for callers of other accounts are changed in
// others, Architecture at the end.
func (d *deployment) parameters() {
	stage := "apigateway get-stage --stage-name v1 --rest-api-id " + d.outputs["Api"] + " --query "
	vend, rotate := " --function-name "+d.name+"-vend", " --function-name "+d.name+"-rotate"
	reserved := "lambda get-function-concurrency --query ReservedConcurrentExecutions"
	tooSmall := d.reservable()
	for _, p := range []struct {
		name, value, before string
		live, want          string // an aws command and what it prints afterwards
		skip                string // why it is not tried
	}{
		{"ProbePath", "/int/v1/broadcast?limit=2", "/int/v1/broadcast?limit=1",
			"lambda get-function-configuration --query Environment.Variables.C8AUTH_PROBE_PATH" + rotate, "/int/v1/broadcast?limit=2", ""},
		{"LogRetention", "7", "30",
			"logs describe-log-groups --query logGroups[?contains(logGroupName,'/" + d.name + "')&&!ends_with(logGroupName,'communic8')].retentionInDays", "7 7 7", ""},
		{"Tracing", "Active", "PassThrough", stage + "tracingEnabled", "True", ""},
		{"AlarmEmail", "success@simulator.amazonses.com", "",
			"sns list-subscriptions --query Subscriptions[?ends_with(TopicArn,':" + d.name + "-alarms')].Endpoint", "success@simulator.amazonses.com", ""},
		{"VendConcurrency", "5", "0", reserved + vend, "5", tooSmall},
		{"RotateConcurrency", "2", "0", reserved + rotate, "2", tooSmall},
		{"VendProvisioned", "1", "0",
			"lambda get-provisioned-concurrency-config --query RequestedProvisionedConcurrentExecutions --qualifier live" + vend, "1", map[bool]string{true: tooSmall}[d.onAWS]},
		{"ThrottleRate", "50", "100", stage + `methodSettings."*/*".throttlingRateLimit`, "50.0", ""},
		{"ThrottleBurst", "100", "200", stage + `methodSettings."*/*".throttlingBurstLimit`, "100", ""},
		{"ApiLogsRole", "exists", "create",
			"apigateway get-account --query starts_with(cloudwatchRoleArn,'arn:')", "True", map[bool]string{true: "the account has a role already"}[d.hasLogsRole]},
	} {
		if p.skip != "" {
			d.skip(p.name, p.skip)
			continue
		}
		d.expect(p.name+"="+p.value, "UPDATE_COMPLETE")(d.change(p.name, p.value))
		d.soon(p.name+": what is live", p.want, func() (string, error) { return d.cli(p.live) })
		d.expect(p.name+": vend's alias", current)(d.alias())
		d.soon(p.name+": vend", "200 a token", func() (string, error) { return shown(d.get(d.reader, "default")) })
		if p.name != "ApiLogsRole" { // "create" would find the role that was kept
			d.expect(p.name+"="+p.before, "UPDATE_COMPLETE")(d.change(p.name, p.before))
		}
	}
	d.architecture()
	d.skip("Pace: callers are shifted step by step, and back",
		map[bool]string{true: "it takes ten minutes and a faulty version", false: "MiniStack has no CodeDeploy"}[d.onAWS])
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
	d.expect("Architecture: vend", "200 a token")(shown(d.getAnew("default")))
	d.expect("Architecture: rotate", "fresh")(d.rotates())
}

// reservable says why no concurrency can be reserved here. Empty means that it can.
func (d *deployment) reservable() string {
	if !d.onAWS {
		return "MiniStack's CloudFormation passes over it"
	}
	free, _ := d.cli("lambda get-account-settings --query AccountLimit.UnreservedConcurrentExecutions")
	if n, err := strconv.Atoi(free); err != nil || n < 110 {
		return "the account's concurrency is too small"
	}
	return ""
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
	out, err := d.cli("cloudwatch describe-alarms --query MetricAlarms[].[AlarmActions,OKActions][][] --alarm-name-prefix", d.name+"/")
	topics := strings.Fields(out)
	slices.Sort(topics)
	topics = slices.Compact(topics)
	for i, topic := range topics {
		if _, err := d.cli("sns get-topic-attributes --topic-arn", topic); err != nil {
			return "", err
		}
		topics[i] = topic[strings.LastIndex(topic, ":")+1:]
	}
	return strings.Join(topics, ", "), err
}
