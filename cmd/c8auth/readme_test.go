package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/c8auth/c8auth/internal/fakes/awstest"
	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/harness"
)

// What the README shows of a night is what one sees, but for what differs each time, and
// the names of hosts.
func TestReadme(t *testing.T) {
	s := operate(t)
	s.Communic8.Set(func(b *c8test.Behaviour) { b.Lifetime = day })
	s.store("acme", s.oauth(clientSecret))
	s.store("default", s.oauth(clientSecret))
	s.aged("acme", 5*time.Hour, day)
	s.rotates("acme")
	s.aged("default", 15*time.Hour, day)
	s.Communic8.RemoveClient(clientID) // by somebody in the console, in the evening
	s.rotates("default")
	s.rotates("default")
	s.AWS.Set(func(a *awstest.State) {
		a.Schedules["c8auth/acme"] = "ENABLED"
		a.Queues["c8auth-failed"] = 2
		a.Alarms["c8auth/rotations-fail"] = awstest.Alarm{Ringing: true, Description: "Rotations have been failing for 15 minutes. " +
			`Callers are not affected until a token expires. Do: read "error" in the log group /aws/lambda/c8auth-rotate; it says what to do.`}
	})
	s.c8auth("status")
	s.c8auth("doctor")
	wide := regexp.MustCompile(`\nok +endpoint .*`).ReplaceAllString(s.seen.String(), "") // which a test has
	s.seen.Reset()
	s.seen.WriteString(wide)
	s.squeeze()

	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)```console\n(\\$ c8auth status\nc8auth in .*?)```\n").FindSubmatch(text)
	if shown == nil {
		t.Fatal("the README does not show it")
	}
	want := &session{T: t}
	want.seen.Write(shown[1])
	want.squeeze()
	places := strings.NewReplacer(
		s.APIURL, "https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1",
		s.Communic8URL, "https://acme.communic8.com",
		harness.Caller, "arn:aws:sts::123456789012:assumed-role/operator/ann",
	)
	seen := places.Replace(s.seen.String())
	if *update {
		as := strings.TrimSuffix(regexp.MustCompile(`\b\d+ s ago`).ReplaceAllString(wide, "2 min 12 s ago"), "\n")
		text = []byte(strings.Replace(string(text), string(shown[1]), places.Replace(as), 1))
		if err := os.WriteFile("../../README.md", text, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(normal(want.seen.String()), normal(strings.TrimSuffix(seen, "\n"))); diff != "" {
		t.Errorf("README (-want +got):\n%s\nas printed:\n%s", diff, seen)
	}
}
