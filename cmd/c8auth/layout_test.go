package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"

	"github.com/c8auth/c8auth/internal/fakes/awstest"
	"github.com/c8auth/c8auth/internal/fakes/c8test"
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
	binary := build(t)
	s := operate(t)
	s.Communic8.Set(func(b *c8test.Behaviour) { b.Lifetime = day })
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
	words := func(text string) []string {
		text = regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(text, "")
		text = strings.ReplaceAll(text, " \\\n", "\n")
		found := strings.Fields(normal(text))
		slices.Sort(found)
		return slices.Compact(found)
	}
	for _, args := range [][]string{{"status"}, {"doctor"}} {
		var wide []string
		for _, width := range []uint16{200, 120, 80, 60} {
			x := openSized(t, width, binary, args...)
			if args[0] == "doctor" {
				x.sees("[y/N]")
				x.types("n\r")
			}
			x.sees("a person must act")
			x.ends(statusAttention)
			screen := x.seen.String()
			for line := range strings.Lines(screen) {
				line = regexp.MustCompile(`\x1b\[\d+m|\n`).ReplaceAllString(line, "")
				long := slices.ContainsFunc(strings.Fields(line), func(word string) bool { return len(word) > int(width)-30 })
				if utf8.RuneCountInString(line) > int(width) && !long {
					t.Errorf("%s, %d columns: a line has %d: %q", args, width, utf8.RuneCountInString(line), line)
				}
			}
			found := words(screen)
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

func openSized(t *testing.T, columns uint16, binary string, args ...string) *terminal {
	t.Helper()
	return openWith(t, func(x *terminal) {
		if err := pty.Setsize(x.screen, &pty.Winsize{Rows: 50, Cols: columns}); err != nil {
			t.Fatal(err)
		}
	}, binary, args...)
}
