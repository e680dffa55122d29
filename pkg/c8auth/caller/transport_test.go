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
	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/pkg/c8auth"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

// redirect makes Communic8 send everybody elsewhere, but for who tries a token.
func (w *world) redirect(to string) {
	w.host("acme.communic8.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/int/v1/elsewhere" {
			http.Redirect(rw, r, to, http.StatusTemporaryRedirect)
			return
		}
		w.c8.ServeHTTP(rw, r)
	}))
}

// stayed fails if anything was sent to a place other than the base URL, with or without
// a token.
func (w *world) stayed(base string) {
	w.Helper()
	for _, r := range w.requests() {
		if "https://"+r.Host != base || r.Header.Get("Authorization") == "" {
			w.Errorf("sent %s %s with %v", r.Host, r.URL, r.Header)
		}
	}
}

// The token never leaves for another host, scheme or port: not by a redirect, and not by
// a program's mistake.
func TestTokenStays(t *testing.T) {
	for name, target := range map[string]string{
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
	} {
		t.Run("redirect to "+name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.redirect(target)
				resp, err := w.client().Get("/int/v1/elsewhere")
				if !errors.Is(err, caller.ErrHost) || !strings.Contains(err.Error(), acme) {
					t.Errorf("got %v, %v", resp, err)
				}
				w.stayed(acme)
				if got := len(w.requests()); got != 1 {
					t.Errorf("%d requests were sent, want 1", got)
				}
			})
		})
		t.Run("request to "+name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, target, strings.NewReader("x"))
				if err != nil {
					t.Fatal(err)
				}
				body := &closed{Reader: req.Body}
				req.Body = body
				if resp, err := w.client().Do(req); !errors.Is(err, caller.ErrHost) {
					t.Errorf("got %v, %v", resp, err)
				}
				if len(w.requests()) > 0 || !body.closed {
					t.Errorf("sent: %v, closed: %t", w.requests(), body.closed)
				}
			})
		})
	}
	t.Run("an opaque URL", func(t *testing.T) {
		inWorld(t, func(w *world) {
			req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: "acme.communic8.com", Opaque: "//evil.example/"}}
			if _, err := w.client().Transport.RoundTrip(req); !errors.Is(err, caller.ErrHost) || len(w.requests()) > 0 {
				t.Errorf("got %v, sent %v", err, w.requests())
			}
		})
	})
	t.Run("a Host header", func(t *testing.T) {
		inWorld(t, func(w *world) {
			req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, broadcast, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = "evil.example"
			resp, err := w.client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			w.stayed(acme)
		})
	})
	t.Run("the instance has moved to another port", func(t *testing.T) {
		inWorld(t, func(w *world) {
			client := w.client()
			if err := ok(client); err != nil {
				t.Fatal(err)
			}
			const moved = "https://acme.communic8.com:8443"
			w.host("acme.communic8.com:8443", w.c8)
			w.host("acme.communic8.com", nil)
			w.settle(moved)
			w.rotate()
			client = w.client()
			w.mu.Lock()
			w.sent = nil
			w.cache = &c8auth.Cache{Store: w.cache.Store, TTL: w.cache.TTL} // which has read nothing yet
			w.mu.Unlock()
			if err := ok(client); err != nil {
				t.Error(err)
			}
			if _, err := client.Get(acme + broadcast); !errors.Is(err, caller.ErrHost) {
				t.Errorf("got %v", err)
			}
			w.stayed(moved)
		})
	})
}

type closed struct {
	io.Reader
	closed bool
}

func (c *closed) Close() error { c.closed = true; return nil }

// A request may be a path or begin with the base URL in any spelling; it is sent as it is
// but for the token, and is not changed. What the program gets back shows no token.
func TestRequest(t *testing.T) {
	for _, target := range []string{
		broadcast, "int/v1/broadcast?limit=1", acme + broadcast, "https://acme.communic8.com:443" + broadcast, "HTTPS://ACME.communic8.com" + broadcast,
	} {
		t.Run(target, func(t *testing.T) {
			inWorld(t, func(w *world) {
				req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, target, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "mine")
				req.Header.Set("X-Mine", "kept")
				resp, err := w.client().Do(req)
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Fatalf("got %v, %v", resp, err)
				}
				_ = resp.Body.Close()
				sent := w.requests()[0]
				if !strings.HasSuffix(sent.URL.RequestURI(), broadcast) || sent.Header.Get("X-Mine") != "kept" {
					t.Errorf("sent %s with %v", sent.URL, sent.Header)
				}
				if req.Header.Get("Authorization") != "mine" || req.URL.String() == "" {
					t.Errorf("the request was changed: %v", req)
				}
				if got := resp.Request.Header.Get("Authorization"); got != "" || !strings.EqualFold(resp.Request.URL.Hostname(), "acme.communic8.com") {
					t.Errorf("the response bears %s with %q", resp.Request.URL, got)
				}
			})
		})
	}
}

