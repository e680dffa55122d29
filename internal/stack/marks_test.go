package stack_test

// What a secret looks like wherever it may have leaked to.

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// The marked secrets. They hold what changes under escaping. Those that travel in a
// header can only be ASCII.
const (
	clientSecret    = `MARK+/ü&"x<cl13nt-s3cr3t>%41=\é;:tail`
	accessKey       = `MARK+/~&"x<4cc3ss-k3y>%42=\;:tail`
	accessToken     = `MARK+/~&"x<4cc3ss-t0k3n>%43=\;:tail` // stored by hand, or issued where a case says so
	functionSecret  = `MARK+/fUnCt10nS3cr3t4cc3ssK3yEXAMPLEKEY`
	functionSession = `MARK+/fUnCt10nS3ss10n//////////wEaCmV1LWNlbnRyYWwtMSJHMEUCIQ==`
	callerSecret    = `MARK+/c4ll3rS3cr3t4cc3ssK3yEXAMPLEKEYxyz`
	callerSession   = `MARK+/c4ll3rS3ss10n//////////wEaCmV1LWNlbnRyYWwtMSJHMEUCIQ==`
)

var marks = []string{clientSecret, accessKey, accessToken, functionSecret, functionSession, callerSecret, callerSession}

// leaks names the secrets that text shows in any form, in whole or by half: the
// beginning of a secret that was cut off is a leak as well.
func leaks(text string, secrets ...string) (found []string) {
	for _, secret := range secrets {
		runes := []rune(secret)
		halves := []string{string(runes[:len(runes)/2]), string(runes[len(runes)/2:])}
		if slices.ContainsFunc(halves, func(half string) bool {
			return slices.ContainsFunc(forms(half), func(form string) bool { return strings.Contains(text, form) })
		}) {
			found = append(found, secret)
		}
	}
	return found
}

// forms are the strings of which text holds one if it holds s in some encoding.
func forms(s string) []string {
	inner := func(quoted string) string { return quoted[1 : len(quoted)-1] }
	inJSON := func(s string, escapeHTML bool) string {
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(escapeHTML)
		if err := encoder.Encode(s); err != nil {
			panic(err) // of a string: cannot be
		}
		return inner(strings.TrimSpace(out.String()))
	}
	out := []string{
		s,
		inner(strconv.Quote(s)), inner(strconv.QuoteToASCII(s)),
		url.QueryEscape(s), url.PathEscape(s), (&url.URL{Path: "/" + s}).EscapedPath()[1:], html.EscapeString(s),
		hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s))),
		strings.Trim(fmt.Sprint([]byte(s)), "[]"),
	}
	for _, once := range []string{inJSON(s, true), inJSON(s, false)} {
		out = append(out, once, inJSON(once, true), inJSON(once, false))
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 { // whatever stands before s, and whatever follows
			whole := encoding.EncodeToString([]byte("\x00\x00"[:before] + s))
			own := whole[(before*8+5)/6 : (before+len(s))*8/6]
			out = append(out, own, url.QueryEscape(own), inJSON(own, true))
		}
	}
	return out
}

// TestMarksAreFound is the check of the check: leaks finds every secret in every
// form, within anything, and nothing where there is nothing.
func TestMarksAreFound(t *testing.T) {
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
	secrets := append(slices.Clone(marks), "0123456789abcdef0123456789abcdef")
	for name, carry := range carriers {
		for _, secret := range secrets {
			if got := leaks(carry(secret), secrets...); !slices.Contains(got, secret) {
				t.Errorf("%s: %q is not found in %q", name, secret, carry(secret))
			}
		}
		if got := leaks(carry("nothing to hide, however long it may be"), secrets...); got != nil {
			t.Errorf("%s: found %q where there is nothing", name, got)
		}
	}
}

func logLine(value any) string {
	var out strings.Builder
	slog.New(slog.NewJSONHandler(&out, nil)).Error("rotation", "error", value)
	return out.String()
}
