package c8auth

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// Stored tokens have the contract's form, to the letter, and are read as they were written.
func TestTokenEncoding(t *testing.T) {
	for _, test := range []struct {
		expires time.Time
		want    string
	}{
		{noon.Add(24 * time.Hour), `{"base_url":"https://acme.communic8.com","access_token":"…","token_type":"Bearer","issued_at":"2026-01-02T12:00:00Z","expires_at":"2026-01-03T12:00:00Z","credentials_version":"v1"}`},
		{time.Time{}, `{"base_url":"https://acme.communic8.com","access_token":"…","token_type":"Bearer","issued_at":"2026-01-02T12:00:00Z","credentials_version":"v1"}`},
	} {
		token := Token{BaseURL: acmeURL, AccessToken: NewSecret("…"), TokenType: "Bearer", IssuedAt: noon, ExpiresAt: test.expires, CredentialsVersion: "v1"}
		if got, err := token.encode(); err != nil || got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
		ascii := strings.Replace(test.want, "…", "a", 1)
		read, err := ParseToken([]byte(ascii))
		if again, _ := read.encode(); err != nil || again != ascii || read.Expires() == test.expires.IsZero() {
			t.Errorf("got  %s\nwant %s\n%v", again, ascii, err)
		}
	}
}

// <, > and & are stored as they are: a secret has room for as many as a response can have.
func TestTokenIsNotEscaped(t *testing.T) {
	withEnv(t, func(e *env) {
		long := strings.Repeat("<>&", maxAnswer/3-100)
		e.tokenFault(c8test.Fault{Body: `{"access_token":"` + long + `","expires_in":3600}`})
		e.rotator.Endpoint.ProbePath = ""
		e.start(client)
		if text, _ := e.sm.Value(acmeToken); !strings.Contains(text, long) || len(text) > len(long)+500 {
			t.Errorf("%d characters are stored as %d", len(long), len(text))
		}
		if token, err := e.vend(false); err != nil || token != long {
			t.Errorf("got %d characters, %v", len(token), err)
		}
	})
}

func TestParseTokenRefuses(t *testing.T) {
	with := func(member, value string) string {
		return strings.Replace(`{"base_url":"https://a.b","access_token":"MARK","token_type":"Bearer","issued_at":"2026-01-02T03:04:05Z","expires_at":"2026-01-03T03:04:05Z"}`, member, value, 1)
	}
	if token, err := ParseToken([]byte(with("Bearer", "bearer"))); err != nil || token.TokenType != "Bearer" {
		t.Fatalf("got %q, %v", token.TokenType, err)
	}
	for name, in := range map[string]string{
		"nothing":                       ``,
		"no JSON":                       `MARK`,
		"cut off":                       `{"access_token":"MARK`,
		"a list":                        `["MARK"]`,
		"null":                          `null`,
		"credentials":                   `{"base_url":"https://a.b","client_id":"id","client_secret":"MARK"}`,
		"no base_url":                   with(`"base_url":"https://a.b",`, ``),
		"a base_url with http":          with(`https:`, `http:`),
		"a token with a line end":       with(`MARK`, `MARK\r\n`),
		"an empty token":                with(`MARK`, ``),
		"another type":                  with(`Bearer`, `mac`),
		"no issued_at":                  with(`"issued_at":"2026-01-02T03:04:05Z",`, ``),
		"a time past the last year":     with(`2026-01-02T03:04:05Z`, `9999-12-31T23:59:59-23:00`),
		"an expires_at that is no date": with(`2026-01-03T03:04:05Z`, `MARK`),
	} {
		if _, err := ParseToken([]byte(in)); !errors.Is(err, ErrUnreadable) || strings.Contains(err.Error(), "MARK") {
			t.Errorf("%s: got %v, want ErrUnreadable without a value", name, err)
		}
	}
}

func TestLifetime(t *testing.T) {
	hour := Token{AccessToken: NewSecret("t"), IssuedAt: noon, ExpiresAt: noon.Add(time.Hour)}
	key := Token{AccessToken: NewSecret("t"), IssuedAt: noon}
	for _, test := range []struct {
		name    string
		token   Token
		after   time.Duration // since it was issued
		valid   bool
		percent float64
	}{
		{"new", hour, 0, true, 100},
		{"half of the lifetime is over", hour, 30 * time.Minute, true, 50},
		{"a quarter is left", hour, 45 * time.Minute, true, 25},
		{"the margin is left", hour, time.Hour - Margin, true, 100.0 / 120},
		{"less than the margin is left", hour, time.Hour - Margin + 1, false, 100.0 * float64(Margin-1) / float64(time.Hour)},
		{"expired", hour, time.Hour, false, 0},
		{"expired long ago", hour, 100 * time.Hour, false, 0},
		{"issued in the future", hour, -time.Minute, true, 100},
		{"no lifetime", Token{AccessToken: NewSecret("t"), IssuedAt: noon, ExpiresAt: noon}, 0, false, 0},
		{"expires before it was issued", Token{AccessToken: NewSecret("t"), IssuedAt: noon.Add(2 * time.Hour), ExpiresAt: noon.Add(time.Hour)}, 0, true, 0},
		{"an access key", key, 1e6 * time.Hour, true, 100},
		{"no token", Token{}, 0, false, 0},
	} {
		if got := test.token.Valid(noon.Add(test.after)); got != test.valid {
			t.Errorf("%s: valid %t, want %t", test.name, got, test.valid)
		}
		if got := test.token.LifetimePercent(noon.Add(test.after)); got != test.percent {
			t.Errorf("%s: %v %%, want %v %%", test.name, got, test.percent)
		}
	}
}
