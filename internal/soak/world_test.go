//go:build soak

package soak

// The functions between their stand-ins, and what befalls these.

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/internal/harness"
)

// Marked secrets, besides those of the tenants.
const (
	unreadable      = "M4rk3dV4lu3Th4tIsN0T0k3n0123456789"
	functionSecret  = "M4rk3dS3cr3tK3yOfTh3Funct10n0123456789AB"
	functionSession = "M4rk3dS3ss10nOfTh3Funct10n0123456789ABCD"
	callerSecret    = "M4rk3dS3cr3tK3yOfTh3C4ll3r0123456789ABCD"
	callerSession   = "M4rk3dS3ss10nOfTh3C4ll3r0123456789ABCDEF"
)

// The callers' keys: one that is granted every tenant, and one that is granted default.
const (
	anyKey     = "ASIAEXAMPLEANYTENANT"
	defaultKey = "AKIAEXAMPLEDEFAULT00"
)

type world struct {
	*harness.Stack
	t         *testing.T
	tenants   map[string]*tenant
	sandboxes []*sandbox
	idle      chan *sandbox
	storeURL  string

	asked   atomic.Int64 // requests so far: what befalls the world goes by that
	calm    atomic.Bool  // nothing befalls it
	beats   int          // of rotate's heart
	strikes atomic.Int64 // of faults
	broken  atomic.Int64 // laws

	mu     sync.Mutex
	counts counts
}

// counts are how often things happened.
type counts struct {
	statuses  map[int]int
	reads     map[cause]int
	attempts  int            // of all reads
	madeUp    int            // names that were asked for once
	outlasted int            // tokens from memory, while the store failed
	rotations map[string]int // by reason, or by what else came of them
}

func (w *world) count(add func(*counts)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	add(&w.counts)
}

// violation reports that a law is broken. It shows no token.
func (w *world) violation(format string, values ...any) {
	if w.broken.Add(1) <= 10 {
		w.t.Errorf("request %d: %s", w.asked.Load(), fmt.Sprintf(format, values...))
	}
}

