package main

// c8auth status: is everything all right?

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
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

func (p *program) statusCommand() *cobra.Command {
	var watch bool
	var every time.Duration
	var command *cobra.Command
	command = &cobra.Command{
		Use:   "status",
		Short: "Show how all tenants are",
		Long: `Status shows a line for every tenant: how old its token is and how long it lives yet,
when it is replaced, whether its credentials were changed since, what came of the last
heartbeat, and which alarms ring. Below, and in red, is what a person must do; then the
exit status is 3.

It reads no secret, and needs no more than AWS's policy ReadOnlyAccess:
secretsmanager:ListSecrets and DescribeSecret, logs:FilterLogEvents on rotate's log,
cloudwatch:DescribeAlarms, scheduler:ListSchedules, cloudformation:DescribeStacks.`,
		Example: `  c8auth status
  c8auth status --watch
  c8auth status --json | jq '.tenants[] | select(.act)'`,
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
	command.Flags().BoolVarP(&watch, "watch", "w", false, "show it again and again, until Ctrl-C")
	command.Flags().DurationVar(&every, "every", 5*time.Second, "how often, with --watch")
	return command
}

// watch shows the status until ctx ends. A look that fails is told of and not the last,
// unless it is the first.
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

// status is what was read of a deployment and its tenants.
type status struct {
	Verdict string    `json:"verdict"`
	Stack   string    `json:"stack"`
	Region  string    `json:"region"`
	At      time.Time `json:"at"`
	Act     []string  `json:"act,omitempty"` // what a person must do about the stack
	Tenants []tenant  `json:"tenants"`
	Alarms  []alarm   `json:"alarms,omitempty"` // of the stack
	Unseen  []string  `json:"unseen,omitempty"` // what could not be looked at, and why

	alarms finding // unless there are some
	topic  finding
}

// tenant is what was read of one tenant.
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
	Act       []string  `json:"act,omitempty"`       // what a person must do

	token, credentials                          secret
	heartbeats                                  int   // that were seen
	err, scheduleErr, rotationsErr, rejectedErr error // why something could not be read
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

// inspect reads what is known of the tenants of those names. If they are all that have a
// secret, it adds those that only have a schedule.
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

// status reads everything about all tenants, and concludes what a person must do.
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

// acts returns what a person must do, and adds to Unseen what could not be looked at.
func (s *status) acts(findings []finding) (acts []string) {
	for _, f := range findings {
		switch {
		case f.Verdict == act && f.Do != "":
			acts = append(acts, strings.TrimSuffix(f.Seen, ".")+". Do: "+f.Do)
		case f.Verdict == act:
			acts = append(acts, f.Seen)
		case f.Verdict == unknown && !slices.Contains(s.Unseen, f.Seen):
			s.Unseen = append(s.Unseen, f.Seen)
		}
	}
	return acts
}

// conclusion is the error for which the command ends, nil if all is well.
func conclusion(verdict string) error {
	switch verdict {
	case act:
		return fail(statusAttention, "", "a person must act")
	case unknown:
		return errors.New("not everything could be looked at")
	}
	return nil
}

// showStatus prints it in one go, so that a screen that is watched does not flicker. again
// is whether another one was printed before.
func (p *program) showStatus(s *status, again bool) error {
	if p.json {
		return p.stdout.json(s)
	}
	var text bytes.Buffer
	screen := &printer{stream: &text, escapes: p.stdout.escapes, plain: p.stdout.plain}
	if again {
		screen.clear()
	}
	s.print(screen)
	p.stdout.send(text.String())
	return p.stdout.failed()
}

func (s *status) print(out *printer) {
	out.printf("%s in %s, %s\n\n", s.Stack, s.Region, s.At.Format("2006-01-02 15:04:05 UTC"))
	table := [][]string{{"TENANT", "METHOD", "TOKEN", "NEXT ROTATION", "CREDENTIALS", "LAST HEARTBEAT", "ALARMS"}}
	for _, t := range s.Tenants {
		table = append(table, t.row(s.At))
	}
	widths := make([]int, len(table[0]))
	for _, row := range table {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range table {
		line := ""
		for i, cell := range row {
			line += cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2)
		}
		style := ""
		switch {
		case n == 0:
			style = bold
		case s.Tenants[n-1].Act != nil:
			style = red
		}
		out.paint(style, "%s", strings.TrimRight(line, " "))
		out.printf("\n")
	}
	if len(s.Tenants) == 0 {
		out.printf("There are no tenants.\n")
	}
	separate := "\n"
	add := func(style, format string, args ...any) {
		out.printf(separate)
		out.paint(style, format, args...)
		out.printf("\n")
		separate = ""
	}
	for _, t := range s.Tenants {
		for _, what := range t.Act {
			add(red, "%s: %s", t.Name, what)
		}
	}
	for _, what := range s.Act {
		add(red, "%s: %s", s.Stack, what)
	}
	for _, what := range s.Unseen {
		add("", "Not seen: %s", what)
	}
}

// row is a tenant's line in the table.
func (t *tenant) row(now time.Time) []string {
	const nothing = "–"
	row := []string{t.Name, nothing, nothing, nothing, "none", nothing, nothing}
	if t.Method != "" {
		row[1] = t.Method
	}
	age := span(now.Sub(t.IssuedAt))
	switch {
	case t.Version == "":
		row[2] = "none"
	case t.Method == "":
		row[2] = "stored " + span(now.Sub(t.token.changed)) + " ago"
	case t.Method == methodKey:
		row[2] = age + " old, does not expire"
	case now.Before(t.ExpiresAt):
		percent := remaining(now, t.IssuedAt, t.ExpiresAt)
		row[2] = fmt.Sprintf("%s %s old, %s left (%d %%)", bar(percent), age, span(t.ExpiresAt.Sub(now)), int(percent))
	default:
		row[2] = fmt.Sprintf("%s expired %s ago", bar(0), span(now.Sub(t.ExpiresAt)))
	}
	switch {
	case t.Next.IsZero():
	case now.Before(t.Next):
		row[3] = "in " + span(t.Next.Sub(now))
	default:
		row[3] = "due"
	}
	switch {
	case t.Stored.IsZero():
	case t.Last != nil && t.Last.Fallback:
		row[4] = "the previous ones"
	case t.Changed:
		row[4] = "changed since"
	default:
		row[4] = "stored"
	}
	if t.Last != nil {
		what := t.Last.Outcome
		switch {
		case t.Last.Error != "":
			what = "failed"
		case t.Last.Reason != "":
			what += ", " + t.Last.Reason
		}
		row[5] = what + ", " + span(now.Sub(t.Last.At)) + " ago"
	}
	var names []string
	for _, a := range t.Alarms {
		names = append(names, a.Name[strings.LastIndex(a.Name, "/")+1:])
	}
	if names != nil {
		row[6] = strings.Join(names, ", ")
	}
	return row
}

// remaining is how much of a lifetime remains, in percent, as TokenLifePercent.
func remaining(now, from, to time.Time) float64 {
	lifetime := to.Sub(from)
	if lifetime <= 0 {
		return 0
	}
	return min(max(0, 100*float64(to.Sub(now))/float64(lifetime)), 100)
}

// bar shows how much of a lifetime remains, in ten parts: none only when nothing does.
func bar(percent float64) string {
	const parts = 10
	left := int(math.Ceil(percent * parts / 100))
	return strings.Repeat("█", left) + strings.Repeat("░", parts-left)
}
