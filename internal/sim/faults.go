package sim

// How a call goes wrong: by the windows that are open, and at random.

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// callFault is what goes wrong with a call, if anything does.
type callFault struct {
	name        string        // empty: nothing
	there, back time.Duration // how long the request and its answer take
	stall       time.Duration // how long the process stands still in between
	noEffect    bool          // the request does not reach the service
	kill        int           // the process ends, 1: before the call takes effect, 2: after
	hang        bool          // there is no answer
	broken      bool          // the connection breaks off
	status      int           // if not 0, the answer is replaced by one with this status,
	header      http.Header   // header
	body        string        // and body
	invalid     bool          // the token that is issued is revoked at once
	endless     bool          // the body has no end
	chunkDelay  time.Duration // between parts of the body
	transient   bool          // another request is worth it, and may come soon
	rewrite     func([]byte) []byte
}

func (f callFault) String() string {
	if f.name == "" {
		return ""
	}
	return " [" + f.name + "]"
}

// occurs reports whether the fault occurs to the tenant now.
func (e *env) occurs(r *rand.Rand, f fault, t *tenant) bool {
	if !e.enabled[f] {
		return false
	}
	now := e.now()
	for _, w := range e.windows {
		if w.fault == f && w.concerns(t) && w.from <= now && now < w.to && r.Float64() < w.p {
			return true
		}
	}
	return false
}

// callFault decides how a call goes wrong.
func (p *process) callFault(c call) callFault {
	f := callFault{there: p.delay(), back: p.delay()}
	if c.secret != "" {
		p.secretsFault(&f, c)
	} else {
		p.communic8Fault(&f, c)
	}
	if p.occurs(p.dice, stall, c.tenant) {
		f.stall, f.transient = time.Duration(p.dice.Int64N(int64(time.Minute))), false
		f.name += fmt.Sprintf(" stall %v", f.stall)
	}
	if p.occurs(p.dice, kill, c.tenant) {
		f.kill, f.transient = 1+p.dice.IntN(2), false
		f.name += fmt.Sprintf(" kill %d", f.kill)
	}
	return f
}

// delay is how long a message takes without a fault. One of rotate's is sometimes overtaken by
// many others.
func (p *process) delay() time.Duration {
	if !p.inv.vend && p.dice.IntN(8) == 0 {
		return between(p.dice, 80*time.Millisecond, 900*time.Millisecond)
	}
	return time.Millisecond + time.Duration(p.dice.Int64N(int64(80*time.Millisecond)))
}

func (p *process) communic8Fault(f *callFault, c call) {
	hit := func(kind fault) bool { return f.name == "" && p.occurs(p.dice, kind, c.tenant) }
	if hit(c8Down) {
		*f = callFault{name: "down", there: f.there, back: f.back, noEffect: p.dice.IntN(2) == 0, transient: true}
		f.status, f.broken = pick(p.dice, 500, 502, 503, 504), p.dice.IntN(3) == 0
	}
	if hit(c8Hang) {
		f.name, f.hang, f.noEffect = "hang", true, p.dice.IntN(2) == 0
	}
	if hit(c8Slow) {
		f.name = "slow"
		f.there += time.Duration(p.dice.Int64N(int64(9 * time.Second)))
		f.back += time.Duration(p.dice.Int64N(int64(9 * time.Second)))
		if p.dice.IntN(3) == 0 {
			f.chunkDelay = time.Duration(1 + p.dice.Int64N(int64(time.Second)))
		}
	}
	if hit(c8Throttle) {
		f.name, f.status, f.noEffect, f.transient = "throttled", http.StatusTooManyRequests, true, true
		if after := pick(p.dice, 0, 0, 1, 7, 30, 120, 3600, 86400); after > 0 {
			f.transient = false
			f.name += fmt.Sprintf(", %d s", after)
			f.header = http.Header{"Retry-After": {fmt.Sprint(after)}}
		}
	}
	if hit(c8Refuse) {
		f.name, f.status, f.noEffect = "refused", http.StatusUnauthorized, true
	}
	if hit(c8Garbage) {
		f.name, f.status, f.transient = "garbage", http.StatusOK, true
		f.noEffect = p.dice.IntN(2) == 0
		switch p.dice.IntN(5) {
		case 0:
			f.body = "<html>maintenance</html>"
		case 1:
			f.body = `{"access_token":"0123`
		case 2:
			f.body, f.endless = strings.Repeat("x", 1000), true
		case 3:
			f.status, f.transient, f.header = http.StatusFound, false, http.Header{"Location": {"https://elsewhere.test/"}}
		case 4:
			f.status, f.transient, f.body = http.StatusNotFound, false, "<html>no such page</html>"
		}
	}
	if c.op == "request" && hit(c8Lifetime) {
		lifetime := pick(p.dice, "29", "0", "-1", "null")
		f.name = "lifetime " + lifetime
		f.rewrite = func(body []byte) []byte {
			return []byte(strings.Replace(string(body), `"expires_in":`, `"expires_in":`+lifetime+`,"was":`, 1))
		}
	}
	if c.op == "request" && hit(c8Invalid) {
		f.name, f.invalid = "invalid", true
	}
	if c.op != "request" {
		f.transient = false // a probe is not repeated at once
	}
}

func (p *process) secretsFault(f *callFault, c call) {
	hit := func(kind fault) bool { return f.name == "" && p.occurs(p.dice, kind, c.tenant) }
	fail := func(status int, name string) {
		f.name, f.status, f.transient = name, status, true
		f.body = fmt.Sprintf(`{"__type":%q,"Message":"no"}`, name)
	}
	if hit(smThrottle) {
		fail(http.StatusBadRequest, "ThrottlingException")
		f.noEffect = true
	}
	if hit(smFail) {
		fail(http.StatusInternalServerError, "InternalServiceError")
		f.noEffect = true
	}
	if hit(smWritten) {
		fail(pick(p.dice, 500, 503), "InternalServiceError")
	}
	if hit(smHang) {
		f.name, f.hang, f.noEffect, f.transient = "hang", true, p.dice.IntN(2) == 0, true
	}
	if hit(smBreak) {
		f.name, f.broken, f.noEffect, f.transient = "break", true, p.dice.IntN(2) == 0, true
	}
	if hit(smDeny) {
		fail(http.StatusBadRequest, "AccessDeniedException")
		f.noEffect, f.transient = true, false
	}
	t := c.tenant
	was, since, replaced := t.before.version, t.before.since, t.stored.since
	if c.stage != "" {
		was, since, replaced = t.claims.before.id, t.claims.before.at, t.claims.last.at
	}
	text, _ := p.sm.Version(c.secret, was) // empty if Secrets Manager has removed it
	if c.op == "GetSecretValue" && c.secret == t.tokenName() && c.id == "" && text != "" &&
		p.now()-replaced < 30*time.Second && hit(smStale) {
		f.name, f.status, f.noEffect = "stale", http.StatusOK, true
		f.body = fmt.Sprintf(`{"ARN":"arn","Name":%q,"VersionId":%q,"SecretString":%q,"CreatedDate":%.3f}`,
			c.secret, was, text, float64(p.start.Add(since).UnixMilli())/1000)
	}
	if c.op == "DescribeSecret" && c.secret == t.tokenName() && was != "" && p.now()-replaced < 30*time.Second && hit(smStale) {
		f.name, f.status, f.noEffect = "stale", http.StatusOK, true
		f.body = fmt.Sprintf(`{"ARN":"arn","Name":%q,"VersionIdsToStages":{%q:["AWSPREVIOUS"],%q:["AWSCURRENT"]}}`, c.secret, t.before.previous, was)
	}
}
