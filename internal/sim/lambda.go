package sim

// EventBridge Scheduler, which sends each tenant's heartbeat, and Lambda, which runs rotate.

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
	rejected bool          // whether Communic8 rejected that
	overlap  *overlap      // nil for a report without a claim

	// What went wrong.
	faults      int // calls that went wrong
	transient   int // those of them that another request may overcome at once
	storeFaults int // those of them to Secrets Manager
	stalled     bool
	killed      bool
	disturbed   bool

	// What it was told, and what it has done.
	shown            *stored         // the token that it was told is current
	shownCredentials string          // version of the credentials that it was told is current
	refused          map[string]bool // credentials, as they are sent
	rejections       map[string]bool // tokens that it was told are rejected; true: and not otherwise since
	proven           map[string]bool // tokens that it was told are good
	good             map[string]bool // and those that it may have been told are
	assumed          map[string]bool // tokens whose lifetime it was not told
	raced            bool            // it was told that another rotation has stored a token
	requests         map[string]int  // by credentials, as they are sent
	full             bool            // it was told that the quota of versions is reached
	issuedTokens     int             // tokens that were issued to it
	told             bool            // and whether it was told of one
	writes           int
	claimed          bool // it may replace the token that was reported
}

// overlap is rotations of a tenant that overlap.
type overlap struct {
	members   int
	running   int
	issued    bool // whether any of them got a token
	disturbed bool
}

// join adds an invocation that may store a token to the overlapping ones of its tenant.
func (e *env) join(i *invocation) {
	i.overlap = new(overlap)
	for _, other := range e.running {
		if other != i && other.tenant == i.tenant && other.overlap != nil {
			i.overlap = other.overlap
		}
	}
	i.overlap.members++
	i.overlap.running++
	if i.overlap.members > 1 { // each may store a token
		e.event(i.tenant)
	}
}

// leave ends that.
func (e *env) leave(i *invocation) {
	i.overlap.running--
	i.overlap.disturbed = i.overlap.disturbed || i.disturbed || i.killed || i.faults > 0
}

const rotateTimeout = time.Minute // as in template.yaml

// schedule is EventBridge Scheduler with the tenant's schedule.
func (e *env) schedule(t *tenant) {
	r := dice(e.seed, "schedule", t.index)
	phase := time.Duration(r.Int64N(int64(e.heartbeat)))
	for beat := time.Duration(0); ; beat++ {
		jitter := time.Duration(r.Int64N(int64(5 * time.Second)))
		if !e.wait(phase + beat*e.heartbeat + jitter - e.now()) {
			return
		}
		e.mu.Lock()
		e.check()
		isLost, isLate, isTwice := e.occurs(r, lost, t), e.occurs(r, late, t), e.occurs(r, twice, t)
		if isLost {
			e.disturb(t)
			e.note("schedule", "%s: lost", t.name)
		}
		e.mu.Unlock()
		var delay time.Duration
		if isLate {
			delay = between(r, time.Second, 3*e.heartbeat)
		}
		if !isLost {
			e.actors.Go(func() { e.deliver(t, delay, false) })
		}
		for isTwice { // or more often, and mostly at about the same time
			again := delay + time.Duration(r.Int64N(int64(time.Second)))
			if r.IntN(3) == 0 {
				again = delay + between(r, time.Second, 2*e.heartbeat)
			}
			e.actors.Go(func() { e.deliver(t, again, false) })
			isTwice = r.IntN(3) == 0
		}
	}
}

// deliver invokes rotate after a while, and again if that fails, as often as Lambda does.
func (e *env) deliver(t *tenant, delay time.Duration, force bool) {
	for attempt := 0; ; attempt++ {
		if !e.wait(delay) {
			return
		}
		if e.rotate(t, force) {
			return
		}
		if attempt == e.retries {
			e.mu.Lock()
			e.counts.DeadLetters++
			e.mu.Unlock()
			return
		}
		delay = time.Duration(attempt+1) * time.Minute
	}
}

// rotate is one invocation of the function rotate.
func (e *env) rotate(t *tenant, force bool) bool {
	e.mu.Lock()
	i := e.begin(&e.rotateSandboxes, "rotate", t, rotateTimeout)
	i.force = force
	e.join(i)
	if force {
		e.event(t)
	}
	e.counts.Rotations++
	e.note(i.process.name, "rotate %s, force %t", t.name, force)
	e.mu.Unlock()

	result, err := i.rotate()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.noteResult(i, result, err)
	switch {
	case i.killed:
	case err != nil:
		e.counts.Failed++
	case result.Outcome == c8auth.Rotated:
		e.counts.Rotated++
	}
	e.leave(i)
	e.end(i, &e.rotateSandboxes)
	e.checkOverlap(i)
	e.checkRotation(i, result, err)
	e.check()
	return err == nil && !i.killed
}

// noteResult writes the result of rotate to the history.
func (e *env) noteResult(i *invocation, result c8auth.Result, err error) {
	switch {
	case i.killed:
		e.note(i.process.name, "is gone")
	case err != nil:
		e.note(i.process.name, "fails: %v", err)
	default:
		e.note(i.process.name, "%s %s %s", result.Outcome, result.Reason, result.Version)
	}
}

func (i *invocation) rotate() (c8auth.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), rotateTimeout)
	defer cancel()
	defer i.recoverKill()
	return i.process.rotator.Rotate(ctx, c8auth.Request{Tenant: i.tenant.name, Force: i.force})
}

// recoverKill recovers from the panic by which a process was killed.
func (i *invocation) recoverKill() {
	if !i.killed {
		return
	}
	_ = recover()
}

// begin starts an invocation in an idle sandbox.
func (e *env) begin(in *pool, function string, t *tenant, timeout time.Duration) *invocation {
	p := e.take(in, function)
	i := &invocation{
		process: p, tenant: t, begun: e.now(), deadline: e.now() + timeout, begin: t.stored,
		rejected: !t.c8.Valid(t.stored.token),
		requests: make(map[string]int), refused: make(map[string]bool), rejections: make(map[string]bool),
		proven: make(map[string]bool), good: make(map[string]bool), assumed: make(map[string]bool),
	}
	p.inv = i
	e.running = append(e.running, i)
	return i
}

// end freezes the sandbox until the next request, or removes it.
func (e *env) end(i *invocation, in *pool) {
	for n, each := range e.running {
		if each == i {
			e.running = append(e.running[:n], e.running[n+1:]...)
			break
		}
	}
	if i.faults > 0 {
		i.process.faultAt = e.now()
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
		Percent *float64 `json:"TokenLifePercent"`
	}
	if err := json.Unmarshal(line, &in); err != nil {
		l.violate(i.tenant, "a line is no JSON: %v", err)
	}
	l.history.add(l.now(), l.process.name, "logs %s", bytes.TrimSpace(line))
	l.checkLine(i, in.Message == "rotation", in.Percent, line)
	return len(line), nil
}
