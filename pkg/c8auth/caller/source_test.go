package caller_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

// However many want the token at once, one request is made; then it is held.
func TestOneRequestForAll(t *testing.T) {
	inWorld(t, func(w *world) {
		source := w.source()
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				token, err := source.Token()
				if err != nil || !w.c8.Valid(token.AccessToken) || token.TokenType != "Bearer" ||
					token.Extra("base_url") != acme || token.Extra("version") == "" || !token.Expiry.Equal(time.Now().Add(24*time.Hour)) {
					t.Errorf("got %+v, %v", token, err)
				}
			})
		}
		all.Wait()
		if got := w.count("GET"); got != 1 {
			t.Errorf("%d requests were made, want 1", got)
		}
	})
}

// The token is fetched once in its life, two to four minutes before its end, without
// anybody waiting for that; and programs that share it do not come at the same time.
func TestNextTokenInTime(t *testing.T) {
	inWorld(t, func(w *world) {
		fleet := make([]*caller.Source, 200)
		for i := range fleet {
			fleet[i] = w.source()
			if _, err := fleet[i].Token(); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		time.Sleep(13 * time.Hour)
		w.rotate()
		var came []time.Duration
		for time.Since(start) < 24*time.Hour {
			time.Sleep(time.Second)
			for _, source := range fleet {
				before := w.count("GET")
				now := time.Now()
				token, err := source.Token()
				if err != nil || token.Expiry.Sub(now) < 10*time.Second || !time.Now().Equal(now) {
					t.Fatalf("%v left, %v, after %v", time.Until(token.Expiry), err, time.Since(now))
				}
				synctest.Wait()
				if w.count("GET") > before {
					came = append(came, 24*time.Hour-time.Since(start))
				}
			}
			if time.Since(start) < 24*time.Hour-5*time.Minute {
				time.Sleep(time.Minute)
			}
		}
		first, last := slices.Max(came), slices.Min(came)
		if len(came) != len(fleet) || first > 4*time.Minute+10*time.Second || last < 2*time.Minute {
			t.Errorf("%d came, from %v to %v before the end", len(came), first, last)
		}
		if first-last < 90*time.Second {
			t.Errorf("all came within %v", first-last)
		}
	})
}

// A token that does not expire is fetched once.
func TestAccessKey(t *testing.T) {
	inWorld(t, func(w *world) {
		w.c8.AddAccessKey("key")
		w.sm.Put("stack/credentials/default", `{"base_url":"`+acme+`","access_key":"key"}`)
		w.rotate()
		source := w.source()
		for range 3 {
			token, err := source.Token()
			if err != nil || token.AccessToken != "key" || !token.Expiry.IsZero() || !token.Valid() {
				t.Errorf("got %+v, %v", token, err)
			}
			time.Sleep(1000 * time.Hour)
		}
		if got := w.count("GET"); got != 1 {
			t.Errorf("%d requests were made, want 1", got)
		}
	})
}

// If the API fails, the token that is at hand is used until ten seconds before its end,
// and nobody waits.
func TestApiIsDown(t *testing.T) {
	for name, broken := range map[string]http.HandlerFunc{
		"hangs":      func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"breaks off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"502":        func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) },
		"denies":     func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusForbidden) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				source := w.source()
				token, err := source.Token()
				if err != nil {
					t.Fatal(err)
				}
				w.answers(broken)
				time.Sleep(24*time.Hour - 5*time.Minute)
				for time.Until(token.Expiry) >= 10*time.Second {
					now := time.Now()
					if got, err := source.Token(); err != nil || got.AccessToken != token.AccessToken || !time.Now().Equal(now) {
						t.Fatalf("with %v left, got %+v, %v", time.Until(token.Expiry), got, err)
					}
					time.Sleep(100 * time.Millisecond)
				}
				asked := w.count("GET")
				if asked > 200 {
					t.Errorf("the API was asked %d times", asked)
				}
				if _, err := source.Token(); !errors.Is(err, caller.ErrUnreachable) && !errors.Is(err, caller.ErrDenied) {
					t.Errorf("got %v", err)
				}
				w.answers(nil)
				w.rotate()
				time.Sleep(10 * time.Second)
				if got, err := source.Token(); err != nil || got.AccessToken == token.AccessToken {
					t.Errorf("got %+v, %v", got, err)
				}
			})
		})
	}
}

