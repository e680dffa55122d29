package sim

// What becomes of a call: the spells that are on, and the dice.

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"
)

func (f fate) String() string {
	if f.name == "" {
		return ""
	}
	return " [" + f.name + "]"
}

// fate decides what becomes of a call.
func (p *process) fate(c call) fate {
	f := fate{there: p.moment(), back: p.moment()}
	if c.secret != "" {
		p.secretsFate(&f, c)
	} else {
		p.communic8Fate(&f, c)
	}
	if p.strikes(p.dice, stall, c.tenant) {
		f.stall, f.quick = time.Duration(p.dice.Int64N(int64(time.Minute))), false
		f.name += fmt.Sprintf(" stall %v", f.stall)
	}
	if p.strikes(p.dice, kill, c.tenant) {
		f.kill, f.quick = 1+p.dice.IntN(2), false
		f.name += fmt.Sprintf(" kill %d", f.kill)
	}
	return f
}

// moment is how long a message takes when all is well. One of rotate's is now and then
// overtaken by many others.
func (p *process) moment() time.Duration {
	if !p.inv.vend && p.dice.IntN(8) == 0 {
		return between(p.dice, 80*time.Millisecond, 900*time.Millisecond)
	}
	return time.Millisecond + time.Duration(p.dice.Int64N(int64(80*time.Millisecond)))
}

func (p *process) communic8Fate(f *fate, c call) {
	hit := func(k kind) bool { return f.name == "" && p.strikes(p.dice, k, c.tenant) }
	if hit(c8Down) {
		*f = fate{name: "down", there: f.there, back: f.back, idle: p.dice.IntN(2) == 0, quick: true}
		f.status, f.broken = pick(p.dice, 500, 502, 503, 504), p.dice.IntN(3) == 0
	}
	if hit(c8Hang) {
		f.name, f.hang, f.idle = "hang", true, p.dice.IntN(2) == 0
	}
	if hit(c8Slow) {
		f.name = "slow"
		f.there += time.Duration(p.dice.Int64N(int64(9 * time.Second)))
		f.back += time.Duration(p.dice.Int64N(int64(9 * time.Second)))
		if p.dice.IntN(3) == 0 {
			f.drip = time.Duration(1 + p.dice.Int64N(int64(time.Second)))
		}
	}
	if hit(c8Throttle) {
		f.name, f.status, f.idle, f.quick = "throttled", http.StatusTooManyRequests, true, true
		if after := pick(p.dice, 0, 0, 1, 7, 30, 120, 3600, 86400); after > 0 {
			f.quick = false
			f.name += fmt.Sprintf(", %d s", after)
			f.header = http.Header{"Retry-After": {fmt.Sprint(after)}}
		}
	}
	if hit(c8Refuse) {
		f.name, f.status, f.idle = "refused", http.StatusUnauthorized, true
	}
	if hit(c8Garbage) {
		f.name, f.status, f.quick = "garbage", http.StatusOK, true
		f.idle = p.dice.IntN(2) == 0
		switch p.dice.IntN(5) {
		case 0:
			f.body = "<html>maintenance</html>"
		case 1:
			f.body = `{"access_token":"0123`
		case 2:
			f.body, f.endless = strings.Repeat("x", 1000), true
		case 3:
			f.status, f.quick, f.header = http.StatusFound, false, http.Header{"Location": {"https://elsewhere.test/"}}
		case 4:
			f.status, f.quick, f.body = http.StatusNotFound, false, "<html>no such page</html>"
		}
	}
	if c.op == "ask" && hit(c8Worthless) {
		lifetime := pick(p.dice, "29", "0", "-1", "null")
		f.name = "lives " + lifetime
		f.answer = func(body []byte) []byte {
			return []byte(strings.Replace(string(body), `"expires_in":`, `"expires_in":`+lifetime+`,"was":`, 1))
		}
	}
	if c.op == "ask" && hit(c8Stillborn) {
		f.name, f.stillborn = "stillborn", true
	}
	if c.op != "ask" {
		f.quick = false // nobody tries again at once
	}
}

