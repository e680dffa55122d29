package sim

// What the seed decides before the run: the environment, and when which faults occur.

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
)

// fault is a kind of fault. A seed enables none of them, one, a few, or most.
type fault int

const (
	c8Down     fault = iota // Communic8 answers 5xx, or breaks connections off
	c8Hang                  // does not answer
	c8Slow                  // answers after seconds, or byte by byte
	c8Throttle              // answers 429, with or without Retry-After
	c8Refuse                // refuses credentials that are right
	c8Garbage               // answers HTML, redirects, half of an answer, or far too much
	c8Invalid               // issues tokens that it then rejects
	c8Lifetime              // issues tokens whose lifetime is too short, or not said
	c8Revoke                // revokes a token before it expires
	smThrottle              // Secrets Manager throttles
	smFail                  // answers 5xx
	smHang                  // does not answer, having performed the operation or not
	smBreak                 // breaks connections off, having performed it or not
	smWritten               // answers an error though it has performed it
	smStale                 // answers what was current some seconds ago
	smDeny                  // denies access
	kill                    // a process ends between two steps
	stall                   // a process stands still for up to a minute between two steps
	lost                    // a heartbeat never arrives
	late                    // or after others that were sent later
	twice                   // or twice
	force                   // an operator forces a rotation
	replace                 // replaces the credentials
	mistake                 // replaces them by wrong ones, and corrects that later
	move                    // moves AWSCURRENT by hand
	garble                  // writes nonsense over the token
	remove                  // deletes a secret, and restores it later
	clocks                  // are off, and drift
	faults
)

var faultNames = [faults]string{
	"c8Down", "c8Hang", "c8Slow", "c8Throttle", "c8Refuse", "c8Garbage", "c8Invalid", "c8Lifetime", "c8Revoke",
	"smThrottle", "smFail", "smHang", "smBreak", "smWritten", "smStale", "smDeny",
	"kill", "stall", "lost", "late", "twice",
	"force", "replace", "mistake", "move", "garble", "remove", "clocks",
}

func (f fault) String() string { return faultNames[f] }

// plan is what the seed decides.
type plan struct {
	heartbeat time.Duration
	horizon   time.Duration // when the run ends
	calm      time.Duration // before its end: the time without faults
	enabled   [faults]bool
	windows   []window
	tenants   []tenantPlan
	vends     int           // sandboxes of vend at once, at most
	cacheTTL  time.Duration // C8AUTH_CACHE_TTL
	probe     bool          // whether there is a probe path
	retries   int           // of an event whose invocation failed: 0 in the template, 2 by default
}

// tenantPlan is a tenant and its Communic8 instance.
type tenantPlan struct {
	lifetime  time.Duration // of its tokens
	expiresIn string        // raw expires_in; empty: the lifetime
	believed  time.Duration // the lifetime that expires_in says
	exclusive bool
	same      bool
	refusal   c8test.Refusal
	rejection c8test.Rejection
	accessKey bool
	gap       time.Duration // between two callers
}

// window is a time in which a fault occurs.
type window struct {
	fault    fault
	tenant   int // -1: all
	from, to time.Duration
	p        float64 // probability at each occasion
}

func (w window) concerns(t *tenant) bool { return w.tenant == -1 || w.tenant == t.index }

// dice returns the random numbers of one part of the run. Each part has its own, so that what
// happens in one does not depend on how many others there are.
func dice(seed uint64, part string, n int) *rand.Rand {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s %d", part, n)
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// between returns a duration between two others; every order of magnitude is equally likely.
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
	// filling is the lifetime under which the versions of a token reach the quota.
	filling = 17 * time.Minute
)

// newPlan makes the plan of a seed.
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
		if t.expiresIn == "-" && !p.probe { // such a token is stored only if a probe shows that it works
			t.expiresIn, t.believed = "", t.lifetime
		}
		p.tenants = append(p.tenants, t)
	}
	p.planWindows(r)
	return p
}

// enable chooses the faults.
func (p *plan) enable(r *rand.Rand) {
	chance := pick(r, 0, 0, 0.05, 0.1, 0.2, 0.5, 0.9)
	for f := range p.enabled {
		p.enabled[f] = r.Float64() < chance
	}
	if chance < 0.2 { // often exactly one
		p.enabled[r.IntN(int(faults))] = r.IntN(4) > 0
	}
}

func newTenantPlan(r *rand.Rand, heartbeat time.Duration) tenantPlan {
	t := tenantPlan{
		lifetime:  between(r, heartbeat/2, 300*heartbeat),
		exclusive: r.IntN(2) == 0,
		same:      r.IntN(4) == 0,
		refusal:   pick(r, c8test.Refuse401, c8test.Refuse400, c8test.Refuse200, c8test.Refuse200Error, c8test.Refuse404),
		rejection: pick(r, c8test.Reject401, c8test.Reject401, c8test.Reject401, c8test.Reject403, c8test.Reject200),
		accessKey: r.IntN(6) == 0,
		gap:       between(r, heartbeat/4, 4*heartbeat),
	}
	if t.lifetime < filling && r.IntN(2) == 0 { // not all of the short ones
		t.lifetime = between(r, filling, 300*heartbeat)
	}
	t.lifetime = min(max(t.lifetime, shortest), longest).Truncate(time.Second)
	if r.IntN(3) == 0 {
		seconds := int64(t.lifetime / time.Second)
		switch r.IntN(6) {
		case 0: // as a string
			t.expiresIn = fmt.Sprintf(`"%d"`, seconds)
		case 1: // a fraction, rounded down
			t.expiresIn = fmt.Sprintf("%d.9", seconds)
		case 2: // not at all
			t.expiresIn, t.believed = "-", time.Hour
		case 3: // too long
			t.expiresIn, t.believed = fmt.Sprint(2*seconds), min(2*t.lifetime, longest)
		case 4: // too short
			t.expiresIn, t.believed = fmt.Sprint(seconds/2), t.lifetime/2/time.Second*time.Second
		case 5: // absurd
			t.expiresIn, t.believed = "1e300", longest
		}
	}
	if t.believed == 0 {
		t.believed = t.lifetime
	}
	return t
}

// planWindows chooses when the faults occur.
func (p *plan) planWindows(r *rand.Rand) {
	for f := range faults {
		if !p.enabled[f] || f == clocks {
			continue
		}
		for tenant := -1; tenant < len(p.tenants); tenant++ {
			// All tenants share Secrets Manager and the processes; each has a Communic8 of its own.
			shared := f >= smThrottle && f <= stall
			if shared != (tenant == -1) {
				continue
			}
			mean := between(r, 30*p.heartbeat, 200*p.heartbeat)
			for at := gap(r, mean); at < p.horizon-p.calm; at += gap(r, mean) {
				w := window{fault: f, tenant: tenant, from: at, p: pick(r, 0.05, 0.3, 0.8, 1)}
				at += between(r, time.Minute, 60*p.heartbeat)
				if tenant >= 0 && r.IntN(3) == 0 { // about as long as the token remains valid
					at = w.from + time.Duration((0.1+0.7*r.Float64())*float64(p.tenants[tenant].believed))
				}
				w.to = min(at, p.horizon-p.calm)
				p.windows = append(p.windows, w)
			}
		}
	}
}
