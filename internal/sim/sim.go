// Package sim lets the real Rotator and Cache live through months in seconds, in a
// world where everything goes wrong that can, and holds them to their laws at every
// step.
//
// The clock is that of a testing/synctest bubble. Real are the code of pkg/c8auth and
// the AWS SDK with its retries; Communic8 (c8test) and Secrets Manager (smtest) answer
// in memory (inmem). The rest is here: EventBridge and Lambda, which start processes,
// freeze and end them (lambda.go); callers, who ask (vend.go) and report (report.go), and
// operators (operator.go); and the wire between them all, on which every fault strikes
// (wire.go). What is true of the world is in truth.go, and the laws are in laws.go, those
// on reports in report.go.
//
// One seed decides everything (plan.go). Nothing happens twice in the same nanosecond,
// so that the scheduler has nothing to decide: the same seed is the same history, to
// the byte.
package sim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/pkg/c8auth"
)

const stack = "stack"

// Report is what came of a world.
type Report struct {
	Seed    uint64
	Digest  string // of the history
	Tenants int
	Span    time.Duration // how long the world lasted
	Counts
	// Violation is the first law that was broken, with the end of the history; nil if
	// none was.
	Violation error
}

// TenantTime is how long all tenants lived, taken together.
func (r Report) TenantTime() time.Duration { return time.Duration(r.Tenants) * r.Span }

// Counts are how often things happened.
type Counts struct {
	Rotations, Rotated, Failed, Dead, Killed int // dead: in a dead letter
	Vends, Refusals                          int // refusals: of a vend, for whatever reason
	Asks, Writes, Faults, Full               int // full: writes that the quota refused
	Reports, Claims, Healed                  int // healed: times that a caller's token was dead, and the next was not
}

// Add adds others.
func (c *Counts) Add(o Counts) {
	c.Rotations += o.Rotations
	c.Rotated += o.Rotated
	c.Failed += o.Failed
	c.Dead += o.Dead
	c.Killed += o.Killed
	c.Vends += o.Vends
	c.Refusals += o.Refusals
	c.Asks += o.Asks
	c.Writes += o.Writes
	c.Faults += o.Faults
	c.Full += o.Full
	c.Reports += o.Reports
	c.Claims += o.Claims
	c.Healed += o.Healed
}

// world is all there is. Its mutex guards everything that changes; it is never held
// while time passes.
type world struct {
	plan
	seed  uint64
	start time.Time
	aws   secretsmanager.Options
	sm    *smtest.Server

	mu        sync.Mutex
	history   *history
	tenants   []*tenant
	rotators  pool
	vendors   pool
	running   []*invocation
	writers   map[string]time.Duration // by version id of a token: how far off its writer's clock was
	counts    Counts
	violation error

	actors sync.WaitGroup
}

// Options returns the options of the Secrets Manager client that the product opens, in
// an AWS environment that is nobody's. Call it outside of the bubble.
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

// Run lives through the world of the seed, which lasts for so many heartbeats. It must
// be called in a bubble of its own. What happens is written to out, if that is not nil.
func Run(seed uint64, beats int, options secretsmanager.Options, out io.Writer) Report {
	w := &world{
		plan: newPlan(seed, beats), seed: seed, start: time.Now(), aws: options, sm: new(smtest.Server),
		history: newHistory(out), writers: make(map[string]time.Duration),
	}
	w.describe()
	for i, t := range w.plan.tenants {
		w.tenants = append(w.tenants, w.settle(i, t))
	}
	for _, t := range w.tenants {
		w.actors.Go(func() { w.schedule(t) })
		w.actors.Go(func() { w.call(t) })
		w.actors.Go(func() { w.slander(t) })
		w.actors.Go(func() { w.onboard(t) })
		w.operate(t)
	}
	w.actors.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.check()
	return Report{
		Seed: seed, Digest: w.history.digest(), Tenants: len(w.tenants), Span: w.now(),
		Counts: w.counts, Violation: w.violation,
	}
}

// describe begins the history with what the seed has decided.
func (w *world) describe() {
	var enabled []string
	for k, on := range w.enabled {
		if on {
			enabled = append(enabled, kind(k).String())
		}
	}
	w.note("plan", "heartbeat %v for %v, %d sandboxes of vend, TTL %v, probe %t, %d retries, troubles [%s]",
		w.heartbeat, w.horizon, w.vends, w.cacheTTL, w.probe, w.retries, strings.Join(enabled, " "))
	for i, t := range w.plan.tenants {
		w.note("plan", "tenant %d: %+v", i, t)
	}
	for _, s := range w.spells {
		w.note("plan", "%v of tenant %d from %v to %v, p %v", s.kind, s.tenant, s.from, s.to, s.p)
	}
}