// A redirect within Communic8 is followed with the token.
func TestRedirectWithin(t *testing.T) {
	for _, to := range []string{broadcast, acme + broadcast} {
		inWorld(t, func(w *world) {
			w.redirect(to)
			resp, err := w.client().Get("/int/v1/elsewhere")
			if err != nil || resp.StatusCode != http.StatusOK || len(w.requests()) != 2 {
				t.Errorf("got %v, %v", resp, err)
			}
			_ = resp.Body.Close()
			w.stayed(acme)
		})
	}
}

// A token that was revoked costs a program some seconds: rejected, reported, replaced,
// and the request repeated with its body.
func TestRejection(t *testing.T) {
	for name, behave := range map[string]func(*c8test.Behaviour){
		"overlap":   func(*c8test.Behaviour) {},
		"exclusive": func(b *c8test.Behaviour) { b.Exclusive = true },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.c8.Set(behave)
				client := w.client()
				if err := ok(client); err != nil {
					t.Fatal(err)
				}
				var bodies []string
				w.host("acme.communic8.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPost && r.URL.Path == "/int/v1/broadcast" {
						body, err := io.ReadAll(r.Body)
						if err != nil {
							t.Error(err)
						}
						bodies = append(bodies, string(body))
					}
					w.c8.ServeHTTP(rw, r)
				}))
				asked := w.c8.Requests()
				w.revoke()
				start := time.Now()
				resp, err := client.Post("/int/v1/broadcast", "text/plain", strings.NewReader("hello"))
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Fatalf("got %v, %v", resp, err)
				}
				_ = resp.Body.Close()
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				if !slices.Equal(bodies, []string{"hello", "hello"}) {
					t.Errorf("the bodies are %q", bodies)
				}
				if w.c8.Requests() != asked+1 {
					t.Errorf("%d tokens were asked for", w.c8.Requests()-asked)
				}
			})
		})
	}
}

