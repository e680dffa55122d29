// Package sim runs the real Rotator and Cache for simulated months in seconds, in an
// environment where every fault occurs that can, and checks invariants at every step.
//
// The clock is that of a testing/synctest bubble. Real are the code of pkg/c8auth and the AWS
// SDK with its retries; fakes of Communic8 (c8test) and Secrets Manager (smtest) answer in
// memory (inmem). Simulated are EventBridge Scheduler and Lambda, which start, freeze and kill
// processes (lambda.go); callers, who fetch tokens (callers.go) and report rejected ones
// (reports.go); operators (operators.go); and the connections between them, on which faults
// are injected (wire.go, faults.go). The model (model.go) follows the state of each tenant
// without asking the product; the invariants (invariants.go, reports.go) compare the two.
//
// One seed decides everything (plan.go). No two events happen in the same nanosecond, so that
// the order of goroutines does not matter: the same seed gives the same history, to the byte.
package sim

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/pkg/c8auth"
)

const stack = "stack"

// Report is the result of a run.
type Report struct {
	Digest     string         // of the history
	TenantTime time.Duration  // simulated time of all tenants together
	Counts     map[string]int // of events
	// Violation is the first violated invariant with the end of the history; nil if there is
	// none.
	Violation error
}

// env is the environment of one run. Whoever acts in it holds its mutex, and lets go of it
// while time passes (sleep, pass) and while the product's code runs (invocation.run).
type env struct {
	plan
	seed  uint64
	start time.Time
	aws   secretsmanager.Options
	sm    *smtest.Server

	mu              sync.Mutex
	history         *history
	tenants         []*tenant
	rotateSandboxes pool
	vendSandboxes   pool
	running         []*invocation
	writers         map[string]time.Duration // by version id of a token: the offset of its writer's clock
	counts          map[string]int
	violation       error

	actors sync.WaitGroup
}

// Options returns the options of the Secrets Manager client that the product opens, in an AWS
// environment without settings of this machine. Call it outside of the bubble.
func Options() (secretsmanager.Options, error) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "AWS_REGION": "eu-central-1",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://secretsmanager.test",
		"AWS_SESSION_TOKEN":                "", "AWS_PROFILE": "", "AWS_MAX_ATTEMPTS": "", "AWS_RETRY_MODE": "", "AWS_CA_BUNDLE": "",
	} {
		if err := os.Setenv(name, value); err != nil {
			return secretsmanager.Options{}, err
		}
	}
	store, err := c8auth.OpenStore(context.Background(), stack)
	if err != nil {
		return secretsmanager.Options{}, err
	}
	return store.Client.Options(), nil
}

// Run simulates that many heartbeats by the seed. It must be called in a bubble of its own.
// The history is written to out, unless that is nil.
func Run(seed uint64, beats int, options secretsmanager.Options, out io.Writer) Report {
	e := &env{
		plan: newPlan(seed, beats), seed: seed, start: time.Now(), aws: options, sm: new(smtest.Server),
		history: &history{sum: sha256.New(), out: out}, writers: make(map[string]time.Duration), counts: make(map[string]int),
		rotateSandboxes: pool{function: "rotate", timeout: time.Minute}, // as in template.yaml
		vendSandboxes:   pool{function: "vend", timeout: 10 * time.Second},
	}
	e.describe()
	for i, t := range e.plan.tenants {
		e.tenants = append(e.tenants, e.newTenant(i, t))
	}
	for _, t := range e.tenants {
		for _, act := range []func(*tenant){e.schedule, e.call, e.reportFalsely, e.onboard} {
			e.actor(func() { act(t) })
		}
		e.operate(t)
	}
	e.actors.Wait()
	e.check()
	return Report{e.history.digest(), time.Duration(len(e.tenants)) * e.now(), e.counts, e.violation}
}

// describe begins the history with the plan.
func (e *env) describe() {
	var enabled []string
	for k, on := range e.enabled {
		if on {
			enabled = append(enabled, fault(k).String())
		}
	}
	e.note("plan", "heartbeat %v for %v, %d sandboxes of vend, TTL %v, probe %t, %d retries, faults [%s]",
		e.heartbeat, e.horizon, e.vends, e.cacheTTL, e.probe, e.retries, strings.Join(enabled, " "))
	for i, t := range e.plan.tenants {
		e.note("plan", "tenant %d: %+v", i, t)
	}
	for _, w := range e.windows {
		e.note("plan", "%v of tenant %d from %v to %v, p %v", w.fault, w.tenant, w.from, w.to, w.p)
	}
}

// now is the time since the start.
func (e *env) now() time.Duration { return time.Since(e.start) }

// actor has somebody act beside everybody else.
func (e *env) actor(act func()) {
	e.actors.Go(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		act()
	})
}