func newWorld(t *testing.T, log io.Writer, sandboxes int) *world {
	s, err := harness.Start(t.Context(), harness.Ports{}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	w := &world{Stack: s, t: t, counts: counts{
		statuses: make(map[int]int), reads: make(map[cause]int), rotations: make(map[string]int),
	}}
	w.calm.Store(true)
	s.Secrets.Fault = w.befall
	s.Gateway.Invoke = w.invoke
	s.Gateway.Keys = map[string]gwtest.Key{
		anyKey:     {SecretAccessKey: callerSecret, SessionToken: callerSession, ARN: harness.Caller, Tenants: []string{"*"}},
		defaultKey: {SecretAccessKey: callerSecret, ARN: harness.Caller, Tenants: []string{"default"}},
	}
	server := httptest.NewServer(http.HandlerFunc(w.store))
	t.Cleanup(server.Close)
	w.storeURL = server.URL
	w.settleIn()
	w.idle = make(chan *sandbox, sandboxes)
	for n := range sandboxes {
		w.open(n)
	}
	return w
}

// open adds a sandbox of vend.
func (w *world) open(n int) {
	s := &sandbox{world: w, key: fmt.Sprintf("ASIAEXAMPLESANDBOX%02d", n), known: make(map[string]memory)}
	s.vend = &lambdatest.Function{
		Name: w.Vend.Name, Bootstrap: w.Vend.Bootstrap, Timeout: w.Vend.Timeout, Log: w.Vend.Log,
		Env: append(slices.Clone(w.Vend.Env),
			"C8AUTH_CACHE_TTL="+cacheTTL.String(),
			"AWS_ENDPOINT_URL_SECRETS_MANAGER="+w.storeURL,
			"AWS_ACCESS_KEY_ID="+s.key, "AWS_SECRET_ACCESS_KEY="+functionSecret, "AWS_SESSION_TOKEN="+functionSession),
	}
	w.t.Cleanup(s.vend.Stop)
	w.sandboxes = append(w.sandboxes, s)
	w.idle <- s
}

// sandbox is one process of vend. It is asked one request at a time.
type sandbox struct {
	world *world
	vend  *lambdatest.Function
	key   string // by which the store knows it
	known map[string]memory

	mu    sync.Mutex
	heard []*hearing
	late  string // the call that it made last, of which an attempt may come late
}

// take returns what was heard since it was called last.
func (s *sandbox) take() (heard []hearing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.heard {
		if h.call != s.late {
			heard = append(heard, *h)
		}
	}
	if len(heard) > 0 {
		s.late = heard[len(heard)-1].call
	}
	s.heard = nil
	return heard
}

// ask hands an event to the function and holds the answer to the laws.
func (s *sandbox) ask(ctx context.Context, q request, event []byte) ([]byte, error) {
	start := now()
	raw, err := s.vend.Invoke(ctx, event)
	end := now()
	heard := s.take()
	if err != nil {
		s.world.violation("vend, asked for %q, fails: %v", q.tenant, err)
		return nil, err
	}
	a, err := readAnswer(raw)
	var v *vended
	if err == nil {
		v, err = s.world.lawful(q, a, start, end)
	}
	if err == nil {
		err = s.judge(q, a, v, heard, start, end)
	}
	if err != nil {
		s.world.violation("vend answers %d to %q: %v", a.status, q.tenant, err)
	}
	s.world.count(func(c *counts) {
		c.statuses[a.status]++
		if v != nil && s.known[q.tenant].last == unavailable {
			c.outlasted++
		}
		if strings.HasPrefix(q.tenant, madeUp) {
			c.madeUp++
		}
	})
	return raw, nil
}

// invoke is what API Gateway calls: Lambda, with as many sandboxes as there are.
func (w *world) invoke(ctx context.Context, event []byte) ([]byte, error) {
	var in events.APIGatewayProxyRequest
	if err := json.Unmarshal(event, &in); err != nil {
		return nil, err
	}
	s := <-w.idle
	defer func() { w.idle <- s }()
	return s.ask(ctx, request{tenant: in.PathParameters["tenant"], fresh: in.Headers["Cache-Control"] == "no-cache"}, event)
}

// store is Secrets Manager as the sandboxes reach it. It notes who was told what.
func (w *world) store(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it has hung up
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var in struct{ SecretID, VersionID, VersionStage string }
	_ = json.Unmarshal(body, &in) // of anything else, it is empty
	name, ok := strings.CutPrefix(in.SecretID, tokenPrefix)
	if op := r.Header.Get("X-Amz-Target"); !ok || op != "secretsmanager.GetSecretValue" || in.VersionID+in.VersionStage != "" {
		w.violation("vend asks for more than what is AWSCURRENT of a token: %s of %q, %s", op, in.SecretID, in.VersionID+in.VersionStage)
	}
	n := slices.IndexFunc(w.sandboxes, func(s *sandbox) bool {
		return strings.Contains(r.Header.Get("Authorization"), "Credential="+s.key+"/")
	})
	if n < 0 {
		w.violation("somebody else asks the store")
		return
	}
	s := w.sandboxes[n]
	h := &hearing{call: r.Header.Get("Amz-Sdk-Invocation-Id"), tenant: name, at: now(), outcome: unavailable}
	s.mu.Lock()
	s.heard = append(s.heard, h)
	s.mu.Unlock()
	answer := httptest.NewRecorder()
	w.Secrets.ServeHTTP(answer, r) // unless a fault ends this
	s.mu.Lock()
	h.at = now()
	h.outcome, h.token = understand(answer.Body.Bytes())
	s.mu.Unlock()
	maps.Copy(rw.Header(), answer.Header())
	rw.WriteHeader(answer.Code)
	_, _ = rw.Write(answer.Body.Bytes())
}

// understand is what an answer of Secrets Manager means.
func understand(body []byte) (outcome, vended) {
	var in struct {
		Type         string `json:"__type"`
		Message      string
		SecretString string
		VersionID    string `json:"VersionId"`
	}
	if json.Unmarshal(body, &in) != nil {
		return unavailable, vended{}
	}
	switch {
	case in.Type == "ResourceNotFoundException" && strings.Contains(in.Message, "secret value"):
		return noToken, vended{}
	case in.Type == "ResourceNotFoundException", in.Type == "InvalidRequestException":
		return unknown, vended{}
	case in.Type != "":
		return unavailable, vended{}
	}
	var token vended
	if json.Unmarshal([]byte(in.SecretString), &token) != nil {
		return notToken, vended{}
	}
	token.Version = in.VersionID
	return living, token
}

// phase is how many requests the store is in the same condition.
const phase = 1500

// outages are the store's conditions, by turns; between them it is well.
var outages = []struct {
	fault smtest.Fault
	all   bool // or one tenant's secrets alone
}{
	{smtest.Fault{Message: unreadable}, false},
	{smtest.Fault{Status: http.StatusBadRequest, Type: "AccessDeniedException", Message: unreadable}, true},
	{smtest.Fault{Status: http.StatusBadRequest, Type: "ThrottlingException", Message: unreadable}, false},
	{smtest.Fault{Status: http.StatusBadRequest, Type: "InvalidRequestException", Message: unreadable}, true}, // as if all were deleted
	{smtest.Fault{Hang: true}, false},
	{smtest.Fault{Status: http.StatusOK, Body: "<p>" + unreadable + "</p>"}, true},
	{smtest.Fault{Break: true}, false},
}

// befall makes the store go wrong, as the number of requests has it.
func (w *world) befall(_, name string) *smtest.Fault {
	turn := w.asked.Load() / phase
	if w.calm.Load() || turn%2 == 0 {
		return nil
	}
	turn /= 2
	outage := outages[turn%int64(len(outages))]
	struck := lasting[turn/int64(len(outages))%int64(len(lasting))]
	if !outage.all && !strings.HasSuffix(name, "/"+struck) {
		return nil
	}
	w.strikes.Add(1)
	return &outage.fault
}

// firstTokens lets rotate give each tenant its first token.
func (w *world) firstTokens() {
	for name, t := range w.tenants {
		w.beat(t, fmt.Sprintf(`{"tenant":%q}`, name), "first_token")
	}
}

// rotate is a heartbeat of one lasting tenant and of fleeting. Each time there is another
// reason for a new token, or none.
func (w *world) rotate(n int) {
	t := w.tenants[lasting[n%len(lasting)]]
	event, want := fmt.Sprintf(`{"tenant":%q}`, t.name), ""
	switch n / len(lasting) % 4 {
	case 0:
		event, want = fmt.Sprintf(`{"tenant":%q,"force":true}`, t.name), "forced"
		w.age(t, false)
	case 1:
		if t.name != "keyed" { // whose token does not age
			want = "half_life"
			w.age(t, true)
		}
	case 2:
		want = "credentials_changed"
		w.Secrets.Put(t.credentialsName(), t.credentials)
	}
	w.beat(t, event, want)
	w.beat(w.tenants["fleeting"], `{"tenant":"fleeting"}`, "half_life")
}

// beat invokes rotate. It may do nothing else than what is wanted, unless something
// befell the store; then, what was stored must be there still.
func (w *world) beat(t *tenant, event, want string) {
	strikes := w.strikes.Load()
	_, before := w.Secrets.Value(t.tokenName())
	answer, err := w.Rotate.Invoke(w.t.Context(), []byte(event))
	text, after := w.Secrets.Value(t.tokenName())
	if err != nil {
		t.failed = true
		w.count(func(c *counts) { c.rotations["failed"]++ })
		if after != before || w.strikes.Load() == strikes {
			w.violation("rotation of %s fails, and the store had nothing to do with it or has another token now: %v", t.name, err)
		}
		return
	}
	var result struct{ Outcome, Reason, Version string }
	if err := json.Unmarshal(answer, &result); err != nil {
		w.violation("rotate does not answer with an object")
		return
	}
	w.count(func(c *counts) { c.rotations[cmp.Or(result.Reason, result.Outcome)]++ })
	var token vended
	if json.Unmarshal([]byte(text), &token) != nil || !t.c8.Valid(token.AccessToken) && t.name != "fleeting" {
		w.violation("after a rotation, the token of %s is dead", t.name)
	}
	rotated := result.Outcome == "rotated"
	switch {
	case after != result.Version || rotated == (after == before):
		w.violation("rotation of %s: %s, but the version was %s and is %s", t.name, result.Outcome, before, after)
	case t.failed, t.name == "fleeting": // what has come due meanwhile, if anything
	case rotated != (want != "") || result.Reason != want:
		w.violation("rotation of %s: %s because of %q, want %q", t.name, result.Outcome, result.Reason, want)
	}
	t.failed = false
}