// A body that cannot be read again is sent once: the program sees the 401, and its next
// request is fine.
func TestRejectionOfAStream(t *testing.T) {
	inWorld(t, func(w *world) {
		client := w.client()
		if err := ok(client); err != nil {
			t.Fatal(err)
		}
		w.revoke()
		resp, err := client.Post(broadcast, "text/plain", io.MultiReader(strings.NewReader("hello")))
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			t.Fatalf("got %v, %v", resp, err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || len(body) == 0 {
			t.Errorf("the answer is %q, %v", body, err)
		}
		_ = resp.Body.Close()
		sent := len(w.requests())
		if err := ok(client); err != nil || len(w.requests()) != sent+1 {
			t.Errorf("got %v after %d requests", err, len(w.requests())-sent)
		}
	})
}

// A 401 that is not the token's fault is passed on, at once and without a word to c8auth
// but for every ten seconds.
func TestRejectionWithoutReason(t *testing.T) {
	inWorld(t, func(w *world) {
		w.c8.Set(func(b *c8test.Behaviour) {
			b.Fault = func(r *http.Request, _ int) *c8test.Fault {
				if r.URL.Path == "/int/v1/secret" {
					return &c8test.Fault{Status: http.StatusUnauthorized, Body: "not for you"}
				}
				return nil
			}
		})
		client := w.client()
		asked := w.c8.Requests()
		for range 600 {
			resp, err := client.Get("/int/v1/secret")
			if err != nil || resp.StatusCode != http.StatusUnauthorized {
				t.Fatalf("got %v, %v", resp, err)
			}
			if body, err := io.ReadAll(resp.Body); string(body) != "not for you" || err != nil {
				t.Fatalf("got %q, %v", body, err)
			}
			_ = resp.Body.Close()
			time.Sleep(100 * time.Millisecond)
		}
		if w.c8.Requests() != asked || w.count("POST") > 6 || w.count("GET") > 62 || len(w.requests()) != 600 {
			t.Errorf("in a minute: %d tokens, %d reports, %d fetches, %d requests", w.c8.Requests()-asked, w.count("POST"), w.count("GET"), len(w.requests()))
		}
	})
}

// A 401 whose body never comes does not delay the repetition of the request.
func TestRejectionWhoseBodyNeverComes(t *testing.T) {
	inWorld(t, func(w *world) {
		internet := w.internet()
		hangs := inmem.Transport{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.WriteHeader(http.StatusUnauthorized)
			_, _ = rw.Write([]byte("{"))
			<-r.Context().Done()
		})}
		client := &http.Client{Transport: &caller.Transport{Source: w.source(), Base: roundTripper(func(req *http.Request) (*http.Response, error) {
			if w.c8.Valid(strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")) {
				return internet.RoundTrip(req)
			}
			return hangs.RoundTrip(req)
		})}}
		if err := ok(client); err != nil {
			t.Fatal(err)
		}
		w.revoke()
		start := time.Now()
		if err := ok(client); err != nil || time.Since(start) > 5*time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

// While Communic8 rejects a token that stays the same, by 401 or 403, requests for a newer
// one and reports become less and less frequent. The next token is used nevertheless,
// within two minutes.
func TestRejectionForEver(t *testing.T) {
	for name, test := range map[string]struct{ status, gets, posts int }{
		"403": {http.StatusForbidden, 40, 0},
		"401": {http.StatusUnauthorized, 40, 35},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.host("acme.communic8.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if r.Header.Get("X-Program") != "" {
						rw.WriteHeader(test.status)
						return
					}
					w.c8.ServeHTTP(rw, r)
				}))
				client := w.client()
				version := func() string {
					req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, broadcast, nil)
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("X-Program", "1")
					resp, err := client.Do(req)
					if err != nil || resp.StatusCode != test.status {
						t.Fatalf("got %v, %v", resp, err)
					}
					_ = resp.Body.Close()
					sent := w.requests()
					return sent[len(sent)-1].Header.Get("Authorization")
				}
				first := version()
				for range 3600 {
					time.Sleep(time.Second)
					version()
				}
				if gets, posts := w.count("GET"), w.count("POST"); gets > test.gets || posts > test.posts {
					t.Errorf("in an hour: %d fetches and %d reports", gets, posts)
				}
				time.Sleep(11 * time.Hour)
				w.rotate()
				version() // a back-off of before may be over
				time.Sleep(2 * time.Minute)
				if version() == first {
					t.Error("the next token is not used")
				}
			})
		})
	}
}

// http.Client closes idle connections through Transport, those to the API, too.
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

// Where a new token ends the life of the one before, and whoever holds that is answered
// 401 or 403, a rotation is not noticed, and Communic8 not asked for anything more.
func TestExclusiveRotation(t *testing.T) {
	for name, rejection := range map[string]c8test.Rejection{"401": c8test.Reject401, "403": c8test.Reject403} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.c8.Set(func(b *c8test.Behaviour) { b.Exclusive, b.Rejection = true, rejection })
				client := w.client()
				if err := ok(client); err != nil {
					t.Fatal(err)
				}
				time.Sleep(12 * time.Hour)
				w.rotate()
				asked := w.c8.Requests()
				if err := ok(client); err != nil || w.c8.Requests() != asked {
					t.Errorf("got %v, and %d tokens were asked for", err, w.c8.Requests()-asked)
				}
			})
		})
	}
}

// Who may not report waits for the heartbeat, and sees what Communic8 says until then.
func TestRejectionWithoutReporting(t *testing.T) {
	inWorld(t, func(w *world) {
		source := w.source()
		source.AWS.Credentials = credentials("AKIAREADER")
		client := &http.Client{Transport: &caller.Transport{Source: source, Base: w.internet()}}
		w.revoke()
		if err := ok(client); err == nil || !strings.Contains(err.Error(), "Unauthorized") {
			t.Errorf("got %v", err)
		}
		w.rotate()
		time.Sleep(time.Second)
		if err := ok(client); err != nil {
			t.Error(err)
		}
	})
}

// Without a token nothing is sent, and why comes through http.Client.
func TestNoToken(t *testing.T) {
	inWorld(t, func(w *world) {
		w.answers(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("x-amzn-ErrorType", "AccessDeniedException")
			rw.WriteHeader(http.StatusForbidden)
		}))
		body := &closed{Reader: strings.NewReader("x")}
		_, err := w.client().Post(broadcast, "text/plain", body)
		want := `Post "/int/v1/broadcast?limit=1": c8auth: not allowed by IAM: a policy must grant execute-api:Invoke on arn:aws:execute-api:eu-central-1:*:c8auth0api/v1/GET/tokens/default`
		if !errors.Is(err, caller.ErrDenied) || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if len(w.requests()) > 0 || !body.closed {
			t.Errorf("sent: %v, closed: %t", w.requests(), body.closed)
		}
	})
}

