package main

// c8auth status: is everything all right?

import (
	"bytes"
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
	command := &cobra.Command{
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
			return s.verdict()
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

// status is how a deployment is.
type status struct {
	Stack   string    `json:"stack"`
	Region  string    `json:"region"`
	At      time.Time `json:"at"`
	Tenants []tenant  `json:"tenants"`
	Alarms  []alarm   `json:"alarms,omitempty"` // of the stack
	Unseen  []string  `json:"unseen,omitempty"` // what could not be looked at, and why
}

// tenant is how one tenant is.
type tenant struct {
	Name      string    `json:"tenant"`
	Method    string    `json:"method,omitempty"` // of authorization, as the token shows it
	IssuedAt  time.Time `json:"issued_at,omitzero"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Next      time.Time `json:"next_rotation_at,omitzero"`
	Version   string    `json:"version,omitempty"`              // of the token that is stored
	Stored    time.Time `json:"credentials_stored_at,omitzero"` // zero: there are none
	Changed   bool      `json:"credentials_changed"`            // since the token was made
	Last      *rotation `json:"last_heartbeat,omitempty"`       // nil: none was seen
	Failures  int       `json:"failures_in_a_row"`              // of late
	Schedule  string    `json:"schedule,omitempty"`             // ENABLED, DISABLED, or MISSING
	Alarms    []alarm   `json:"alarms,omitempty"`               // that ring
	Act       []string  `json:"act,omitempty"`                  // what a person must do

	token, credentials secret
}

const (
	methodOAuth = "OAuth 2"
	methodKey   = "access key"
)

// status looks at everything.
func (d *deployment) status(ctx context.Context) (*status, error) {
	names, err := d.tenants(ctx)
	if err != nil {
		return nil, err
	}
	s := &status{Stack: d.name, Region: d.Region}
	unseen := func(err error) {
		if err != nil {
			s.Unseen = append(s.Unseen, err.Error())
		}
	}
	schedules, noSchedules := d.schedules(ctx)
	unseen(noSchedules)
	for name := range schedules { // whose secret may be missing
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	s.Tenants = make([]tenant, len(names))
	var looks errgroup.Group
	looks.SetLimit(8)
	for i, name := range names {
		looks.Go(func() (err error) {
			s.Tenants[i], err = d.secrets(ctx, name)
			return err
		})
	}
	if err := looks.Wait(); err != nil {
		return nil, err
	}
	lines, noLines := d.rotations(ctx, "", time.Now().Add(-lately))
	unseen(noLines)
	ringing, err := d.alarms(ctx)
	unseen(err)
	s.At = time.Now().UTC().Truncate(time.Second)
	for i := range s.Tenants {
		t := &s.Tenants[i]
		if noSchedules == nil {
			t.Schedule = "MISSING"
			if state, ok := schedules[t.Name]; ok {
				t.Schedule = state
			}
		}
		t.hear(lines)
		ringing = slices.DeleteFunc(ringing, func(a alarm) bool {
			own := strings.HasPrefix(a.Name, d.name+"/"+t.Name+"/")
			if own {
				t.Alarms = append(t.Alarms, a)
			}
			return own
		})
		t.Act = t.act(s.At, noLines == nil)
	}
	s.Alarms = ringing
	return s, ctx.Err()
}

// secrets looks at the tenant's two.
func (d *deployment) secrets(ctx context.Context, name string) (t tenant, err error) {
	t.Name = name
	if t.token, err = d.secret(ctx, d.name+"/token/"+name); err != nil {
		return t, err
	}
	if t.credentials, err = d.secret(ctx, d.name+"/credentials/"+name); err != nil {
		return t, err
	}
	t.Version = t.token.version
	if t.credentials.version != "" {
		t.Stored = t.credentials.changed
	}
	return t, nil
}

// hear takes from rotate's lines, the latest first, what concerns the tenant.
func (t *tenant) hear(lines []rotation) {
	failing := true
	for _, line := range lines {
		if line.Tenant != t.Name {
			continue
		}
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

// act decides what a person must do. What passes by itself is not among it. heard says
// whether rotate's log could be read.
func (t *tenant) act(now time.Time, heard bool) (act []string) {
	must := func(format string, args ...any) { act = append(act, fmt.Sprintf(format, args...)) }
	for _, s := range []secret{t.token, t.credentials} {
		switch {
		case s.arn == "":
			must("there is no secret %s. Do: deploy the tenant's stack again", s.name)
		case s.deleted:
			must("the secret %s is scheduled for deletion. Do: aws secretsmanager restore-secret --secret-id %[1]s", s.name)
		}
	}
	switch t.Schedule {
	case "MISSING":
		must("there is no schedule for it, and nothing looks after its token. Do: deploy the tenant's stack again")
	case "DISABLED":
		must("its schedule is disabled, and nothing looks after its token. Do: enable it, in the console of EventBridge Scheduler")
	}
	silent := heard && (t.Last == nil || now.Sub(t.Last.At) > silence)
	expired := !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt)
	none := t.token.arn != "" && t.Version == ""
	switch {
	case t.Stored.IsZero() && t.credentials.arn != "" && !t.credentials.deleted:
		must("no credentials are stored. Do: c8auth credentials set %s", t.Name)
	case expired:
		must("its token expired %s ago, and callers fail", span(now.Sub(t.ExpiresAt)))
	case none && t.Failures > 0:
		must("it has no token yet, and callers fail")
	}
	switch {
	case silent && t.Schedule == "ENABLED" && !t.Stored.IsZero() && (!none || now.Sub(t.Stored) > silence):
		must("rotate has said nothing of it for over %.0f minutes. Do: c8auth doctor %s", silence.Minutes(), t.Name)
	case t.Failures > 1:
		must("its last %d rotations have failed: %s. Do: %s", t.Failures, t.Last.Error, t.Last.remedy())
	case t.Failures > 0 && (none || expired):
		must("its last rotation has failed: %s. Do: %s", t.Last.Error, t.Last.remedy())
	case t.Last != nil && t.Last.Fallback:
		must("%s. Do: c8auth credentials set %s", t.Last.Hint, t.Name)
	}
	for _, a := range t.Alarms {
		must("the alarm %s rings: %s", a.Name, a.Description)
	}
	return act
}

// verdict is an error if somebody has something to do.
func (s *status) verdict() error {
	switch {
	case len(s.Alarms) > 0, slices.ContainsFunc(s.Tenants, func(t tenant) bool { return t.Act != nil }):
		return fail(statusAttention, "", "a person must act")
	case len(s.Unseen) > 0:
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
	for _, a := range s.Alarms {
		add(red, "%s: the alarm %s rings: %s", s.Stack, a.Name, a.Description)
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
