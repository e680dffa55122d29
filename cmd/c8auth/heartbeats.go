package main

// Heartbeats: the schedules of EventBridge Scheduler that send them, and the log lines that rotate
// writes about them.

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

const (
	heartbeat = 5 * time.Minute // as in tenant.yaml
	lookback  = 4 * heartbeat   // how far back the log is read: three or four heartbeats
	silence   = 3 * heartbeat   // without a heartbeat for longer, a person must act
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

// rotation is rotate's log line about a heartbeat or another rotation.
type rotation struct {
	At       time.Time `json:"at"`
	Tenant   string    `json:"tenant"`
	Outcome  string    `json:"outcome,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Probe    string    `json:"trial,omitempty"`
	Detail   string    `json:"trial_detail,omitempty"`
	Fallback bool      `json:"credentials_fallback,omitempty"`
	Quota    bool      `json:"version_quota,omitempty"`
	Hint     string    `json:"hint,omitempty"`
	Error    string    `json:"error,omitempty"`
	Code     string    `json:"error_code,omitempty"`
	Life     *float64  `json:"TokenLifePercent,omitempty"` // nil: the token secret could not be read

	// Of the token that is stored:
	Version            string    `json:"version,omitempty"`
	CredentialsVersion string    `json:"credentials_version,omitempty"`
	IssuedAt           time.Time `json:"issued_at,omitzero"`
	ExpiresAt          time.Time `json:"expires_at,omitzero"`
}

// rotations returns rotate's log lines since a time that match a filter pattern of CloudWatch,
// the latest first.
func (d *deployment) rotations(ctx context.Context, pattern string, since time.Time) (lines []rotation, _ error) {
	err := d.readLog(ctx, "rotate", pattern, since, func(at time.Time, message []byte) {
		var line rotation
		if json.Unmarshal(message, &line) == nil {
			line.At = at.Truncate(time.Second)
			lines = append(lines, line)
		}
	})
	slices.Reverse(lines) // so that the stable sort keeps the latest of one second first
	slices.SortStableFunc(lines, func(a, b rotation) int { return b.At.Compare(a.At) })
	return lines, err
}

// manyRejections is the threshold of the alarm tokens-rejected: so many rejected tokens in an hour
// mean that something else uses the client.
const manyRejections = 3

// rejections returns the number of tokens that Communic8 rejected in the last hour, by tenant.
func (d *deployment) rejections(ctx context.Context) (map[string]int, error) {
	lines, err := d.rotations(ctx, `{ $.TokenRejected = 1 }`, time.Now().Add(-time.Hour))
	count := make(map[string]int)
	for _, line := range lines {
		count[line.Tenant]++
	}
	return count, err
}

// checkRejections checks that Communic8 has rejected fewer than manyRejections tokens.
func (t *tenant) checkRejections(time.Time) finding {
	f := found("rejections", "logs:FilterLogEvents, the last hour", "tokens that Communic8 rejected before they expired: %d", t.Rejected)
	switch {
	case t.rejectedErr != nil:
		return f.failed(t.rejectedErr)
	case t.Rejected >= manyRejections:
		return f.actFor("find what else requests tokens with this client, such as another stack, and give it a client of its own in Communic8's console",
			"Communic8 rejected %d of its tokens in the last hour: something else uses this client, or somebody revokes tokens", t.Rejected)
	}
	return f
}

// readLog calls each with the lines of a function's log that match a filter pattern.
func (d *deployment) readLog(ctx context.Context, function, pattern string, since time.Time, each func(at time.Time, message []byte)) error {
	group := "/aws/lambda/" + d.name + "-" + function
	pages := cloudwatchlogs.NewFilterLogEventsPaginator(cloudwatchlogs.NewFromConfig(d.Config), &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: &group, FilterPattern: &pattern, StartTime: aws.Int64(since.UnixMilli()),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return awsFailure(d.Config, err, "logs:FilterLogEvents", group)
		}
		for _, event := range page.Events {
			each(time.UnixMilli(aws.ToInt64(event.Timestamp)).UTC(), []byte(aws.ToString(event.Message)))
		}
	}
	return nil
}

// apply sets the tenant's fields from rotate's log lines, of which the latest comes first.
func (t *tenant) apply(lines []rotation) {
	failing := true
	for _, line := range lines {
		if line.Tenant != t.Name {
			continue
		}
		t.heartbeats++
		if t.Last == nil {
			t.Last = &line
		}
		if failing = failing && line.Error != ""; failing {
			t.Failures++
		}
		if t.IssuedAt.IsZero() && line.Version == t.Version && !line.IssuedAt.IsZero() {
			t.IssuedAt, t.ExpiresAt, t.Method = line.IssuedAt, line.ExpiresAt, methodKey
			t.Changed = line.CredentialsVersion != t.credentials.version
			if !line.ExpiresAt.IsZero() {
				t.Method, t.Next = methodOAuth, line.IssuedAt.Add(line.ExpiresAt.Sub(line.IssuedAt)/2)
			}
		}
	}
}

// remedies are what to do about rotate's failures, by error_code. person is whether the failure
// lasts until a person acts.
var remedies = map[string]struct {
	do     string
	person bool
}{
	"access_denied":         {"somebody has changed rotate's role or the key: deploy the stack again", true},
	"communic8_answer":      {"is base_url the right instance? `c8auth credentials set TENANT`", true},
	"credentials_refused":   {"`c8auth credentials set TENANT`", true},
	"malformed_credentials": {"`c8auth credentials set TENANT`", true},
	"token_rejected":        {"give the token's user the right to the probe path, or set the stack's parameter ProbePath", true},
	"communic8_unavailable": {"wait: every heartbeat tries again. If it lasts, ask Communic8", false},
	"store_unavailable":     {"wait: every heartbeat tries again. If it lasts, see AWS's health dashboard", false},
	"lost_race":             {"wait: every heartbeat tries again", false},
	"unknown_tenant":        {"`c8auth doctor TENANT` says which secret is missing", true},
	"version_quota":         {"ask Communic8 for tokens with a longer lifetime, and see that nothing else uses this client; writes succeed again within a day", true},
}

// remedy returns what to do about the tenant's last failure, and whether a person must act.
func (t *tenant) remedy() (do string, person bool) {
	known, ok := remedies[t.Last.Code]
	if !ok {
		return "follow the text of the error; `c8auth rotate " + t.Name + "` tries again now", false
	}
	return strings.ReplaceAll(known.do, "TENANT", t.Name), known.person
}

// checkHeartbeats checks that heartbeats arrive and succeed. A single temporary failure is ok
// while the token is valid.
func (t *tenant) checkHeartbeats(now time.Time) finding {
	f := found("heartbeats", fmt.Sprintf("logs:FilterLogEvents, the last %.0f minutes", lookback.Minutes()), "")
	silent := t.Last == nil || now.Sub(t.Last.At) > silence
	young := t.Version == "" && now.Sub(t.Stored) <= silence
	switch {
	case t.rotationsErr != nil:
		return f.failed(t.rotationsErr)
	case silent && (t.Stored.IsZero() || young || t.Schedule != "" && t.Schedule != "ENABLED"):
		f.Seen = "none"
		return f
	case silent:
		return f.actFor(fmt.Sprintf("`c8auth rotate %s` shows whether rotate works; `c8auth doctor %[1]s`, whether heartbeats reach it", t.Name),
			"rotate has logged nothing about it for over %.0f minutes", silence.Minutes())
	}
	last := sprintf("%d; the last, %s ago: ", t.heartbeats, span(now.Sub(t.Last.At)))
	do, person := "", false
	if t.Last.Error != "" {
		do, person = t.remedy()
	}
	switch {
	case t.Failures > 1:
		return f.actFor(do, "the last %d rotations failed: %s", t.Failures, t.Last.Error)
	case t.Failures == 1 && (person || t.Version == "" || t.expired(now)):
		return f.actFor(do, "the last rotation failed: %s", t.Last.Error)
	case t.Failures == 1:
		f.Seen = last + "it failed, and the next one tries again: " + t.Last.Error
	case t.Last.Fallback:
		return f.actFor("`c8auth credentials set "+t.Name+"`", "%s", t.Last.Hint)
	case t.Last.Quota:
		return f.actFor("have Communic8 grant a longer lifetime", "%s", t.Last.Hint)
	case t.Last.Outcome == string(c8auth.Waiting):
		f.Seen = last + "waiting for credentials"
	default:
		f.Seen = last + t.Last.Outcome
		if t.Last.Life != nil {
			f.Seen += fmt.Sprintf("; token lifetime remaining: %d %%", int(*t.Last.Life))
		}
		if t.Last.Probe != "" {
			f.Seen += sprintf("; probe of the token: %s (%s)", t.Last.Probe, t.Last.Detail)
		}
	}
	return f
}
