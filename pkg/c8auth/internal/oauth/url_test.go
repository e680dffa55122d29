package oauth_test

import (
	"strings"
	"testing"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

func TestBaseURL(t *testing.T) {
	const valid, insecure, malformed = "valid", "insecure", "malformed"
	for want, urls := range map[string][]string{
		valid: {
			"https://acme.communic8.com", "https://ACME.communic8.com:8443", "https://a-b.c1", "https://[2001:db8::1]:443", "https://10.0.0.1",
			"http://127.0.0.1:9701", "http://[::1]:9701", "http://[::ffff:127.0.0.1]", "http://localhost", "http://host.docker.internal:65535",
			"https://" + strings.Repeat("a", 253),
		},
		insecure: {"http://acme.communic8.com", "http://10.0.0.1", "http://localhost.evil.example", "http://[::2]"},
		malformed: {
			"", "https://", "https:///", "https://:443", "acme.communic8.com", "//a.b", "ftp://a.b", "file:///x", "HTTPS://a.b", "mailto:a@a.b",
			"https://a.b/", "https://a.b/x", "https://a.b?", "https://a.b?x", "https://a.b#", "https://a.b#x", "https://u@a.b", "https://u:p@a.b",
			"https://a.b:", "https://a.b:0", "https://a.b:65536", "https://a.b:x", "https://a b", "https://ä.example", "https://a_b.example",
			"https://-a.b", "https://a-.b", "https://a..b", "https://a.b.", "https://a.b\u202e", "http://[::1%25lo]", "https://" + strings.Repeat("a", 254),
		},
	} {
		for _, s := range urls {
			u, ok := oauth.ParseBaseURL(s)
			got := malformed
			switch {
			case ok && oauth.Confidential(u):
				got = valid
			case ok:
				got = insecure
			}
			if got != want || ok && u.String() != s || oauth.ValidBaseURL(s) != (want == valid) {
				t.Errorf("%q is %s, want %s", s, got, want)
			}
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"as it is: ä…":            "as it is: ä…",
		"\x1b[2Jclear\r\nforge\t": "\ufffd[2Jclear\ufffd\ufffdforge\ufffd",
		"\u202ebidi\u200b":        "\ufffdbidi\ufffd",
		"\xff":                    "\ufffd",
		strings.Repeat("ä", 20):   strings.Repeat("ä", 20),
		strings.Repeat("ä", 21):   strings.Repeat("ä", 19) + "…",
	} {
		if got := oauth.Printable(text, 20); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