// A short failure of the API is not noticed by who has to wait for a token anyway.
func TestApiFailsOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		first := true
		w.answers(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if first {
				first = false
				rw.WriteHeader(http.StatusBadGateway)
				return
			}
			w.gateway.ServeHTTP(rw, r)
		}))
		if _, err := w.source().Token(); err != nil {
			t.Error(err)
		}
	})
}

// Retry-After is honoured: the API is left alone for so long, by all who want a token.
func TestRetryAfter(t *testing.T) {
	inWorld(t, func(w *world) {
		source := w.source()
		w.answers(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Retry-After", "30")
			rw.WriteHeader(http.StatusServiceUnavailable)
			_, _ = rw.Write([]byte(`{"error":"temporarily_unavailable","error_description":"no token has been stored yet"}`))
		}))
		for range 300 {
			if _, err := source.Token(); !errors.Is(err, caller.ErrNoToken) {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if got := w.count("GET"); got != 1 {
			t.Errorf("in 30 seconds it was asked %d times, want once", got)
		}
		w.answers(nil)
		if _, err := source.Token(); err != nil {
			t.Error(err)
		}
	})
}

// A token that has expired, or is about to, is an ErrNoToken, and the next request comes
// after a pause. For one that is usable for a second, there is one request a second.
func TestUnusableToken(t *testing.T) {
	for expiresIn, want := range map[string]error{"-1": caller.ErrNoToken, "0": caller.ErrNoToken, "9": caller.ErrNoToken, "11": nil} {
		t.Run(expiresIn, func(t *testing.T) {
			inWorld(t, func(w *world) {
				source := w.source()
				w.answers(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
					_, _ = fmt.Fprintf(rw, `{"access_token":"a","token_type":"Bearer","expires_in":%s,"version":"v","base_url":%q}`, expiresIn, acme)
				}))
				start := time.Now()
				for time.Since(start) < 20*time.Second {
					if _, err := source.Token(); !errors.Is(err, want) {
						t.Fatalf("got %v, want %v", err, want)
					}
					time.Sleep(time.Millisecond)
					synctest.Wait()
				}
				if got := w.count("GET"); got > 25 {
					t.Errorf("%d requests in %v", got, time.Since(start))
				}
			})
		})
	}
}

// A Source goes by the wall clock: monotonic time stands still while the machine is frozen,
// and none of the times that it keeps has a reading of it. That takes real time: in a
// synctest bubble, no time has one.
func TestWallClock(t *testing.T) {
	failing := http.NotFoundHandler()
	keeping := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = rw.Write([]byte(`{"outcome":"kept"}`))
			return
		}
		_, _ = fmt.Fprintf(rw, `{"access_token":"a","token_type":"Bearer","expires_in":3600,"version":"v","base_url":%q}`, acme)
	})
	for name, test := range map[string]struct {
		api http.Handler
		set int // times that are kept
	}{
		"of a fetch that failed":                      {failing, 1},
		"of a token, a lookup, and a report, in vain": {keeping, 4},
	} {
		t.Run(name, func(t *testing.T) {
			source := &caller.Source{URL: apiURL, AWS: aws.Config{Credentials: credentials("AKIACALLER")}, Base: inmem.Transport{Handler: test.api}}
			if token, err := source.Token(); err == nil {
				if err := source.Reject(t.Context(), token); !errors.Is(err, caller.ErrKept) {
					t.Fatal(err)
				}
			}
			set := 0
			var walk func(path string, v reflect.Value)
			walk = func(path string, v reflect.Value) {
				switch {
				case v.Type() == reflect.TypeFor[time.Time]():
					wall, ext := v.Field(0).Uint(), v.Field(1).Int()
					if wall>>63 == 1 { // hasMonotonic, of package time
						t.Errorf("%s has a monotonic reading", path)
					}
					if wall != 0 || ext != 0 {
						set++
					}
				case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[aws.Config]():
					for i := range v.NumField() {
						walk(path+"."+v.Type().Field(i).Name, v.Field(i))
					}
				}
			}
			walk("Source", reflect.ValueOf(source).Elem())
			if set != test.set {
				t.Errorf("%d times are kept, want %d", set, test.set)
			}
		})
	}
}

