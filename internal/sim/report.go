package sim

// Callers who report that Communic8 rejects a token, truly or not, API Gateway, which
// brings their reports to the sandboxes of rotate, and the laws on what comes of that.

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/pkg/c8auth"
)

const (
	gatewayTimeout  = 29 * time.Second // of API Gateway
	reportTime      = 25 * time.Second // in which a report is answered
	healTime        = 10 * time.Second // in which a caller has a living token again
	inconclusiveAge = 10 * time.Minute // up to which a token stays that is not known to be dead
	trialPause      = 5 * time.Second  // between two trials of the same token in a sandbox
	probePause      = time.Minute      // and for which one that was inconclusive counts
	lease           = 30 * time.Second // in which a token is claimed once
	burst           = 5                // claims that may follow each other at once
	refill          = 20 * time.Minute // in which there is one more
)

// claims are the rights that reports were given to replace a tenant's token.
type claims struct {
	seen         map[string]bool // their ids
	times        []time.Duration // of the last day
	last, before claim
	// How many may follow at once: what it is at most and at least, as it depends on when
	// exactly the claim before was read.
	most, least float64
}

type claim struct {
	id, version string
	at          time.Duration
}

// trial is one of the stored token at a caller's word.
type trial struct {
	version  string
	at       time.Duration
	rejected bool
}

// day returns how many there were in the last one.
func (c *claims) day(now time.Duration) int {
	c.times = lastDay(c.times, now)
	return len(c.times)
}

// left is how many there may be when the last one is of that age.
func left(then float64, age time.Duration) float64 {
	return min(burst, then+max(0, age).Seconds()/refill.Seconds())
}

// appeal is a caller whose token Communic8 rejects: it reports that and asks anew, until
// it has another one or gives up. Others may be with it. It reports whether the world
// still is.
func (w *world) appeal(t *tenant, r *rand.Rand, v vended) bool {
	if r.IntN(4) == 0 {
		for range 1 + r.IntN(8) {
			delay := time.Duration(r.Int64N(int64(200 * time.Millisecond)))
			w.actors.Go(func() {
				time.Sleep(delay)
				w.invokeReport(t, v.version)
			})
		}
	}
	a := w.begins(t, v)
	for pause := time.Second; ; pause *= 2 {
		w.report(t, v.version)
		next := w.vend(t, true)
		if next.version != "" && !next.dead(t) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.counts.Healed++
			return w.violation == nil
		}
		if next.version != "" && next.version != v.version {
			v = next
			a = w.begins(t, v)
		}
		if w.now()-a.begun > healTime {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.judgeAppeal(a, v, next)
			return w.violation == nil
		}
		if !w.wait(pause + time.Duration(r.Int64N(int64(time.Millisecond)))) {
			return false
		}
	}
}

// report reports the version, and waits as long as API Gateway does.
func (w *world) report(t *tenant, version string) {
	done := make(chan struct{})
	w.actors.Go(func() {
		defer close(done)
		w.invokeReport(t, version)
	})
	select {
	case <-done:
	case <-time.After(gatewayTimeout):
	}
}

// slander is callers who report what is not so, many times at once: a token that lives,
// those before it, and some that never were.
func (w *world) slander(t *tenant) {
	r := dice(w.seed, "slander", t.index)
	if r.IntN(4) > 0 {
		return
	}
	mean := between(r, 10*w.heartbeat, 100*w.heartbeat)
	for w.wait(gap(r, mean)) {
		made := func() string {
			w.mu.Lock()
			defer w.mu.Unlock()
			switch n := len(t.held); {
			case n == 0 || r.IntN(4) == 0:
				return strings.Repeat(pick(r, "0123", "feed", "MARK"), 9)
			case r.IntN(3) == 0:
				return t.held[r.IntN(n)]
			}
			return t.held[len(t.held)-1]
		}
		pause := between(r, 10*time.Millisecond, 10*time.Second)
		for range 5 + r.IntN(40) {
			if !w.wait(gap(r, pause) % time.Minute) {
				return
			}
			version := made()
			w.actors.Go(func() { w.invokeReport(t, version) })
		}
	}
}

// invokeReport is one invocation of the function rotate by API Gateway.
func (w *world) invokeReport(t *tenant, version string) {
	w.mu.Lock()
	w.check()
	i := w.begin(&w.rotators, "rotate", t, rotateTimeout)
	i.report = version
	w.counts.Reports++
	w.note(i.process.name, "report %s, %s", t.name, version)
	w.mu.Unlock()

	result, err := i.reject()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case i.killed:
		w.note(i.process.name, "is gone")
	case err != nil:
		w.note(i.process.name, "fails: %v", err)
	default:
		w.note(i.process.name, "%s %s %s", result.Outcome, result.Reason, result.Version)
	}
	if i.crowd != nil {
		w.leave(i)
	}
	w.end(i, &w.rotators)
	if i.crowd != nil {
		w.judgeCrowd(i)
	}
	w.judgeReport(i, result, err)
	w.check()
}

func (i *invocation) reject() (c8auth.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), rotateTimeout)
	defer cancel()
	defer i.bury()
	return i.process.rotator.Reject(ctx, c8auth.Report{Tenant: i.tenant.name, Version: i.report})
}

// askElsewhere is a token request of another holder of the credentials.
func (t *tenant) askElsewhere() {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, t.base()+c8test.TokenPath, strings.NewReader("{}"))
	if err != nil {
		return
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+base64.StdEncoding.EncodeToString([]byte(t.current.id+":"+t.current.secret)))
	if resp, err := (inmem.Transport{Handler: t.c8}).RoundTrip(req); err == nil {
		_ = resp.Body.Close()
	}
}

