package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/awstest"
	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/harness"
)

// day is the lifetime of tokens here: a bit more, so that what remains of it reads the same
// however long a test takes.
const day = 24*time.Hour + 90*time.Second

func lastingADay(b *c8test.Behaviour) { b.Lifetime = day }

// store stores credentials as a person does.
func (s *session) store(tenant, credentials string) {
	s.Secrets.Put(harness.CredentialsName(tenant), credentials)
}

// rotates invokes rotate for the tenant, as the schedule does, whether or not that succeeds.
// vend then has nothing in its cache.
func (s *session) rotates(tenant string) {
	_, _ = s.Rotate.Invoke(s.Context(), fmt.Appendf(nil, `{"tenant":%q}`, tenant))
	s.Vend.Stop()
}

// aged stores a token as one that rotate stored long ago.
func (s *session) aged(tenant string, age, lifetime time.Duration) {
	_, version := s.Secrets.Value(harness.CredentialsName(tenant))
	token := harness.Token(s.Communic8URL, s.Communic8.Issue(clientID), version, time.Now().Add(-age).Truncate(time.Second), lifetime)
	s.Secrets.Put(harness.TokenName(tenant), token)
}

// ages makes the token of default two hours old, with a heartbeat since.
func (s *session) ages() {
	s.aged("default", 2*time.Hour, day)
	s.rotates("default")
}

// What a tenant goes through, as status shows it.
func TestStatus(t *testing.T) {
	s := operate(t)
	s.Communic8.Set(lastingADay)
	s.c8auth("status")
	s.rotates("default")
	s.under("the first heartbeat", "status")
	s.store("default", s.oauth("typing-error"))
	s.rotates("default")
	s.under("wrong credentials are stored, and the next heartbeat", "status")
	s.store("default", s.oauth(clientSecret))
	s.rotates("default")
	s.under("the right ones", "status")
	s.aged("default", 3*time.Hour, day)
	s.rotates("default")
	s.under("three hours later", "status")
	s.store("default", s.oauth(clientSecret))
	s.under("new credentials", "status")
	s.rotates("default")
	s.store("default", s.oauth("typing-error"))
	s.rotates("default")
	s.under("new ones, which are wrong", "status")
	s.store("default", s.bearer(accessKey))
	s.rotates("default")
	s.under("an access key", "status")
	s.c8auth("status", "--json")
	s.c8auth("status", "--every", "10s")
	s.c8auth("token", "default", "--json", "--header")
	s.golden("status", squeeze)
}

// What a person must act upon, each alone.
func TestStatusTroubles(t *testing.T) {
	s := operate(t)
	s.Communic8.Set(lastingADay)
	s.store("default", s.oauth(clientSecret))
	s.rotates("default")
	s.during("the schedule is disabled", func(a *awstest.State) { a.Schedules["c8auth/default"] = "DISABLED" }, "status")
	s.during("there is no schedule", func(a *awstest.State) { clear(a.Schedules) }, "status")
	s.during("alarms ring", func(a *awstest.State) {
		a.Alarms["c8auth/default/life"] = awstest.Alarm{Ringing: true, Description: "The token of default has less than 25 % of its lifetime left. Do: read the log."}
		a.Alarms["c8auth/rotations-fail"] = awstest.Alarm{Ringing: true, Description: "Rotations have been failing. Do: read the log."}
	}, "status")
	s.Secrets.Delete(credentialsName)
	s.under("the credentials are going to be deleted", "status")
	s.Secrets.Restore(credentialsName)
	s.during("a tenant has a schedule, and no secrets", func(a *awstest.State) { a.Schedules["c8auth/acme"] = "ENABLED" }, "status")
	s.during("not everything may be looked at", refuse("logs:FilterLogEvents", "cloudwatch:DescribeAlarms", "scheduler:ListSchedules"), "status")
	s.during("nor anything", refuse("secretsmanager:ListSecrets"), "status")
	s.during("alarms reach nobody", func(a *awstest.State) { a.Topics["c8auth-alarms"] = awstest.Topic{Pending: 1} }, "status")
	for range 3 {
		s.Communic8.Revoke(s.vended())
		s.rotates("default")
	}
	s.under("Communic8 rejects three tokens within an hour", "status")
	s.aged("default", 2*time.Hour, time.Hour)
	s.under("somebody has put a version by hand", "status")
	s.communic8(&c8test.Fault{Status: http.StatusNotFound})
	s.rotates("default")
	s.rotates("default")
	s.under("and Communic8 is out of order, for two heartbeats", "status")
	s.golden("status-troubles", squeeze)
}

