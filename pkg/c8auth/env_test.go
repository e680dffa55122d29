package c8auth

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/internal/harness"
)

const (
	acmeURL         = "https://acme.communic8.com"
	client          = `{"base_url": "` + acmeURL + `", "client_id": "id", "client_secret": "secret-1"}`
	wrongClient     = `{"base_url": "` + acmeURL + `", "client_id": "id", "client_secret": "typo"}`
	wrongKey        = `{"base_url": "` + acmeURL + `", "access_key": "typo"}`
	accessKey       = `{"base_url": "` + acmeURL + `", "access_key": "key-1"}`
	acmeCredentials = "stack/credentials/acme"
	acmeToken       = "stack/token/acme"
)

// env is a Rotator and a Cache in memory: with the real SDK and HTTP client, on fakes of
// Communic8 and Secrets Manager.
type env struct {
	*testing.T
	c8      *c8test.Server
	sm      *smtest.Server
	rotator *Rotator
	cache   *Cache
	log     bytes.Buffer
	faults  atomic.Pointer[func(op, name string) *smtest.Fault]
}

// withEnv runs the test in a synctest bubble, at midnight of 2000-01-01, with the empty
// secrets of the tenant acme, and the client and access key that Communic8 knows.
func withEnv(t *testing.T, test func(e *env)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fakes := harness.InMemory()
		e := &env{T: t, c8: fakes.Communic8, sm: fakes.Secrets}
		e.c8.AddClient("id", "secret-1")
		e.c8.AddAccessKey("key-1")
		e.sm.Create(acmeCredentials)
		e.sm.Create(acmeToken)
		e.sm.Fault = func(op, name string) *smtest.Fault {
			if faults := e.faults.Load(); faults != nil {
				return (*faults)(op, name)
			}
			return nil
		}
		client := secretsmanager.New(fakes.Client.Options(), func(o *secretsmanager.Options) { o.Retryer, o.RetryMaxAttempts = newRetryer(), storeAttempts })
		store := &Store{Stack: "stack", Client: client}
		e.rotator = &Rotator{
			Store:    store,
			Endpoint: &Endpoint{Client: inmem.Client(e.c8), ProbePath: defaultProbePath},
			Log:      slog.New(slog.NewJSONHandler(&e.log, nil)),
		}
		e.cache = &Cache{Store: store, TTL: defaultCacheTTL}
		test(e)
	})
}

// forEach runs the test for each case, in an environment of its own.
func forEach[Case any](t *testing.T, cases map[string]Case, test func(e *env, c Case)) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { withEnv(t, func(e *env) { test(e, c) }) })
	}
}

// process returns the Rotator of another process. before, if it is not nil, is called before each
// of its requests.
func (e *env) process(before func(r *http.Request)) *Rotator {
	wrap := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if before != nil {
				before(r)
			}
			h.ServeHTTP(w, r)
		})
	}
	options := e.rotator.Store.Client.Options()
	options.HTTPClient = &http.Client{Transport: inmem.Transport{Handler: wrap(e.sm)}, Timeout: storeAttempt}
	return &Rotator{
		Store:    &Store{Client: secretsmanager.New(options), Stack: "stack"},
		Endpoint: &Endpoint{Client: inmem.Client(wrap(e.c8)), ProbePath: e.rotator.Endpoint.ProbePath},
		Log:      e.rotator.Log,
	}
}

// start stores the credentials, rotates, and returns the version of the first token.
func (e *env) start(credentials string) string {
	e.Helper()
	e.sm.Put(acmeCredentials, credentials)
	return e.mustRotate(Rotated, FirstToken).Version
}

// rotate rotates within a minute, as Lambda does.
func (e *env) rotate(force bool) (Result, error) { return e.rotateBy(e.rotator, force) }

func (e *env) rotateBy(rotator *Rotator, force bool) (Result, error) {
	ctx, cancel := context.WithTimeout(e.Context(), time.Minute)
	defer cancel()
	return rotator.Rotate(ctx, Request{Tenant: "acme", Force: force})
}

// mustRotate rotates and expects the outcome and reason.
func (e *env) mustRotate(outcome Outcome, reason Reason) Result {
	e.Helper()
	result, err := e.rotate(false)
	if err != nil || result.Outcome != outcome || result.Reason != reason {
		e.Fatalf("got %+v, %v, want %s %s", result, err, outcome, reason)
	}
	return result
}

// report reports that Communic8 rejects the version.
func (e *env) report(version string) (Result, error) {
	return e.rotator.Reject(e.Context(), Report{Tenant: "acme", Version: version})
}

// mustReport reports the version and expects the outcome.
func (e *env) mustReport(version string, want Outcome) Result {
	e.Helper()
	result, err := e.report(version)
	if err != nil || result.Outcome != want {
		e.Fatalf("got %+v, %v, want %s", result, err, want)
	}
	return result
}