// sleep lets time pass.
func (e *env) sleep(d time.Duration) { _ = e.pass(context.Background(), d) }

// pass lets time pass, until ctx is done.
func (e *env) pass(ctx context.Context, d time.Duration) error {
	e.mu.Unlock()
	defer e.mu.Lock()
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait sleeps, and reports whether the run goes on.
func (e *env) wait(d time.Duration) bool {
	e.sleep(d)
	return e.violation == nil && e.now() < e.horizon
}

// note writes a line of the history.
func (e *env) note(who, format string, args ...any) { e.history.add(e.now(), who, format, args...) }

// violate ends the run, because an invariant is violated.
func (e *env) violate(t *tenant, format string, args ...any) {
	if e.violation != nil {
		return
	}
	why := t.name + ": " + fmt.Sprintf(format, args...)
	e.note("VIOLATION", "%s", why)
	e.violation = fmt.Errorf("%s\n%s", why, strings.Join(e.history.tail, ""))
}

// history has one line for every event. Two runs of the same seed have the same history, to
// the byte.
type history struct {
	sum  hash.Hash
	out  io.Writer // may be nil
	tail []string  // the latest lines
}

const tailLines = 60

func (h *history) add(at time.Duration, who, format string, args ...any) {
	line := fmt.Sprintf("%v %s: %s\n", at, who, fmt.Sprintf(format, args...))
	_, _ = io.WriteString(h.sum, line)
	if h.out != nil {
		_, _ = io.WriteString(h.out, line)
	}
	if len(h.tail) == 2*tailLines {
		h.tail = append(h.tail[:0], h.tail[tailLines:]...)
	}
	h.tail = append(h.tail, line)
}

func (h *history) digest() string { return hex.EncodeToString(h.sum.Sum(nil)[:16]) }

// pool is the sandboxes of a function.
type pool struct {
	function string
	timeout  time.Duration // of an invocation
	idle     []*process
	busy     int
	started  int
}

// process is one sandbox of a function: it serves one request at a time, is frozen in between,
// and is not used again after it was killed.
type process struct {
	*env
	pool    *pool
	name    string
	dice    *rand.Rand
	clock   time.Duration // offset of its clock at the start of the run
	drift   float64       // seconds that the clock gains in a second
	offset  time.Duration // of the clock during this invocation, in whole seconds
	inv     *invocation
	rotator *c8auth.Rotator
	cache   *c8auth.Cache

	// By tenant, what the process was told.
	faultAt    time.Duration // of the latest fault of the store
	cached     map[*tenant]stored
	probed     map[*tenant]probe // the latest one for a report
	retryAfter map[*tenant]retryAfter
	quota      map[*tenant]quota // the latest write that the quota of versions refused
}

// retryAfter is a Retry-After, in the answer to a request with that version of the credentials.
type retryAfter struct {
	version string
	until   time.Duration
}

// quota is a write that the quota refused.
type quota struct {
	version string // AWSCURRENT, as the process was told
	at      time.Duration
}

// startProcess starts a process.
func (e *env) startProcess(in *pool) *process {
	in.started++
	p := &process{
		env: e, pool: in, name: fmt.Sprintf("%s-%d", in.function, in.started), dice: dice(e.seed, in.function, in.started), faultAt: -time.Hour,
		cached: make(map[*tenant]stored), probed: make(map[*tenant]probe),
		retryAfter: make(map[*tenant]retryAfter), quota: make(map[*tenant]quota),
	}
	if e.enabled[clocks] {
		p.clock = time.Duration(p.dice.IntN(21)-10) * time.Second
		p.drift = (p.dice.Float64() - 0.5) * 8 / e.horizon.Seconds() // no more than 4 s by the end
	}
	client := c8auth.NewHTTPClient()
	client.Transport = upstream{p}
	store := &c8auth.Store{Stack: stack, Client: p.client()}
	p.rotator = &c8auth.Rotator{
		Store:    store,
		Endpoint: &c8auth.Endpoint{Client: client},
		Log:      slog.New(slog.NewJSONHandler(logLines{p}, nil)),
	}
	if e.probe {
		p.rotator.Endpoint.ProbePath = "/int/v1/broadcast?limit=1"
	}
	p.cache = &c8auth.Cache{Store: store, TTL: e.cacheTTL}
	return p
}

// take returns an idle process or a new one, for one request.
func (e *env) take(from *pool) *process {
	var p *process
	if n := len(from.idle); n > 0 {
		i := int(e.now()/time.Millisecond) % n
		p = from.idle[i]
		from.idle = slices.Delete(from.idle, i, i+1)
		if p.dice.IntN(50) == 0 { // recycled
			p = nil
		}
	}
	if p == nil {
		p = e.startProcess(from)
	}
	p.offset = (p.clock + time.Duration(p.drift*float64(e.now()))).Truncate(time.Second)
	return p
}