// A transport that panics does not end the process: the panic reaches the goroutines that
// wait for the token, which can recover, and the next call of the transport comes after a
// pause. A token that is held is returned meanwhile.
func TestPanickingTransport(t *testing.T) {
	inWorld(t, func(w *world) {
		source := w.source()
		base, panics, called := source.Base, true, 0
		source.Base = roundTripper(func(req *http.Request) (*http.Response, error) {
			called++
			if panics {
				panic("MARK")
			}
			return base.RoundTrip(req)
		})
		recovered := func(do func() error) (value any) {
			defer func() { value = recover() }()
			t.Errorf("got %v and no panic", do())
			return nil
		}
		get := func() error { _, err := source.Token(); return err }
		if got := recovered(get); got != "MARK" {
			t.Errorf("got the panic %v", got)
		}
		if err := get(); !errors.Is(err, caller.ErrUnreachable) || called != 1 {
			t.Errorf("got %v after %d calls", err, called)
		}
		panics = false
		time.Sleep(10 * time.Second)
		token, err := source.Token()
		if err != nil {
			t.Fatal(err)
		}
		panics = true
		if got := recovered(func() error { return source.Reject(w.Context(), token) }); got != "MARK" {
			t.Errorf("got the panic %v", got)
		}
		time.Sleep(24*time.Hour - 2*time.Minute) // the next one is due, and fetched in the background
		before := called
		for range 100 {
			if got, err := source.Token(); err != nil || got.AccessToken != token.AccessToken {
				t.Fatalf("got %v, %v", got, err)
			}
			synctest.Wait()
		}
		if called != before+1 {
			t.Errorf("called %d times", called-before)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// Who does not want to wait any longer need not; the others get what they wait for.
func TestContextEnds(t *testing.T) {
	inWorld(t, func(w *world) {
		w.answers(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			w.gateway.ServeHTTP(rw, r)
		}))
		source := w.source()
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		if _, err := source.TokenContext(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Now().Second() != 1 {
			t.Errorf("got %v at %v", err, time.Now())
		}
		if _, err := source.Token(); err != nil || time.Now().Second() != 5 || w.count("GET") != 1 {
			t.Errorf("got %v at %v after %d requests", err, time.Now(), w.count("GET"))
		}
	})
}

// Every way in which there is no token has a name, and words on what to do; they repeat
// nothing of what was answered.
func TestErrors(t *testing.T) {
	answer := func(status int, kind, body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			if kind != "" {
				rw.Header().Set("x-amzn-ErrorType", kind)
			}
			rw.Header().Set("Location", "https://evil.example/MARK")
			rw.WriteHeader(status)
			_, _ = rw.Write([]byte(body))
		}
	}
	grant := func(edit string) http.HandlerFunc {
		fields := map[string]string{"access_token": `"MARK"`, "token_type": `"Bearer"`, "expires_in": "3600", "version": `"v"`, "base_url": `"` + acme + `"`}
		name, value, _ := strings.Cut(edit, "=")
		fields[name] = value
		var members []string
		for name, value := range fields {
			if value != "" {
				members = append(members, fmt.Sprintf("%q:%s", name, value))
			}
		}
		return answer(200, "", "{"+strings.Join(members, ",")+"}")
	}
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   error
		text   string
	}{
		{"IAM does not allow it", answer(403, "AccessDeniedException", `{"Message":"MARK"}`), caller.ErrDenied,
			"a policy must grant execute-api:Invoke on arn:aws:execute-api:eu-central-1:*:c8auth0api/v1/GET/tokens/default"},
		{"expired credentials", answer(403, "ExpiredTokenException", `{"message":"MARK"}`), caller.ErrSignature, "(ExpiredTokenException)"},
		{"a wrong clock", answer(403, "InvalidSignatureException", `{"message":"Signature expired: MARK"}`), caller.ErrSignature, "is the clock right"},
		{"a wrong path", answer(403, "MissingAuthenticationTokenException", `{"message":"MARK"}`), caller.ErrUnreachable, "with the stage at its end"},
		{"an invalid key", answer(403, "UnrecognizedClientException", `{"message":"MARK"}`), caller.ErrSignature, "(UnrecognizedClientException)"},
		{"an invalid key, by another name", answer(403, "AccessDeniedException", `{"message":"The security token included in the request is invalid. MARK"}`), caller.ErrSignature, "are the AWS credentials valid"},
		{"a header stripped", answer(403, "MissingAuthenticationTokenException", `{"message":"MARK"}`), caller.ErrUnreachable, "there is no such route (URL must be the stack's output Url, with the stage at its end), or a proxy on the way strips the header Authorization"},
		{"AWS WAF, an unmapped domain", answer(403, "ForbiddenException", `{"message":"MARK"}`), caller.ErrUnreachable, "by a rule of AWS WAF, or because the domain name is not mapped"},
		{"a firewall", answer(403, "", `MARK`), caller.ErrUnreachable, "HTTP 403, no known x-amzn-ErrorType"},
		{"a made-up error", answer(403, "MARK MARK", `MARK`), caller.ErrUnreachable, "HTTP 403, no known x-amzn-ErrorType"},
		{"a made-up error that looks like one", answer(403, "MARKException", `MARK`), caller.ErrUnreachable, "HTTP 403, no known x-amzn-ErrorType"},
		{"a made-up error of a server", answer(502, "MARKException", `MARK`), caller.ErrUnreachable, "502 (no known x-amzn-ErrorType)"},
		{"a proxy without CONNECT", answer(407, "", `MARK`), caller.ErrUnreachable, "a proxy wants a user and a password (HTTP 407)"},
		{"unknown tenant", answer(404, "", `{"error":"unknown_tenant","error_description":"MARK"}`), caller.ErrTenant, `"default"`},
		{"malformed tenant", answer(400, "", `{"error":"invalid_request","error_description":"MARK"}`), caller.ErrTenant, `"default"`},
		{"no token yet", answer(503, "", `{"error":"temporarily_unavailable","error_description":"MARK"}`), caller.ErrNoToken, "503"},
		{"unreadable token", answer(500, "", `{"error":"server_error","error_description":"MARK"}`), caller.ErrNoToken, "500"},
		{"crashed", answer(502, "InternalServerErrorException", `{"message":"MARK"}`), caller.ErrUnreachable, "502 (InternalServerErrorException)"},
		{"throttled", answer(429, "TooManyRequestsException", `{"message":"MARK"}`), caller.ErrUnreachable, "429"},
		{"another server", answer(404, "", `MARK`), caller.ErrUnreachable, "404"},
		{"a redirect", answer(307, "", `MARK`), caller.ErrUnreachable, "307"},
		{"HTML", answer(200, "", `<p>MARK`), caller.ErrUnreachable, "not the documented JSON"},
		{"endless", func(rw http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = rw.Write([]byte(strings.Repeat("MARK", 1000)))
			}
		}, caller.ErrUnreachable, "not the documented JSON"},
		{"broken", func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = rw.Write([]byte("MARK"))
			panic(http.ErrAbortHandler)
		}, caller.ErrUnreachable, apiHost},
		{"no token", grant("access_token="), caller.ErrUnreachable, "not the documented JSON"},
		{"a token that is a header", grant(`access_token="a\r\nX-MARK: b"`), caller.ErrUnreachable, "not the documented JSON"},
		{"another type", grant(`token_type="MARK"`), caller.ErrUnreachable, "not the documented JSON"},
		{"no version", grant("version="), caller.ErrUnreachable, "not the documented JSON"},
		{"no base_url", grant("base_url="), caller.ErrUnreachable, "no base_url"},
		{"base_url over http", grant(`base_url="http://acme.communic8.com"`), caller.ErrUnreachable, "no base_url"},
		{"base_url with a user", grant(`base_url="https://MARK@acme.communic8.com"`), caller.ErrUnreachable, "no base_url"},
		{"base_url with a path", grant(`base_url="https://acme.communic8.com/MARK"`), caller.ErrUnreachable, "no base_url"},
		{"base_url of a name that is none", grant(`base_url="https://MARK\u202e.example"`), caller.ErrUnreachable, "no base_url"},
		{"base_url of any length", grant(`base_url="https://` + strings.Repeat("MARK", 1000) + `"`), caller.ErrUnreachable, "no base_url"},
		{"expired", grant("expires_in=0"), caller.ErrNoToken, "has expired"},
		{"expired long ago", grant("expires_in=-9223372036854775808"), caller.ErrNoToken, "has expired"},
		{"about to expire", grant("expires_in=9"), caller.ErrNoToken, "or will within 10s"},
		{"base_url of another scheme", grant(`base_url="file:///MARK"`), caller.ErrUnreachable, "no base_url"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.answers(test.answer)
				_, err := w.source().Token()
				if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
					t.Errorf("got  %v\nwant %v … %s", err, test.want, test.text)
				}
				if errors.Is(err, caller.ErrSignature) != errors.Is(test.want, caller.ErrSignature) || errors.Is(err, caller.ErrSignature) && !errors.Is(err, caller.ErrDenied) {
					t.Errorf("%v is, or is not, a refused signature", err)
				}
				own(t, err)
			})
		})
	}
}