// line adds a line about the token of default to rotate's log.
func (s *session) line(age time.Duration, rest string) {
	s.Helper()
	_, version := s.Secrets.Value(tokenName)
	_, credentials := s.Secrets.Value(credentialsName)
	now := time.Now().UTC()
	if _, err := fmt.Fprintf(s.AWS.Log("/aws/lambda/c8auth-rotate"), `{"timestamp":%q,"message":"rotation","tenant":"default","version":%q,"credentials_version":%q,"issued_at":%q,"expires_at":%q,%s}`+"\n",
		now.Add(-age).Format(time.RFC3339Nano), version, credentials, now.Add(-time.Hour).Format(time.RFC3339), now.Add(day-time.Hour).Format(time.RFC3339), rest); err != nil {
		s.Fatal(err)
	}
}

// One error is no reason to act while the token is valid; silence is.
func TestStatusOfLines(t *testing.T) {
	s := operate(t)
	s.store("default", s.oauth(clientSecret))
	s.aged("default", time.Hour, day)
	s.line(19*time.Minute, `"outcome":"fresh"`)
	s.under("rotate has said nothing for 19 minutes", "status")
	s.line(8*time.Minute, `"error":"Communic8 did not answer in time"`)
	s.under("two heartbeats ago one failed", "status")
	s.line(3*time.Minute, `"error":"Communic8 did not answer in time"`)
	s.under("and then another", "status")
	s.golden("status-lines", squeeze)
}

// Somebody watches until Ctrl-C, which stops at once.
func TestWatch(t *testing.T) {
	s := operate(t)
	s.store("default", s.oauth(clientSecret))
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	p := &program{stdout: newPrinter(writer), stderr: newPrinter(writer), stack: harness.Name}
	d, err := p.deployment(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- p.watch(ctx, d, time.Millisecond)
		_ = writer.Close()
	}()
	lines := bufio.NewScanner(reader)
	until := func(what string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), what) {
				return
			}
		}
		t.Fatalf("it ends before it shows %q", what)
	}
	until("none") // no token
	s.rotates("default")
	until("rotated, first_token")
	s.AWS.Set(refuse("secretsmanager:ListSecrets"))
	until("IAM does not allow you") // and it goes on
	s.AWS.Set(func(a *awstest.State) { clear(a.Refused) })
	until("rotated, first_token")
	cancel()
	_, _ = io.Copy(io.Discard, reader)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}

// At a terminal, what a person must do is red, and Ctrl-C stops at once.
func TestStatusAtATerminal(t *testing.T) {
	operate(t)
	x := open(t, "status", "--watch", "--every", "1s")
	x.sees("\x1b[31mdefault: no credentials are stored")
	x.sees("\x1b[H\x1b[2J") // again
	x.sees("no credentials")
	x.types("\x03")
	x.ends(statusInterrupted)

	t.Setenv("TERM", "dumb")
	x = open(t, "status", "--watch", "--every", "1s")
	x.sees("no credentials")
	x.sees("no credentials")
	x.types("\x03")
	x.ends(statusInterrupted)
	if strings.Contains(x.seen.String(), "\x1b") {
		t.Errorf("a dumb terminal gets %q", x.seen.String())
	}
}
