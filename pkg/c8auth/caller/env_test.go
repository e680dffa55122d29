package caller_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscredentials "github.com/aws/aws-sdk-go-v2/credentials"
	"golang.org/x/oauth2"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/internal/harness"
	"github.com/c8auth/c8auth/internal/restapi"
	"github.com/c8auth/c8auth/pkg/c8auth"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

const (
	apiHost   = "c8auth0api.execute-api.eu-central-1.amazonaws.com"
	apiURL    = "https://" + apiHost + "/v1"
	acmeHost  = "acme.communic8.com"
	acme      = "https://" + acmeHost
	broadcast = "/int/v1/broadcast?limit=1"
)

// env is everything between a program and Communic8, in memory: the Rotator and the Cache of both
// functions, on fakes of API Gateway, Secrets Manager and Communic8.
type env struct {
	*testing.T
	c8      *c8test.Server
	sm      *smtest.Server
	gateway *gwtest.Gateway
	rotator *c8auth.Rotator
	cache   atomic.Pointer[c8auth.Cache]

	mu    sync.Mutex
	api   http.HandlerFunc        // in place of the gateway, unless it is nil
	hosts map[string]http.Handler // of the internet
	calls []string                // methods of the requests to the API
	sent  []*http.Request         // to the internet
}

// withEnv runs the test in a synctest bubble, at midnight of 2000-01-01, where the tenant default
// has a token with a lifetime of a day.
func withEnv(t *testing.T, test func(e *env)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		memory := harness.InMemory("default")
		e := &env{T: t, c8: memory.Communic8, sm: memory.Secrets}
		e.hosts = map[string]http.Handler{acmeHost: e.c8}
		e.c8.AddClient("id", "secret")
		e.storeCredentials(acme)
		e.rotator = &c8auth.Rotator{
			Store:    &c8auth.Store{Stack: harness.Name, Client: memory.Client},
			Endpoint: &c8auth.Endpoint{Client: inmem.Client(http.HandlerFunc(e.serveInternet)), ProbePath: broadcast},
			Log:      slog.New(slog.DiscardHandler),
		}
		e.restartVend()
		all := []string{"default"}
		e.gateway = &gwtest.Gateway{Invoke: e.vend, Report: e.report, Keys: map[string]gwtest.Key{
			"AKIACALLER": {SecretAccessKey: "example", ARN: "arn:aws:iam::123456789012:user/program", Tenants: all, Reports: all},
			"AKIAREADER": {SecretAccessKey: "example", ARN: "arn:aws:iam::123456789012:user/reader", Tenants: all},
		}}
		e.rotate()
		test(e)
		synctest.Wait()
	})
}

// forEach runs the test for each case, in an environment of its own.
func forEach[Case any](t *testing.T, cases map[string]Case, test func(e *env, c Case)) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { withEnv(t, func(e *env) { test(e, c) }) })
	}
}

func credentials(key string) aws.CredentialsProvider {
	return awscredentials.NewStaticCredentialsProvider(key, "example", "")
}

// storeCredentials stores credentials for the instance at base.
func (e *env) storeCredentials(base string) {
	e.sm.Put(harness.CredentialsName("default"), harness.Credentials(base, "id", "secret"))
}

// restartVend empties the cache of vend.
func (e *env) restartVend() { e.cache.Store(&c8auth.Cache{Store: e.rotator.Store, TTL: time.Minute}) }

// rotate is a heartbeat, which may fail.
func (e *env) rotate() {
	ctx, cancel := context.WithTimeout(e.Context(), time.Minute)
	defer cancel()
	_, _ = e.rotator.Rotate(ctx, c8auth.Request{Tenant: "default"})
}

// revoke revokes all tokens.
func (e *env) revoke() {
	for _, token := range e.c8.Issued() {
		e.c8.Revoke(token)
	}
}

// exclusive makes Communic8 end the earlier tokens of a client when it issues a new one.
func (e *env) exclusive(exclusive bool) {
	e.c8.Set(func(b *c8test.Behaviour) { b.Exclusive = exclusive })
}

// vend and report respond like the functions.
func (e *env) vend(ctx context.Context, event []byte) ([]byte, error) {
	req, err := restapi.Read(event)
	if err != nil {
		return nil, err
	}
	v, err := e.cache.Load().Token(ctx, req.Tenant, req.NoCache)
	if err != nil {
		return refuse(err), nil
	}
	out := map[string]any{"access_token": v.Token.AccessToken.Reveal(), "token_type": "Bearer", "version": v.Version, "base_url": v.Token.BaseURL}
	if v.Token.Expires() {
		out["expires_in"], out["expires_at"] = int64(v.Remaining/time.Second), v.Token.ExpiresAt
	}
	return restapi.Answer{Status: http.StatusOK, Body: out}.Encode(), nil
}

