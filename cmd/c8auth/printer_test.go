package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/c8auth/c8auth/internal/fakes/awstest"
)

// Lines are broken at spaces, and commands can be copied from several.
func TestWrap(t *testing.T) {
	for _, test := range []struct {
		text          string
		width, indent int
		want          string
	}{
		{"one two three", 0, 0, "one two three"},
		{"one two three", 7, 2, "one two\n  three"},
		{"one two three", 3, 0, "one\ntwo\nthree"},
		{"anything-but-short two", 5, 2, "anything-but-short\n  two"},
		{"  Do: one two", 9, 2, "  Do: one\n  two"},
		{"see `aws sqs --queue-url x` now", 14, 2, "see `aws sqs \\\n  --queue-url \\\n  x` now"},
		{"see `aws` now and then", 9, 0, "see `aws`\nnow and\nthen"},
		{"█████ ░░░░░", 11, 0, "█████ ░░░░░"},
	} {
		if got := wrap(test.text, test.width, test.indent); got != test.want {
			t.Errorf("%q, %d columns:\n%s\nwant\n%s", test.text, test.width, got, test.want)
		}
	}
}

// On terminals of any width, no word is split and what a person must do comes first.
func TestWidths(t *testing.T) {
	s := operate(t)
	s.Communic8.Set(lastingADay)
	s.store("acme", s.oauth(clientSecret))
	s.store("default", s.oauth("wrong"))
	s.rotates("acme")
	s.aged("default", 15*time.Hour, day)
	s.rotates("default")
	s.rotates("default")
	s.AWS.Set(func(a *awstest.State) {
		a.Schedules["c8auth/acme"] = "ENABLED"
		a.Queues["c8auth-failed"] = 2
		a.Topics["c8auth-alarms"] = awstest.Topic{}
	})
	colour := regexp.MustCompile(`\x1b\[\d+m`)
	for _, args := range [][]string{{"status"}, {"doctor"}} {
		var wide []string
		for _, width := range []uint16{200, 120, 80, 60} {
			x := openSized(t, width, args...)
			if args[0] == "doctor" {
				x.answers("[y/N]", "n")
			}
			x.sees("a person must act")
			x.ends(statusAttention)
			screen := colour.ReplaceAllString(x.seen.String(), "")
			for line := range strings.Lines(screen) {
				line = strings.TrimSuffix(line, "\n")
				long := slices.ContainsFunc(strings.Fields(line), func(word string) bool { return len(word) > int(width)-30 })
				if utf8.RuneCountInString(line) > int(width) && !long {
					t.Errorf("%s, %d columns: a line has %d: %q", args, width, utf8.RuneCountInString(line), line)
				}
			}
			found := strings.Fields(normal(strings.ReplaceAll(screen, " \\\n", "\n")))
			if wide == nil {
				wide = found
			}
			for _, word := range wide {
				if !slices.Contains(found, word) && word != strings.ToUpper(word) { // a header
					t.Errorf("%s, %d columns: %q is split or missing, in\n%s", args, width, word, screen)
				}
			}
			if args[0] == "status" && strings.Index(screen, "refuses the credentials") > strings.Index(screen, "░") {
				t.Errorf("%d columns: what a person must do does not come first, in\n%s", width, screen)
			}
		}
	}
}

// hostile is text from outside that would clear the screen, forge a line, hide what follows,
// and reverse the order of letters.
const hostile = "\x1b[2J\r\nok     everything\u009b8m\u202e\u2066\ufeffend\x00\xff"

// Control characters are shown, in text and in JSON, wherever the text comes from.
func TestVisible(t *testing.T) {
	s := healthy(t)
	s.AWS.Set(func(a *awstest.State) {
		a.Stacks["c8auth"].Outputs["Url"] = "http://127.0.0.1:1/" + hostile
		a.Stacks["c8auth"].Parameters["VpcEndpoints"] = hostile
		a.Alarms["c8auth/"+hostile] = awstest.Alarm{Ringing: true, Description: hostile + " Do: " + hostile}
		a.Schedules["c8auth/default"] = hostile
	})
	quoted, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	s.line(0, `"error":`+string(quoted))
	s.line(0, `"error":`+string(quoted))
	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"doctor"}, {"doctor", "--json"}, {"token", "default"}} {
		var stdout, stderr bytes.Buffer
		run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
		for _, r := range stdout.String() + stderr.String() {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("c8auth %s prints %U, in\n%q", args, r, stdout.String()+stderr.String())
				break
			}
		}
		if strings.Contains(stdout.String(), "\nok     everything") {
			t.Errorf("c8auth %s prints a forged line", args)
		}
	}
}

// full is a disk that is.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// What cannot be printed is a failure, of every command.
func TestFailedWrites(t *testing.T) {
	s := healthy(t)
	wrong := s.oauth("typing-error") // refused, and stored all the same with a line on the standard error
	if status := run(t.Context(), []string{"credentials", "set", "default", "--insist"}, strings.NewReader(wrong), io.Discard, full{}); status != statusFailure {
		t.Errorf("without a standard error: status %d", status)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // for commands that would not end
	defer cancel()
	set, grant := []string{"credentials", "set", "default"}, []string{"grant", "default", "--role", "arn:aws:iam::123456789012:role/payroll"}
	for _, args := range [][]string{
		{"status"}, {"status", "--json"}, {"status", "--watch"}, {"doctor"}, {"doctor", "--json"},
		{"token", "default"}, {"token", "default", "--header"}, {"token", "default", "--json"},
		{"who", "default"}, {"who", "default", "--json"},
		{"proxy"}, {"proxy", "--listen", "unix:" + filepath.Join(t.TempDir(), "socket")}, {"proxy", "--path-file", filepath.Join(t.TempDir(), "path")},
		{"rotate", "default"}, {"rotate", "default", "--json"},
		grant, append(grant, "--json"), {"doctor", "--measure"}, {"doctor", "--measure", "--json"},
		set, append(set, "--json"), append(set, "--now"), append(set, "--now", "--json"), {"credentials"},
		{"completion", "bash"}, {"__complete", "rotate", ""}, {"--help"}, {"status", "--help"}, {"--version"}, {},
	} {
		var stderr bytes.Buffer
		status := run(ctx, args, strings.NewReader(s.oauth(clientSecret)), full{}, &stderr)
		if status != statusFailure || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("c8auth %s: status %d, %q", args, status, stderr.String())
		}
		if ctx.Err() != nil {
			t.Fatalf("c8auth %s does not end", args)
		}
	}
}
