package caller_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

// mustSend fails unless n requests were sent, all of them to the host with a token.
func (e *env) mustSend(n int, host string) {
	e.Helper()
	for _, r := range e.requests() {
		if r.Host != host || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
			e.Errorf("sent %s %s with %v", r.Host, r.URL, r.Header)
		}
	}
	if got := len(e.requests()); got != n {
		e.Errorf("%d requests were sent, want %d", got, n)
	}
}

// closable is a body that notes when it is closed.
type closable struct {
	io.Reader
	closed bool
}

func (c *closable) Close() error { c.closed = true; return nil }

// The token is not sent to another host, scheme or port: neither after a redirect nor because the
// program requests it.
func TestTokenIsSentNowhereElse(t *testing.T) {
	forEach(t, map[string]string{
		"another host":            "https://evil.example/int/v1/broadcast",
		"another host, no scheme": "//evil.example/int/v1/broadcast",
		"http":                    "http://acme.communic8.com/int/v1/broadcast",
		"http, its port":          "http://acme.communic8.com:443/int/v1/broadcast",
		"another port":            "https://acme.communic8.com:8443/int/v1/broadcast",
		"a longer name":           "https://acme.communic8.com.evil.example/",
		"a name in the user":      "https://acme.communic8.com@evil.example/",
		"a subdomain":             "https://x.acme.communic8.com/",
		"a parent":                "https://communic8.com/",
		"a dot more":              "https://acme.communic8.com./",
		"another scheme":          "ftp://acme.communic8.com/",
		"another scheme, opaque":  "mailto:acme.communic8.com",
	}, func(e *env, target string) {
		body := &closable{Reader: strings.NewReader("x")}
		if _, err := e.client().Post(target, "text/plain", body); !errors.Is(err, caller.ErrHost) || !body.closed {
			e.Errorf("got %v, body closed %t", err, body.closed)
		}
		e.mustSend(0, "")
		e.setPath("/int/v1/elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, target, http.StatusTemporaryRedirect)
		})
		if _, err := e.client().Get("/int/v1/elsewhere"); !errors.Is(err, caller.ErrHost) || !strings.Contains(err.Error(), acme) {
			e.Errorf("redirected: got %v", err)
		}
		e.mustSend(1, acmeHost)
	})
	withEnv(t, func(e *env) {
		req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: acmeHost, Opaque: "//evil.example/"}}
		if _, err := e.client().Transport.RoundTrip(req); !errors.Is(err, caller.ErrHost) {
			t.Errorf("an opaque URL: got %v", err)
		}
		e.mustSend(0, "")
		req = &http.Request{Method: http.MethodGet, URL: &url.URL{Path: broadcast}, Host: "evil.example"}
		resp, err := e.client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		e.mustSend(1, acmeHost)
	})
}

// When the instance moves to another port, the next token is sent there only.
func TestInstanceMoves(t *testing.T) {
	withEnv(t, func(e *env) {
		const moved = acmeHost + ":8443"
		e.setHost(moved, e.c8)
		e.setHost(acmeHost, nil)
		e.storeCredentials("https://" + moved)
		time.Sleep(time.Second)
		e.rotate()
		client := e.client()
		e.mustGet(client)
		if _, err := client.Get(acme + broadcast); !errors.Is(err, caller.ErrHost) {
			t.Errorf("got %v", err)
		}
		e.mustSend(1, moved)
	})
}

// A request is a path, or begins with the base URL in any spelling. It is sent as it is with the
// token, and is not changed. The Request of the response does not show the token.
func TestRequest(t *testing.T) {
	for _, target := range []string{broadcast, "int/v1/broadcast?limit=1", acme + broadcast, acme + ":443" + broadcast, "HTTPS://ACME.communic8.com" + broadcast} {
		withEnv(t, func(e *env) {
			req, err := http.NewRequestWithContext(e.Context(), http.MethodGet, target, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "mine")
			req.Header.Set("X-Mine", "kept")
			resp, err := e.client().Do(req)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("got %v, %v", resp, err)
			}
			_ = resp.Body.Close()
			e.mustSend(1, acmeHost)
			if sent := e.requests()[0]; !strings.HasSuffix(sent.URL.RequestURI(), broadcast) || sent.Header.Get("X-Mine") != "kept" {
				t.Errorf("sent %s with %v", sent.URL, sent.Header)
			}
			if req.Header.Get("Authorization") != "mine" || req.URL.String() == "" {
				t.Errorf("the request was changed: %v", req)
			}
			if got := resp.Request.Header.Get("Authorization"); got != "" || !strings.EqualFold(resp.Request.URL.Hostname(), acmeHost) {
				t.Errorf("the response shows %s with %q", resp.Request.URL, got)
			}
		})
	}
}

