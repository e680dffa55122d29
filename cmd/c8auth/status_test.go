package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/awstest"
	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/pkg/c8auth"
)

const (
	credentialsName = "c8auth/credentials/default"
	tokenName       = "c8auth/token/default"

	// day is the life of tokens here: a bit more, so that what is left of it reads the same
	// however long a test takes.
	day = 24*time.Hour + 90*time.Second
)

// store stores credentials as a person does.
func (s *session) store(tenant, credentials string) {
	s.Secrets.Put("c8auth/credentials/"+tenant, credentials)
}

// rotates has rotate look after the tenant, as the schedule does, whatever comes of it.
// What vend remembers has passed by then.
func (s *session) rotates(tenant string) {
	s.Helper()
	if _, err := s.Rotate.Invoke(s.Context(), fmt.Appendf(nil, `{"tenant":%q}`, tenant)); err != nil && s.Context().Err() != nil {
		s.Fatal(err)
	}
	s.Vend.Stop()
}

// says notes what happens between two commands.
func (s *session) says(what string) { fmt.Fprintf(&s.seen, "# %s\n", what) }

// squeeze takes the width of columns out, which depends on times.
func (s *session) squeeze() {
	text := regexp.MustCompile(`(\S)   +`).ReplaceAllString(s.seen.String(), "$1  ")
	s.seen.Reset()
	s.seen.WriteString(text)
}

// aged makes Communic8 issue a token and stores it as one that rotate stored long ago.
func (s *session) aged(tenant string, age, life time.Duration) (token string) {
	s.Helper()
	grant, err := (&c8auth.Endpoint{Client: c8auth.NewHTTPClient()}).RequestToken(s.Context(), c8auth.Credentials{
		BaseURL: s.Communic8URL, ClientID: clientID, ClientSecret: c8auth.NewSecret(clientSecret),
	})
	if err != nil {
		s.Fatal(err)
	}
	issued := time.Now().Add(-age).UTC().Truncate(time.Second)
	_, version := s.Secrets.Value("c8auth/credentials/" + tenant)
	s.Secrets.Put("c8auth/token/"+tenant, fmt.Sprintf(
		`{"base_url":%q,"access_token":%q,"token_type":"Bearer","issued_at":%q,"expires_at":%q,"credentials_version":%q}`,
		s.Communic8URL, grant.AccessToken.Reveal(), issued.Format(time.RFC3339), issued.Add(life).Format(time.RFC3339), version))
	return grant.AccessToken.Reveal()
}

// What a tenant goes through, as it is seen at each of its stations.
func TestStatus(t *testing.T) {
	s := operate(t)
	s.Communic8.Set(func(b *c8test.Behaviour) { b.Lifetime = day })
	s.c8auth("status")
	s.rotates("default")
	s.says("the first heartbeat")
	s.c8auth("status")
	s.store("default", s.oauth("typing-error"))
	s.rotates("default")
	s.says("wrong credentials are stored, and the next heartbeat")
	s.c8auth("status")
	s.store("default", s.oauth(clientSecret))
	s.rotates("default")
	s.says("the right ones")
	s.c8auth("status")
	s.aged("default", 3*time.Hour, day)
	s.rotates("default")
	s.says("three hours later")
	s.c8auth("status")
	s.store("default", s.oauth(clientSecret))
	s.says("new credentials")
	s.c8auth("status")
	s.rotates("default")
	s.store("default", s.oauth("typing-error"))
	s.rotates("default")
	s.says("new ones, which are wrong")
	s.c8auth("status")
	s.store("default", s.bearer(accessKey))
	s.rotates("default")
	s.says("an access key")
	s.c8auth("status")
	s.c8auth("status", "--json")
	s.c8auth("status", "--every", "10s")
	s.c8auth("token", "default", "--json", "--header")
	s.squeeze()
	s.golden("status")
}