// own fails if the text of err has over 500 characters, or one that is not printable, or
// MARK, which stands for what the other side chose and for what is secret.
func own(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	text := err.Error()
	if n := utf8.RuneCountInString(text); n > 500 || strings.Contains(text, "MARK") || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("an error of %d characters: %q", n, text)
	}
}

// What a newcomer may have forgotten is said before anything is sent.
func TestSettings(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	for _, name := range []string{"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"} {
		t.Setenv(name, "")
	}
	none := inmem.Transport{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })}
	mine := aws.Config{Credentials: credentials("AKIACALLER")}
	for name, test := range map[string]struct {
		source *caller.Source
		want   error
		text   string
	}{
		"nothing":            {&caller.Source{AWS: mine}, caller.ErrUnreachable, "URL must be the stack's output Url"},
		"http":               {&caller.Source{AWS: mine, URL: "http://" + apiHost + "/v1"}, caller.ErrUnreachable, "URL must be"},
		"no URL":             {&caller.Source{AWS: mine, URL: ":"}, caller.ErrUnreachable, "URL must be"},
		"a query in URL":     {&caller.Source{AWS: mine, URL: apiURL + "?a"}, caller.ErrUnreachable, "URL must be"},
		"a region's newline": {&caller.Source{AWS: aws.Config{Credentials: mine.Credentials, Region: "eu-central-1\n"}, URL: "https://tokens.example.com"}, caller.ErrCredentials, "or a malformed one"},
		"no region":          {&caller.Source{AWS: mine, URL: "https://tokens.example.com"}, caller.ErrCredentials, "no AWS region"},
		"no AWS credentials": {&caller.Source{URL: apiURL}, caller.ErrCredentials, "credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			test.source.Base = none
			if _, err := test.source.Token(); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %v … %s", err, test.want, test.text)
			}
		})
	}
}

