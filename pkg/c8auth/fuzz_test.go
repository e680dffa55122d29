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
	for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		if strings.Contains(text, mark) {
			t.Errorf("the error shows the input: %s", text)
		}
	}
}

// mustRedact fails if any way of printing the value shows the mark.
func mustRedact(t *testing.T, v any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	for _, text := range []string{fmt.Sprint(v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), fmt.Sprintf("%q %x", v, v), string(text)} {
		if strings.Contains(text, mark) {
			t.Errorf("a secret is shown: %s", text)
		}
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
			if upstream.RetryAfter < 0 || upstream.RetryAfter > 24*time.Hour || upstream.RetryAfter > 0 && upstream.Kind != ErrUpstream {
				t.Errorf("Retry-After %v", upstream.RetryAfter)
			}
			if upstream.Status != status {
				t.Errorf("HTTP %d became %d", status, upstream.Status)
			}
			if response != (TokenResponse{}) {
				t.Error("an error and a token")
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
		mustRedact(t, response)
	})
}

func FuzzLifetime(f *testing.F) {
	for _, raw := range []string{`86400`, `"86400"`, `86400.9`, `" 60 "`, `-1`, `0`, `1e300`, `-1e300`, `null`, `true`, `""`, `"abc"`, `{}`, `[1]`, ``, `9223372036854775808`, `0.5`, `2592001`} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, ok := readLifetime(json.RawMessage(raw))
		if got < 0 || got > maxLifetime || got%time.Second != 0 || !ok && got != 0 {
			t.Errorf("%q is %v", raw, got)
		}
		var number float64
		if json.Unmarshal([]byte(raw), &number) != nil || strings.TrimSpace(raw) == "null" {
			return
		}
		// A number is never rounded up, nor down by a second, and is the same in a string.
		if max(number, 0) < got.Seconds() || got < maxLifetime && got.Seconds() < number-1 || ok != (number > 0) {
			t.Errorf("%q is %v, %t", raw, got, ok)
		}
		quoted, err := json.Marshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := readLifetime(quoted); again != got {
			t.Errorf("%q is %v, and %s is %v", raw, got, quoted, again)
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
			if !errors.Is(err, ErrCredentials) {
				t.Errorf("no ErrCredentials: %v", err)
			}
			if c != (Credentials{}) {
				t.Error("an error and credentials")
			}
			return
		}
		oauth, key := c.ClientID != "" && c.ClientSecret.Reveal() != "", c.AccessKey.Reveal() != ""
		if oauth == key {
			t.Error("not exactly one method")
		}
		mustBeSecure(t, c.BaseURL)
		mustRedact(t, struct{ A, B Secret }{c.ClientSecret, c.AccessKey})
		// Encoded again, they are read as the same.
		fields := map[string]string{"base_url": c.BaseURL}
		if oauth {
			fields["client_id"], fields["client_secret"] = c.ClientID, c.ClientSecret.Reveal()
		} else {
			fields["access_key"] = c.AccessKey.Reveal()
		}
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseCredentials(text)
		if err != nil || again.BaseURL != c.BaseURL || again.ClientID != c.ClientID ||
			again.ClientSecret.Reveal() != c.ClientSecret.Reveal() || again.AccessKey.Reveal() != c.AccessKey.Reveal() {
			t.Errorf("read again: %v", err)
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
			if !errors.Is(err, ErrUnreadable) {
				t.Errorf("no ErrUnreadable: %v", err)
			}
			if token != (Token{}) {
				t.Error("an error and a token")
			}
			return
		}
		if !oauth.ValidBearer(token.AccessToken.Reveal()) || token.TokenType != bearer {
			t.Errorf("%q token", token.TokenType)
		}
		mustBeSecure(t, token.BaseURL)
		mustRedact(t, token.AccessToken)
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
		if err != nil && err.Error() != ErrTenantName.Error() {
			t.Errorf("%q: %v", name, err)
		}
		if err == nil && url.PathEscape(name) != name {
			t.Errorf("%q must be escaped in a path", name)
		}
	})
}

func FuzzSettings(f *testing.F) {
	f.Add("stack", "/int/v1/broadcast?limit=1", "1m", "acme,default", "http://127.0.0.1:1")
	f.Add("", "", "", "", "")
	f.Add("1stack", "//evil.test/x", "2h", "Acme,", "ftp://x")
	f.Add("s", "/x#y", "1ns", " acme , b ", "::")
	f.Fuzz(func(t *testing.T, stack, path, ttl, prefetch, endpoint string) {
		values := map[string]string{
			"C8AUTH_STACK": stack, "C8AUTH_PROBE_PATH": path, "C8AUTH_CACHE_TTL": ttl,
			"C8AUTH_PREFETCH": prefetch, "AWS_ENDPOINT_URL_SECRETS_MANAGER": endpoint,
		}
		s, err := read(values)
		if err == nil {
			if !stackName.MatchString(s.Stack) || s.CacheTTL < time.Second || s.CacheTTL > time.Hour {
				t.Errorf("%+v", s)
			}
			for _, tenant := range s.Prefetch {
				if CheckTenant(tenant) != nil {
					t.Errorf("prefetch %q", tenant)
				}
			}
			if u, err := url.Parse("https://acme.communic8.com" + s.ProbePath); err != nil || u.Host != "acme.communic8.com" || u.Fragment != "" {
				t.Errorf("the probe path %q leads to %v, %v", s.ProbePath, u, err)
			}
			return
		}
		// The error names exactly the variables that are malformed on their own.
		for name, value := range values {
			_, wrong := read(map[string]string{name: value})
			if named := strings.Contains(err.Error(), name+": expected"); named != (wrong != nil) {
				t.Errorf("%s=%q: named %t in %v", name, value, named, err)
			}
		}
	})
}
