package main

// The schedules of EventBridge Scheduler, which invoke rotate.

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
)

// missing is the state of a schedule that does not exist.
const missing = "MISSING"

// schedules returns the state of each tenant's schedule, ENABLED or DISABLED.
func (d *deployment) schedules(ctx context.Context) (map[string]string, error) {
	states := make(map[string]string)
	pages := scheduler.NewListSchedulesPaginator(scheduler.NewFromConfig(d.Config), &scheduler.ListSchedulesInput{GroupName: &d.name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, awsFailure(d.Config, err, "scheduler:ListSchedules", d.name)
		}
		for _, schedule := range page.Schedules {
			states[aws.ToString(schedule.Name)] = string(schedule.State)
		}
	}
	return states, nil
}

// checkSchedule checks that heartbeats are scheduled.
func (t *tenant) checkSchedule(time.Time) finding {
	f := found("schedule", "scheduler:ListSchedules", "it is enabled")
	switch {
	case t.scheduleErr != nil:
		return f.failed(t.scheduleErr)
	case t.Schedule == missing:
		return f.actFor("deploy the tenant's stack again", "there is no schedule, and nothing replaces the token")
	case t.Schedule != "ENABLED":
		return f.actFor("enable it in the console of EventBridge Scheduler", "the schedule is %s, and nothing replaces the token", strings.ToLower(t.Schedule))
	}
	return f
}
