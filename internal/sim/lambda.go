package sim

// EventBridge, which sends each tenant's heartbeat, and Lambda, which runs rotate.

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// invocation is one request that a function serves.
type invocation struct {
	process  *process
	tenant   *tenant
	vend     bool
	force    bool
	report   string // version that a caller reports; empty: none does
	begun    time.Duration
	deadline time.Duration // when Lambda ends it
	begin    stored        // what was current at the beginning
	dead     bool          // and whether Communic8 rejected that
	crowd    *crowd        // of those who may store a token; nil for a report without a claim

	// What has befallen it.
	faults      int // calls that went wrong
	brief       int // those of them that one can get over at once
	storeFaults int // those of them to Secrets Manager
	stalled     bool
	killed      bool
	disturbed   bool

	// What it knows, and what it has done.
	shown     *stored         // the token that it was shown to be current
	shownMade string          // version of the credentials that it was shown
	refused   map[string]bool // credentials, as they are sent
	rejected  map[string]bool // tokens that it was told are rejected; true: and not otherwise since
	proven    map[string]bool // tokens that it was told are good
	good      map[string]bool // and those that it may have been told are
	unsaid    map[string]bool // tokens whose lifetime it was not told
	raced     bool            // it was told that another one has stored a token
	asks      map[string]int  // by credentials, as they are sent
	full      bool            // whether it was told that the quota of versions is reached
	granted   int             // tokens that were issued to it
	told      bool            // and whether it was told of one
	writes    int
	claimed   bool // it may replace the token at a caller's word
}

// crowd is rotations of a tenant that overlap.
type crowd struct {
	members   int
	running   int
	granted   bool // whether any of them got a token
	disturbed bool
}

// join makes an invocation that may store a token one of its tenant's crowd.
func (w *world) join(i *invocation) {
	i.crowd = new(crowd)
	for _, other := range w.running {
		if other != i && other.tenant == i.tenant && other.crowd != nil {
			i.crowd = other.crowd
		}
	}
	i.crowd.members++
	i.crowd.running++
	if i.crowd.members > 1 { // each may store a token
		w.event(i.tenant)
	}
}

// leave ends that.
func (w *world) leave(i *invocation) {
	i.crowd.running--
	i.crowd.disturbed = i.crowd.disturbed || i.disturbed || i.killed || i.faults > 0
}

const rotateTimeout = time.Minute // as in template.yaml

// schedule is EventBridge Scheduler with the tenant's schedule.
func (w *world) schedule(t *tenant) {
	r := dice(w.seed, "schedule", t.index)
	phase := time.Duration(r.Int64N(int64(w.heartbeat)))
	for beat := time.Duration(0); ; beat++ {
		jitter := time.Duration(r.Int64N(int64(5 * time.Second)))
		if !w.wait(phase + beat*w.heartbeat + jitter - w.now()) {
			return
		}
		w.mu.Lock()
		w.check()
		isLost, isLate, isTwice := w.strikes(r, lost, t), w.strikes(r, late, t), w.strikes(r, twice, t)
		if isLost {
			w.disturb(t)
			w.note("schedule", "%s: lost", t.name)
		}
		w.mu.Unlock()
		var delay time.Duration
		if isLate {
			delay = between(r, time.Second, 3*w.heartbeat)
		}
		if !isLost {
			w.actors.Go(func() { w.deliver(t, delay, false) })
		}
		for isTwice { // or more often, and mostly at about the same time
			again := delay + time.Duration(r.Int64N(int64(time.Second)))
			if r.IntN(3) == 0 {
				again = delay + between(r, time.Second, 2*w.heartbeat)
			}
			w.actors.Go(func() { w.deliver(t, again, false) })
			isTwice = r.IntN(3) == 0
		}
	}
}

// deliver invokes rotate after a while, as often as Lambda tries.
func (w *world) deliver(t *tenant, delay time.Duration, force bool) {
	for try := 0; ; try++ {
		if !w.wait(delay) {
			return
		}
		if w.rotate(t, force) {
			return
		}
		if try == w.retries {
			w.mu.Lock()
			w.counts.Dead++
			w.mu.Unlock()
			return
		}
		delay = time.Duration(try+1) * time.Minute
	}
}

// rotate is one invocation of the function rotate.
func (w *world) rotate(t *tenant, force bool) bool {
	w.mu.Lock()
	i := w.begin(&w.rotators, "rotate", t, rotateTimeout)
	i.force = force
	w.join(i)
	if force {
		w.event(t)
	}
	w.counts.Rotations++
	w.note(i.process.name, "rotate %s, force %t", t.name, force)
	w.mu.Unlock()

	result, err := i.rotate()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case i.killed:
		w.note(i.process.name, "is gone")
	case err != nil:
		w.note(i.process.name, "fails: %v", err)
		w.counts.Failed++
	default:
		w.note(i.process.name, "%s %s %s", result.Outcome, result.Reason, result.Version)
		if result.Outcome == c8auth.Rotated {
			w.counts.Rotated++
		}
	}
	w.leave(i)
	w.end(i, &w.rotators)
	w.judgeCrowd(i)
	w.judgeRotation(i, result, err)
	w.check()
	return err == nil && !i.killed
}

func (i *invocation) rotate() (c8auth.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), rotateTimeout)
	defer cancel()
	defer i.bury()
	return i.process.rotator.Rotate(ctx, c8auth.Request{Tenant: i.tenant.name, Force: i.force})
}

// bury ends the panic of a process that was killed.
func (i *invocation) bury() {
	if !i.killed {
		return
	}
	_ = recover()
}

// begin starts an invocation in an idle sandbox.
func (w *world) begin(in *pool, function string, t *tenant, timeout time.Duration) *invocation {
	p := w.take(in, function)
	i := &invocation{
		process: p, tenant: t, begun: w.now(), deadline: w.now() + timeout, begin: t.stored,
		dead: !t.c8.Valid(t.stored.token),
		asks: make(map[string]int), refused: make(map[string]bool), rejected: make(map[string]bool), proven: make(map[string]bool), good: make(map[string]bool), unsaid: make(map[string]bool),
	}
	p.inv = i
	w.running = append(w.running, i)
	return i
}

// end freezes the sandbox until the next request, or buries it.
func (w *world) end(i *invocation, in *pool) {
	for n, each := range w.running {
		if each == i {
			w.running = append(w.running[:n], w.running[n+1:]...)
			break
		}
	}
	if i.faults > 0 {
		i.process.faultAt = w.now()
	}
	if !i.killed {
		in.idle = append(in.idle, i.process)
	}
}

// logLines takes the lines that rotate logs.
type logLines struct{ *process }

func (l logLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.inv
	var in struct {
		Message string   `json:"msg"`
		Life    *float64 `json:"TokenLifePercent"`
	}
	if err := json.Unmarshal(line, &in); err != nil {
		l.violate(i.tenant, "a line is no JSON: %v", err)
	}
	l.history.add(l.now(), l.process.name, "logs %s", bytes.TrimSpace(line))
	l.judgeLine(i, in.Message == "rotation", in.Life, line)
	return len(line), nil
}
