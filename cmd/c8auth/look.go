package main

// What can be seen of a deployment without reading a secret, by whoever may look at
// everything and change nothing (AWS's ReadOnlyAccess).

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cloudwatchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

const (
	heartbeat = 5 * time.Minute // tenant.yaml's
	// lately is how far back it looks for heartbeats: three or four of them.
	lately = 4 * heartbeat
	// silence is how long rotate may say nothing before somebody has to see why.
	silence = 3 * heartbeat
)

// secret is what is known of a secret from outside.
type secret struct {
	name    string
	arn     string // empty: there is no such secret
	deleted bool   // or is scheduled to be
	version string // what is AWSCURRENT; empty: it has no value
	changed time.Time
}

func (d *deployment) secret(ctx context.Context, name string) (secret, error) {
	out, err := secretsmanager.NewFromConfig(d.Config).DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		return secret{name: name}, nil
	}
	if err != nil {
		return secret{}, awsFailure(d.Config, err, "secretsmanager:DescribeSecret", name)
	}
	s := secret{name: name, arn: aws.ToString(out.ARN), deleted: out.DeletedDate != nil, changed: aws.ToTime(out.LastChangedDate).UTC().Truncate(time.Second)}
	for version, labels := range out.VersionIdsToStages {
		if slices.Contains(labels, "AWSCURRENT") {
			s.version = version
		}
	}
	return s, nil
}

// rotation is rotate's line on a heartbeat, or on another wish for a token.
type rotation struct {
	At       time.Time `json:"at"`
	Tenant   string    `json:"tenant"`
	Outcome  string    `json:"outcome,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Trial    string    `json:"trial,omitempty"`
	Detail   string    `json:"trial_detail,omitempty"`
	Fallback bool      `json:"credentials_fallback,omitempty"`
	Hint     string    `json:"hint,omitempty"`
	Error    string    `json:"error,omitempty"`
	Life     *float64  `json:"TokenLifePercent,omitempty"` // nil: the token secret could not be read

	// Of the token that is stored:
	Version            string    `json:"version,omitempty"`
	CredentialsVersion string    `json:"credentials_version,omitempty"`
	IssuedAt           time.Time `json:"issued_at,omitzero"`
	ExpiresAt          time.Time `json:"expires_at,omitzero"`
}

// remedy is what a person must do about a failure, as far as it can be told.
func (r *rotation) remedy() string {
	if strings.Contains(r.Error, "store the right ones") { // as rotate puts it of credentials
		return "c8auth credentials set " + r.Tenant
	}
	return "what it says; c8auth rotate " + r.Tenant + " tries again now"
}

// rotations returns the lines since then, the latest first: the tenant's, or all tenants'
// if it is empty.
func (d *deployment) rotations(ctx context.Context, tenant string, since time.Time) (lines []rotation, _ error) {
	group, pattern := "/aws/lambda/"+d.name+"-rotate", `{ $.message = "rotation" }`
	if tenant != "" {
		pattern = `{ ($.message = "rotation") && ($.tenant = "` + tenant + `") }`
	}
	pages := cloudwatchlogs.NewFilterLogEventsPaginator(cloudwatchlogs.NewFromConfig(d.Config), &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: &group, FilterPattern: &pattern, StartTime: aws.Int64(since.UnixMilli()),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, awsFailure(d.Config, err, "logs:FilterLogEvents", group)
		}
		for _, event := range page.Events {
			var line rotation
			if json.Unmarshal([]byte(aws.ToString(event.Message)), &line) == nil {
				line.At = time.UnixMilli(aws.ToInt64(event.Timestamp)).UTC().Truncate(time.Second)
				lines = append(lines, line)
			}
		}
	}
	slices.Reverse(lines) // so that of one second, too, the latest comes first
	slices.SortStableFunc(lines, func(a, b rotation) int { return b.At.Compare(a.At) })
	return lines, nil
}

// alarm is one that rings.
type alarm struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// alarms returns the deployment's that ring, those of its tenants among them.
func (d *deployment) alarms(ctx context.Context) (ringing []alarm, _ error) {
	prefix := d.name + "/"
	pages := cloudwatch.NewDescribeAlarmsPaginator(cloudwatch.NewFromConfig(d.Config), &cloudwatch.DescribeAlarmsInput{
		AlarmNamePrefix: &prefix, StateValue: cloudwatchtypes.StateValueAlarm,
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, awsFailure(d.Config, err, "cloudwatch:DescribeAlarms", prefix+"*")
		}
		for _, one := range page.MetricAlarms {
			ringing = append(ringing, alarm{aws.ToString(one.AlarmName), aws.ToString(one.AlarmDescription)})
		}
	}
	slices.SortFunc(ringing, func(a, b alarm) int { return cmp.Compare(a.Name, b.Name) })
	return ringing, nil
}

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