// Requests are signed by the ambient credentials, for the region that URL names, or else
// the ambient one; a policy's resource is named for each partition.
func TestAmbient(t *testing.T) {
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_PROFILE", "")
	t.Setenv("AWS_ACCESS_KEY_ID", "ASIAAMBIENT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "example")
	t.Setenv("AWS_SESSION_TOKEN", "session")
	t.Setenv("AWS_REGION", "eu-west-1")
	for url, want := range map[string]struct{ scope, resource string }{
		apiURL:                        {"eu-central-1", "arn:aws:execute-api:eu-central-1:*:c8auth0api/v1/GET/tokens/a"},
		apiURL + "/":                  {"eu-central-1", "arn:aws:execute-api:eu-central-1:*:c8auth0api/v1/GET/tokens/a"},
		"https://tokens.example.com/": {"eu-west-1", "arn:aws:execute-api:eu-west-1:*:*/*/GET/tokens/a"},
		"http://127.0.0.1:9703/v1":    {"eu-west-1", "arn:aws:execute-api:eu-west-1:*:*/*/GET/tokens/a"},
		"https://c8auth0api-vpce-0123456789abcdef0.execute-api.us-gov-west-1.amazonaws.com/v1": {"us-gov-west-1", "arn:aws-us-gov:execute-api:us-gov-west-1:*:c8auth0api/v1/GET/tokens/a"},
		"https://c8auth0api.execute-api.cn-north-1.amazonaws.com.cn/v1":                        {"cn-north-1", "arn:aws-cn:execute-api:cn-north-1:*:c8auth0api/v1/GET/tokens/a"},
		"https://c8auth0api.execute-api.eusc-de-east-1.amazonaws.eu/v1":                        {"eusc-de-east-1", "arn:aws-eusc:execute-api:eusc-de-east-1:*:c8auth0api/v1/GET/tokens/a"},
		"https://c8auth0api.execute-api.us-iso-east-1.c2s.ic.gov/v1":                           {"us-iso-east-1", "arn:aws-iso:execute-api:us-iso-east-1:*:c8auth0api/v1/GET/tokens/a"},
		"https://c8auth0api.execute-api.us-isob-east-1.sc2s.sgov.gov/v1":                       {"us-isob-east-1", "arn:aws-iso-b:execute-api:us-isob-east-1:*:c8auth0api/v1/GET/tokens/a"},
		"https://c8auth0api.execute-api.eu-isoe-west-1.cloud.adc-e.uk/v1":                      {"eu-isoe-west-1", "arn:aws-iso-e:execute-api:eu-isoe-west-1:*:c8auth0api/v1/GET/tokens/a"},
		"https://c8auth0api.execute-api.us-isof-south-1.csp.hci.ic.gov/v1":                     {"us-isof-south-1", "arn:aws-iso-f:execute-api:us-isof-south-1:*:c8auth0api/v1/GET/tokens/a"},
		"https://c8auth0api.execute-api.eu-central-1.api.aws/v1":                               {"eu-central-1", "arn:aws:execute-api:eu-central-1:*:c8auth0api/v1/GET/tokens/a"},
		"https://c8auth0api.execute-api-fips.us-gov-west-1.api.aws/v1":                         {"us-gov-west-1", "arn:aws-us-gov:execute-api:us-gov-west-1:*:c8auth0api/v1/GET/tokens/a"},
		"https://C8AUTH0API.Execute-Api.EU-Central-1.AmazonAWS.com:443/v1":                     {"eu-central-1", "arn:aws:execute-api:eu-central-1:*:c8auth0api/v1/GET/tokens/a"},
		"https://c8auth0api.execute-api.eu-central-1.amazonaws.com.evil.example/v1":            {"eu-west-1", "arn:aws:execute-api:eu-west-1:*:*/*/GET/tokens/a"},
		"https://c8auth0api.execute-api.eu-central-1.amazonaws.eu/v1":                          {"eu-west-1", "arn:aws:execute-api:eu-west-1:*:*/*/GET/tokens/a"},
	} {
		t.Run(url, func(t *testing.T) {
			source := &caller.Source{URL: url, Tenant: "a", Base: inmem.Transport{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				header := r.Header.Get("Authorization")
				if !strings.Contains(header, "Credential=ASIAAMBIENT/") || !strings.Contains(header, "/"+want.scope+"/execute-api/aws4_request") || r.Header.Get("X-Amz-Security-Token") != "session" {
					t.Errorf("signed as %v", r.Header)
				}
				if strings.Contains(r.URL.Path, "//") {
					t.Errorf("the path is %s", r.URL.Path)
				}
				rw.Header().Set("x-amzn-ErrorType", "AccessDeniedException")
				rw.WriteHeader(http.StatusForbidden)
			})}}
			if _, err := source.Token(); !errors.Is(err, caller.ErrDenied) || !strings.HasSuffix(err.Error(), want.resource) {
				t.Errorf("got %v, want %s", err, want.resource)
			}
		})
	}
}

