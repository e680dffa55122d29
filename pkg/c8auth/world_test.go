package c8auth

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

const (
	acmeBase  = "https://acme.communic8.com"
	acmeOAuth = `{"base_url": "` + acmeBase + `", "client_id": "id", "client_secret": "secret-1"}`
	acmeKey   = `{"base_url": "` + acmeBase + `", "access_key": "key-1"}`
	acmeCreds = "stack/credentials/acme"
	acmeToken = "stack/token/acme"
)

// world is everything that a rotation and a vend touch, in memory: the real SDK and
// HTTP client on stand-ins of Communic8 and Secrets Manager.
type world struct {
	*testing.T
	c8      *c8test.Server
	sm      *smtest.Server
	rotator *Rotator
	cache   *Cache
	lines   *lockedBuffer

	mu    sync.Mutex
	fault func(op, name string) *smtest.Fault
}

// inWorld runs the test in a synctest bubble, at midnight of 2000-01-01, with the
// empty secrets of the tenant acme and a client that Communic8 knows.
func inWorld(t *testing.T, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, c8: new(c8test.Server), sm: new(smtest.Server), lines: new(lockedBuffer)}
		w.c8.AddClient("id", "secret-1")
		w.sm.Create(acmeCreds)
		w.sm.Create(acmeToken)
		w.sm.Fault = func(op, name string) *smtest.Fault {
			w.mu.Lock()
			fault := w.fault
			w.mu.Unlock()
			if fault == nil {
				return nil
			}
			return fault(op, name)
		}
		store := &Store{Stack: "stack", Client: secretsmanager.New(secretsmanager.Options{
			Region: "eu-central-1",

			Retryer:          newRetryer(),
			RetryMaxAttempts: storeAttempts,
			BaseEndpoint:     aws.String("http://secretsmanager.test"),
			HTTPClient:       &http.Client{Transport: inmem.Transport{Handler: w.sm}, Timeout: storeAttempt},
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "example"}, nil
			}),
		})}
		w.rotator = &Rotator{
			Store:    store,
			Endpoint: &Endpoint{Client: inmem.Client(w.c8), ProbePath: defaultProbePath},
			Log:      slog.New(slog.NewJSONHandler(w.lines, nil)),
		}
		w.cache = &Cache{Store: store, TTL: defaultCacheTTL}
		test(w)
	})
}

// rotate rotates as Lambda would, with a minute's time.
func (w *world) rotate(force bool) (Result, error) {
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	return w.rotator.Rotate(ctx, Request{Tenant: "acme", Force: force})
}

// must rotates and expects the outcome and reason.
func (w *world) must(outcome Outcome, reason Reason) Result {
	w.Helper()
	result, err := w.rotate(false)
	if err != nil || result.Outcome != outcome || result.Reason != reason {
		w.Fatalf("got %+v, %v, want %s %s", result, err, outcome, reason)
	}
	return result
}

// stored returns the token that is AWSCURRENT and its version.
func (w *world) stored() (Token, string) {
	w.Helper()
	text, version := w.sm.Value(acmeToken)
	token, err := ParseToken([]byte(text))
	if err != nil {
		w.Fatal(err)
	}
	return token, version
}

// living fails unless the stored token is one that Communic8 takes.
func (w *world) living() {
	w.Helper()
	if token, _ := w.stored(); !w.c8.Valid(token.AccessToken.Reveal()) {
		w.Error("the stored token is not a living one")
	}
}

// line returns the last line that was logged.
func (w *world) line() map[string]any {
	w.Helper()
	lines := strings.Split(strings.TrimSpace(w.lines.String()), "\n")
	var line map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
		w.Fatal(err)
	}
	return line
}

// behave changes what Communic8 does.
func (w *world) behave(change func(*c8test.Behaviour)) { w.c8.Set(change) }

// c8Fault makes Communic8 answer every token request so.
func (w *world) c8Fault(f c8test.Fault) {
	w.behave(func(b *c8test.Behaviour) {
		b.Fault = func(r *http.Request, _ int) *c8test.Fault {
			if r.URL.Path == c8test.TokenPath {
				return &f
			}
			return nil
		}
	})
}

// smFaults makes Secrets Manager do what fault says; nil ends that.
func (w *world) smFaults(fault func(op, name string) *smtest.Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = fault
}

// smFault makes Secrets Manager answer every such operation so.
func (w *world) smFault(op string, f smtest.Fault) {
	w.smFaults(func(got, _ string) *smtest.Fault {
		if got == op {
			return &f
		}
		return nil
	})
}

type lockedBuffer struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.String()
}

// clone returns another process's Rotator on the same stand-ins, with a wrapper
// around both.
func (w *world) clone(wrap func(http.Handler) http.Handler) *Rotator {
	options := w.rotator.Store.Client.Options()
	options.HTTPClient = &http.Client{Transport: inmem.Transport{Handler: wrap(w.sm)}, Timeout: storeAttempt}
	return &Rotator{
		Store:    &Store{Client: secretsmanager.New(options), Stack: "stack"},
		Endpoint: &Endpoint{Client: inmem.Client(wrap(w.c8)), ProbePath: w.rotator.Endpoint.ProbePath},
		Log:      w.rotator.Log,
	}
}