// What a person must act upon, each alone.
func TestStatusTroubles(t *testing.T) {
	s := operate(t)
	s.Communic8.Set(func(b *c8test.Behaviour) { b.Lifetime = day })
	s.store("default", s.oauth(clientSecret))
	s.rotates("default")
	state := func(change func(*awstest.State)) func() { return func() { s.AWS.Set(change) } }
	refuse := func(actions ...string) func() {
		return state(func(a *awstest.State) {
			for _, action := range actions {
				a.Refused[action] = true
			}
		})
	}
	for _, trouble := range []struct {
		what        string
		cause, mend func()
	}{
		{"the schedule is disabled",
			state(func(a *awstest.State) { a.Schedules["c8auth/default"] = "DISABLED" }), nil},
		{"there is no schedule",
			state(func(a *awstest.State) { delete(a.Schedules, "c8auth/default") }), state(func(a *awstest.State) { a.Schedules["c8auth/default"] = "ENABLED" })},
		{"alarms ring",
			func() {
				s.AWS.Ring("c8auth/default/life", "The token of default has less than 25 % of its lifetime left. Do: read the log.", "")
				s.AWS.Ring("c8auth/rotations-fail", "Rotations have been failing. Do: read the log.", "")
			}, state(func(a *awstest.State) { a.Alarms = map[string]awstest.Alarm{} })},
		{"the credentials are going to be deleted",
			func() { s.Secrets.Delete(credentialsName) }, func() { s.Secrets.Restore(credentialsName) }},
		{"a tenant has a schedule, and no secrets",
			state(func(a *awstest.State) { a.Schedules["c8auth/acme"] = "ENABLED" }), state(func(a *awstest.State) { delete(a.Schedules, "c8auth/acme") })},
		{"not everything may be looked at",
			refuse("logs:FilterLogEvents", "cloudwatch:DescribeAlarms", "scheduler:ListSchedules"), nil},
		{"nor anything",
			refuse("secretsmanager:ListSecrets"), state(func(a *awstest.State) { clear(a.Refused) })},
		{"alarms reach nobody",
			state(func(a *awstest.State) { a.Topics["c8auth-alarms"] = awstest.Topic{Pending: 1} }), state(func(a *awstest.State) { a.Topics["c8auth-alarms"] = awstest.Topic{Confirmed: 1} })},
		{"Communic8 rejects three tokens within an hour",
			func() {
				for range 3 {
					s.Communic8.Revoke(s.vended())
					s.rotates("default")
				}
			}, nil},
		{"somebody has put a version by hand",
			func() { s.aged("default", 2*time.Hour, time.Hour) }, nil},
		{"and Communic8 is out of order, for two heartbeats",
			func() {
				s.Communic8.Set(func(b *c8test.Behaviour) {
					b.Fault = func(*http.Request, int) *c8test.Fault {
						return &c8test.Fault{Status: http.StatusNotFound}
					}
				})
				s.rotates("default")
				s.rotates("default")
			}, nil},
	} {
		s.says(trouble.what)
		trouble.cause()
		s.c8auth("status")
		if trouble.mend != nil {
			trouble.mend()
		}
	}
	s.squeeze()
	s.golden("status-troubles")
}

// line adds one of rotate's to its log, about a token that is an hour old. rest is members
// of it besides.
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

// An error that is told once is no reason to act while the token lives; silence is.
func TestStatusOfLines(t *testing.T) {
	s := operate(t)
	s.store("default", s.oauth(clientSecret))
	s.aged("default", time.Hour, day)
	s.says("rotate has said nothing for 19 minutes")
	s.line(19*time.Minute, `"outcome":"fresh"`)
	s.c8auth("status")
	s.says("two heartbeats ago one failed")
	s.line(8*time.Minute, `"error":"Communic8 did not answer in time"`)
	s.c8auth("status")
	s.says("and then another")
	s.line(3*time.Minute, `"error":"Communic8 did not answer in time"`)
	s.c8auth("status")
	s.squeeze()
	s.golden("status-lines")
}

// Somebody watches until Ctrl-C, which stops at once.
func TestWatch(t *testing.T) {
	s := operate(t)
	s.store("default", s.oauth(clientSecret))
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"status", "--watch", "--every", "1s"}, strings.NewReader(""), writer, io.Discard)
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
	s.AWS.Set(func(a *awstest.State) { a.Refused["secretsmanager:DescribeSecret"] = true })
	<-time.After(1100 * time.Millisecond) // a look that fails
	s.AWS.Set(func(a *awstest.State) { clear(a.Refused) })
	until("rotated, first_token")
	cancel()
	_, _ = io.Copy(io.Discard, reader)
	if status := <-ended; status != statusInterrupted {
		t.Errorf("it ends with %d", status)
	}
}

// At a terminal, what a person must do is red, and Ctrl-C stops at once.
func TestStatusAtATerminal(t *testing.T) {
	binary := build(t)
	operate(t)
	x := open(t, binary, "status", "--watch", "--every", "1s")
	x.sees("\x1b[31mdefault: no credentials are stored")
	x.sees("\x1b[H\x1b[2J") // again
	x.sees("no credentials")
	x.types("\x03")
	x.ends(statusInterrupted)

	t.Setenv("TERM", "dumb")
	x = open(t, binary, "status", "--watch", "--every", "1s")
	x.sees("no credentials")
	x.sees("no credentials")
	x.types("\x03")
	x.ends(statusInterrupted)
	if strings.Contains(x.seen.String(), "\x1b") {
		t.Errorf("a dumb terminal gets %q", x.seen.String())
	}
}
