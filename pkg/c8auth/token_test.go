package c8auth

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestTokenRoundTrip(t *testing.T) {
	for name, token := range map[string]Token{
		"OAuth 2":    {BaseURL: "https://a.b", AccessToken: NewSecret("0123"), TokenType: "Bearer", IssuedAt: noon, ExpiresAt: noon.Add(time.Hour), CredentialsVersion: "v"},
		"access key": {BaseURL: "https://a.b", AccessToken: NewSecret("0123"), TokenType: "Bearer", IssuedAt: noon, CredentialsVersion: "v"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := token.encode()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(text, "expires_at") != token.Expires() {
				t.Errorf("expires_at: %s", text)
			}
			back, err := ParseToken([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if back.AccessToken.Reveal() != "0123" {
				t.Errorf("token %q", back.AccessToken.Reveal())
			}
			back.AccessToken = token.AccessToken
			if back != token {
				t.Errorf("got %+v, want %+v", back, token)
			}
		})
	}
}

// The stored form is the contract's, to the letter.
func TestTokenEncoding(t *testing.T) {
	got, err := Token{BaseURL: "https://acme.communic8.com", AccessToken: NewSecret("…"), TokenType: "Bearer", IssuedAt: noon, ExpiresAt: noon.Add(24 * time.Hour), CredentialsVersion: "v1"}.encode()
	want := `{"base_url":"https://acme.communic8.com","access_token":"…","token_type":"Bearer","issued_at":"2026-01-02T12:00:00Z","expires_at":"2026-01-03T12:00:00Z","credentials_version":"v1"}`
	if err != nil || got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A token is stored as it is: one of <, > and & as long as an answer of Communic8 can be
// has room in a secret.
func TestTokenIsStoredAsItIs(t *testing.T) {
	inWorld(t, func(w *world) {
		long := strings.Repeat("<>&", maxAnswer/3-100)
		w.sm.Put(acmeCreds, acmeOAuth)
		w.c8Fault(c8test.Fault{Body: `{"access_token":"` + long + `","expires_in":3600}`})
		w.rotator.Endpoint.ProbePath = ""
		w.must(Rotated, FirstToken)
		if text, _ := w.sm.Value(acmeToken); !strings.Contains(text, long) || len(text) > len(long)+500 {
			t.Errorf("%d characters are stored as %d", len(long), len(text))
		}
		if token, err := w.vend(false); err != nil || token != long {
			t.Errorf("vended %d characters, %v", len(token), err)
		}
	})
}

func TestParseTokenRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":                       ``,
		"no JSON":                       `MARK`,
		"cut off":                       `{"access_token":"MARK`,
		"a list":                        `["MARK"]`,
		"null":                          `null`,
		"credentials":                   `{"base_url":"https://a.b","client_id":"id","client_secret":"MARK"}`,
		"no base_url":                   `{"access_token":"MARK","token_type":"Bearer","issued_at":"2026-01-02T03:04:05Z"}`,
		"a base_url with http":          `{"base_url":"http://a.b","access_token":"MARK","token_type":"Bearer","issued_at":"2026-01-02T03:04:05Z"}`,
		"a token with a line end":       `{"base_url":"https://a.b","access_token":"MARK\r\n","token_type":"Bearer","issued_at":"2026-01-02T03:04:05Z"}`,
		"an empty token":                `{"base_url":"https://a.b","access_token":"","token_type":"Bearer","issued_at":"2026-01-02T03:04:05Z"}`,
		"another type":                  `{"base_url":"https://a.b","access_token":"MARK","token_type":"mac","issued_at":"2026-01-02T03:04:05Z"}`,
		"no issued_at":                  `{"base_url":"https://a.b","access_token":"MARK","token_type":"Bearer"}`,
		"a time past the last year":     `{"base_url":"https://a.b","access_token":"MARK","token_type":"Bearer","issued_at":"9999-12-31T23:59:59-23:00"}`,
		"an expires_at that is no date": `{"base_url":"https://a.b","access_token":"MARK","token_type":"Bearer","issued_at":"2026-01-02T03:04:05Z","expires_at":"MARK"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseToken([]byte(in))
			if !errors.Is(err, ErrUnreadable) {
				t.Fatalf("got %v, want ErrUnreadable", err)
			}
			if strings.Contains(err.Error(), "MARK") {
				t.Errorf("the error shows a value: %v", err)
			}
		})
	}
}

func TestAlive(t *testing.T) {
	expiring := Token{AccessToken: NewSecret("t"), ExpiresAt: noon}
	for _, test := range []struct {
		name  string
		token Token
		now   time.Time
		want  bool
	}{
		{"an hour left", expiring, noon.Add(-time.Hour), true},
		{"just the margin left", expiring, noon.Add(-Margin), true},
		{"less than the margin left", expiring, noon.Add(-Margin + time.Nanosecond), false},
		{"expired", expiring, noon, false},
		{"long expired", expiring, noon.Add(time.Hour), false},
		{"no expiry", Token{AccessToken: NewSecret("t")}, noon.AddDate(100, 0, 0), true},
		{"no token", Token{}, noon, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.token.Valid(test.now); got != test.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestLifePercent(t *testing.T) {
	hour := Token{AccessToken: NewSecret("t"), IssuedAt: noon, ExpiresAt: noon.Add(time.Hour)}
	for _, test := range []struct {
		name  string
		token Token
		after time.Duration // since it was issued
		want  float64
	}{
		{"new", hour, 0, 100},
		{"half of the lifetime is over", hour, 30 * time.Minute, 50},
		{"a quarter is left", hour, 45 * time.Minute, 25},
		{"a second is left", hour, time.Hour - time.Second, 100.0 / 3600},
		{"expired", hour, time.Hour, 0},
		{"long expired", hour, 100 * time.Hour, 0},
		{"issued in the future", hour, -time.Minute, 100},
		{"a month", Token{AccessToken: NewSecret("t"), IssuedAt: noon, ExpiresAt: noon.Add(720 * time.Hour)}, 540 * time.Hour, 25},
		{"no lifetime", Token{AccessToken: NewSecret("t"), IssuedAt: noon, ExpiresAt: noon}, 0, 0},
		{"expires before it was issued", Token{AccessToken: NewSecret("t"), IssuedAt: noon.Add(2 * time.Hour), ExpiresAt: noon.Add(time.Hour)}, 0, 0},
		{"an access key", Token{AccessToken: NewSecret("t"), IssuedAt: noon}, 1e6 * time.Hour, 100},
		{"no token", Token{}, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.token.LifetimePercent(noon.Add(test.after)); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestCheckTenant(t *testing.T) {
	for _, name := range []string{"default", "a", "acme-2", strings.Repeat("a", 31)} {
		if err := CheckTenant(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "../x", "a/b", "%2e%2e", ".", "..", "A", "1a", "-a", "a_b", "a.b", "a b", "a\n", "\x00", "ä", "ａ", "аcme", "a*", "a:b", strings.Repeat("a", 32), strings.Repeat("a", 200)} {
		err := CheckTenant(name)
		if !errors.Is(err, ErrTenantName) {
			t.Errorf("%q is taken for a tenant's name", name)
		} else if len(name) > 3 && strings.Contains(err.Error(), name) {
			t.Errorf("the error repeats the name: %v", err)
		}
	}
}
