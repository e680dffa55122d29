package c8auth

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// An error has the same code however it is wrapped, and docs/operating.md lists all codes.
func TestCodes(t *testing.T) {
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`= coded\("(\w+)"`).FindAllSubmatch(source, -1)
	if len(codes) < 15 {
		t.Fatalf("found only %d codes", len(codes))
	}
	for i, c := range codes {
		if slices.ContainsFunc(codes[:i], func(d [][]byte) bool { return bytes.Equal(c[1], d[1]) }) {
			t.Errorf("%s is there twice", c[1])
		}
		if !bytes.Contains(page, []byte("`"+string(c[1])+"`")) {
			t.Errorf("docs/operating.md does not list %s", c[1])
		}
	}
	for want, err := range map[string]error{
		"internal":              errors.New("something else"),
		"credentials_refused":   fmt.Errorf("%w; and with the previous ones: %w", &UpstreamError{Kind: ErrRefused}, explain(ErrCredentials, "no JSON")),
		"communic8_unavailable": &UpstreamError{Kind: ErrUpstream},
		"communic8_answer":      &UpstreamError{Kind: ErrAnswer},
		"access_denied":         fmt.Errorf("wrapped: %w", explain(ErrDenied, "it is an ErrUnavailable, too")),
	} {
		if got := Code(err); got != want {
			t.Errorf("%v: got %s, want %s", err, got, want)
		}
	}
}

// An error in a log has at most 500 printable characters.
func TestText(t *testing.T) {
	if got, want := Text(errors.New(strings.Repeat("ä\x00", 400))), strings.Repeat("ä\ufffd", 249)+"ä…"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