// A program that sends requests in its own way reports rejections itself.
func TestReject(t *testing.T) {
	inWorld(t, func(w *world) {
		source := w.source()
		first, err := source.Token()
		if err != nil {
			t.Fatal(err)
		}
		if err := source.Reject(w.Context(), first); !errors.Is(err, caller.ErrKept) {
			t.Errorf("a living token: got %v, want ErrKept", err)
		}
		if err := source.Reject(w.Context(), new(oauth2.Token)); !errors.Is(err, caller.ErrKept) {
			t.Errorf("a token of others: got %v, want ErrKept", err)
		}
		w.revoke()
		time.Sleep(10 * time.Second)
		if err := source.Reject(w.Context(), first); err != nil {
			t.Error(err)
		}
		second, err := source.Token()
		if err != nil || second.AccessToken == first.AccessToken || !w.c8.Valid(second.AccessToken) {
			t.Errorf("got %+v, %v", second, err)
		}
		posts := w.count("POST")
		if err := source.Reject(w.Context(), first); err != nil || w.count("POST") != posts {
			t.Errorf("one that is replaced: got %v and %d more reports", err, w.count("POST")-posts)
		}
	})
}

// A token that was rejected does not come back by a fetch that was under way.
func TestRejectedStaysAway(t *testing.T) {
	inWorld(t, func(w *world) {
		source := w.source()
		first, err := source.Token()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(24*time.Hour - 2*time.Minute) // it is time to fetch the next one
		w.answers(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.Header.Get("Cache-Control") != "" {
				w.gateway.ServeHTTP(rw, r)
				return
			}
			answer := httptest.NewRecorder()
			w.gateway.ServeHTTP(answer, r)
			time.Sleep(5 * time.Second)
			_, _ = rw.Write(answer.Body.Bytes())
		}))
		if _, err := source.Token(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.revoke()
		if err := source.Reject(w.Context(), first); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if token, err := source.Token(); err != nil || !w.c8.Valid(token.AccessToken) {
			t.Errorf("got %v, %v", token.Extra("version"), err)
		}
	})
}

