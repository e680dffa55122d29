package sim

// What the seed decides before anything happens: how the world is, and which kinds of
// trouble it may come to.

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
)

// kind is one kind of trouble. A seed has none of them, one, a few, or most.
type kind int

const (
	c8Down      kind = iota // Communic8 answers 5xx, or breaks connections off
	c8Hang                  // does not answer
	c8Slow                  // answers after seconds, or byte by byte
	c8Throttle              // answers 429, with or without Retry-After
	c8Refuse                // refuses credentials that are good
	c8Garbage               // answers HTML, redirects, half of an answer, or far too much
	c8Stillborn             // issues tokens that it then rejects
	c8Worthless             // issues tokens whose lifetime is too short, or not said
	c8Revoke                // ends the life of a token before its time
	smThrottle              // Secrets Manager throttles
	smFail                  // answers 5xx
	smHang                  // does not answer, having done what it was asked or not
	smBreak                 // breaks connections off, having done it or not
	smWritten               // answers an error though it has done it
	smStale                 // shows what was current some seconds ago
	smDeny                  // denies access
	kill                    // a process ends between two steps
	stall                   // a process stands still for up to a minute between two steps
	lost                    // a heartbeat never arrives
	late                    // or after others that were sent later
	twice                   // or twice
	force                   // an operator forces a rotation
	replace                 // replaces the credentials
	mistake                 // replaces them by wrong ones, and mends that later
	move                    // moves AWSCURRENT by hand
	garble                  // writes nonsense over the token
	remove                  // deletes a secret, and restores it later
	clocks                  // are off, and drift
	kinds
)

var kindNames = [kinds]string{
	"c8Down", "c8Hang", "c8Slow", "c8Throttle", "c8Refuse", "c8Garbage", "c8Stillborn", "c8Worthless", "c8Revoke",
	"smThrottle", "smFail", "smHang", "smBreak", "smWritten", "smStale", "smDeny",
	"kill", "stall", "lost", "late", "twice",
	"force", "replace", "mistake", "move", "garble", "remove", "clocks",
}

func (k kind) String() string { return kindNames[k] }

// plan is a world before anything happens.
type plan struct {
	heartbeat time.Duration
	horizon   time.Duration // how long the world lasts
	calm      time.Duration // at its end, when nothing goes wrong any more
	enabled   [kinds]bool
	spells    []spell
	tenants   []tenantPlan
	vends     int           // sandboxes of vend at once, at most
	cacheTTL  time.Duration // C8AUTH_CACHE_TTL
	probe     bool          // whether tokens are tried
	retries   int           // of an event whose invocation failed: 0 in the template, 2 by default
}

// tenantPlan is a tenant and the Communic8 instance that it has.
type tenantPlan struct {
	life      time.Duration // that Communic8 grants
	said      string        // raw expires_in; empty: the truth
	believed  time.Duration // the life that this makes believe, if it is another
	exclusive bool
	same      bool
	refusal   c8test.Refusal
	rejection c8test.Rejection
	accessKey bool
	gap       time.Duration // between two callers
}

// spell is a time in which a kind of trouble strikes.
type spell struct {
	kind     kind
	tenant   int // -1: all
	from, to time.Duration
	p        float64 // of each occasion
}

