package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"syscall"
	"testing"
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
	if status := run(t.Context(), []string{"doctor", "--measure"}, strings.NewReader(""), io.Discard, full{}); status != statusFailure {
		t.Errorf("without a standard error: status %d", status)
	}
	for _, args := range [][]string{
		{"status"}, {"status", "--json"}, {"status", "--watch"}, {"doctor"}, {"doctor", "--json"},
		{"token", "default"}, {"token", "default", "--header"}, {"token", "default", "--json"},
		{"rotate", "default"}, {"rotate", "default", "--json"},
		{"grant", "default", "--role", "arn:aws:iam::123456789012:role/payroll"},
		{"credentials", "set", "default"}, {"credentials"},
		{"completion", "bash"}, {"__complete", "rotate", ""}, {"--help"}, {"status", "--help"}, {"--version"}, {},
	} {
		var stderr bytes.Buffer
		status := run(t.Context(), args, strings.NewReader(s.oauth(clientSecret)), full{}, &stderr)
		if status != statusFailure || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("c8auth %s: status %d, %q", args, status, stderr.String())
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
