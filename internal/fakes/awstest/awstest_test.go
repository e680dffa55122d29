package awstest_test

// What of the fake the templates decide, and what the templates rely on. The tests of
// cmd/c8auth show that the real clients of the AWS SDK understand the fake.

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/c8auth/c8auth/internal/fakes/awstest"
	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
)

func read(t *testing.T, template string) string {
	t.Helper()
	root, err := lambdatest.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, template))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What the fake calls alarms, queues and schedules, the templates call so.
func TestTemplates(t *testing.T) {
	text := strings.ReplaceAll(read(t, "template.yaml")+read(t, "tenant.yaml"), "${AWS::StackName}", "${Stack}")
	server := new(awstest.Server)
	server.Deploy("${Stack}", "", "${Tenant}")
	server.Set(func(s *awstest.State) {
		for name, alarm := range s.Alarms {
			if !strings.Contains(text, "AlarmName: !Sub "+name+"\n") || !strings.Contains(text, alarm.Description) {
				t.Errorf("there is no alarm %s: %s", name, alarm.Description)
			}
		}
		for name := range s.Queues {
			if !strings.Contains(text, "QueueName: !Sub "+name+"\n") {
				t.Errorf("there is no queue %s", name)
			}
		}
		for name := range s.Topics {
			if !strings.Contains(text, "TopicName: !Sub "+name+"\n") {
				t.Errorf("there is no topic %s", name)
			}
		}
		if s.Schedules["${Stack}/${Tenant}"] != "ENABLED" || !strings.Contains(text, "GroupName: !Ref Stack\n      Name: !Ref Tenant\n") ||
			!strings.Contains(text, ":function:${Stack}-rotate\n") {
			t.Error("the tenant's schedule has another name or target")
		}
	})
}

// rate is a schedule expression as AWS's user guide has it: EventBridge Scheduler, "Schedule
// types", rate-based schedules.
var rate = regexp.MustCompile(`^rate\((1 (minute|hour|day)|[1-9]\d* (minutes|hours|days))\)$`)

// Heartbeats come by an expression that AWS accepts. Source of those that AWS refuses with
// ValidationException, "Invalid Schedule Expression": recorded by LocalStack's test suite
// against AWS, 2025-01-26, tests_create_schedule_with_invalid_schedule_expression[…]. No rate
// that AWS accepted is recorded, only at(2022-12-31T23:59:59) and six cron expressions
// (tests_create_schedule_with_valid_schedule_expression, 2025-02-02, and
// test_create_schedule_with_valid_cron_expressions[…], 2026-01-17): that it accepts ours is
// from the user guide. Nothing relies on test_tag_resource and test_untag_resource.
func TestScheduleExpression(t *testing.T) {
	found := regexp.MustCompile(`\n +ScheduleExpression: (.+)\n`).FindAllStringSubmatch(read(t, "tenant.yaml"), -1)
	if len(found) != 1 || !rate.MatchString(found[0][1]) {
		t.Errorf("tenant.yaml has %q", found)
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