func (p *process) secretsFate(f *fate, c call) {
	hit := func(k kind) bool { return f.name == "" && p.strikes(p.dice, k, c.tenant) }
	fail := func(status int, name string) {
		f.name, f.status, f.quick = name, status, true
		f.body = fmt.Sprintf(`{"__type":%q,"Message":"no"}`, name)
	}
	if hit(smThrottle) {
		fail(http.StatusBadRequest, "ThrottlingException")
		f.idle = true
	}
	if hit(smFail) {
		fail(http.StatusInternalServerError, "InternalServiceError")
		f.idle = true
	}
	if hit(smWritten) {
		fail(pick(p.dice, 500, 503), "InternalServiceError")
	}
	if hit(smHang) {
		f.name, f.hang, f.idle, f.quick = "hang", true, p.dice.IntN(2) == 0, true
	}
	if hit(smBreak) {
		f.name, f.broken, f.idle, f.quick = "break", true, p.dice.IntN(2) == 0, true
	}
	if hit(smDeny) {
		fail(http.StatusBadRequest, "AccessDeniedException")
		f.idle, f.quick = true, false
	}
	t := c.tenant
	was, since, replaced := t.before.version, t.before.since, t.stored.since
	if c.stage != "" {
		was, since, replaced = t.claims.before.id, t.claims.before.at, t.claims.last.at
	}
	if c.op == "GetSecretValue" && c.secret == t.tokenName() && c.id == "" && was != "" &&
		p.now()-replaced < 30*time.Second && hit(smStale) {
		text, _ := p.sm.Version(c.secret, was)
		f.name, f.status, f.idle = "stale", http.StatusOK, true
		f.body = fmt.Sprintf(`{"ARN":"arn","Name":%q,"VersionId":%q,"SecretString":%q,"CreatedDate":%.3f}`,
			c.secret, was, text, float64(p.start.Add(since).UnixMilli())/1000)
	}
	if c.op == "DescribeSecret" && c.secret == t.tokenName() && was != "" && p.now()-replaced < 30*time.Second && hit(smStale) {
		f.name, f.status, f.idle = "stale", http.StatusOK, true
		f.body = fmt.Sprintf(`{"ARN":"arn","Name":%q,"VersionIdsToStages":{%q:["AWSPREVIOUS"],%q:["AWSCURRENT"]}}`, c.secret, t.before.previous, was)
	}
}

// before is the moment in which a call takes effect, before it does.
func (p *process) before(c call) {
	p.check()
	if c.op == "ask" {
		p.counts.Asks++
		p.judgeAsk(c)
	}
	if c.op == "PutSecretValue" && p.inv.full {
		p.violate(c.tenant, "a write is not repeated that the quota of versions refuses")
	}
	if p.inv.report != "" && c.secret == "" {
		p.judgeReported(c)
	}
}

// after is the moment in which a call has taken effect.
func (p *process) after(c call, status int, body []byte) {
	switch {
	case c.op == "ask" && status == http.StatusOK:
		p.granted(c, body)
	case c.op == "PutSecretValue" && bytes.Contains(body, []byte("LimitExceededException")):
		p.counts.Full++
		c.tenant.filled = p.now()
		p.disturb(c.tenant)
	case c.op == "PutSecretValue" && c.stage != "":
		if status == http.StatusOK && !c.tenant.claims.seen[c.id] {
			p.claimed(c)
		}
	case c.op == "PutSecretValue":
		old := c.tenant.stored
		if _, version := p.sm.Value(c.secret); version != old.version {
			p.counts.Writes++
			p.writers[version] = p.offset
			p.look(c.tenant, false)
			c.tenant.stored.assumed = p.inv.unsaid[c.tenant.stored.token]
			p.judgeWrite(c.tenant, old)
		}
	}
	p.check()
}