// claimed is the moment in which a report has claimed a token. By the clock of its
// process, there are no more than five claims at once and one in twenty minutes, and one
// of the same token in half a minute.
func (p *process) claimed(c call) {
	i, t := p.inv, c.tenant
	cs := &t.claims
	now, since, version := p.now(), cs.last.at-p.offset, cmp.Or(i.report, t.stored.version)
	if cs.seen == nil {
		cs.seen = make(map[string]bool)
		cs.most, cs.least = burst, burst
	} else {
		cs.most, cs.least = left(cs.most, now-since+time.Millisecond), left(cs.least, i.begun-since-time.Millisecond)
	}
	cs.most, cs.least = cs.most-1, cs.least-1
	p.counts.Claims++
	switch {
	case i.report == "" && !p.fills(t, t.stored) || i.vend || i.tenant != t:
		p.violate(t, "only a report claims a token, or a rotation to which writes were refused, and of its own tenant")
		return
	case cs.most < -1e-9:
		p.violate(t, "no more than %d claims at once, and one in %v", burst, refill)
	case cs.last.version == version && now-since < lease:
		p.violate(t, "a token is claimed once in %v", lease)
	case i.claimed:
		p.violate(t, "a report claims a token once")
	case t.stored.version == c.id:
		p.violate(t, "a claim is not what is vended")
	}
	cs.seen[c.id] = true
	cs.times = append(lastDay(cs.times, now), now)
	cs.before, cs.last = cs.last, claim{c.id, version, now}
	i.claimed = true
	if i.report != "" {
		p.join(i)
	}
}

// When Communic8 is asked or tried at a caller's word: the version is the one that is
// stored; the stored token is tried no more than once and only so often; and to ask
// takes a claim. So whatever callers send, there are no more asks than claims allow.
func (p *process) judgeReported(c call) {
	i, t := p.inv, c.tenant
	if i.raced {
		return
	}
	if i.shown == nil || i.shown.version != i.report {
		p.violate(t, "nothing is asked of Communic8 because of a version that is not the current one")
	}
	if i.claimed {
		return
	}
	if c.op == "ask" {
		p.violate(t, "a report asks for a token only if it has claimed the stored one")
		return
	}
	last := p.tried[t]
	if last.version == i.report && p.now()-last.at < trialPause {
		p.violate(t, "callers make a sandbox try a token once in %v", trialPause)
	}
	p.tried[t] = trial{i.report, p.now(), false}
}

// When a report has ended.
func (w *world) judgeReport(i *invocation, result c8auth.Result, err error) {
	t, took := i.tenant, w.now()-i.begun
	if !i.stalled && !i.killed && took > reportTime+time.Second {
		w.violate(t, "a report is answered in %v, not %v", reportTime, took)
	}
	clean := !i.killed && !i.disturbed && t.broken == 0 && i.faults == 0 && i.begun >= t.retryAt
	if !clean {
		return
	}
	if i.begin.version != i.report || !i.begin.readable {
		if i.begin.version != i.report && t.stored.version != i.report && result.Outcome != c8auth.Superseded {
			w.violate(t, "a report of another version is superseded: %s, %v", result.Outcome, err)
		}
		return
	}
	alone := i.crowd == nil || i.crowd.members == 1
	if !t.accepts(t.current) || !alone || w.now()-t.current.since < slack {
		return
	}
	dead := i.dead && w.provable(t, i.begin, i.process.offset)
	switch {
	case err != nil && !errors.Is(err, c8auth.ErrHeld):
		w.violate(t, "a report is answered if nothing is in its way: %v", err)
	case err == nil && result.Version != t.stored.version && t.stored.since < i.begun:
		w.violate(t, "the answer names %s, and %s is stored", result.Version, t.stored.version)
	case result.Outcome == c8auth.Rotated && (i.writes == 0 || !t.c8.Valid(t.stored.token)):
		w.violate(t, "rotated, and no living token was stored")
	case i.claimed && dead && result.Outcome != c8auth.Rotated && result.Outcome != c8auth.Superseded:
		w.violate(t, "who has claimed a dead token replaces it: %s", result.Outcome)
	}
}

// provable reports whether rotate can find out that the stored token is dead, or need not.
func (w *world) provable(t *tenant, s stored, off time.Duration) bool {
	return !s.endless && (w.detectable(t) || w.now()+off-s.issued-s.off > inconclusiveAge+time.Second)
}

// appealed is how it was when a caller began to report a token.
type appealed struct {
	*tenant
	begun time.Duration
	may   bool // it must be heard
}

// begins notes how it is.
func (w *world) begins(t *tenant, v vended) appealed {
	w.mu.Lock()
	defer w.mu.Unlock()
	room := t.claims.seen == nil || left(t.claims.least, w.now()-t.claims.last.at-skew) >= 1
	may := room && t.stored.version == v.version && t.stored.readable && w.provable(t, t.stored, -skew) && t.current.key == ""
	return appealed{t, w.now(), may}
}

// When a caller gives up: its token died before its time, it has said so and asked anew,
// no fault has struck, and there are claims left. That does not happen.
func (w *world) judgeAppeal(a appealed, v, next vended) {
	t := a.tenant
	if !a.may || t.rough >= a.begun || t.struck >= a.begun-lease-probePause || t.retryAt >= a.begun || t.broken > 0 || t.deleted != 0 || !t.accepts(t.current) {
		return
	}
	if !t.c8.Valid(t.stored.token) || next.dead(t) {
		w.violate(t, "a report heals in %v: %s is dead, was reported at %v, and %s is stored", healTime, v.version, a.begun, t.stored.version)
	}
}
