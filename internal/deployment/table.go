package main

// The table that is printed: a line for every step, and the totals.

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/c8auth/c8auth/internal/secretscan"
)

// table prints what was expected and seen of every step, and counts.
type table struct {
	ctx       context.Context // when it ends, the next failure ends the run
	out       io.Writer
	failFast  bool     // the first failure ends the run
	secrets   []string // what must not be printed
	part      string   // that the next steps belong to
	passed    int
	failed    []string // parts and steps
	skipped   []string
	startedAt time.Time
}

// failed begins the line of a step that is not as expected.
const failed = "FAILED"

// abandoned is the panic that ends a run whose next steps make no sense.
type abandoned struct{}

// secret returns a value after remembering that it must not be printed.
func (t *table) secret(value string) string {
	if value != "" && !slices.Contains(t.secrets, value) {
		t.secrets = append(t.secrets, value)
	}
	return value
}

// section begins a part of the table.
func (t *table) section(name string) {
	t.part = name
	t.printf("\n%s [%.0f s]\n", name, time.Since(t.startedAt).Seconds())
}

// expect adds a step, whose result is what was seen of it. It passes if that is what was
// expected, of which there may be several: "this or that".
func (t *table) expect(what, want string) func(seen string, err error) bool {
	return func(seen string, err error) bool {
		if err != nil {
			seen = strings.TrimSpace(seen + " error: " + err.Error())
		}
		ok := matches(want, seen) // which holds the error
		t.row(map[bool]string{true: "ok", false: failed}[ok], what, want, seen)
		if ok {
			t.passed++
			return true
		}
		t.failed = append(t.failed, t.part+": "+what)
		if t.failFast || t.ctx.Err() != nil {
			panic(abandoned{})
		}
		return false
	}
}

// must is expect of a step that all others need.
func (t *table) must(what, want string) func(seen string, err error) {
	return func(seen string, err error) {
		if !t.expect(what, want)(seen, err) {
			t.printf("        The other steps cannot be taken.\n")
			panic(abandoned{})
		}
	}
}

// skip adds a step that is not taken.
func (t *table) skip(what, reason string) {
	t.row("skipped", what, reason, "")
	t.skipped = append(t.skipped, what)
}

// row prints a line of the table.
func (t *table) row(result, what, want, seen string) {
	t.printf("%-8s%-52s  %-38s  %s\n", result, what, want, oneLine(seen))
}

// printf prints, unless that would show a secret.
func (t *table) printf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if secretscan.Find(text, t.secrets...) != nil {
		text = "(a line that holds a secret is not shown)\n"
		t.failed = append(t.failed, "no secret is printed")
	}
	_, _ = io.WriteString(t.out, text)
}

// totals prints them and reports whether nothing failed.
func (t *table) totals() bool {
	t.printf("\n%d passed, %d failed, %d skipped, in %.0f s\n", t.passed, len(t.failed), len(t.skipped), time.Since(t.startedAt).Seconds())
	if len(t.skipped) > 0 {
		t.printf("skipped: %s\n", strings.Join(t.skipped, "; "))
	}
	if len(t.failed) > 0 {
		t.printf("FAILED: %s\n", strings.Join(t.failed, "; "))
	}
	return len(t.failed) == 0
}

// matches reports whether seen, as one line, is what was expected, or one of it.
func matches(want, seen string) bool { return slices.Contains(alternatives(want), oneLine(seen)) }

// alternatives are what is expected: "this or that".
func alternatives(want string) []string { return strings.Split(want, " or ") }

// oneLine is text for a cell: without line breaks, and not longer than 300 characters.
func oneLine(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if runes := []rune(text); len(runes) > 300 {
		return string(runes[:150]) + " … " + string(runes[len(runes)-150:])
	}
	return text
}
