package main

// c8auth status: the state of all tenants, and what a person must do.

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

func (p *program) statusCommand() *cobra.Command {
	var watch bool
	var every time.Duration
	var command *cobra.Command
	command = &cobra.Command{
		Use:   "status",
		Short: "Show the state of all tenants",
		Long: `Status shows what a person must do, in red, and then a table of the tenants: how long the
token is still valid, when it is replaced, whether the credentials were changed since, the
outcome of the last heartbeat, and the alarms. If the terminal is too narrow for a table,
each tenant is a block of lines. The exit status is 3 if a person must act, and 1 if a
check could not be made.

It reads no secret, and needs no more than AWS's policy ReadOnlyAccess:
secretsmanager:ListSecrets and DescribeSecret, logs:FilterLogEvents on rotate's log,
cloudwatch:DescribeAlarms, scheduler:ListSchedules, sns:GetTopicAttributes,
cloudformation:DescribeStacks.`,
		Example: `  c8auth status
  c8auth status --watch
  c8auth status --json | jq '.tenants[] | select(.act) | .act[].do'`,
		Args: cobra.NoArgs,
		RunE: p.does(func(ctx context.Context, _ []string) error {
			if every < time.Second {
				return fail(statusUsage, "--every 5s", "--every must be a second at least")
			}
			if command.Flags().Changed("every") && !watch {
				return fail(statusUsage, "--watch --every 5s", "--every needs --watch")
			}
			d, err := p.deployment(ctx)
			if err != nil {
				return err
			}
			if watch {
				return p.watch(ctx, d, every)
			}
			s, err := d.status(ctx)
			if err != nil {
				return err
			}
			if err := p.showStatus(s, false); err != nil {
				return err
			}
			return conclusion(s.Verdict)
		}),
	}
	command.Flags().BoolVarP(&watch, "watch", "w", false, "show the status repeatedly, until Ctrl-C")
	command.Flags().DurationVar(&every, "every", 5*time.Second, "how often, with --watch")
	return command
}