// now is the time since the world began.
func (w *world) now() time.Duration { return time.Since(w.start) }

// wait sleeps and reports whether the world still is.
func (w *world) wait(d time.Duration) bool {
	time.Sleep(d)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.violation == nil && w.now() < w.horizon
}

// note writes a line of the history.
func (w *world) note(who, format string, args ...any) { w.history.add(w.now(), who, format, args...) }

// violate ends the world: a law was broken.
func (w *world) violate(t *tenant, format string, args ...any) {
	if w.violation != nil {
		return
	}
	why := fmt.Sprintf(format, args...)
	if t != nil {
		why = t.name + ": " + why
	}
	w.note("VIOLATION", "%s", why)
	w.violation = fmt.Errorf("%s\n%s", why, strings.Join(w.history.tail, ""))
}

// strikes reports whether a kind of trouble befalls the tenant now.
func (w *world) strikes(r *rand.Rand, k kind, t *tenant) bool {
	if !w.enabled[k] {
		return false
	}
	now := w.now()
	for _, s := range w.spells {
		if s.kind == k && s.befalls(t, now) && r.Float64() < s.p {
			return true
		}
	}
	return false
}

// befalls reports whether the spell is on for the tenant at that time.
func (s spell) befalls(t *tenant, at time.Duration) bool {
	return (s.tenant == -1 || s.tenant == t.index) && s.from <= at && at < s.to
}

// pool is the sandboxes of a function.
type pool struct {
	idle []*process
	born int
}

// process is one sandbox of a function: it serves one request at a time, is frozen in
// between, and is gone for good when it was killed.
type process struct {
	*world
	name    string
	dice    *rand.Rand
	clock   time.Duration // how far off it was when the world began
	drift   float64       // and how much of the time that has passed it has gained since
	offset  time.Duration // how far off it is during this invocation, in whole seconds
	inv     *invocation
	rotator *c8auth.Rotator
	cache   *c8auth.Cache

	faultAt time.Duration      // when the store last failed it
	memory  map[*tenant]stored // what vend must remember
	tried   map[*tenant]trial  // the latest at a caller's word
	held    map[*tenant]held   // the latest Retry-After
	full    map[*tenant]full   // the latest write that the quota of versions refused
}

// held is a Retry-After, to a request with that version of the credentials.
type held struct {
	version string
	until   time.Duration
}

// full is a write that the quota refused.
type full struct {
	version string // what was shown to be current
	at      time.Duration
}

// spawn starts a process.
func (w *world) spawn(in *pool, function string) *process {
	in.born++
	p := &process{
		world: w, name: fmt.Sprintf("%s-%d", function, in.born), memory: make(map[*tenant]stored), tried: make(map[*tenant]trial),
		held: make(map[*tenant]held), full: make(map[*tenant]full),
		dice: dice(w.seed, function, in.born), faultAt: -time.Hour,
	}
	if w.enabled[clocks] {
		p.clock = time.Duration(p.dice.IntN(21)-10) * time.Second
		p.drift = (p.dice.Float64() - 0.5) * 8 / w.horizon.Seconds() // no more than 4 s by the end
	}
	client := c8auth.NewHTTPClient()
	client.Transport = upstream{p}
	store := &c8auth.Store{Stack: stack, Client: p.client()}
	p.rotator = &c8auth.Rotator{
		Store:    store,
		Endpoint: &c8auth.Endpoint{Client: client},
		Log:      slog.New(slog.NewJSONHandler(logLines{p}, nil)),
	}
	if w.probe {
		p.rotator.Endpoint.ProbePath = "/int/v1/broadcast?limit=1"
	}
	p.cache = &c8auth.Cache{Store: store, TTL: w.cacheTTL}
	return p
}

// take returns a process that is idle, or a new one, for one request.
func (w *world) take(from *pool, function string) *process {
	var p *process
	if n := len(from.idle); n > 0 {
		i := int(w.now()/time.Millisecond) % n
		p = from.idle[i]
		from.idle = append(from.idle[:i], from.idle[i+1:]...)
		if p.dice.IntN(50) == 0 { // recycled
			p = nil
		}
	}
	if p == nil {
		p = w.spawn(from, function)
	}
	p.offset = (p.clock + time.Duration(p.drift*float64(w.now()))).Truncate(time.Second)
	return p
}
