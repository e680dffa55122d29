package sim

// Callers who report that Communic8 rejects a token, truly or not, and the invariants on
// what rotate does about it.

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
	gatewayTimeout    = 29 * time.Second // of API Gateway
	reportTime        = 25 * time.Second // in which a report is answered
	recoveryTime      = 10 * time.Second // in which a caller has a valid token again
	inconclusiveAge   = 10 * time.Minute // up to which a token stays whose probe is inconclusive
	probePause        = 5 * time.Second  // between two probes of the same token in a sandbox
	inconclusivePause = time.Minute      // for which an inconclusive one counts
	lease             = 30 * time.Second // in which a token is claimed once
	burst             = 5                // claims that may follow each other at once
	refill            = 20 * time.Minute // in which there is one more
)

// claims are the rights of reports to replace a tenant's token.
type claims struct {
	seen         map[string]bool // their ids
	times        []time.Duration // of the last day
	last, before claim
	// How many may follow at once, at most and at least: it depends on when exactly the claim
	// before was read.
	most, least float64
}

type claim struct {
	id, version string
	at          time.Duration
}

// probe is a probe of the stored token because of a report.
type probe struct {
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

// reportUntilReplaced is a caller whose token Communic8 rejects: it reports that and fetches
// the token again, until it has another one or gives up. Others may do the same. It reports
// whether the run goes on.
func (e *env) reportUntilReplaced(t *tenant, r *rand.Rand, v vended) bool {
	if r.IntN(4) == 0 {
		for range 1 + r.IntN(8) {
			delay := time.Duration(r.Int64N(int64(200 * time.Millisecond)))
			e.actor(func() {
				e.sleep(delay)
				e.rotate(t, false, v.version)
			})
		}
	}
	first := e.beginRecovery(t, v)
	for pause := time.Second; ; pause *= 2 {
		e.report(t, v.version)
		next := e.vend(t, true)
		if next.version != "" && !next.rejected(t) {
			e.counts["recovered"]++
			return e.violation == nil
		}
		if next.version != "" && next.version != v.version {
			v = next
			first = e.beginRecovery(t, v)
		}
		if e.now()-first.begun > recoveryTime {
			e.checkRecovery(first, v, next)
			return e.violation == nil
		}
		if !e.wait(pause + time.Duration(r.Int64N(int64(time.Millisecond)))) {
			return false
		}
	}
}

// report reports the version, and waits as long as API Gateway does.
func (e *env) report(t *tenant, version string) {
	answered, done := context.WithCancel(context.Background())
	e.actor(func() {
		defer done()
		e.rotate(t, false, version)
	})
	_ = e.pass(answered, gatewayTimeout)
}

// reportFalsely is callers who send false reports, many at once: of a valid token, of earlier
// ones, and of versions that never were.
func (e *env) reportFalsely(t *tenant) {
	r := dice(e.seed, "false reports", t.index)
	if r.IntN(4) > 0 {
		return
	}
	mean := between(r, 10*e.heartbeat, 100*e.heartbeat)
	for e.wait(gap(r, mean)) {
		pause := between(r, 10*time.Millisecond, 10*time.Second)
		for range 5 + r.IntN(40) {
			if !e.wait(gap(r, pause) % time.Minute) {
				return
			}
			var version string
			switch n := len(t.versions); {
			case n == 0 || r.IntN(4) == 0:
				version = strings.Repeat(pick(r, "0123", "feed", "MARK"), 9)
			case r.IntN(3) == 0:
				version = t.versions[r.IntN(n)]
			default:
				version = t.versions[n-1]
			}
			e.actor(func() { e.rotate(t, false, version) })
		}
	}
}

// requestElsewhere is a token request of another holder of the credentials.
func (t *tenant) requestElsewhere() {
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

// claimed is called when a token has been claimed. By the clock of the process, there are no
// more than five claims at once and one in twenty minutes, and one of the same token in half a
// minute.
func (p *process) claimed(c call) {
	i, t := p.inv, c.tenant
	cs := &t.claims
	now, since, version := p.now(), cs.last.at-p.offset, cmp.Or(i.report, i.shown.version)
	if cs.seen == nil {
		cs.seen = make(map[string]bool)
		cs.most, cs.least = burst, burst
	} else {
		cs.most, cs.least = left(cs.most, now-since+time.Millisecond), left(cs.least, i.begun-since-time.Millisecond)
	}
	cs.most, cs.least = cs.most-1, cs.least-1
	p.counts["claims"]++
	switch {
	case i.report == "" && !p.noRoom(t, *i.shown) || i.vend || i.tenant != t:
		p.violate(t, "only a report claims a token, or a rotation to which writes were refused, and of its own tenant")
		return
	case cs.most < -1e-9:
		p.violate(t, "no more than %d claims at once, and one in %v", burst, refill)
	case cs.last.version == version && now-since < lease:
		p.violate(t, "a token is claimed once in %v", lease)
	case i.claimed:
		p.violate(t, "a report claims a token once")
	case t.stored.version == c.id:
		p.violate(t, "a claim does not become AWSCURRENT")
	}
	cs.seen[c.id] = true
	cs.times = append(lastDay(cs.times, now), now)
	cs.before, cs.last = cs.last, claim{c.id, version, now}
	i.claimed = true
	if i.report != "" {
		p.join(i)
	}
}

// checkReportCall is called when a request is sent to Communic8 because of a report: the
// version is the stored one; the stored token is probed only once and only so often; and a
// token request takes a claim. So whatever callers send, there are no more token requests than
// claims allow.
func (p *process) checkReportCall(c call) {
	i, t := p.inv, c.tenant
	if i.raced {
		return
	}
	if i.shown == nil || i.shown.version != i.report {
		p.violate(t, "nothing is sent to Communic8 because of a version that is not the current one")
	}
	if i.claimed {
		return
	}
	if c.op == "request" {
		p.violate(t, "a report requests a token only if it has claimed the stored one")
		return
	}
	last := p.probed[t]
	if last.version == i.report && p.now()-last.at < probePause {
		p.violate(t, "reports have a sandbox probe a token once in %v", probePause)
	}
	p.probed[t] = probe{i.report, p.now(), false}
}

// checkReport is called when a report has been answered.
func (e *env) checkReport(i *invocation, result c8auth.Result, err error) {
	t, took := i.tenant, e.now()-i.begun
	if !i.stalled && !i.killed && took > reportTime+time.Second {
		e.violate(t, "a report is answered in %v, not %v", reportTime, took)
	}
	clean := !i.killed && !i.disturbed && t.unusable == 0 && i.faults == 0 && i.begun >= t.retryAt
	if !clean {
		return
	}
	if i.begin.version != i.report || !i.begin.readable {
		if i.begin.version != i.report && t.stored.version != i.report && result.Outcome != c8auth.Superseded {
			e.violate(t, "a report of another version is superseded: %s, %v", result.Outcome, err)
		}
		return
	}
	alone := i.overlap == nil || i.overlap.members == 1
	if !t.accepts(t.current) || !alone || e.now()-t.current.since < slack {
		return
	}
	rejected := i.rejected && e.provable(t, i.begin, i.process.offset)
	switch {
	case err != nil && !errors.Is(err, c8auth.ErrHeld):
		e.violate(t, "a report is answered if nothing prevents it: %v", err)
	case err == nil && result.Version != t.stored.version && t.stored.since < i.begun:
		e.violate(t, "the answer names %s, and %s is stored", result.Version, t.stored.version)
	case result.Outcome == c8auth.Rotated && (i.writes == 0 || !t.c8.Valid(t.stored.token)):
		e.violate(t, "rotated, and no valid token was stored")
	case i.claimed && rejected && result.Outcome != c8auth.Rotated && result.Outcome != c8auth.Superseded:
		e.violate(t, "a rejected token that was claimed is replaced: %s", result.Outcome)
	}
}

// provable reports whether rotate can find out that Communic8 rejects the stored token, or need
// not.
func (e *env) provable(t *tenant, s stored, offset time.Duration) bool {
	return !s.neverExpires && (e.detectable(t) || e.now()+offset-s.issued-s.clockOffset > inconclusiveAge+time.Second)
}

// recovery is the situation in which a caller begins to report a token.
type recovery struct {
	*tenant
	begun    time.Duration
	possible bool
}

// beginRecovery notes the situation.
func (e *env) beginRecovery(t *tenant, v vended) recovery {
	room := t.claims.seen == nil || left(t.claims.least, e.now()-t.claims.last.at-skew) >= 1
	possible := room && t.stored.version == v.version && t.stored.readable && e.provable(t, t.stored, -skew) && t.current.key == ""
	return recovery{t, e.now(), possible}
}

// checkRecovery is called when a caller gives up, which must not happen if its token was
// rejected before it expired, the caller has reported that and fetched again, no fault has
// occurred, and there are claims left.
func (e *env) checkRecovery(first recovery, v, next vended) {
	t := first.tenant
	if !first.possible || t.disturbed >= first.begun || t.faulted >= first.begun-lease-inconclusivePause || t.retryAt >= first.begun || t.unusable > 0 || t.deleted != 0 || !t.accepts(t.current) {
		return
	}
	if !t.c8.Valid(t.stored.token) || next.rejected(t) {
		e.violate(t, "after a report there is a valid token in %v: %s is rejected, was reported at %v, and %s is stored", recoveryTime, v.version, first.begun, t.stored.version)
	}
}