// watch prints the status again and again until ctx ends. An error of the first status ends watch;
// a later one is printed, and watch goes on.
func (p *program) watch(ctx context.Context, d *deployment, every time.Duration) error {
	for shown := false; ; {
		s, err := d.status(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			err = p.showStatus(s, shown)
			shown = true
		case shown:
			p.report(err)
			err = nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

// status is the state of a deployment and its tenants: the output of c8auth status --json.
type status struct {
	Verdict string    `json:"verdict"`
	Stack   string    `json:"stack"`
	Region  string    `json:"region"`
	At      time.Time `json:"at"`
	Act     []finding `json:"act,omitempty"` // what a person must do about the stack
	Tenants []tenant  `json:"tenants"`
	Alarms  []alarm   `json:"alarms,omitempty"` // of the stack
	Unseen  []string  `json:"unseen,omitempty"` // why checks could not be made

	alarms finding // of the check for alarms; used if there are none
	topic  finding
}

// tenant is the state of one tenant.
type tenant struct {
	Name      string    `json:"tenant"`
	Method    string    `json:"method,omitempty"` // of authorization, as the token shows it
	IssuedAt  time.Time `json:"issued_at,omitzero"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	ExpiresIn *int64    `json:"expires_in,omitempty"` // seconds left; nil: the token does not expire
	Next      time.Time `json:"next_rotation_at,omitzero"`
	Version   string    `json:"version,omitempty"`              // of the token that is stored
	Stored    time.Time `json:"credentials_stored_at,omitzero"` // zero: there are none
	Changed   bool      `json:"credentials_changed"`            // since the token was made
	Last      *rotation `json:"last_heartbeat,omitempty"`       // nil: none was seen
	Failures  int       `json:"failures_in_a_row"`
	Rejected  int       `json:"rejected_in_an_hour"` // tokens
	Schedule  string    `json:"schedule,omitempty"`  // ENABLED, DISABLED, or MISSING
	Alarms    []alarm   `json:"alarms,omitempty"`    // in the state ALARM
	Act       []finding `json:"act,omitempty"`       // what a person must do

	token, credentials                          secret
	heartbeats                                  int   // number of rotate's log lines within lookback
	err, scheduleErr, rotationsErr, rejectedErr error // of the reads of secrets, schedules and log lines
}

const (
	methodOAuth = "OAuth 2"
	methodKey   = "access key"
)

// checks returns the findings about the tenant.
func (t *tenant) checks(now time.Time) (findings []finding) {
	for _, check := range []func(time.Time) finding{t.checkSecrets, t.checkToken, t.checkSchedule, t.checkHeartbeats, t.checkRejections} {
		findings = append(findings, check(now))
	}
	return append(findings, checkAlarms(t.Alarms)...)
}

// inspect reads the state of the named tenants. all means that names are those of all token
// secrets; inspect then adds tenants that have only a schedule.
func (d *deployment) inspect(ctx context.Context, names []string, all bool) *status {
	schedules, schedulesErr := d.schedules(ctx)
	pattern := `{ $.message = "rotation" }`
	if all {
		for name := range schedules {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
	} else {
		pattern = `{ ($.message = "rotation") && ($.tenant = "` + names[0] + `") }`
	}
	s := &status{Stack: d.name, Region: d.Region, Tenants: make([]tenant, len(names))}
	s.alarms = found("alarms", "cloudwatch:DescribeAlarms", "none of the stack and the tenant is in the state ALARM")
	var rejected map[string]int
	var lines []rotation
	var alarms []alarm
	var rotationsErr, rejectedErr, alarmsErr error
	var reads errgroup.Group
	reads.SetLimit(8)
	read := func(f func()) { reads.Go(func() error { f(); return nil }) }
	read(func() { lines, rotationsErr = d.rotations(ctx, pattern, time.Now().Add(-lookback)) })
	read(func() { rejected, rejectedErr = d.rejections(ctx) })
	read(func() { alarms, alarmsErr = d.alarms(ctx) })
	read(func() { s.topic = d.checkTopic(ctx) })
	for i, name := range names {
		read(func() { s.Tenants[i].Name = name; s.Tenants[i].describe(ctx, d) })
	}
	_ = reads.Wait()
	s.At = time.Now().UTC().Truncate(time.Second)
	if alarmsErr != nil {
		s.alarms = s.alarms.failed(alarmsErr)
	}
	s.Alarms = d.of("", alarms)
	for i := range s.Tenants {
		t := &s.Tenants[i]
		t.scheduleErr, t.rotationsErr, t.rejectedErr = schedulesErr, rotationsErr, rejectedErr
		if schedulesErr == nil {
			t.Schedule = cmp.Or(schedules[t.Name], missing)
		}
		t.Rejected, t.Alarms = rejected[t.Name], d.of(t.Name, alarms)
		t.apply(lines)
		if !t.ExpiresAt.IsZero() {
			left := max(0, int64(t.ExpiresAt.Sub(s.At)/time.Second))
			t.ExpiresIn = &left
		}
	}
	return s
}

// status reads the state of all tenants, makes all checks, and sets what a person must do.
func (d *deployment) status(ctx context.Context) (*status, error) {
	names, err := d.tenants(ctx)
	if err != nil {
		return nil, err
	}
	s := d.inspect(ctx, names, true)
	all := append(checkAlarms(s.Alarms), s.alarms, s.topic)
	s.Act = s.acts(all)
	for i := range s.Tenants {
		checks := s.Tenants[i].checks(s.At)
		s.Tenants[i].Act = s.acts(checks)
		all = append(all, checks...)
	}
	s.Verdict = verdictOf(all)
	return s, ctx.Err()
}

// acts returns the findings with the verdict act, and adds those with the verdict unknown to
// Unseen.
func (s *status) acts(findings []finding) (acts []finding) {
	for _, f := range findings {
		switch {
		case f.Verdict == act:
			acts = append(acts, f)
		case f.Verdict == unknown && !slices.Contains(s.Unseen, f.Seen):
			s.Unseen = append(s.Unseen, f.Seen)
		}
	}
	return acts
}

// conclusion returns the error with which status and doctor end; nil for the verdict ok.
func conclusion(verdict string) error {
	switch verdict {
	case act:
		return fail(statusAttention, "", "a person must act")
	case unknown:
		return errors.New("some checks could not be made")
	}
	return nil
}

// showStatus prints the status with one write, so that the screen does not flicker. again is
// whether to clear the screen, because a status was printed before.
func (p *program) showStatus(s *status, again bool) error {
	if p.json {
		return p.stdout.json(s)
	}
	var text bytes.Buffer
	screen := &printer{stream: &text, terminal: p.stdout.terminal, escapes: p.stdout.escapes, plain: p.stdout.plain}
	if again {
		screen.clear()
	}
	s.print(screen)
	p.stdout.send(text.String())
	return p.stdout.failed()
}

// print prints what a person must do, and then a table of the tenants.
func (s *status) print(out *printer) {
	out.printf("%s in %s, %s\n", s.Stack, s.Region, s.At.Format("2006-01-02 15:04:05 UTC"))
	separate := "\n"
	acts := func(name string, findings []finding) {
		for _, f := range findings {
			out.printf(separate)
			separate = ""
			out.line(red, name+": "+f.Seen, 2, "")
			if f.Do != "" {
				out.line(red, "  Do: "+f.Do, 6, "")
			}
		}
	}
	var rows []row
	for _, t := range s.Tenants {
		acts(t.Name, t.Act)
		rows = append(rows, t.row(s.At))
	}
	acts(s.Stack, s.Act)
	if len(rows) > 0 {
		out.table([]string{"TENANT", "TOKEN", "NEXT ROTATION", "CREDENTIALS", "LAST HEARTBEAT", "ALARMS"}, rows)
	} else {
		out.printf("\nThere are no tenants.\n")
	}
	separate = "\n"
	for _, what := range s.Unseen {
		out.printf(separate)
		separate = ""
		out.line("", "", 2, "Not checked: %s", what)
	}
}

// row returns the tenant's row of the table.
func (t *tenant) row(now time.Time) row {
	token, next, credentials, last := "none", nothing, "none", nothing
	switch {
	case t.Version == "":
	case t.Method == "":
		token = "stored " + span(now.Sub(t.token.changed)) + " ago"
	case t.Method == methodKey:
		token = "access key, does not expire"
	case t.expired(now):
		token = bar(0) + " expired " + span(now.Sub(t.ExpiresAt)) + " ago"
	default:
		percent := remaining(now, t.IssuedAt, t.ExpiresAt)
		token = fmt.Sprintf("%s %d %%, %s left", bar(percent), int(percent), span(t.ExpiresAt.Sub(now)))
	}
	fallback := t.Last != nil && t.Last.Fallback
	switch changed := t.Changed && !fallback; { // then at the next heartbeat
	case changed, !t.Next.IsZero() && !now.Before(t.Next):
		next = "due"
	case !t.Next.IsZero():
		next = "in " + span(t.Next.Sub(now))
	}
	switch {
	case t.Stored.IsZero():
	case fallback:
		credentials = "previous ones"
	case t.Changed:
		credentials = "changed since"
	default:
		credentials = "stored"
	}
	if t.Last != nil {
		last = t.Last.Outcome
		switch {
		case t.Last.Error != "":
			last = "failed"
		case t.Last.Reason != "":
			last += ", " + t.Last.Reason
		}
		last += ", " + span(now.Sub(t.Last.At)) + " ago"
	}
	var alarms []string
	for _, a := range t.Alarms {
		alarms = append(alarms, a.short())
	}
	style := ""
	if t.Act != nil {
		style = red
	}
	return row{style, []string{t.Name, token, next, credentials, last, cmp.Or(strings.Join(alarms, ", "), nothing)}}
}

// remaining returns the share of a lifetime that remains, in percent, like TokenLifePercent.
func remaining(now, from, to time.Time) float64 {
	lifetime := to.Sub(from)
	if lifetime <= 0 {
		return 0
	}
	return min(max(0, 100*float64(to.Sub(now))/float64(lifetime)), 100)
}

// bar draws a percentage in ten parts, rounded up.
func bar(percent float64) string {
	const parts = 10
	left := int(math.Ceil(percent * parts / 100))
	return strings.Repeat("█", left) + strings.Repeat("░", parts-left)
}
