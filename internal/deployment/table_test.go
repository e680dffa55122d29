package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newTable returns a table that prints into a text.
func newTable() (*table, *strings.Builder) {
	out := new(strings.Builder)
	return &table{ctx: context.Background(), out: out, startedAt: time.Now()}, out
}

// A step passes if it was seen as expected, and only then; every step is one line.
func TestSteps(t *testing.T) {
	for _, test := range []struct {
		want, seen string
		err        error
		ok         bool
		line       string
	}{
		{"200", "200", nil, true, "ok the step 200 200"},
		{"200", "403", nil, false, "FAILED the step 200 403"},
		{"200 or 503", "503", nil, true, "ok the step 200 or 503 503"},
		{"200 or 503", "200 or 503", nil, false, "FAILED the step 200 or 503 200 or 503"},
		{"200", "", nil, false, "FAILED the step 200"},
		{"200", "200", errors.New("lost"), false, "FAILED the step 200 200 error: lost"},
		{"", "two\nlines\x1b[31m", nil, false, "FAILED the step two lines [31m"},
	} {
		table, out := newTable()
		if ok := table.expect("the step", test.want)(test.seen, test.err); ok != test.ok {
			t.Errorf("%q, %q: %t", test.want, test.seen, ok)
		}
		if got := strings.Join(strings.Fields(out.String()), " "); got != test.line || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("printed %q, want %q", got, test.line)
		}
		if len(table.failed) == 0 != test.ok || table.passed == 1 != test.ok {
			t.Errorf("counted %d passed, %d failed", table.passed, len(table.failed))
		}
	}
}

// The totals count everything, name what was not taken and what failed, and decide.
func TestTotals(t *testing.T) {
	table, out := newTable()
	table.expect("good", "x")("x", nil)
	table.skip("a canary", "there is no CodeDeploy")
	if !table.totals() {
		t.Error("a step that was skipped is no failure")
	}
	table.section("A part")
	table.expect("bad", "x")("y", nil)
	out.Reset()
	if table.totals() {
		t.Error("a failure was passed over")
	}
	want := "\n1 passed, 1 failed, 1 skipped, in 0 s\nskipped: a canary\nFAILED: A part: bad\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// No line shows a secret, and one that would is a failure.
func TestSecrets(t *testing.T) {
	const secret = "M4RK-7f3a-9c21-value"
	table, out := newTable()
	if table.secret(secret) != secret {
		t.Error("another value is returned")
	}
	table.expect("a step", "x")("got "+secret, nil)
	table.expect("another", "x")("x", errors.New("Bearer "+secret))
	table.printf("%s\n", secret[:len(secret)/2])
	if strings.Contains(out.String(), "M4RK") {
		t.Errorf("printed %s", out)
	}
	if table.totals() || strings.Count(strings.Join(table.failed, " "), "no secret is printed") != 3 {
		t.Errorf("failed: %q", table.failed)
	}
}

// A step that all others need ends the run, and so does any if the first failure is to.
func TestEnd(t *testing.T) {
	ends := func(steps func()) (ended bool) {
		defer func() { ended = recover() == abandoned{} }()
		steps()
		return false
	}
	table, _ := newTable()
	if ends(func() { table.expect("a step", "x")("y", nil) }) {
		t.Error("any failure ends the run")
	}
	if !ends(func() { table.must("a step", "x")("y", nil) }) {
		t.Error("the failure of a needed step does not end the run")
	}
	if ends(func() { table.must("a step", "x")("x", nil) }) {
		t.Error("a needed step that passes ends the run")
	}
	ended, end := context.WithCancel(t.Context())
	table.ctx = ended
	end()
	if !ends(func() { table.expect("a step", "x")("y", nil) }) {
		t.Error("after Ctrl-C, a failure does not end the run")
	}
	table.ctx = t.Context()
	table.failFast = true
	if !ends(func() { table.expect("a step", "x")("y", nil) }) {
		t.Error("the first failure does not end the run")
	}
}

// A cell is one line of at most 303 characters, with beginning and end of what is longer.
func TestCells(t *testing.T) {
	long := strings.Repeat("a", 200) + strings.Repeat("b", 200)
	for _, cell := range [][2]string{
		{"", ""},
		{" a \n\t b\r\n", "a b"},
		{"\x1b]0;x\x07y", "]0;x y"},
		{"ü\u00a0ü\u2028", "ü ü"},
		{long, strings.Repeat("a", 150) + " … " + strings.Repeat("b", 150)},
	} {
		text, want := cell[0], cell[1]
		if got := oneLine(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}
