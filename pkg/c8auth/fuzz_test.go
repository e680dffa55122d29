package c8auth

// Input from outside is either accepted, within bounds, or refused in words of this package.
// A mark within the input is never in those words.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

// mark is within every input. It is no key that someone could have meant: those are shown.
const mark = "M4RK-7f3a"

// mustHide fails if the error shows the mark.
func mustHide(t *testing.T, err error) {
	t.Helper()
	if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, mark) {
		t.Errorf("the error shows the input: %s", text)
	}
}

// object returns the JSON object that the body is, if it is one.
func object(body []byte) (in map[string]any) {
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber() // of any size
	if !json.Valid(body) || decoder.Decode(&in) != nil {
		return nil
	}
	return in
}

func FuzzTokenResponse(f *testing.F) {
	f.Add(200, "", `{"access_token":"`, `","token_type":"Bearer","expires_in":86400}`)
	f.Add(200, "", `{"access_token":"0123`, `","token_type":"bearer","expires_in":"3600.5"}`)
	f.Add(200, "", `{"success":false,"message":"`, `"}`)
	f.Add(400, "", `{"error":"invalid_client","error_description":"`, `"}`)
	f.Add(400, "", `{"error":"`, `"}`)
	f.Add(429, "7", `<html>`, ``)
	f.Add(503, "Sat, 01 Jan 2000 00:01:00 GMT", ``, ``)
	f.Add(302, "", ``, ``)
	at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, status int, retryAfter, before, after string) {
		body := []byte(before + mark + after)
		resp := &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {retryAfter}}}
		response, err := readTokenResponse(resp, body, at)
		if err != nil {
			mustHide(t, err)
			var upstream *UpstreamError
			if !errors.As(err, &upstream) {
				t.Fatalf("no UpstreamError: %T", err)
			}
			if upstream.Status != status || response != (TokenResponse{}) {
				t.Errorf("got %+v, and %+v of HTTP %d", response, upstream, status)
			}
			if upstream.RetryAfter < 0 || upstream.RetryAfter > 24*time.Hour || upstream.RetryAfter > 0 && !errors.Is(upstream.Kind, ErrUpstream) {
				t.Errorf("Retry-After %v", upstream.RetryAfter)
			}
			return
		}
		in := object(body)
		if status < 200 || status > 299 || in == nil || in["success"] == false {
			t.Errorf("a token of HTTP %d, %q", status, body)
		}
		if token := response.AccessToken.Reveal(); token != in["access_token"] || !oauth.ValidBearer(token) {
			t.Errorf("token %q of %q", token, in["access_token"])
		}
		if response.Lifetime < Margin || response.Lifetime > maxLifetime || response.Lifetime%time.Second != 0 {
			t.Errorf("a lifetime of %v", response.Lifetime)
		}
	})
}

func FuzzProbe(f *testing.F) {
	for _, status := range []int{200, 201, 302, 401, 403, 404, 429, 500} {
		f.Add(status, `{"success":true,"data":["`, `"]}`)
		f.Add(status, "\ufeff"+`{"success":true,"data":["`, `"]}`)
		f.Add(status, `{"success":false,"SUCCESS":true,"message":"`, `"}`)
		f.Add(status, `{"success":"true","message":"`, `"}`)
		f.Add(status, `{"Success":true,"message":"`, `"}`)
		f.Add(status, `<html>`, ``)
	}
	f.Fuzz(func(t *testing.T, status int, before, after string) {
		body := []byte(before + mark + after)
		result, detail := readProbe(status, body)
		mustHide(t, errors.New(detail))
		good := status >= 200 && status < 300 && object(body)["success"] == true
		switch {
		case (result == ProbeRejected) != (status == http.StatusUnauthorized), (result == ProbeGood) != good, result == "":
			t.Errorf("HTTP %d, %q is %q", status, body, result)
		}
	})
}

func FuzzCredentials(f *testing.F) {
	f.Add(`{"base_url": "https://acme.communic8.com", "client_id": "id", "client_secret": "`, `"}`)
	f.Add(`{"base_url": "https://acme.communic8.com:8443", "access_key": "`, `"}`)
	f.Add(`{"base_url": "http://[::1]:80", "access_key": "`, `"}`)
	f.Add(`{"base_url": "https://`, `@acme.communic8.com", "access_key": "k"}`)
	f.Add(`{"`, `": "x"}`)
	f.Add(`{"client_secret": "a", "client_secret": "`, `"}`)
	f.Add(`["`, `"]`)
	f.Add(``, ``)
	f.Fuzz(func(t *testing.T, before, after string) {
		c, err := ParseCredentials([]byte(before + mark + after))
		if err != nil {
			mustHide(t, err)
			if !errors.Is(err, ErrCredentials) || c != (Credentials{}) {
				t.Errorf("got %+v, and %v", c, err)
			}
			return
		}
		oauth, key := c.ClientID != "" && c.ClientSecret.Reveal() != "", c.AccessKey.Reveal() != ""
		if oauth == key {
			t.Error("not exactly one method")
		}
		mustBeSecure(t, c.BaseURL)
		var in map[string]string
		text := before + mark + after
		if err := json.Unmarshal([]byte(text[strings.Index(text, "{"):strings.LastIndex(text, "}")+1]), &in); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{"base_url": c.BaseURL, "client_id": c.ClientID, "client_secret": c.ClientSecret.Reveal(), "access_key": c.AccessKey.Reveal()}
		for name, value := range got {
			if value != in[name] {
				t.Errorf("%s is %q, want %q", name, value, in[name])
			}
		}
	})
}

