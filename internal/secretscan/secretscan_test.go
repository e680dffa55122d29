package secretscan_test

import (
	"encoding/base64"
	"fmt"
	"html"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/c8auth/c8auth/internal/secretscan"
)

// TestFind is the check of the check: Find finds every secret in every
// form, within anything, and nothing where there is nothing.
func TestFind(t *testing.T) {
	carriers := map[string]func(s string) string{
		"plain":             func(s string) string { return "error: " + s + "." },
		"first half":        func(s string) string { return fmt.Sprintf("error: %.*s…", (utf8.RuneCountInString(s)+1)/2, s) },
		"second half":       func(s string) string { return string([]rune(s)[utf8.RuneCountInString(s)/2:]) },
		"%q":                func(s string) string { return fmt.Sprintf("unexpected %q", s) },
		"%+q":               func(s string) string { return fmt.Sprintf("unexpected %+q", s) },
		"%x":                func(s string) string { return fmt.Sprintf("unexpected %x", s) },
		"%X":                func(s string) string { return fmt.Sprintf("unexpected %X", s) },
		"%v of bytes":       func(s string) string { return fmt.Sprint([]byte("a" + s + "b")) },
		"log line":          func(s string) string { return logLine(s) },
		"error in log line": func(s string) string { return logLine(fmt.Errorf("%s: %q", s, s)) },
		"JSON in log line":  func(s string) string { return logLine(logLine(s)) },
		"query":             func(s string) string { return "/?" + url.Values{"token": {s}}.Encode() },
		"path":              func(s string) string { return (&url.URL{Path: "/tokens/" + s}).String() },
		"path segment":      func(s string) string { return "/tokens/" + url.PathEscape(s) },
		"user of a URL":     func(s string) string { return "https://user:" + url.QueryEscape(s) + "@localhost" },
		"HTML":              func(s string) string { return "<p>" + html.EscapeString(s) + "</p>" },
		"bytes in log line": func(s string) string { return logLine([]byte("x" + s)) },
	}
	for name, encoding := range map[string]*base64.Encoding{
		"std": base64.StdEncoding, "raw std": base64.RawStdEncoding, "url": base64.URLEncoding, "raw url": base64.RawURLEncoding,
	} {
		for _, before := range []string{"", ":", "id:", "an-id:"} {
			for _, after := range []string{"", "\n", "!!"} {
				carriers[fmt.Sprintf("base64 %s between %q and %q", name, before, after)] = func(s string) string {
					return "Bearer " + encoding.EncodeToString([]byte(before+s+after))
				}
			}
		}
		carriers["base64 "+name+" in a query"] = func(s string) string {
			return url.QueryEscape(encoding.EncodeToString([]byte("id:" + s)))
		}
	}
	secrets := []string{`MARK+/ü&"x<cl13nt-s3cr3t>%41=\é;:tail`, `MARK+/~&"x<4cc3ss-k3y>%42=\;:tail`, `MARK+/fUnCt10nS3cr3t4cc3ssK3yEXAMPLEKEY`, "0123456789abcdef0123456789abcdef"}
	for name, carry := range carriers {
		for _, secret := range secrets {
			if got := secretscan.Find(carry(secret), secrets...); !slices.Contains(got, secret) {
				t.Errorf("%s: %q is not found in %q", name, secret, carry(secret))
			}
		}
		if got := secretscan.Find(carry("nothing to hide, however long it may be"), secrets...); got != nil {
			t.Errorf("%s: found %q where there is nothing", name, got)
		}
	}
}

func logLine(value any) string {
	var out strings.Builder
	slog.New(slog.NewJSONHandler(&out, nil)).Error("rotation", "error", value)
	return out.String()
}
