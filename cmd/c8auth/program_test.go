package main

// The program as a whole, at the prompt: what was typed, what it printed, and how it ended
// are one text, which is compared with a file in testdata. -update writes the files.

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files, instead of comparing with them")

// session is a person at a prompt.
type session struct {
	*testing.T
	seen strings.Builder // by that person
}

// sit begins a session in an environment without anything of this machine's.
func sit(t *testing.T) *session {
	t.Helper()
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "C8AUTH_") || strings.HasSuffix(strings.ToLower(name), "_proxy") {
			t.Setenv(name, "") // to have it back after the test
			_ = os.Unsetenv(name)
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	return &session{T: t}
}

// c8auth runs the program without a terminal and returns what it printed to stdout.
func (s *session) c8auth(args ...string) string { return s.reading("", args...) }

// reading does so with a text as the standard input.
func (s *session) reading(stdin string, args ...string) string {
	s.Helper()
	var stdout, stderr bytes.Buffer
	status := run(s.Context(), args, strings.NewReader(stdin), &stdout, &stderr)
	fmt.Fprintf(&s.seen, "$ c8auth %s\n%s%s", strings.Join(args, " "), &stdout, &stderr)
	if status != 0 {
		fmt.Fprintf(&s.seen, "[status %d]\n", status)
	}
	s.seen.WriteByte('\n')
	return stdout.String()
}

// varying is what differs from run to run, with what stands for it in a golden file.
var varying = map[string]*regexp.Regexp{
	"127.0.0.1:PORT":       regexp.MustCompile(`127\.0\.0\.1:\d+`),
	"UUID":                 regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`),
	"TOKEN":                regexp.MustCompile(`\b[0-9a-f]{32}\b`),
	"2026-01-02T03:04:05Z": regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`),
}

// golden compares what was seen with testdata/<name>.golden.
func (s *session) golden(name string) {
	s.Helper()
	got := s.seen.String()
	for place, pattern := range varying {
		got = pattern.ReplaceAllString(got, place)
	}
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			s.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		s.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		s.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// A command line that is wrong is told from a command that fails.
func TestUsage(t *testing.T) {
	s := sit(t)
	s.c8auth("sttaus")
	s.c8auth("--colour")
	s.golden("usage")
}