// mustBeSecure fails unless the URL is one of a host alone, by TLS or on this machine, and
// remains that with a path appended.
func mustBeSecure(t *testing.T, base string) {
	t.Helper()
	for _, text := range []string{base, base + tokenPath, base + defaultProbePath} {
		u, err := url.Parse(text)
		if err != nil || u.User != nil || u.Fragment != "" || u.Scheme+"://"+u.Host != base {
			t.Errorf("%q: %v", text, err)
			continue
		}
		host := u.Hostname()
		local := host == "localhost" || host == "host.docker.internal" || host == "::1" || strings.HasPrefix(host, "127.") || strings.HasPrefix(host, "::ffff:127.") || strings.HasPrefix(host, "::ffff:7f")
		if u.Scheme != "https" && !(u.Scheme == "http" && local) {
			t.Errorf("%q is not secure", text)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(`{"base_url":"https://acme.communic8.com","access_token":"`, `","token_type":"Bearer","issued_at":"2026-01-02T03:04:05Z","expires_at":"2026-01-03T03:04:05Z","credentials_version":"v"}`)
	f.Add(`{"base_url":"https://acme.communic8.com","access_token":"`, `","token_type":"bearer","issued_at":"2026-01-02T03:04:05.999+14:00","newer":{}}`)
	f.Add(`{"base_url":"https://acme.communic8.com","access_token":"`, `","token_type":"Bearer","issued_at":"9999-12-31T23:59:59-23:00"}`)
	f.Add(`{"base_url":"`, `"}`)
	f.Add(``, ``)
	f.Fuzz(func(t *testing.T, before, after string) {
		token, err := ParseToken([]byte(before + mark + after))
		if err != nil {
			mustHide(t, err)
			if !errors.Is(err, ErrUnreadable) || token != (Token{}) {
				t.Errorf("got %+v, and %v", token, err)
			}
			return
		}
		if !oauth.ValidBearer(token.AccessToken.Reveal()) || token.TokenType != bearer {
			t.Errorf("%q token", token.TokenType)
		}
		mustBeSecure(t, token.BaseURL)
		// Encoded again, it is read as the same.
		text, err := token.encode()
		if err != nil {
			t.Fatalf("it cannot be stored: %v", err)
		}
		again, err := ParseToken([]byte(text))
		if err != nil || again.AccessToken.Reveal() != token.AccessToken.Reveal() || !again.IssuedAt.Equal(token.IssuedAt) ||
			!again.ExpiresAt.Equal(token.ExpiresAt) || again.Expires() != token.Expires() || again.BaseURL != token.BaseURL {
			t.Errorf("read again: %v", err)
		}
		if token.Expires() {
			end := token.ExpiresAt.Add(-Margin)
			if !token.Valid(end) || token.Valid(end.Add(1)) || token.Remaining(token.ExpiresAt.Add(1)) != 0 {
				t.Errorf("valid beyond the margin before %v", token.ExpiresAt)
			}
		}
		if reason := due(token.IssuedAt, token, nil, token.CredentialsVersion, false); reason != "" && (reason != HalfLife || token.ExpiresAt.After(token.IssuedAt.Add(1))) {
			t.Errorf("due when it was issued: %s", reason)
		}
	})
}

func FuzzTenant(f *testing.F) {
	for _, name := range []string{
		"default", "acme-1", "", "a", "A", "1a", "-a", "a_b", "a.b", "a b", "a:b", "a*", ".", "..", "../x", "a/b", "%2e%2e", "ä", "ａ", "аcme", "a\n", "\x00",
		strings.Repeat("a", 31), strings.Repeat("a", 32), strings.Repeat("a", 200),
	} {
		f.Add(name)
	}
	whole := regexp.MustCompile(`\A[a-z][a-z0-9-]{0,30}\z`)
	f.Fuzz(func(t *testing.T, name string) {
		err := CheckTenant(name)
		if (err == nil) != whole.MatchString(name) {
			t.Errorf("%q: %v", name, err)
		}
		if err != nil && err.Error() != ErrTenantName.Error() || err == nil && url.PathEscape(name) != name {
			t.Errorf("%q: %v", name, err)
		}
	})
}
