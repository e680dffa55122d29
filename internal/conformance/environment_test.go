package conformance

// What a client talks to: a fake of API Gateway, which checks signatures, in front of
// functions that follow the scenario; a fake of Communic8; and another host.

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/harness"
	"github.com/c8auth/c8auth/internal/restapi"
)

const (
	region    = harness.Region
	keyID     = harness.AccessKey
	nextKeyID = "AKIAI44QH8DHBEXAMPLE"
	secretKey = harness.SecretKey
	broadcast = "/int/v1/broadcast?limit=1"
)

// environment is what one client talks to. It fails the test if a request to Communic8 has
// no token or an expired one, or if a token reaches the other host.
type environment struct {
	*testing.T
	scenario                  scenario
	dir                       string // of the driver's files
	api, communic8, elsewhere string // URLs
	c8                        *c8test.Server

	mu      sync.Mutex
	gateway *gwtest.Gateway
	fault   *answer
	tokens  []token // the newest comes last
	fetches []time.Time
	reports int
	sent    []sent
	open    int // answers that are being sent
}

type token struct {
	value, version string
	life
	expiry time.Time // zero: not given out yet, or none
}

// sent is a request to Communic8.
type sent struct{ token, body string }

func newEnvironment(t *testing.T, s scenario) *environment {
	s.Tenant = cmp.Or(s.Tenant, "default")
	e := &environment{T: t, scenario: s, dir: t.TempDir(), c8: new(c8test.Server)}
	if s.API != nil {
		e.fault = new(*s.API)
	}
	e.communic8 = e.serve(e.serveCommunic8)
	if s.Functions {
		e.startFunctions()
	} else {
		e.c8.Set(func(b *c8test.Behaviour) {
			if s.Rejection == http.StatusForbidden {
				b.Rejection = c8test.Reject403
			}
		})
		e.gateway = e.admit(keyID)
		e.add(*cmp.Or(s.Token, &life{Life: 3600}))
	}
	e.elsewhere = e.serve(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			e.Errorf("the other host got %s %s, %v", r.Method, r.URL, r.Header)
		}
		w.WriteHeader(http.StatusUnauthorized)
	})
	e.api = e.serve(e.serveAPI) + "/v1"
	return e
}

func (e *environment) serve(h http.HandlerFunc) string {
	server := httptest.NewServer(h)
	e.Cleanup(func() {
		server.CloseClientConnections() // some answers have no end
		server.Close()
	})
	return server.URL
}

// startFunctions starts the real functions, and has rotate make a token.
func (e *environment) startFunctions() {
	s, err := harness.StartBuilt(built, harness.Ports{}, io.Discard)
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(s.Stop)
	s.Communic8.AddClient("id", "secret")
	s.Secrets.Put(harness.CredentialsName("default"), harness.Credentials(e.communic8, "id", "secret"))
	e.c8 = s.Communic8
	if _, err := s.Rotate.Invoke(e.Context(), []byte(`{"tenant":"default"}`)); err != nil {
		e.Fatal(err)
	}
	e.gateway = s.Gateway
}

// admit is the gateway to the scenario's API for who signs with the key.
func (e *environment) admit(keyID string) *gwtest.Gateway {
	key := gwtest.Key{SecretAccessKey: secretKey, ARN: harness.Caller}
	for method, tenants := range map[string]*[]string{http.MethodGet: &key.Tenants, http.MethodPost: &key.Reports} {
		if e.scenario.Grants == nil || slices.Contains(e.scenario.Grants, method) {
			*tenants = []string{"*"}
		}
	}
	return &gwtest.Gateway{Keys: map[string]gwtest.Key{keyID: key}, Invoke: e.vend, Report: e.reject}
}

// change makes the changes that a step begins with.
func (e *environment) change(s step) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.Revoke {
		e.c8.Revoke(e.newest())
	}
	if s.RenewKey {
		e.gateway = e.admit(nextKeyID)
		e.writeKey(nextKeyID)
	}
	if s.Token != nil {
		e.add(*s.Token)
	}
	if s.API != nil {
		e.fault = new(*s.API)
	}
}

// add makes a new token; e is locked, or not shared yet.
func (e *environment) add(l life) {
	n := len(e.tokens) + 1
	t := token{value: fmt.Sprintf("token-%d-of-%p", n, e), version: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), life: l}
	if !l.Revoked {
		e.c8.AddAccessKey(t.value)
	}
	e.tokens = append(e.tokens, t)
}

// newest is the newest token; e is locked.
func (e *environment) newest() string {
	if e.scenario.Functions {
		issued := e.c8.Issued()
		return issued[len(issued)-1]
	}
	return e.tokens[len(e.tokens)-1].value
}

// issued are all tokens so far.
func (e *environment) issued() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.c8.Issued()
	for _, t := range e.tokens {
		out = append(out, t.value)
	}
	return out
}

