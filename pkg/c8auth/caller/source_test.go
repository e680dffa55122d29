package caller_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2"

	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/internal/harness"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

// Concurrent calls make one request, and later ones none.
func TestConcurrentCalls(t *testing.T) {
	withEnv(t, func(e *env) {
		source := e.source()
		var calls sync.WaitGroup
		for range 1000 {
			calls.Go(func() {
				token, err := source.Token()
				if err != nil || !e.c8.Valid(token.AccessToken) || token.TokenType != "Bearer" ||
					token.Extra("base_url") != acme || token.Extra("version") == "" || !token.Expiry.Equal(time.Now().Add(24*time.Hour)) {
					t.Errorf("got %+v, %v", token, err)
				}
			})
		}
		calls.Wait()
		if got := e.count("GET"); got != 1 {
			t.Errorf("%d requests, want 1", got)
		}
	})
}

// The next token is fetched two to four minutes before the expiry, once and in the background, by
// programs with the same token at different times.
func TestNextToken(t *testing.T) {
	withEnv(t, func(e *env) {
		sources := make([]*caller.Source, 200)
		for i := range sources {
			sources[i] = e.source()
			e.token(sources[i])
		}
		start := time.Now()
		time.Sleep(13 * time.Hour)
		e.rotate()
		var fetched []time.Duration // before the expiry
		for time.Since(start) < 24*time.Hour {
			time.Sleep(time.Second)
			for _, source := range sources {
				before, now := e.count("GET"), time.Now()
				token, err := source.Token()
				if err != nil || token.Expiry.Sub(now) < 10*time.Second || !time.Now().Equal(now) {
					t.Fatalf("%v left, %v, after %v", time.Until(token.Expiry), err, time.Since(now))
				}
				synctest.Wait()
				if e.count("GET") > before {
					fetched = append(fetched, 24*time.Hour-time.Since(start))
				}
			}
			if time.Since(start) < 24*time.Hour-5*time.Minute {
				time.Sleep(time.Minute)
			}
		}
		first, last := slices.Max(fetched), slices.Min(fetched)
		if len(fetched) != len(sources) || first > 4*time.Minute+10*time.Second || last < 2*time.Minute || first-last < 90*time.Second {
			t.Errorf("%d fetches, from %v to %v before the expiry", len(fetched), first, last)
		}
	})
}

// A token that does not expire is fetched once.
func TestAccessKey(t *testing.T) {
	withEnv(t, func(e *env) {
		e.c8.AddAccessKey("key")
		e.sm.Put(harness.CredentialsName("default"), `{"base_url":"`+acme+`","access_key":"key"}`)
		e.rotate()
		source := e.source()
		for range 3 {
			token, err := source.Token()
			if err != nil || token.AccessToken != "key" || !token.Expiry.IsZero() || !token.Valid() {
				t.Errorf("got %+v, %v", token, err)
			}
			time.Sleep(1000 * time.Hour)
		}
		if got := e.count("GET"); got != 1 {
			t.Errorf("%d requests, want 1", got)
		}
	})
}

