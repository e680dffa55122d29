package main

// A second tenant, in a stack of its own.

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// secondTenant makes it and stores its credentials, an access key. Nobody rotates it by
// hand: see heartbeat.
func (d *deployment) secondTenant() {
	before, err := d.snapshot("default")
	d.done("the tenant default is recorded", err)
	d.must("sam deploy --template tenant.yaml", "CREATE_COMPLETE")(d.deploy(d.name+"-acme", "--template", "tenant.yaml", "--parameter-overrides", "Stack="+d.name, "Tenant=acme"))
	d.acme, err = d.outputsOf(d.name + "-acme")
	d.done("its outputs", err)
	d.expect("vend: acme, before there is a token", "503 temporarily_unavailable")(shown(d.get(d.administrator, "acme")))
	d.done("output StoreCredentials, for acme", d.store("acme", d.accessKey(d.clientSecret)))
	d.expect("the tenant default", "unchanged")(d.since("default", before))
}

// heartbeat waits for the second tenant's schedule to invoke rotate.
func (d *deployment) heartbeat() {
	schedule, err := scheduler.NewFromConfig(d.aws).GetSchedule(d.ctx, &scheduler.GetScheduleInput{GroupName: &d.name, Name: aws.String("acme")})
	if !d.done("acme's schedule", err) {
		return
	}
	role, target := *schedule.Target.RoleArn, *schedule.Target.Arn
	d.expect("its role: invoke its target", "allowed")(d.simulate(role, "lambda:InvokeFunction", target))
	d.expect("its role: send to its dead-letter queue", "allowed")(d.simulate(role, "sqs:SendMessage", *schedule.Target.DeadLetterConfig.Arn))
	d.expect("its role: invoke vend", "implicitDeny")(d.simulate(role, "lambda:InvokeFunction", strings.Replace(target, "-rotate", "-vend", 1)))
	_, err = sts.NewFromConfig(d.aws).AssumeRole(d.ctx, &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("deployment")})
	d.expect("its role: assumed by an administrator", "denied")(may(err))
	var got answer
	d.within(6*time.Minute, "vend: acme, whose token no one but the schedule makes", "200 a token", func() (seen string, err error) {
		got, err = d.getAnew(d.administrator, "acme")
		return got.String(), err
	})
	d.expect("Communic8: status for it", "200")(d.accepts(got.body.AccessToken))
}

// simulate is what IAM's simulator says of a request by a role.
func (d *deployment) simulate(role, action, resource string) (string, error) {
	out, err := iam.NewFromConfig(d.aws).SimulatePrincipalPolicy(d.ctx, &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &role, ActionNames: []string{action}, ResourceArns: []string{resource}})
	if err != nil {
		return "", err
	}
	return string(out.EvaluationResults[0].EvalDecision), nil
}

// snapshot is what there is of a tenant: the versions of its secrets, its schedule and alarms,
// and the version of its policy.
func (d *deployment) snapshot(tenant string) (string, error) {
	var found []any
	for _, kind := range []string{"credentials", "token"} {
		out, err := secretsmanager.NewFromConfig(d.aws).DescribeSecret(d.ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String(d.name + "/" + kind + "/" + tenant)})
		if err != nil {
			return "", err
		}
		found = append(found, out.ARN, out.Description, out.VersionIdsToStages, out.DeletedDate)
	}
	schedule, err := scheduler.NewFromConfig(d.aws).GetSchedule(d.ctx, &scheduler.GetScheduleInput{GroupName: &d.name, Name: &tenant})
	if err != nil {
		return "", err
	}
	alarms, err := cloudwatch.NewFromConfig(d.aws).DescribeAlarms(d.ctx, &cloudwatch.DescribeAlarmsInput{AlarmNamePrefix: aws.String(d.name + "/" + tenant + "/")})
	if err != nil {
		return "", err
	}
	for _, alarm := range alarms.MetricAlarms {
		found = append(found, alarm.AlarmName, alarm.Threshold, alarm.Dimensions)
	}
	policy, err := iam.NewFromConfig(d.aws).GetPolicy(d.ctx, &iam.GetPolicyInput{PolicyArn: aws.String(d.tenant["CallerPolicy"])})
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(append(found, schedule.ScheduleExpression, schedule.State, schedule.Target, policy.Policy.DefaultVersionId))
	return string(text), err
}

// since compares the tenant with a snapshot.
func (d *deployment) since(tenant, before string) (string, error) {
	after, err := d.snapshot(tenant)
	if before != after {
		return "was " + before + ", is " + after, err
	}
	return "unchanged", err
}
