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

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/pkg/c8auth"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

const (
	apiHost   = "c8auth0api.execute-api.eu-central-1.amazonaws.com"
	apiURL    = "https://" + apiHost + "/v1"
	acme      = "https://acme.communic8.com"
	broadcast = "/int/v1/broadcast?limit=1"
)

// world is everything between a program and Communic8, in memory: the real logic of both
// functions on stand-ins of API Gateway, Secrets Manager and Communic8.
type world struct {
	*testing.T
	c8      *c8test.Server
	sm      *smtest.Server
	gateway *gwtest.Gateway
	rotator *c8auth.Rotator

	mu     sync.Mutex
	cache  *c8auth.Cache
	broken http.Handler    // answers for the API, if it is not nil
	asked  []*http.Request // of the API
	sent   []*http.Request // to Communic8, or to whoever else
	hosts  map[string]http.Handler
}

// inWorld runs the test in a synctest bubble, at midnight of 2000-01-01, where the
// tenant default has a token that lives for a day.
func inWorld(t *testing.T, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, c8: new(c8test.Server), sm: new(smtest.Server)}
		w.hosts = map[string]http.Handler{"acme.communic8.com": w.c8}
		w.c8.AddClient("id", "secret")
		w.sm.Create("stack/credentials/default")
		w.sm.Create("stack/token/default")
		w.settle(acme)
		store := &c8auth.Store{Stack: "stack", Client: secretsmanager.New(secretsmanager.Options{
			Region:       "eu-central-1",
			BaseEndpoint: aws.String("http://secretsmanager.test"),
			HTTPClient:   &http.Client{Transport: inmem.Transport{Handler: w.sm}},
			Credentials:  credentials("AKIAFUNCTION"),
		})}
		w.rotator = &c8auth.Rotator{
			Store:    store,
			Endpoint: &c8auth.Endpoint{Client: inmem.Client(http.HandlerFunc(w.instance)), ProbePath: broadcast},
			Log:      slog.New(slog.DiscardHandler),
		}
		w.restart()
		all := []string{"default", "nobody", "Nobody"}
		w.gateway = &gwtest.Gateway{Invoke: w.vend, Report: w.report, Keys: map[string]gwtest.Key{
			"AKIACALLER": {SecretAccessKey: "example", ARN: "arn:aws:iam::123456789012:user/program", Tenants: all, Reports: all},
			"AKIAREADER": {SecretAccessKey: "example", ARN: "arn:aws:iam::123456789012:user/reader", Tenants: all},
		}}
		w.rotate()
		test(w)
		synctest.Wait()
	})
}

func credentials(key string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: key, SecretAccessKey: "example"}, nil
	})
}

// settle stores credentials for the instance at base.
func (w *world) settle(base string) {
	w.sm.Put("stack/credentials/default", fmt.Sprintf(`{"base_url":%q,"client_id":"id","client_secret":"secret"}`, base))
}

// restart is a new sandbox of vend, which remembers nothing.
func (w *world) restart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cache = &c8auth.Cache{Store: w.rotator.Store, TTL: time.Minute}
}

// rotate is a heartbeat. It may fail.
func (w *world) rotate() {
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	_, _ = w.rotator.Rotate(ctx, c8auth.Request{Tenant: "default"})
}

// revoke ends the life of the newest token.
func (w *world) revoke() {
	issued := w.c8.Issued()
	w.c8.Revoke(issued[len(issued)-1])
}

// vend and report do what the functions do.
func (w *world) vend(ctx context.Context, event []byte) ([]byte, error) {
	var req events.APIGatewayProxyRequest
	if err := json.Unmarshal(event, &req); err != nil {
		return nil, err
	}
	w.mu.Lock()
	cache := w.cache
	w.mu.Unlock()
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

func (w *world) report(ctx context.Context, event []byte) ([]byte, error) {
	var req events.APIGatewayProxyRequest
	var in struct {
		Version string `json:"version"`
	}
	if err := errors.Join(json.Unmarshal(event, &req), json.Unmarshal([]byte(req.Body), &in)); err != nil {
		return nil, err
	}
	result, err := w.rotator.Reject(ctx, c8auth.Report{Tenant: req.PathParameters["tenant"], Version: in.Version})
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

// source is a program's Source, a process of its own.
func (w *world) source() *caller.Source {
	return &caller.Source{URL: apiURL, AWS: aws.Config{Credentials: credentials("AKIACALLER")}, Base: w.api()}
}

// client is a program's client.
func (w *world) client() *http.Client {
	return &http.Client{Transport: &caller.Transport{Source: w.source(), Base: w.internet()}}
}

// api is the way to the API.
func (w *world) api() http.RoundTripper {
	return inmem.Transport{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.asked = append(w.asked, r)
		broken := w.broken
		w.mu.Unlock()
		switch {
		case r.Host != apiHost:
			w.Errorf("the API is asked at %s", r.Host)
		case broken != nil:
			broken.ServeHTTP(rw, r)
		default:
			w.gateway.ServeHTTP(rw, r)
		}
	})}
}

// internet is the way to Communic8 and to all other hosts.
func (w *world) internet() http.RoundTripper {
	return inmem.Transport{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.sent = append(w.sent, r)
		w.mu.Unlock()
		w.instance(rw, r)
	})}
}

func (w *world) instance(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	host := w.hosts[r.Host]
	w.mu.Unlock()
	if host == nil {
		http.Error(rw, "no such host", http.StatusNotFound)
		return
	}
	host.ServeHTTP(rw, r)
}

// host makes h answer for the host.
func (w *world) host(name string, h http.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts[name] = h
}

// answers makes the API answer so instead of what it is; "" ends that.
func (w *world) answers(h http.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = h
}

// gets and posts count the requests to the API.
func (w *world) count(method string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.asked {
		if r.Method == method {
			n++
		}
	}
	return n
}

// requests are those that were sent to Communic8 or elsewhere.
func (w *world) requests() []*http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sent)
}

// ok gets the newest broadcast, as a program does, and says what is wrong.
func ok(client *http.Client) error {
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