// vend returns the token of the Cache.
func (e *env) vend(fresh bool) (string, error) {
	token, err := e.cache.Token(e.Context(), "acme", fresh)
	return token.Token.AccessToken.Reveal(), err
}

// mustVend expects the token of the Cache.
func (e *env) mustVend(fresh bool, want string) {
	e.Helper()
	if got, err := e.vend(fresh); got != want || err != nil {
		e.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// newToken returns a token that was issued now.
func newToken(secret string, lifetime time.Duration) Token {
	issued := now().Truncate(time.Second)
	return Token{BaseURL: acmeURL, AccessToken: NewSecret(secret), TokenType: bearer, IssuedAt: issued, ExpiresAt: issued.Add(lifetime)}
}

// put stores the token by hand and returns its version.
func (e *env) put(token Token) string {
	e.Helper()
	text, err := token.encode()
	if err != nil {
		e.Fatal(err)
	}
	return e.sm.Put(acmeToken, text)
}

// shift dates the stored token by as much and returns its new version.
func (e *env) shift(by time.Duration) string {
	e.Helper()
	token, _ := e.stored()
	token.IssuedAt, token.ExpiresAt = token.IssuedAt.Add(by), token.ExpiresAt.Add(by)
	return e.put(token)
}

// stored returns the stored token and its version.
func (e *env) stored() (Token, string) {
	e.Helper()
	text, version := e.sm.Value(acmeToken)
	token, err := ParseToken([]byte(text))
	if err != nil {
		e.Fatal(err)
	}
	return token, version
}

// mustBeValid fails unless Communic8 accepts the stored token.
func (e *env) mustBeValid() {
	e.Helper()
	if token, _ := e.stored(); !e.c8.Valid(token.AccessToken.Reveal()) {
		e.Error("Communic8 does not accept the stored token")
	}
}

// mustBe fails unless that version is stored.
func (e *env) mustBe(version string) {
	e.Helper()
	if _, now := e.sm.Value(acmeToken); now != version {
		e.Errorf("version %s is stored, want %s", now, version)
	}
}

// revoke revokes the stored token and returns its version.
func (e *env) revoke() string {
	e.Helper()
	token, version := e.stored()
	e.c8.Revoke(token.AccessToken.Reveal())
	return version
}

// exclusive makes Communic8 end the earlier tokens of a client when it issues a new one.
func (e *env) exclusive() { e.c8.Set(func(b *c8test.Behaviour) { b.Exclusive = true }) }

// c8Faults makes Communic8 respond with what faults returns; nil ends that.
func (e *env) c8Faults(faults func(r *http.Request, n int) *c8test.Fault) {
	e.c8.Set(func(b *c8test.Behaviour) { b.Fault = faults })
}

// tokenFault makes Communic8 respond so to token requests.
func (e *env) tokenFault(fault c8test.Fault) {
	e.c8Faults(func(r *http.Request, _ int) *c8test.Fault {
		if r.URL.Path == c8test.TokenPath {
			return &fault
		}
		return nil
	})
}

// probeFault makes Communic8 respond so to probes.
func (e *env) probeFault(fault c8test.Fault) {
	e.c8Faults(func(r *http.Request, _ int) *c8test.Fault {
		if r.URL.Path != c8test.TokenPath {
			return &fault
		}
		return nil
	})
}

// storeFaults makes Secrets Manager respond with what faults returns.
func (e *env) storeFaults(faults func(op, name string) *smtest.Fault) { e.faults.Store(&faults) }

// storeFault makes Secrets Manager respond so to the operation on the secret; each is any if
// it is empty.
func (e *env) storeFault(op, name string, fault smtest.Fault) {
	e.storeFaults(func(gotOp, gotName string) *smtest.Fault {
		if op != "" && op != gotOp || name != "" && name != gotName {
			return nil
		}
		return &fault
	})
}

// beforeWrite calls f once, before the next write to Secrets Manager.
func (e *env) beforeWrite(f func()) {
	var called atomic.Bool
	e.storeFaults(func(op, _ string) *smtest.Fault {
		if op == "PutSecretValue" && called.CompareAndSwap(false, true) {
			f()
		}
		return nil
	})
}

// storeWorks ends the faults of Secrets Manager.
func (e *env) storeWorks() { e.faults.Store(nil) }

// members are those of a log line.
type members = map[string]any

// line returns the nth line of the log before the last one.
func (e *env) line(n int) (line members) {
	e.Helper()
	texts := strings.Split(strings.TrimSpace(e.log.String()), "\n")
	if err := json.Unmarshal([]byte(texts[len(texts)-1-n]), &line); err != nil {
		e.Fatal(err)
	}
	return line
}

// mustLog fails unless the last line of the log has these members; nil stands for none.
func (e *env) mustLog(want members) {
	e.Helper()
	line := e.line(0)
	for key, value := range want {
		if line[key] != value {
			e.Errorf("logged %s %v, want %v, in %v", key, line[key], value, line)
		}
	}
}
