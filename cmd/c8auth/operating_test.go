package main

// What docs/operating.md shows is what the tool prints, but for what differs each time, and the
// names of hosts.

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/c8auth/c8auth/internal/docs"
	"github.com/c8auth/c8auth/internal/fakes/awstest"
	"github.com/c8auth/c8auth/internal/harness"
)

const operatingPage = "../../docs/operating.md"

// night begins a session in which somebody deleted the credentials of default in Communic8's
// console in the evening.
func night(t *testing.T) *session {
	t.Helper()
	s := operate(t)
	s.Communic8.Set(lastingADay)
	s.store("acme", s.oauth(clientSecret))
	s.store("default", s.oauth(clientSecret))
	s.aged("acme", 5*time.Hour, day)
	s.rotates("acme")
	s.aged("default", 15*time.Hour, day)
	s.Communic8.RemoveClient(clientID)
	s.rotates("default")
	s.rotates("default")
	s.AWS.Set(func(a *awstest.State) {
		a.Schedules["c8auth/acme"] = "ENABLED"
		a.Queues["c8auth-failed"] = 2
		a.Alarms["c8auth/rotations-fail"] = awstest.Alarm{Ringing: true, Description: "Rotations have been failing for 15 minutes. " +
			`Callers are not affected until a token expires. Do: read "error" in the log group /aws/lambda/c8auth-rotate; it says what to do.`}
	})
	return s
}

// shown returns what was seen as the documentation shows it. Its heartbeats were longer ago.
func (s *session) shown() string {
	text := strings.NewReplacer(
		s.APIURL, "https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1",
		s.Communic8URL, "https://acme.communic8.com",
		harness.Caller, "arn:aws:sts::123456789012:assumed-role/operator/ann",
	).Replace(s.seen.String())
	text = regexp.MustCompile(`\b\d+ s ago`).ReplaceAllString(text, "2 min 12 s ago")
	return regexp.MustCompile(`(LAST HEARTBEAT|\w+, 2 min 12 s ago) +(ALARMS|–)`).ReplaceAllStringFunc(text, func(cells string) string {
		at := strings.LastIndex(cells, " ")
		return fmt.Sprintf("%-24s%s", strings.TrimSpace(cells[:at]), cells[at+1:])
	})
}

// same compares the part of a file that a pattern's group matches with what was seen, but for what
// varies and the width of columns. -update replaces the part.
func (s *session) same(file, pattern, got string) {
	s.Helper()
	page, err := os.ReadFile(file)
	if err != nil {
		s.Fatal(err)
	}
	part := regexp.MustCompile("(?s)" + pattern).FindSubmatch(page)
	if part == nil {
		s.Fatalf("%s does not show it", file)
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Replace(string(page), string(part[1]), got, 1)), 0o644); err != nil {
			s.Fatal(err)
		}
	} else if diff := cmp.Diff(normal(squeeze(string(part[1]))), normal(squeeze(got))); diff != "" {
		s.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestNight: status and doctor name the cause and the remedy, as the page shows.
func TestNight(t *testing.T) {
	s := night(t)
	s.c8auth("status")
	s.c8auth("doctor")
	got := regexp.MustCompile(`\nok +endpoint .*`).ReplaceAllString(s.shown(), "") // which a test has
	s.same(operatingPage, "```console\n(\\$ c8auth status\nc8auth in .*?)```\n", strings.TrimSuffix(got, "\n"))
}

// TestIncidentPicture: the right credentials end the incident, as the picture shows.
func TestIncidentPicture(t *testing.T) {
	s := night(t)
	s.c8auth("status")
	s.Communic8.AddClient(clientID, clientSecret)
	s.seen.WriteString("# a new value in Communic8's console, and its JSON on the standard input:\n")
	s.reading(s.oauth(clientSecret), "credentials", "set", "default", "--now")
	s.rotates("default")
	s.AWS.Set(func(a *awstest.State) { a.Alarms["c8auth/rotations-fail"] = awstest.Alarm{} })
	if s.under("15 minutes later the alarm has ended:", "status"); s.status != 0 {
		t.Error("status is not 0")
	}
	times := []string{"2026-11-28 03:04:05", "2026-11-28 03:21:40"} // of the two times that status shows
	transcript := regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`).ReplaceAllStringFunc(s.shown(), func(at string) string {
		if len(times) > 0 {
			at, times = times[0], times[1:]
		}
		return at
	})
	transcript = regexp.MustCompile(`until [\d-]+T[\d:]+Z`).ReplaceAllString(transcript, "until 2026-11-29T03:05:20Z")
	s.same("../../docs/images/incident.svg", "(.*)", docs.Terminal("An incident: from status to green", transcript, 116))
}

// TestCommandLines: the documentation shows command lines that the tool accepts.
func TestCommandLines(t *testing.T) {
	snippets, err := docs.For("../..", "TestCommandLines")
	if err != nil || len(snippets) == 0 {
		t.Fatalf("%d command lines: %v", len(snippets), err)
	}
	line := regexp.MustCompile(`c8auth ([a-z-][^|)>\n]*)`)
	for _, snippet := range snippets {
		for _, found := range line.FindAllStringSubmatch(strings.NewReplacer("<tenant>", "default", "<ARN>", "ARN", "[TENANT]", "default", "TENANT", "default", "<your role's ARN>", "ARN").Replace(snippet.Text), -1) {
			if err := accepts(strings.Fields(found[1]), true); err != nil {
				t.Errorf("%s: %v", snippet, err)
			}
		}
	}
}