// fill replaces the names of hosts by their URLs.
func (e *environment) fill(s string) string {
	return strings.NewReplacer("{elsewhere}", e.elsewhere, "{communic8}", e.communic8).Replace(s)
}

// serveAPI counts the requests to the API and answers as the scenario says.
func (e *environment) serveAPI(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	if r.Method == http.MethodPost {
		e.reports++
	} else {
		e.fetches = append(e.fetches, time.Now())
	}
	fault := e.fault
	if fault != nil && fault.Times > 0 {
		if fault.Times--; fault.Times == 0 {
			e.fault = nil
		}
	}
	gateway := e.gateway
	e.mu.Unlock()
	if fault == nil || !fault.serve(e, w, r) {
		gateway.ServeHTTP(w, r)
	}
}

// serve reports whether it has answered.
func (a *answer) serve(e *environment, w http.ResponseWriter, r *http.Request) bool {
	select {
	case <-time.After(seconds(a.Delay)):
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
	if a.Break {
		panic(http.ErrAbortHandler)
	}
	if a.Status == 0 {
		return false
	}
	for name, value := range map[string]string{"x-amzn-ErrorType": a.Type, "Retry-After": a.RetryAfter, "Location": e.fill(a.Location), "X-MARK": "MARK"} {
		if value != "" {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(a.Status)
	e.count(1)
	defer e.count(-1)
	for {
		if _, err := io.WriteString(w, e.fill(a.Body)); err != nil || !a.Endless {
			return true
		}
	}
}

// count adds to the answers that are being sent, and returns how many there are.
func (e *environment) count(n int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.open += n
	return e.open
}

// vend answers as vend does, from the newest token.
func (e *environment) vend(_ context.Context, event []byte) ([]byte, error) {
	req, err := restapi.Read(event)
	switch {
	case err != nil:
		return nil, err
	case strings.ContainsAny(req.Tenant, "/%"):
		return restapi.Error(http.StatusBadRequest, "invalid_request", "MARK", 0).Encode(), nil
	case req.Tenant != "default":
		return restapi.Error(http.StatusNotFound, "unknown_tenant", "MARK", 0).Encode(), nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t := &e.tokens[len(e.tokens)-1]
	if t.expiry.IsZero() || t.Always {
		t.expiry = time.Now().Add(seconds(t.Life))
	}
	out := map[string]any{"access_token": t.value, "token_type": "Bearer", "version": t.version, "base_url": e.communic8}
	if t.Life > 0 {
		out["expires_in"], out["expires_at"] = int(math.Round(time.Until(t.expiry).Seconds())), t.expiry.UTC().Format(time.RFC3339)
	}
	return restapi.Answer{Status: http.StatusOK, Body: out}.Encode(), nil
}

// reject answers as rotate does to a report, and does what the scenario says.
func (e *environment) reject(_ context.Context, event []byte) ([]byte, error) {
	var in struct{ Version string }
	req, err := restapi.Read(event)
	if err := errors.Join(err, json.Unmarshal(req.Body, &in)); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.ContainsFunc(e.tokens, func(t token) bool { return t.version == in.Version }) {
		e.Errorf("the version %q is reported, which no token has", in.Version)
	}
	next := report{Outcome: "rotated"}
	if len(e.scenario.Reports) > 0 {
		next = e.scenario.Reports[0]
	}
	if len(e.scenario.Reports) > 1 {
		e.scenario.Reports = e.scenario.Reports[1:]
	}
	if next.Status != 0 {
		return restapi.Error(next.Status, "temporarily_unavailable", "MARK", seconds(next.RetryAfter)).Encode(), nil
	}
	if next.Outcome == "rotated" {
		e.add(life{Life: 3600, Revoked: next.Revoked})
	}
	out := map[string]any{"tenant": "default", "outcome": next.Outcome, "version": e.tokens[len(e.tokens)-1].version}
	return restapi.Answer{Status: http.StatusOK, Body: out}.Encode(), nil
}

// serveCommunic8 records what a client sends to Communic8, and answers as the scenario says.
func (e *environment) serveCommunic8(w http.ResponseWriter, r *http.Request) {
	if r.UserAgent() == "c8auth" { // it is rotate
		e.c8.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		e.Error(err)
	}
	value, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	e.mu.Lock()
	known := e.scenario.Functions || slices.ContainsFunc(e.tokens, func(t token) bool {
		return t.value == value && (t.Life == 0 || time.Now().Before(t.expiry))
	})
	if !ok || !known {
		e.Errorf("Communic8 got %s %s with no token, or one that has expired", r.Method, r.URL.Path)
	}
	e.sent = append(e.sent, sent{value, string(body)})
	e.mu.Unlock()
	if a, ok := e.scenario.Communic8[r.URL.Path]; ok && a.serve(e, w, r) {
		return
	}
	if e.scenario.Endless && !e.c8.Valid(value) {
		w.WriteHeader(http.StatusUnauthorized)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return
	}
	answer := httptest.NewRecorder()
	e.c8.ServeHTTP(answer, r)
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}