// If the API fails, the held token is returned at once until ten seconds before its expiry.
func TestAPIFails(t *testing.T) {
	forEach(t, map[string]http.HandlerFunc{
		"hangs":      func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"breaks off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"502":        responds(http.StatusBadGateway, ""),
		"denies":     responds(http.StatusForbidden, ""),
	}, func(e *env, api http.HandlerFunc) {
		source := e.source()
		token := e.token(source)
		e.setAPI(api)
		time.Sleep(24*time.Hour - 5*time.Minute)
		for time.Until(token.Expiry) >= 10*time.Second {
			now := time.Now()
			if got, err := source.Token(); err != nil || got.AccessToken != token.AccessToken || !time.Now().Equal(now) {
				e.Fatalf("with %v left, got %+v, %v", time.Until(token.Expiry), got, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := e.count("GET"); n > 200 {
			e.Errorf("%d requests to the API", n)
		}
		if _, err := source.Token(); !errors.Is(err, caller.ErrUnreachable) {
			e.Errorf("got %v", err)
		}
		e.setAPI(nil)
		e.rotate()
		time.Sleep(10 * time.Second)
		if got := e.token(source); got.AccessToken == token.AccessToken {
			e.Error("got the same token")
		}
	})
}

// Retry-After holds for all callers, and RetryAfter returns what is left of it, or zero if the next
// call makes a request.
func TestRetryAfter(t *testing.T) {
	withEnv(t, func(e *env) {
		source := e.source()
		mustBeLeft := func(want time.Duration) {
			t.Helper()
			if got := source.RetryAfter(); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		mustBeLeft(0)
		e.setAPI(responds(503, `{"error":"temporarily_unavailable"}`, "Retry-After: 30"))
		for i := range 300 {
			if _, err := source.Token(); !errors.Is(err, caller.ErrNoToken) {
				t.Fatal(err)
			}
			mustBeLeft(30*time.Second - time.Duration(i)*100*time.Millisecond)
			time.Sleep(100 * time.Millisecond)
		}
		if got := e.count("GET"); got != 1 {
			t.Errorf("in 30 seconds %d requests, want 1", got)
		}
		e.setAPI(nil)
		mustBeLeft(0)
		e.token(source)
		mustBeLeft(0)
	})
}

// A token without ten seconds left is an ErrNoToken. A call that waits for a better one makes seven
// to eleven requests in its 15 seconds, as the pauses grow from an eighth of a second to four, and
// after it has failed there is none for a second. A token that is usable for a second is fetched
// once in a second.
func TestUnusableToken(t *testing.T) {
	type test struct {
		expiresIn int
		want      error
	}
	forEach(t, map[string]test{"expired": {-1, caller.ErrNoToken}, "none left": {0, caller.ErrNoToken}, "9 s": {9, caller.ErrNoToken}, "11 s": {11, nil}}, func(e *env, test test) {
		source := e.source()
		e.setAPI(responds(200, strings.Replace(tokenJSON, "3600", fmt.Sprint(test.expiresIn), 1)))
		var failed time.Time
		start := time.Now()
		for time.Since(start) < 20*time.Second {
			called, before := time.Now(), e.count("GET")
			if _, err := source.Token(); !errors.Is(err, test.want) {
				e.Fatalf("got %v, want %v", err, test.want)
			}
			switch n := e.count("GET") - before; {
			case n > 11, n < 7 && test.want != nil && called.Equal(start):
				e.Errorf("%d requests in %v", n, time.Since(called))
			case n > 0 && called.Sub(failed) < time.Second:
				e.Errorf("a request %v after a failure", called.Sub(failed))
			case n > 0 && test.want != nil:
				failed = time.Now()
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		if got := e.count("GET"); test.want == nil && got > 21 {
			e.Errorf("%d requests in %v", got, time.Since(start))
		}
	})
}

// A panic of the transport reaches the goroutines that wait for the token, which can recover. The
// next call of the transport comes after a pause, and meanwhile a held token is returned.
func TestPanickingTransport(t *testing.T) {
	withEnv(t, func(e *env) {
		source := e.source()
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
		token := e.token(source)
		panics = true
		if got := recovered(func() error { return source.Reject(e.Context(), token) }); got != "MARK" {
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

// A call ends with its context, and others get the token that they wait for.
func TestContextEnds(t *testing.T) {
	withEnv(t, func(e *env) {
		e.setAPI(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			e.gateway.ServeHTTP(w, r)
		})
		source := e.source()
		ctx, cancel := context.WithTimeout(e.Context(), time.Second)
		defer cancel()
		if _, err := source.TokenContext(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Now().Second() != 1 {
			t.Errorf("got %v at %v", err, time.Now())
		}
		if e.token(source); time.Now().Second() != 5 || e.count("GET") != 1 {
			t.Errorf("at %v after %d requests", time.Now(), e.count("GET"))
		}
	})
}

// tokenJSON is a response of the API.
const tokenJSON = `{"access_token":"MARK","token_type":"Bearer","expires_in":3600,"version":"v","base_url":"https://acme.communic8.com"}`

// Each response of the API has an error, with what to do, that shows nothing of the response.
func TestErrors(t *testing.T) {
	type test struct {
		status int
		kind   string // x-amzn-ErrorType
		body   string
		want   error
		text   string
	}
	// response is a usable one with something else in it.
	response := func(old, replacement string) string { return strings.Replace(tokenJSON, old, replacement, 1) }
	const noJSON = "not the documented JSON"
	forEach(t, map[string]test{
		"denied by IAM": {403, "AccessDeniedException", `{"Message":"MARK"}`, caller.ErrDenied,
			"a policy must grant execute-api:Invoke on arn:aws:execute-api:eu-central-1:*:c8auth0api/v1/GET/tokens/default"},
		"expired credentials":             {403, "ExpiredTokenException", `{"message":"MARK"}`, caller.ErrSignature, "(ExpiredTokenException)"},
		"a wrong clock":                   {403, "InvalidSignatureException", `{"message":"Signature expired: MARK"}`, caller.ErrSignature, "is the clock right"},
		"an invalid key":                  {403, "UnrecognizedClientException", `{"message":"MARK"}`, caller.ErrSignature, "(UnrecognizedClientException)"},
		"an invalid key, by another name": {403, "AccessDeniedException", `{"message":"The security token included in the request is invalid. MARK"}`, caller.ErrSignature, "are the AWS credentials valid"},
		"no such route":                   {403, "MissingAuthenticationTokenException", `{"message":"MARK"}`, caller.ErrUnreachable, "there is no such route (URL must be the stack's output Url, with the stage at its end), or a proxy on the way strips the header Authorization"},
		"AWS WAF, an unmapped domain":     {403, "ForbiddenException", `{"message":"MARK"}`, caller.ErrUnreachable, "by a rule of AWS WAF, or because the domain name is not mapped"},
		"a firewall":                      {403, "", `MARK`, caller.ErrUnreachable, "HTTP 403, no known x-amzn-ErrorType"},
		"an unknown type":                 {403, "MARKException", `MARK`, caller.ErrUnreachable, "HTTP 403, no known x-amzn-ErrorType"},
		"an unknown type, 502":            {502, "MARK MARK", `MARK`, caller.ErrUnreachable, "502 (no known x-amzn-ErrorType)"},
		"a proxy without CONNECT":         {407, "", `MARK`, caller.ErrUnreachable, "a proxy wants a user and a password (HTTP 407)"},
		"unknown tenant":                  {404, "", `{"error":"unknown_tenant","error_description":"MARK"}`, caller.ErrTenant, `"default"`},
		"malformed tenant":                {400, "", `{"error":"invalid_request","error_description":"MARK"}`, caller.ErrTenant, `"default"`},
		"no token yet":                    {503, "", `{"error":"temporarily_unavailable","error_description":"MARK"}`, caller.ErrNoToken, "503"},
		"unreadable token":                {500, "", `{"error":"server_error","error_description":"MARK"}`, caller.ErrNoToken, "500"},
		"crashed":                         {502, "InternalServerErrorException", `{"message":"MARK"}`, caller.ErrUnreachable, "502 (InternalServerErrorException)"},
		"throttled":                       {429, "TooManyRequestsException", `{"message":"MARK"}`, caller.ErrUnreachable, "429"},
		"another server":                  {404, "", `MARK`, caller.ErrUnreachable, "404"},
		"a redirect":                      {307, "", `MARK`, caller.ErrUnreachable, "307"},
		"HTML":                            {200, "", `<p>MARK`, caller.ErrUnreachable, noJSON},
		"no token":                        {200, "", response(`"access_token":"MARK",`, ""), caller.ErrUnreachable, noJSON},
		"a token with a header":           {200, "", response("MARK", `a\r\nX-MARK: b`), caller.ErrUnreachable, noJSON},
		"another type":                    {200, "", response("Bearer", "MARK"), caller.ErrUnreachable, noJSON},
		"no version":                      {200, "", response(`"version":"v",`, ""), caller.ErrUnreachable, noJSON},
		"no base_url":                     {200, "", response(`,"base_url":"https://acme.communic8.com"`, ""), caller.ErrUnreachable, "no base_url"},
		"base_url over http":              {200, "", response("https:", "http:"), caller.ErrUnreachable, "no base_url"},
		"base_url with a path":            {200, "", response(".com", ".com/MARK"), caller.ErrUnreachable, "no base_url"},
		"expired long ago":                {200, "", response("3600", "-9223372036854775808"), caller.ErrNoToken, "has expired"},
		"about to expire":                 {200, "", response("3600", "9"), caller.ErrNoToken, "or will within 10s"},
	}, func(e *env, test test) {
		e.setAPI(responds(test.status, test.body, "X-Amzn-Errortype: "+test.kind, "Location: https://evil.example/MARK"))
		_, err := e.source().Token()
		mustBe(e.T, err, test.want, test.text)
		if signature := errors.Is(test.want, caller.ErrSignature); errors.Is(err, caller.ErrSignature) != signature || signature && !errors.Is(err, caller.ErrDenied) {
			e.Errorf("got %v", err)
		}
	})
	forEach(t, map[string]http.HandlerFunc{
		"a body without end": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, strings.Repeat("MARK", 1000))
			}
		},
		"a broken body": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "MARK")
			panic(http.ErrAbortHandler)
		},
	}, func(e *env, api http.HandlerFunc) {
		e.setAPI(api)
		_, err := e.source().Token()
		mustBe(e.T, err, caller.ErrUnreachable, "")
	})
}

// Missing and malformed settings are errors before anything is sent.
func TestSettings(t *testing.T) {
	setAWS(t)
	keys := aws.Config{Credentials: credentials("AKIACALLER")}
	malformed := aws.Config{Credentials: keys.Credentials, Region: "eu-central-1\n"}
	for name, test := range map[string]struct {
		url  string
		aws  aws.Config
		want error
		text string
	}{
		"nothing":            {"", keys, caller.ErrUnreachable, "URL must be the stack's output Url"},
		"http":               {"http://" + apiHost + "/v1", keys, caller.ErrUnreachable, "URL must be"},
		"no URL":             {":", keys, caller.ErrUnreachable, "URL must be"},
		"a query in URL":     {apiURL + "?a", keys, caller.ErrUnreachable, "URL must be"},
		"a region's newline": {"https://tokens.example.com", malformed, caller.ErrCredentials, "or a malformed one"},
		"no region":          {"https://tokens.example.com", keys, caller.ErrCredentials, "no AWS region"},
		"no AWS credentials": {apiURL, aws.Config{}, caller.ErrCredentials, "credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			source := sourceThatSendsNothing(t, test.aws)
			source.URL = test.url
			_, err := source.Token()
			mustBe(t, err, test.want, test.text)
		})
	}
}

// Requests are signed with the ambient credentials, for the region of URL or else the ambient one.
// The resource that a policy must grant is right in every partition.
func TestAmbient(t *testing.T) {
	setAWS(t, "AWS_ACCESS_KEY_ID=ASIAAMBIENT", "AWS_SECRET_ACCESS_KEY=example", "AWS_SESSION_TOKEN=session", "AWS_REGION=eu-west-1")
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
			source := &caller.Source{URL: url, Tenant: "a", Base: inmem.Transport{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				header := r.Header.Get("Authorization")
				if !strings.Contains(header, "Credential=ASIAAMBIENT/") || !strings.Contains(header, "/"+want.scope+"/execute-api/aws4_request") || r.Header.Get("X-Amz-Security-Token") != "session" {
					t.Errorf("signed as %v", r.Header)
				}
				if strings.Contains(r.URL.Path, "//") {
					t.Errorf("the path is %s", r.URL.Path)
				}
				responds(http.StatusForbidden, "", "X-Amzn-Errortype: AccessDeniedException")(w, r)
			})}}
			if _, err := source.Token(); !errors.Is(err, caller.ErrDenied) || !strings.HasSuffix(err.Error(), want.resource) {
				t.Errorf("got %v, want %s", err, want.resource)
			}
		})
	}
}

