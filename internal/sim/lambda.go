package sim

// EventBridge Scheduler, which sends each tenant's heartbeat, and Lambda, which runs rotate.

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
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
	begin    stored   // what was current at the beginning
	rejected bool     // whether Communic8 rejected that
	overlap  *overlap // nil for a report without a claim

	// What went wrong.
	faultBefore time.Duration // when the sandbox last met a fault
	faults      int           // calls that went wrong
	transient   int           // those of them that another request may overcome at once
	storeFaults int           // those of them to Secrets Manager
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

// leave ends that. However many rotations overlapped, a valid token is stored in the end.
func (e *env) leave(i *invocation) {
	t, o := i.tenant, i.overlap
	o.running--
	o.disturbed = o.disturbed || i.disturbed || i.killed || i.faults > 0
	if o.running == 0 && o.members > 1 && o.issued && !o.disturbed && t.unusable == 0 && t.accepts(t.current) {
		if s := t.stored; !t.c8.Valid(s.token) && !s.expired(e.now()) {
			e.violate(t, "rotations that overlap end with a valid token")
		}
	}
}

// schedule is EventBridge Scheduler with the tenant's schedule.
func (e *env) schedule(t *tenant) {
	r := dice(e.seed, "schedule", t.index)
	phase := time.Duration(r.Int64N(int64(e.heartbeat)))
	for beat := time.Duration(0); ; beat++ {
		jitter := time.Duration(r.Int64N(int64(5 * time.Second)))
		if !e.wait(phase + beat*e.heartbeat + jitter - e.now()) {
			return
		}
		e.check()
		isLost, isLate, isTwice := e.occurs(r, lost, t), e.occurs(r, late, t), e.occurs(r, twice, t)
		var delay time.Duration
		if isLate {
			delay = between(r, time.Second, 3*e.heartbeat)
		}
		if isLost {
			e.disturb(t)
			e.note("schedule", "%s: lost", t.name)
		} else {
			e.actor(func() { e.deliver(t, delay) })
		}
		for isTwice { // or more often, and mostly at about the same time
			again := delay + time.Duration(r.Int64N(int64(time.Second)))
			if r.IntN(3) == 0 {
				again = delay + between(r, time.Second, 2*e.heartbeat)
			}
			e.actor(func() { e.deliver(t, again) })
			isTwice = r.IntN(3) == 0
		}
	}
}

// deliver invokes rotate after a while, and again if that fails, as often as Lambda does.
func (e *env) deliver(t *tenant, delay time.Duration) {
	for attempt := 0; e.wait(delay) && !e.rotate(t, false, ""); attempt++ {
		if attempt == e.retries {
			e.counts["dead letters"]++
			return
		}
		delay = time.Duration(attempt+1) * time.Minute
	}
}

// rotate is one invocation of the function rotate: for a heartbeat or an operator, or by API
// Gateway for a report of that version. It reports whether the invocation succeeded.
func (e *env) rotate(t *tenant, force bool, report string) bool {
	e.check()
	i := e.begin(&e.rotateSandboxes, t)
	i.force, i.report = force, report
	if report == "" {
		e.join(i)
		e.note(i.process.name, "rotate %s, force %t", t.name, force)
	} else {
		e.note(i.process.name, "report %s, %s", t.name, report)
	}
	if force {
		e.event(t)
	}
	var result c8auth.Result
	var err error
	i.run(func(ctx context.Context) {
		if report == "" {
			result, err = i.process.rotator.Rotate(ctx, c8auth.Request{Tenant: t.name, Force: force})
		} else {
			result, err = i.process.rotator.Reject(ctx, c8auth.Report{Tenant: t.name, Version: report})
		}
	})
	switch {
	case i.killed:
	case err != nil:
		e.counts["failed"]++
		e.note(i.process.name, "fails: %v", err)
	default:
		e.counts[string(result.Outcome)]++
		e.note(i.process.name, "%s %s %s", result.Outcome, result.Reason, result.Version)
	}
	if i.overlap != nil {
		e.leave(i)
	}
	if report == "" {
		e.checkRotation(i, result, err)
	} else {
		e.checkReport(i, result, err)
	}
	e.check()
	return err == nil && !i.killed
}

// begin starts an invocation in an idle sandbox.
func (e *env) begin(in *pool, t *tenant) *invocation {
	p := e.take(in)
	i := &invocation{
		process: p, tenant: t, vend: in == &e.vendSandboxes, begun: e.now(), begin: t.stored,
		rejected: !t.c8.Valid(t.stored.token), faultBefore: p.faultAt,
		requests: make(map[string]int), refused: make(map[string]bool), rejections: make(map[string]bool),
		proven: make(map[string]bool), good: make(map[string]bool), assumed: make(map[string]bool),
	}
	p.inv = i
	in.busy++
	e.running = append(e.running, i)
	e.counts[in.function]++
	return i
}

// run has the product serve the request, until it has or is killed. After that, the sandbox is
// frozen until the next request, or is gone.
func (i *invocation) run(serve func(context.Context)) {
	p := i.process
	func() {
		p.mu.Unlock()
		defer p.mu.Lock()
		ctx, cancel := context.WithTimeout(context.Background(), p.pool.timeout)
		defer cancel()
		defer func() {
			if i.killed {
				_ = recover()
			}
		}()
		serve(ctx)
	}()
	p.running = slices.DeleteFunc(p.running, func(each *invocation) bool { return each == i })
	p.pool.busy--
	if i.faults > 0 {
		p.faultAt = p.now()
	}
	if i.killed {
		p.note(p.name, "is gone")
	} else {
		p.pool.idle = append(p.pool.idle, p)
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
