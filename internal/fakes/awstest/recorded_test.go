package awstest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"

	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
)

// rate is a schedule expression as AWS's user guide has it: EventBridge Scheduler, "Schedule
// types", rate-based schedules.
var rate = regexp.MustCompile(`^rate\((1 (minute|hour|day)|[1-9]\d* (minutes|hours|days))\)$`)

// Heartbeats come by an expression that AWS accepts, and the fake shows it. Source of those
// that AWS refuses with ValidationException, "Invalid Schedule Expression": recorded by
// LocalStack's test suite against AWS, 2025-01-26,
// tests_create_schedule_with_invalid_schedule_expression[…]. No rate that AWS accepted is
// recorded, only at(2022-12-31T23:59:59) and six cron expressions
// (tests_create_schedule_with_valid_schedule_expression, 2025-02-02, and
// test_create_schedule_with_valid_cron_expressions[…], 2026-01-17): that it accepts ours is
// from the user guide. Nothing relies on test_tag_resource and test_untag_resource.
func TestScheduleExpression(t *testing.T) {
	root, err := lambdatest.Root()
	if err != nil {
		t.Fatal(err)
	}
	template, err := os.ReadFile(filepath.Join(root, "tenant.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, cfg := connect(t)
	shown, err := scheduler.NewFromConfig(cfg).GetSchedule(t.Context(), &scheduler.GetScheduleInput{GroupName: aws.String("c8auth"), Name: aws.String("acme")})
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`\n +ScheduleExpression: (.+)\n`).FindAllSubmatch(template, -1)
	if len(found) != 1 || string(found[0][1]) != *shown.ScheduleExpression || !rate.Match(found[0][1]) {
		t.Errorf("tenant.yaml has %q, the fake %s", found, *shown.ScheduleExpression)
	}
	for _, refused := range []string{
		"cron(0 1 * * * *)", "cron(7 20 * * NOT *)", "cron(INVALID)", "cron(0 dummy ? * MON-FRI *)", "cron(71 8 1 * ? *)", "cron()",
		"rate(10 seconds)", "rate(10 years)", "rate()", "rate(10)", "rate(10 minutess)", "rate(foo minutes)", "rate(-10 minutes)", "rate( 10 minutes )", " rate(10 minutes)",
		"at(2021-12-31T23:59:59Z)", "at(2021-12-31)",
	} {
		if rate.MatchString(refused) {
			t.Errorf("%q is taken for an expression that AWS accepts", refused)
		}
	}
}
