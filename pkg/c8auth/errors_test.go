package c8auth

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Programs go by the code of an error, whatever is around it. docs/operating.md lists all of them.
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
		if got := Code(fmt.Errorf("around it: %w", explain(c.err, "in detail"))); got != c.code {
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
	} {
		if got := Code(err); got != want {
			t.Errorf("%v: got %s, want %s", err, got, want)
		}
	}
}

// An error in a log is short and printable, whatever it came from.
func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"as it is: ä…":            "as it is: ä…",
		"\x1b[2Jclear\r\nforge\t": "\ufffd[2Jclear\ufffd\ufffdforge\ufffd",
		"\u202ebidi\u200b":        "\ufffdbidi\ufffd",
		"\xff":                    "\ufffd",
	} {
		if got := Text(errors.New(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	got := Text(errors.New(strings.Repeat("ä\x00", 400)))
	if utf8.RuneCountInString(got) != 500 || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("got %q", got)
	}
}

// The message about settings fits in a line, even if all of them are wrong.
func TestSettingsErrorIsWhole(t *testing.T) {
	_, err := ReadSettings(func(string) (string, bool) { return " ", true })
	if err == nil || Text(err) != err.Error() || Code(err) != "invalid_settings" {
		t.Errorf("got %v", err)
	}
}