func (e *env) report(ctx context.Context, event []byte) ([]byte, error) {
	var in struct{ Version string }
	req, err := restapi.Read(event)
	if err := errors.Join(err, json.Unmarshal(req.Body, &in)); err != nil {
		return nil, err
	}
	result, err := e.rotator.Reject(ctx, c8auth.Report{Tenant: req.Tenant, Version: in.Version})
	if err != nil {
		return refuse(err), nil
	}
	return restapi.Answer{Status: http.StatusOK, Body: result}.Encode(), nil
}

func refuse(err error) []byte {
	retryAfter := 30 * time.Second
	if errors.Is(err, c8auth.ErrHeld) {
		retryAfter = 2 * time.Second
	}
	return restapi.Error(http.StatusServiceUnavailable, "temporarily_unavailable", "", retryAfter).Encode()
}

// source returns the Source of another program.
func (e *env) source() *caller.Source {
	return &caller.Source{URL: apiURL, AWS: aws.Config{Credentials: credentials("AKIACALLER")}, Base: inmem.Transport{Handler: http.HandlerFunc(e.serveAPI)}}
}

// token returns the token of the Source.
func (e *env) token(source *caller.Source) *oauth2.Token {
	e.Helper()
	token, err := source.Token()
	if err != nil {
		e.Fatal(err)
	}
	return token
}

// client returns the client of another program.
func (e *env) client() *http.Client {
	return &http.Client{Transport: &caller.Transport{Source: e.source(), Base: e.internet()}}
}

func (e *env) serveAPI(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.calls = append(e.calls, r.Method)
	api := e.api
	e.mu.Unlock()
	switch {
	case r.Host != apiHost:
		e.Errorf("a request to the API at %s", r.Host)
	case api != nil:
		api(w, r)
	default:
		e.gateway.ServeHTTP(w, r)
	}
}

// setAPI makes the handler respond for the API; nil ends that.
func (e *env) setAPI(handler http.HandlerFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.api = handler
}

// responds is a handler with one response. A header is a line "name: value".
func responds(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, line := range header {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// count returns the number of requests to the API with the method.
func (e *env) count(method string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, call := range e.calls {
		if call == method {
			n++
		}
	}
	return n
}

// internet leads to Communic8 and all other hosts.
func (e *env) internet() http.RoundTripper {
	return inmem.Transport{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.sent = append(e.sent, r)
		e.mu.Unlock()
		e.serveInternet(w, r)
	})}
}

func (e *env) serveInternet(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	host := e.hosts[r.Host]
	e.mu.Unlock()
	if host == nil {
		http.Error(w, "no such host", http.StatusNotFound)
		return
	}
	host.ServeHTTP(w, r)
}

// setHost makes the handler respond for the host.
func (e *env) setHost(name string, handler http.Handler) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hosts[name] = handler
}

// setPath makes the handler respond for a path of Communic8.
func (e *env) setPath(pattern string, handler http.HandlerFunc) {
	mux := http.NewServeMux()
	mux.Handle("/", e.c8)
	mux.Handle(pattern, handler)
	e.setHost(acmeHost, mux)
}

// requests returns those that programs sent to the internet.
func (e *env) requests() []*http.Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.sent)
}

// mustGet fails unless the newest broadcast can be got.
func (e *env) mustGet(client *http.Client) {
	e.Helper()
	if err := get(client); err != nil {
		e.Fatal(err)
	}
}

// get gets the newest broadcast.
func get(client *http.Client) error {
	resp, err := client.Get(broadcast)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"success":true`)) {
		err = fmt.Errorf("%s %s", resp.Status, body)
	}
	return err
}

// mustBe fails unless err is want, contains the text, has at most 500 characters, all printable,
// and does not contain MARK, which stands for secrets and for what the other side chose.
func mustBe(t *testing.T, err, want error, text string) {
	t.Helper()
	if !errors.Is(err, want) || err == nil {
		t.Errorf("got %v, want %v", err, want)
		return
	}
	got := err.Error()
	if !strings.Contains(got, text) || utf8.RuneCountInString(got) > 500 || strings.Contains(got, "MARK") || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("got  %q\nwant %v … %s", got, want, text)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
