package main

// A second tenant, in a stack of its own.

import (
	"errors"
	"fmt"
	"strings"
	"time"
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
	d.done("output StoreCredentials, for acme", d.store("acme", fmt.Sprintf(`{"base_url": %q, "access_key": %q}`, d.communic8, d.clientSecret)))
	d.expect("the tenant default", "unchanged")(d.since("default", before))
}

// heartbeat waits for the second tenant's schedule to invoke rotate.
func (d *deployment) heartbeat() {
	schedule, err := d.cli("scheduler get-schedule --query Target.[RoleArn,Arn,DeadLetterConfig.Arn] --name acme --group-name", d.name)
	parts := strings.Fields(schedule)
	if !d.done("acme's schedule", err) || len(parts) != 3 {
		return
	}
	role, target, deadLetters := parts[0], parts[1], parts[2]
	d.expect("its role: invoke its target", "allowed")(d.simulate(role, "lambda:InvokeFunction", target))
	d.expect("its role: send to its dead-letter queue", "allowed")(d.simulate(role, "sqs:SendMessage", deadLetters))
	d.expect("its role: invoke vend", "implicitDeny")(d.simulate(role, "lambda:InvokeFunction", strings.Replace(target, "-rotate", "-vend", 1)))
	_, err = d.cli("sts assume-role --role-session-name deployment --role-arn", role)
	d.expect("its role: assumed by an administrator", "denied")(may(err))
	var got answer
	d.within(6*time.Minute, "vend: acme, whose token no one but the schedule makes", "200 a token", func() (seen string, err error) {
		got, err = d.getAnew("acme")
		return got.String(), err
	})
	d.expect("Communic8: status for it", "200")(d.accepts(got.body.AccessToken))
}

// simulate is what IAM's simulator says of a request by a role.
func (d *deployment) simulate(role, action, resource string) (string, error) {
	return d.cli("iam simulate-principal-policy --query EvaluationResults[0].EvalDecision --policy-source-arn", role, "--action-names", action, "--resource-arns", resource)
}

// snapshot is what there is of a tenant: the versions of its secrets, its schedule and alarms,
// and the version of its policy.
func (d *deployment) snapshot(tenant string) (text string, failed error) {
	const secret = "secretsmanager describe-secret --query {A:ARN,B:Description,C:VersionIdsToStages,D:DeletedDate} --secret-id "
	for _, command := range []string{
		secret + d.name + "/credentials/" + tenant,
		secret + d.name + "/token/" + tenant,
		"scheduler get-schedule --query {A:ScheduleExpression,B:State,C:Target} --name " + tenant + " --group-name " + d.name,
		"cloudwatch describe-alarms --query MetricAlarms[].{A:AlarmName,B:Threshold,C:Dimensions} --alarm-name-prefix " + d.name + "/" + tenant + "/",
		"iam get-policy --query Policy.DefaultVersionId --policy-arn " + d.tenant["CallerPolicy"],
	} {
		out, err := d.cli(command)
		text, failed = text+out+"\n", errors.Join(failed, err)
	}
	return text, failed
}

// since compares the tenant with a snapshot.
func (d *deployment) since(tenant, before string) (string, error) {
	after, err := d.snapshot(tenant)
	if before != after {
		return "was " + before + ", is " + after, err
	}
	return "unchanged", err
}
