package c8auth

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// An error has the same code however it is wrapped, and docs/operating.md lists all codes.
func TestCodes(t *testing.T) {
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{"internal": true}
	for _, c := range codes {
		if seen[c.code] {
			t.Errorf("%s is there twice", c.code)
		}
		seen[c.code] = true
		if got := Code(fmt.Errorf("wrapped: %w", explain(c.err, "details"))); got != c.code {
			t.Errorf("%v: got %s, want %s", c.err, got, c.code)
		}
	}
	for code := range seen {
		if !strings.Contains(string(page), "`"+code+"`") {
			t.Errorf("docs/operating.md does not list %s", code)
		}
	}
	for want, err := range map[string]error{
		"internal":              errors.New("something else"),
		"credentials_refused":   fmt.Errorf("%w; and with the previous ones: %w", &UpstreamError{Refused: true}, explain(ErrCredentials, "no JSON")),
		"communic8_unavailable": &UpstreamError{Temporary: true},
		"communic8_answer":      &UpstreamError{},
		"access_denied":         explain(ErrDenied, "it is an ErrUnavailable, too"),
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