// A request whose context ends while the token is renewed ends as Communic8 answered it.
func TestContextEndsInRejection(t *testing.T) {
	inWorld(t, func(w *world) {
		client := w.client()
		if err := ok(client); err != nil {
			t.Fatal(err)
		}
		w.revoke()
		w.answers(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
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
		time.Sleep(time.Minute) // others might wait for what it began: that has an end of its own
	})
}

// A thousand programs whose token is revoked: every one is healed within seconds, without
// an error, and Communic8 is asked for one token.
func TestAThousandPrograms(t *testing.T) {
	for name, behave := range map[string]func(*c8test.Behaviour){
		"overlap":   func(*c8test.Behaviour) {},
		"exclusive": func(b *c8test.Behaviour) { b.Exclusive = true },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.c8.Set(behave)
				w.throttle(5, 10)
				clients := make([]*http.Client, 1000)
				each := func(do func(*http.Client)) {
					var all sync.WaitGroup
					for _, client := range clients {
						all.Go(func() { do(client) })
					}
					all.Wait()
				}
				for i := range clients {
					clients[i] = w.client()
				}
				each(func(client *http.Client) {
					if err := ok(client); err != nil {
						t.Error(err)
					}
				})
				asked, tried := w.c8.Requests(), w.c8.Probes()
				w.revoke()
				start := time.Now()
				each(func(client *http.Client) {
					if err := ok(client); err != nil {
						t.Error(err)
					}
				})
				if took := time.Since(start); took > 10*time.Second {
					t.Errorf("it took %v until all were healed", took)
				}
				if got := w.c8.Requests() - asked; got != 1 {
					t.Errorf("Communic8 was asked for %d tokens, want one", got)
				}
				t.Logf("healed within %v; %d reports, %d requests to Communic8 besides the programs' 2000",
					time.Since(start), w.count("POST"), w.c8.Probes()-tried-2000)
			})
		})
	}
}

// throttle makes the API answer 429 to more reports than so many a second, as API
// Gateway does.
func (w *world) throttle(rate float64, burst float64) {
	var mu sync.Mutex
	left, last := burst, time.Now()
	w.answers(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		left = min(burst, left+rate*time.Since(last).Seconds())
		last = time.Now()
		admit := r.Method != http.MethodPost || left >= 1
		if admit && r.Method == http.MethodPost {
			left--
		}
		mu.Unlock()
		if !admit {
			rw.Header().Set("x-amzn-ErrorType", "TooManyRequestsException")
			rw.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.gateway.ServeHTTP(rw, r)
	}))
}

// A program goes on for days, a request every ten seconds, through rotations, expiries,
// revocations, restarts of vend and outages of the token endpoint of half a life each,
// in overlap and exclusive mode, without one failed request.
func TestDays(t *testing.T) {
	const life = 2 * time.Hour
	for name, exclusive := range map[string]bool{"overlap": false, "exclusive": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				outage := false
				w.c8.Set(func(b *c8test.Behaviour) {
					b.Lifetime, b.Exclusive = life, exclusive
					b.Fault = func(r *http.Request, _ int) *c8test.Fault {
						if outage && r.URL.Path == c8test.TokenPath {
							return &c8test.Fault{Break: true}
						}
						return nil
					}
				})
				w.revoke() // the one that lives for a day
				w.rotate()
				client := w.client()
				start := time.Now()
				requests := 0
				for beat := 0; time.Since(start) < 48*time.Hour; beat++ { // of five minutes
					age := time.Duration(beat%60) * 5 * time.Minute // of five hours
					outage = age >= 2*time.Hour && age < 3*time.Hour-5*time.Minute
					w.rotate()
					if age == time.Hour+35*time.Minute {
						for _, token := range w.c8.Issued() {
							w.c8.Revoke(token)
						}
					}
					if beat%7 == 0 {
						w.restart()
					}
					for range 30 {
						requests++
						if err := ok(client); err != nil {
							t.Fatalf("after %v: %v", time.Since(start), err)
						}
						time.Sleep(10*time.Second - time.Since(start)%(10*time.Second))
					}
				}
				t.Logf("%d requests, %d tokens, %d fetches, %d reports", requests, len(w.c8.Issued()), w.count("GET"), w.count("POST"))
				if len(w.c8.Issued()) < 30 || w.count("POST") < 5 {
					t.Error("too little has happened")
				}
			})
		})
	}
}
