package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/c8auth/c8auth/internal/fakes/awstest"
)

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

// One typing error leads to the name that was meant.
func TestNearest(t *testing.T) {
	names := []string{"default", "acme", "acme-test", "who"}
	for typed, want := range map[string]string{
		"default": "default", "defaul": "default", "Default": "default", "acm": "acme", "acme-tset": "acme-test", "amce": "acme",
		"hwo": "who", "foo": "", "globex": "", "": "",
	} {
		if got := nearest(typed, names); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}