// dice returns the source of all that is random in one part of the world. Each part has
// its own, so that what happens in one does not depend on how many others there are.
func dice(seed uint64, part string, n int) *rand.Rand {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s %d", part, n)
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// between returns a duration between two others, any order of magnitude as likely as
// another.
func between(r *rand.Rand, from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return time.Duration(float64(from) * math.Pow(float64(to)/float64(from), r.Float64()))
}

// gap returns the time to the next of events that come at random, every mean.
func gap(r *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(r.ExpFloat64()*float64(mean)) + time.Duration(r.Int64N(int64(time.Second)))
}

const (
	shortest = 2 * time.Minute
	longest  = 30 * 24 * time.Hour
	// filling is the lifetime of tokens under which their versions reach the quota.
	filling = 17 * time.Minute
)

// newPlan decides what there is to decide by the seed.
func newPlan(seed uint64, beats int) plan {
	r := dice(seed, "plan", 0)
	p := plan{
		heartbeat: pick(r, 5*time.Minute, 5*time.Minute, 5*time.Minute, 15*time.Minute, time.Hour, time.Hour, 6*time.Hour),
		vends:     1 + r.IntN(4),
		cacheTTL:  pick(r, time.Second, time.Minute, time.Minute, time.Minute, 10*time.Minute, time.Hour),
		probe:     r.IntN(5) > 0,
		retries:   pick(r, 0, 0, 1, 2),
	}
	p.horizon = time.Duration(beats) * p.heartbeat
	p.calm = 40 * p.heartbeat
	p.enable(r)
	for range 1 + r.IntN(4) {
		t := newTenantPlan(r, p.heartbeat)
		if t.said == "-" && !p.probe { // such a token is stored only if a probe shows that it works
			t.said, t.believed = "", t.life
		}
		p.tenants = append(p.tenants, t)
	}
	p.conjure(r)
	return p
}

// enable chooses the kinds of trouble.
func (p *plan) enable(r *rand.Rand) {
	chance := pick(r, 0, 0, 0.05, 0.1, 0.2, 0.5, 0.9)
	for k := range p.enabled {
		p.enabled[k] = r.Float64() < chance
	}
	if chance < 0.2 { // often exactly one
		p.enabled[r.IntN(int(kinds))] = r.IntN(4) > 0
	}
}

func newTenantPlan(r *rand.Rand, heartbeat time.Duration) tenantPlan {
	t := tenantPlan{
		life:      between(r, heartbeat/2, 300*heartbeat),
		exclusive: r.IntN(2) == 0,
		same:      r.IntN(4) == 0,
		refusal:   pick(r, c8test.Refuse401, c8test.Refuse400, c8test.Refuse200, c8test.Refuse200Error, c8test.Refuse404),
		rejection: pick(r, c8test.Reject401, c8test.Reject401, c8test.Reject401, c8test.Reject403, c8test.Reject200),
		accessKey: r.IntN(6) == 0,
		gap:       between(r, heartbeat/4, 4*heartbeat),
	}
	if t.life < filling && r.IntN(2) == 0 { // not all of the short ones
		t.life = between(r, filling, 300*heartbeat)
	}
	t.life = min(max(t.life, shortest), longest).Truncate(time.Second)
	if r.IntN(3) == 0 {
		seconds := int64(t.life / time.Second)
		switch r.IntN(6) {
		case 0: // as a string
			t.said = fmt.Sprintf(`"%d"`, seconds)
		case 1: // a fraction, rounded down
			t.said = fmt.Sprintf("%d.9", seconds)
		case 2: // not at all
			t.said, t.believed = "-", time.Hour
		case 3: // too long
			t.said, t.believed = fmt.Sprint(2*seconds), min(2*t.life, longest)
		case 4: // too short
			t.said, t.believed = fmt.Sprint(seconds/2), t.life/2/time.Second*time.Second
		case 5: // absurd
			t.said, t.believed = "1e300", longest
		}
	}
	if t.believed == 0 {
		t.believed = t.life
	}
	return t
}

// conjure makes the spells.
func (p *plan) conjure(r *rand.Rand) {
	for k := range kinds {
		if !p.enabled[k] || k == clocks {
			continue
		}
		for tenant := -1; tenant < len(p.tenants); tenant++ {
			// Secrets Manager and the processes are everyone's, Communic8 is each tenant's own.
			everyones := k >= smThrottle && k <= stall
			if everyones != (tenant == -1) {
				continue
			}
			mean := between(r, 30*p.heartbeat, 200*p.heartbeat)
			for at := gap(r, mean); at < p.horizon-p.calm; at += gap(r, mean) {
				s := spell{kind: k, tenant: tenant, from: at, p: pick(r, 0.05, 0.3, 0.8, 1)}
				at += between(r, time.Minute, 60*p.heartbeat)
				if tenant >= 0 && r.IntN(3) == 0 { // about as long as the token can bear
					at = s.from + time.Duration((0.1+0.7*r.Float64())*float64(p.tenants[tenant].believed))
				}
				s.to = min(at, p.horizon-p.calm)
				p.spells = append(p.spells, s)
			}
		}
	}
}