// A revoked token is reported and replaced within seconds, and the request repeated with its body.
// Communic8 issues one token.
func TestRejection(t *testing.T) {
	forEach(t, map[string]bool{"overlap": false, "exclusive": true}, func(e *env, exclusive bool) {
		e.exclusive(exclusive)
		client := e.client()
		e.mustGet(client)
		var bodies []string
		e.setPath("POST /int/v1/broadcast", func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			bodies = append(bodies, string(body))
			e.c8.ServeHTTP(w, r)
		})
		before := e.c8.Requests()
		e.revoke()
		start := time.Now()
		resp, err := client.Post("/int/v1/broadcast", "text/plain", strings.NewReader("hello"))
		if err != nil || resp.StatusCode != http.StatusOK || time.Since(start) > 5*time.Second {
			e.Fatalf("got %v, %v after %v", resp, err, time.Since(start))
		}
		_ = resp.Body.Close()
		if !slices.Equal(bodies, []string{"hello", "hello"}) || e.c8.Requests() != before+1 {
			e.Errorf("the bodies are %q, %d tokens were requested", bodies, e.c8.Requests()-before)
		}
	})
}

// A body that cannot be read again is sent once: the program gets the 401, and its next request
// succeeds.
func TestRejectionOfAStream(t *testing.T) {
	withEnv(t, func(e *env) {
		client := e.client()
		e.mustGet(client)
		e.revoke()
		resp, err := client.Post(broadcast, "text/plain", io.MultiReader(strings.NewReader("hello")))
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			t.Fatalf("got %v, %v", resp, err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || len(body) == 0 {
			t.Errorf("the body is %q, %v", body, err)
		}
		_ = resp.Body.Close()
		e.mustGet(client)
		e.mustSend(3, acmeHost)
	})
}

// A 401 or 403 to a valid token is returned as it is, and no token is requested. The time between
// requests to the API grows. The next token is used within two minutes.
func TestLongRejection(t *testing.T) {
	type test struct{ status, gets, posts int }
	forEach(t, map[string]test{"403": {403, 40, 0}, "401": {401, 40, 35}}, func(e *env, test test) {
		e.setPath("/int/v1/rejected", responds(test.status, "not for you"))
		client := e.client()
		token := func() string {
			resp, err := client.Get("/int/v1/rejected")
			if err != nil || resp.StatusCode != test.status {
				e.Fatalf("got %v, %v", resp, err)
			}
			if body, err := io.ReadAll(resp.Body); string(body) != "not for you" || err != nil {
				e.Fatalf("got %q, %v", body, err)
			}
			_ = resp.Body.Close()
			sent := e.requests()
			return sent[len(sent)-1].Header.Get("Authorization")
		}
		first, before := token(), e.c8.Requests()
		for range 3600 {
			time.Sleep(time.Second)
			token()
		}
		if gets, posts := e.count("GET"), e.count("POST"); gets > test.gets || posts > test.posts || e.c8.Requests() != before {
			e.Errorf("in an hour: %d fetches, %d reports and %d tokens", gets, posts, e.c8.Requests()-before)
		}
		time.Sleep(11 * time.Hour)
		e.rotate()
		token() // the last pause may be over
		time.Sleep(2 * time.Minute)
		if token() == first {
			e.Error("the next token is not used")
		}
	})
}

// CloseIdleConnections of http.Client closes those to Communic8 and to the API.
func TestCloseIdleConnections(t *testing.T) {
	communic8, api := new(idle), new(idle)
	client := &http.Client{Transport: &caller.Transport{Base: communic8, Source: &caller.Source{Base: api}}}
	client.CloseIdleConnections()
	if communic8.closed != 1 || api.closed != 1 {
		t.Errorf("closed %d times and %d times, want once each", communic8.closed, api.closed)
	}
	(&http.Client{Transport: &caller.Transport{Source: new(caller.Source)}}).CloseIdleConnections()
}

type idle struct {
	http.Transport
	closed int
}

func (i *idle) CloseIdleConnections() { i.closed++ }

// If a new token ends the one that programs hold, which Communic8 then answers by 401 or 403, a
// rotation makes no request of theirs fail, and no other token is requested.
func TestExclusiveRotation(t *testing.T) {
	forEach(t, map[string]c8test.Rejection{"401": c8test.Reject401, "403": c8test.Reject403}, func(e *env, rejection c8test.Rejection) {
		e.c8.Set(func(b *c8test.Behaviour) { b.Exclusive, b.Rejection = true, rejection })
		client := e.client()
		e.mustGet(client)
		time.Sleep(12 * time.Hour)
		e.rotate()
		before := e.c8.Requests()
		if e.mustGet(client); e.c8.Requests() != before {
			e.Errorf("%d tokens were requested", e.c8.Requests()-before)
		}
	})
}

// Without a token nothing is sent, and http.Client returns the reason.
func TestNoToken(t *testing.T) {
	withEnv(t, func(e *env) {
		e.setAPI(responds(403, "", "X-Amzn-Errortype: AccessDeniedException"))
		body := &closable{Reader: strings.NewReader("x")}
		_, err := e.client().Post(broadcast, "text/plain", body)
		want := `Post "/int/v1/broadcast?limit=1": c8auth: not allowed by IAM: a policy must grant execute-api:Invoke on arn:aws:execute-api:eu-central-1:*:c8auth0api/v1/GET/tokens/default`
		if !errors.Is(err, caller.ErrDenied) || err.Error() != want || !body.closed {
			t.Errorf("got  %v, closed %t\nwant %s", err, body.closed, want)
		}
		e.mustSend(0, "")
	})
}

// A request whose context ends while the token is renewed ends with it, or with the 401.
func TestContextEndsInRejection(t *testing.T) {
	withEnv(t, func(e *env) {
		client := e.client()
		e.mustGet(client)
		e.revoke()
		e.setAPI(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		ctx, cancel := context.WithTimeout(e.Context(), time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, broadcast, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		if err == nil && resp.StatusCode != http.StatusUnauthorized || time.Now().Second() != 1 {
			t.Errorf("got %v, %v at %v", resp, err, time.Now())
		}
		time.Sleep(time.Minute) // the renewal, for which others might wait, has a deadline of its own
	})
}

// When the token of a thousand programs is revoked, no request of theirs fails, they continue within
// ten seconds, and one token is requested, although API Gateway throttles their reports.
func TestAThousandPrograms(t *testing.T) {
	forEach(t, map[string]bool{"overlap": false, "exclusive": true}, func(e *env, exclusive bool) {
		e.exclusive(exclusive)
		e.throttle(5, 10)
		clients := make([]*http.Client, 1000)
		for i := range clients {
			clients[i] = e.client()
		}
		get := func() {
			var getting sync.WaitGroup
			for _, client := range clients {
				getting.Go(func() {
					if err := get(client); err != nil {
						e.Error(err)
					}
				})
			}
			getting.Wait()
		}
		get()
		before := e.c8.Requests()
		e.revoke()
		start := time.Now()
		get()
		if n := e.c8.Requests() - before; n != 1 || time.Since(start) > 10*time.Second {
			e.Errorf("%d tokens were requested, and it took %v", n, time.Since(start))
		}
	})
}

// throttle makes the API respond by 429 to more reports than so many a second, as API Gateway does.
func (e *env) throttle(rate, burst float64) {
	var mu sync.Mutex
	left, last := burst, time.Now()
	admit := func() bool {
		mu.Lock()
		defer mu.Unlock()
		left, last = min(burst, left+rate*time.Since(last).Seconds()), time.Now()
		if left < 1 {
			return false
		}
		left--
		return true
	}
	e.setAPI(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && !admit() {
			responds(http.StatusTooManyRequests, "", "X-Amzn-Errortype: TooManyRequestsException")(w, r)
			return
		}
		e.gateway.ServeHTTP(w, r)
	})
}

// For two days, with a request every ten seconds, through rotations, expiries, revocations, restarts
// of vend, and outages of the token endpoint of half a lifetime, no request fails.
func TestDays(t *testing.T) {
	forEach(t, map[string]bool{"overlap": false, "exclusive": true}, func(e *env, exclusive bool) {
		outage := false
		e.c8.Set(func(b *c8test.Behaviour) {
			b.Lifetime, b.Exclusive = 2*time.Hour, exclusive
			b.Fault = func(r *http.Request, _ int) *c8test.Fault {
				if outage && r.URL.Path == c8test.TokenPath {
					return &c8test.Fault{Break: true}
				}
				return nil
			}
		})
		e.revoke() // the token with a lifetime of a day
		e.rotate()
		client := e.client()
		start := time.Now()
		for beat := 0; time.Since(start) < 48*time.Hour; beat++ { // of five minutes
			age := time.Duration(beat%60) * 5 * time.Minute // of five hours
			outage = age >= 2*time.Hour && age < 3*time.Hour-5*time.Minute
			e.rotate()
			if age == time.Hour+35*time.Minute {
				e.revoke()
			}
			if beat%7 == 0 {
				e.restartVend()
			}
			for range 30 {
				e.mustGet(client)
				time.Sleep(10*time.Second - time.Since(start)%(10*time.Second))
			}
		}
		if len(e.c8.Issued()) < 30 || e.count("POST") < 5 {
			e.Errorf("%d tokens, %d reports: too little has happened", len(e.c8.Issued()), e.count("POST"))
		}
	})
}
