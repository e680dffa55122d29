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
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/internal/harness"
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

	mu    sync.Mutex
	cache *c8auth.Cache
	api   http.Handler            // in place of the gateway, unless it is nil
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
		all := []string{"default", "nobody", "Nobody"}
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
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: key, SecretAccessKey: "example"}, nil
	})
}

// storeCredentials stores credentials for the instance at base.
func (e *env) storeCredentials(base string) {
	e.sm.Put(harness.CredentialsName("default"), harness.Credentials(base, "id", "secret"))
}

// restartVend empties the cache of vend.
func (e *env) restartVend() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cache = &c8auth.Cache{Store: e.rotator.Store, TTL: time.Minute}
}

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
	var req events.APIGatewayProxyRequest
	if err := json.Unmarshal(event, &req); err != nil {
		return nil, err
	}
	e.mu.Lock()
	cache := e.cache
	e.mu.Unlock()
	v, err := cache.Token(ctx, req.PathParameters["tenant"], req.Headers["Cache-Control"] == "no-cache")
	if err != nil {
		return refuse(err)
	}
	out := map[string]any{"access_token": v.Token.AccessToken.Reveal(), "token_type": "Bearer", "version": v.Version, "base_url": v.Token.BaseURL}
	if v.Token.Expires() {
		out["expires_in"], out["expires_at"] = int64(v.Remaining/time.Second), v.Token.ExpiresAt
	}
	return respond(200, "", out)
}

func (e *env) report(ctx context.Context, event []byte) ([]byte, error) {
	var req events.APIGatewayProxyRequest
	var in struct {
		Version string `json:"version"`
	}
	if err := errors.Join(json.Unmarshal(event, &req), json.Unmarshal([]byte(req.Body), &in)); err != nil {
		return nil, err
	}
	result, err := e.rotator.Reject(ctx, c8auth.Report{Tenant: req.PathParameters["tenant"], Version: in.Version})
	if err != nil {
		return refuse(err)
	}
	return respond(200, "", result)
}

func refuse(err error) ([]byte, error) {
	switch {
	case errors.Is(err, c8auth.ErrTenantName):
		return respond(400, "", map[string]string{"error": "invalid_request"})
	case errors.Is(err, c8auth.ErrUnknownTenant):
		return respond(404, "", map[string]string{"error": "unknown_tenant"})
	case errors.Is(err, c8auth.ErrHeld):
		return respond(503, "2", map[string]string{"error": "temporarily_unavailable"})
	}
	return respond(503, "30", map[string]string{"error": "temporarily_unavailable"})
}

func respond(status int, retryAfter string, body any) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	headers := map[string]string{"Content-Type": "application/json"}
	if retryAfter != "" {
		headers["Retry-After"] = retryAfter
	}
	return json.Marshal(events.APIGatewayProxyResponse{StatusCode: status, Headers: headers, Body: string(text)})
}

// source returns the Source of another program.
func (e *env) source() *caller.Source {
	return &caller.Source{URL: apiURL, AWS: aws.Config{Credentials: credentials("AKIACALLER")}, Base: inmem.Transport{Handler: http.HandlerFunc(e.serveAPI)}}
}

// token returns the token of the Source.
func (e *env) token(source *caller.Source) string {
	e.Helper()
	token, err := source.Token()
	if err != nil {
		e.Fatal(err)
	}
	return token.AccessToken
}

// client returns the client of another program.
func (e *env) client() *http.Client { return e.clientOf(e.source()) }

func (e *env) clientOf(source *caller.Source) *http.Client {
	return &http.Client{Transport: &caller.Transport{Source: source, Base: e.internet()}}
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
		api.ServeHTTP(w, r)
	default:
		e.gateway.ServeHTTP(w, r)
	}
}

// setAPI makes the handler respond for the API; nil ends that.
func (e *env) setAPI(handler http.HandlerFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.api = nil
	if handler != nil {
		e.api = handler
	}
}

// setError makes the API respond with the status, and with the JSON if it is c8auth that refuses.
func (e *env) setError(status int, header http.Header, body string) {
	e.setAPI(func(w http.ResponseWriter, _ *http.Request) {
		for name := range header {
			w.Header().Set(name, header.Get(name))
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
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