// Who may not report is told what a policy must grant, and finds what others have had done.
func TestRejectIsDenied(t *testing.T) {
	inWorld(t, func(w *world) {
		source := w.source()
		source.AWS.Credentials = credentials("AKIAREADER")
		token, err := source.Token()
		if err != nil {
			t.Fatal(err)
		}
		w.revoke()
		err = source.Reject(w.Context(), token)
		if !errors.Is(err, caller.ErrKept) || !errors.Is(err, caller.ErrDenied) || !strings.Contains(err.Error(), "c8auth0api/v1/POST/tokens/default/rejections") {
			t.Errorf("got %v", err)
		}
		w.rotate()
		time.Sleep(time.Second)
		if err := source.Reject(w.Context(), token); err != nil || w.count("POST") != 1 {
			t.Errorf("got %v after %d reports", err, w.count("POST"))
		}
	})
}

// When Communic8 gives no new token, that is known within a minute, and nobody insists.
func TestRejectInVain(t *testing.T) {
	inWorld(t, func(w *world) {
		source := w.source()
		token, err := source.Token()
		if err != nil {
			t.Fatal(err)
		}
		w.revoke()
		w.c8.Set(func(b *c8test.Behaviour) {
			b.Fault = func(r *http.Request, _ int) *c8test.Fault {
				if r.URL.Path == c8test.TokenPath {
					return &c8test.Fault{Status: http.StatusServiceUnavailable}
				}
				return nil
			}
		})
		start := time.Now()
		for range 10 {
			if err := source.Reject(w.Context(), token); !errors.Is(err, caller.ErrKept) {
				t.Errorf("got %v", err)
			}
		}
		if took := time.Since(start); took > time.Minute || w.count("POST") > 2 {
			t.Errorf("it took %v and %d reports", took, w.count("POST"))
		}
	})
}

// Who prints what is at hand prints no token.
func TestNothingSecretIsPrinted(t *testing.T) {
	inWorld(t, func(w *world) {
		source := w.source()
		transport := &caller.Transport{Source: source, Base: w.internet()}
		token, err := source.Token()
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // to print what others use is a race
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			for _, value := range []any{source, transport, *transport, &http.Client{Transport: transport}} {
				if text := fmt.Sprintf(verb, value); strings.Contains(text, token.AccessToken) || strings.Contains(text, fmt.Sprintf("%x", token.AccessToken)) {
					t.Errorf("%s shows the token: %s", verb, text)
				}
			}
		}
	})
}

// RetryAfter is how long the last error holds: what the API said, or else ten seconds, if a
// person has to mend it. It is nothing before there is an error, and when it has passed.
func TestSourceRetryAfter(t *testing.T) {
	inWorld(t, func(w *world) {
		source := w.source()
		if got := source.RetryAfter(); got != 0 {
			t.Errorf("at first: %v", got)
		}
		w.answers(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Retry-After", "40")
			rw.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(rw, `{"error":"temporarily_unavailable"}`)
		}))
		if _, err := source.Token(); !errors.Is(err, caller.ErrNoToken) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if got := source.RetryAfter(); got != 30*time.Second {
			t.Errorf("after ten seconds of forty: %v", got)
		}
		w.answers(nil)
		time.Sleep(30 * time.Second)
		if got := source.RetryAfter(); got != 0 {
			t.Errorf("when it has passed: %v", got)
		}
		if _, err := source.Token(); err != nil || source.RetryAfter() != 0 {
			t.Errorf("with a token: %v, %v", source.RetryAfter(), err)
		}
	})
}