// A program that uses no Transport reports rejections itself.
func TestReject(t *testing.T) {
	withEnv(t, func(e *env) {
		source := e.source()
		first := e.token(source)
		if err := source.Reject(e.Context(), first); !errors.Is(err, caller.ErrKept) {
			t.Errorf("a valid token: got %v, want ErrKept", err)
		}
		if err := source.Reject(e.Context(), new(oauth2.Token)); !errors.Is(err, caller.ErrKept) {
			t.Errorf("another token: got %v, want ErrKept", err)
		}
		e.revoke()
		time.Sleep(10 * time.Second)
		if err := source.Reject(e.Context(), first); err != nil {
			t.Error(err)
		}
		if second := e.token(source); !e.c8.Valid(second.AccessToken) {
			t.Error("the new token is not valid")
		}
		posts := e.count("POST")
		if err := source.Reject(e.Context(), first); err != nil || e.count("POST") != posts {
			t.Errorf("one that is replaced: got %v and %d more reports", err, e.count("POST")-posts)
		}
	})
}

// A fetch that began before a rejection does not bring the rejected token back.
func TestRejectDuringAFetch(t *testing.T) {
	withEnv(t, func(e *env) {
		source := e.source()
		first := e.token(source)
		time.Sleep(24*time.Hour - 2*time.Minute) // the next one is due
		e.setAPI(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.Header.Get("Cache-Control") != "" {
				e.gateway.ServeHTTP(w, r)
				return
			}
			response := httptest.NewRecorder()
			e.gateway.ServeHTTP(response, r)
			time.Sleep(5 * time.Second)
			_, _ = w.Write(response.Body.Bytes())
		})
		e.token(source)
		synctest.Wait()
		e.revoke()
		if err := source.Reject(e.Context(), first); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if token := e.token(source); !e.c8.Valid(token.AccessToken) {
			t.Error("the token is not valid")
		}
	})
}

// A program that may not report is told what a policy must grant.
func TestRejectIsDenied(t *testing.T) {
	withEnv(t, func(e *env) {
		source := e.source()
		source.AWS.Credentials = credentials("AKIAREADER")
		token := e.token(source)
		err := source.Reject(e.Context(), token)
		mustBe(t, err, caller.ErrKept, "c8auth0api/v1/POST/tokens/default/rejections")
		mustBe(t, err, caller.ErrDenied, "")
	})
}

// No verb of fmt prints the token of a Source, Transport or Client.
func TestTokenIsNotPrinted(t *testing.T) {
	withEnv(t, func(e *env) {
		source := e.source()
		transport := &caller.Transport{Source: source, Base: e.internet()}
		token := e.token(source)
		synctest.Wait() // printing what other goroutines use is a race
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			for _, value := range []any{source, transport, *transport, &http.Client{Transport: transport}} {
				if text := fmt.Sprintf(verb, value); strings.Contains(text, token.AccessToken) || strings.Contains(text, fmt.Sprintf("%x", token.AccessToken)) {
					t.Errorf("%s shows the token: %s", verb, text)
				}
			}
		}
	})
}
