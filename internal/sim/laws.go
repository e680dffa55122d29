package sim

// The laws, and who judges when.

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

const (
	margin      = 30 * time.Second // a token with less life left is not vended
	forceAge    = time.Minute      // a token that is younger is not replaced at an operator's wish
	maxRequests = 5                // of one invocation for one pair of credentials
	// slack is how much longer than a heartbeat it takes until all is well: the longest
	// rotation, the schedule's jitter, and what clocks are off.
	slack = 2 * time.Minute
	// lifeAlarm is the threshold of the alarm on TokenLifePercent, as in tenant.yaml.
	lifeAlarm = 25
	skew      = 28 * time.Second // by which two clocks are apart, at most
)

// Whenever something happens: what is stored is as it should be, or something went
// wrong just before. "As it should be" is: a token that Communic8 takes, made from the
// right credentials, which is not due. "Just before" is a heartbeat ago, and
// what a rotation takes. So an outage that leaves two heartbeats in the second half of a
// life leaves nobody without a token.
func (w *world) check() {
	if w.now() >= w.horizon { // the heart beats no more
		return
	}
	for _, t := range w.tenants {
		since, why := w.illness(t)
		if why == "" {
			t.ill, t.why = 0, ""
			continue
		}
		if why != t.why {
			t.ill = since
		}
		t.why = why
		if now := w.now(); now-max(t.ill, w.calmSince(t)) > w.heartbeat+slack {
			w.violate(t, "well again in a heartbeat: %s since %v, and nothing went wrong since %v", why, t.ill, w.calmSince(t))
		}
	}
}

// illness returns what is wrong with what is stored, and since when.
func (w *world) illness(t *tenant) (since time.Duration, why string) {
	s, now := t.stored, w.now()
	switch {
	case s.version == "":
		return max(s.since, 1), "no token"
	case !s.readable:
		return s.since, "an unreadable token"
	case !s.endless && now >= s.due():
		return max(s.since, s.due()), "a token that is due"
	case t.accepts(t.current) && s.made != t.current.version:
		return max(s.since, t.current.since), "a token made from other credentials"
	case !t.c8.Valid(s.token) && w.detectable(t):
		return max(now, 1), "a token that Communic8 rejects"
	}
	return 0, ""
}

// granted notes what Communic8 has said of a token.
func (p *process) granted(c call, body []byte) {
	var in struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   any    `json:"expires_in"`
	}
	if json.Unmarshal(body, &in) != nil || in.AccessToken == "" {
		return
	}
	t := c.tenant
	life := lifetime(in.ExpiresIn)
	if time.Until(t.c8.Expiry(in.AccessToken)) < 3*margin { // it gives the same token again, whatever it says of it
		p.disturb(t)
	}
	if p.inv.unsaid[in.AccessToken] = life == 0; life == 0 {
		life = time.Hour
	}
	if p.inv.crowd != nil {
		p.inv.crowd.granted = true
	}
	t.ends[in.AccessToken] = max(t.ends[in.AccessToken], p.now()+life)
	p.inv.granted++
}

// lifetime is what is to be believed of expires_in; 0: it says nothing.
func lifetime(said any) time.Duration {
	seconds, _ := said.(float64)
	if text, ok := said.(string); ok {
		seconds, _ = strconv.ParseFloat(text, 64)
	}
	return time.Duration(min(max(0, seconds), longest.Seconds())) * time.Second
}

// abort ends the life of a token that was issued.
func (p *process) abort(t *tenant, body []byte) {
	var in struct {
		AccessToken string `json:"access_token"`
	}
	if json.Unmarshal(body, &in) == nil {
		t.c8.Revoke(in.AccessToken)
	}
}

// received is the moment in which a process learns what came of its call, or surely
// does, if the answer is not so slow that it may have lost patience.
func (p *process) received(c call, resp *http.Response, body []byte, surely bool) {
	i, t := p.inv, c.tenant
	switch c.op {
	case "ask":
		if surely && resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") != "" {
			if d, err := time.ParseDuration(resp.Header.Get("Retry-After") + "s"); err == nil {
				p.held[t] = held{t.with(c.bearer).version, p.now() + min(d, time.Hour)}
				c.tenant.retryAt = max(c.tenant.retryAt, p.now()+min(d, time.Hour))
			}
		}
		var in struct {
			Success     *bool   `json:"success"`
			Error       string  `json:"error"`
			AccessToken string  `json:"access_token"`
			ExpiresIn   float64 `json:"expires_in"`
		}
		readable := json.Unmarshal(body, &in) == nil
		i.refused[c.bearer] = surely && (resp.StatusCode == http.StatusUnauthorized ||
			resp.StatusCode < 500 && readable && (in.Error != "" || in.Success != nil && !*in.Success))
		i.told = i.told || surely && readable && resp.StatusCode == http.StatusOK && in.AccessToken != "" && in.ExpiresIn >= margin.Seconds()
	case "try":
		if i.report != "" && !i.claimed && resp.StatusCode == http.StatusUnauthorized {
			p.tried[t] = trial{i.report, p.now(), true}
		}
		if _, ever := i.rejected[c.bearer]; ever || resp.StatusCode == http.StatusUnauthorized {
			i.rejected[c.bearer] = surely && resp.StatusCode == http.StatusUnauthorized
		}
		good := resp.StatusCode == http.StatusOK && bytes.Contains(body, []byte(`"success":true`))
		i.good[c.bearer] = i.good[c.bearer] || good
		i.proven[c.bearer] = surely && good
	case "PutSecretValue":
		if bytes.Contains(body, []byte("LimitExceededException")) {
			p.full[t], i.full = full{i.shown.version, p.now()}, true
		} else if resp.StatusCode == http.StatusOK {
			delete(p.full, t)
		}
		if current := bytes.Contains(body, []byte("AWSCURRENT")); c.stage == "" {
			i.raced = i.raced || bytes.Contains(body, []byte("ResourceExistsException")) || resp.StatusCode == http.StatusOK && !current
		}
	case "DescribeSecret":
		var in struct {
			VersionIdsToStages map[string][]string
		}
		_ = json.Unmarshal(body, &in)
		for id, stages := range in.VersionIdsToStages {
			if c.secret == t.credsName() && strings.Contains(strings.Join(stages, " "), "AWSCURRENT") {
				i.shownMade = id
			}
		}
	case "GetSecretValue":
		if c.secret == t.tokenName() && c.id == "" && c.stage == "" {
			p.shown(t, resp.StatusCode, body)
		}
	}
}

// shown is the moment in which a process learns what token is stored.
func (p *process) shown(t *tenant, status int, body []byte) {
	i := p.inv
	var in struct {
		Type         string `json:"__type"`
		Message      string
		SecretString string
		VersionId    string
	}
	if json.Unmarshal(body, &in) != nil {
		return
	}
	s := p.read(in.SecretString, in.VersionId)
	switch {
	case status == http.StatusOK:
		i.shown = &s
		if s.readable && (s.endless || p.to(s, s.expires) >= margin) {
			p.memory[t] = s
		}
	case in.Type == "ResourceNotFoundException" && strings.Contains(in.Message, "secret value"):
		i.shown = new(stored)
	case in.Type == "ResourceNotFoundException", in.Type == "InvalidRequestException":
		delete(p.memory, t)
	}
}

// When Communic8 is asked for a token: rotate asks, because one is due by what it was
// shown; not more often than the budget has it, not against Retry-After, and not again
// with what was refused.
func (p *process) judgeAsk(c call) {
	i, t := p.inv, c.tenant
	if i.vend || i.tenant != t {
		p.violate(t, "only rotate asks for tokens, and for its own tenant")
		return
	}
	i.asks[c.bearer]++
	switch {
	case i.raced:
		return
	case i.asks[c.bearer] > maxRequests:
		p.violate(t, "no more than %d requests for a token in an invocation", maxRequests)
	case i.refused[c.bearer] && !i.disturbed:
		p.violate(t, "a refusal is not retried within an invocation")
	case p.held[t].version == t.with(c.bearer).version && p.now() < p.held[t].until && !i.disturbed:
		p.violate(t, "Retry-After is honoured, for an hour at most")
	case p.fills(t, t.stored) && !i.disturbed && t.claims.last.at < p.full[t].at:
		p.violate(t, "no token is requested while Secrets Manager takes no more versions")
	}
	with := t.with(c.bearer)
	if !i.disturbed && !p.due(i, with) {
		p.violate(t, "Communic8 is asked only when a token is due: shown %+v, made by then from %s", *i.shown, i.shownMade)
	}
}

// fills reports whether the process knows that the tenant's token secret took no more
// versions when s was current.
func (p *process) fills(t *tenant, s stored) bool {
	full, ok := p.full[t]
	return ok && full.version == s.version
}

// due reports whether a new token may be due by what the function was shown.
func (p *process) due(i *invocation, with credential) bool {
	s := i.shown
	if s == nil || s.version == "" || !s.readable {
		return true
	}
	if _, ever := i.rejected[s.token]; ever {
		return true
	}
	age := -p.to(*s, s.issued) + time.Second // issued is in whole seconds
	if i.report != "" {
		last := p.tried[i.tenant] // what the sandbox has just been told still counts
		return !s.endless && age > inconclusiveAge || last.rejected && last.version == s.version && p.now()-last.at < trialPause+slack
	}
	if !s.endless && p.to(*s, s.due()) <= time.Second || i.force && age > forceAge {
		return true
	}
	if with.is(i.shownMade) || i.shownMade != i.tenant.current.version {
		return s.made != i.shownMade
	}
	// The previous credentials stand in once, not at every heartbeat.
	return s.made != with.version || !i.tenant.current.malformed && s.issued < i.tenant.current.since+2*margin
}

// When a token is stored: rotate stores one that Communic8 has issued and not
// rejected, no longer than it was granted, in the place of one that is not better.
func (p *process) judgeWrite(t *tenant, old stored) {
	i, s, now := p.inv, t.stored, p.now()
	i.writes++
	p.judgeBudget(t)
	switch {
	case i.vend || i.tenant != t:
		p.violate(t, "only rotate stores tokens, and for its own tenant")
		return
	case !s.readable:
		p.violate(t, "what is stored is a token")
		return
	case i.writes > 1 && !i.raced:
		p.violate(t, "an invocation stores no more than one token")
	case i.rejected[s.token]:
		p.violate(t, "a token that was rejected is not stored")
	case s.assumed && !i.good[s.token]:
		p.violate(t, "a token whose lifetime is not said is stored only if it works")
	case !i.disturbed && i.granted == 0 && !s.endless && !p.fills(t, old):
		p.violate(t, "a token that is stored was asked for")
	case i.faults == 0 && !t.same && !s.endless && s.expires+3*time.Second < t.ends[s.token]:
		p.violate(t, "no life is given away: a token expires at %v as stored, and at %v as granted", s.expires, t.ends[s.token])
	case !s.endless && s.expires > t.ends[s.token]+time.Second/2:
		p.violate(t, "a token expires at %v as stored, and at %v as granted", s.expires, t.ends[s.token])
	}
	if !old.readable || old.dead(now) || i.disturbed || !t.c8.Valid(old.token) {
		return
	}
	if s.token == old.token && !s.endless && s.expires > old.expires+skew && !old.dead(now+skew) {
		p.violate(t, "a token that comes again lives no longer for it")
	}
	// But who has lost a race to a token of which nothing can be found out stores its own,
	// if that is proven.
	if s.made == old.made && !s.endless && !old.endless && s.expires+skew < old.expires && !(i.raced && i.proven[s.token]) && !s.assumed && !old.assumed {
		p.violate(t, "a token with less life left is not stored: %v after %v", s.expires, old.expires)
	}
	if i.proven[s.token] && !t.c8.Valid(s.token) && !p.rivalled() {
		p.violate(t, "a dead token does not replace a living one")
	}
	if i.report != "" && !i.raced && i.faults == 0 && (i.proven[old.token] || !t.c8.Valid(s.token)) {
		p.violate(t, "a report replaces no token that was proven good, and no living one by a dead one")
	}
}

// rivalled reports whether another rotation of the tenant is under way and has been
// granted a token, which may have ended the life of this one's.
func (p *process) rivalled() bool {
	return slices.ContainsFunc(p.running, func(i *invocation) bool {
		return i != p.inv && i.tenant == p.inv.tenant && i.granted > 0
	})
}

// When a token is stored: Secrets Manager is written no more often than once in half of
// a life, and once for every event that is a reason to and for every claim.
func (w *world) judgeBudget(t *tenant) {
	t.writes, t.events = append(lastDay(t.writes, w.now()), w.now()), lastDay(t.events, w.now())
	n := int(24*time.Hour/min(t.believed/2, t.life)) + 2 + len(t.events) + t.claims.day(w.now())
	if t.same { // half of a life, and half of the rest, and so on
		n += 15 * int(1+24*time.Hour/t.believed)
	}
	if len(t.writes) > n {
		w.violate(t, "no more than %d tokens are stored in a day", n)
	}
}

// When rotate logs: the metric is what is true of the stored token, at every heartbeat.
func (p *process) judgeLine(i *invocation, rotation bool, life *float64, line []byte) {
	t := i.tenant
	for _, c := range []credential{t.current, t.former} {
		for _, secret := range []string{c.secret, c.key, t.stored.token} {
			if len(secret) > 4 && bytes.Contains(line, []byte(secret)) {
				p.violate(t, "a secret in the log")
			}
		}
	}
	if !rotation {
		return
	}
	if life == nil {
		if !i.disturbed && i.faults == 0 && t.deleted == 0 && t.broken == 0 && i.shown != nil {
			p.violate(t, "TokenLifePercent at every heartbeat")
		}
		return
	}
	if *life >= lifeAlarm {
		t.good = p.now()
	}
	if i.disturbed || i.crowd == nil || i.crowd.members > 1 || i.faults > 0 {
		return
	}
	want, tolerance := 0.0, 0.0 // for a process that reads the clock up to 2 s before this
	switch s := t.stored; {
	case !s.readable || t.deleted != 0:
	case s.endless:
		want = 100
	default:
		second := 100 / (s.expires - s.issued).Seconds()
		want, tolerance = min(100, max(0, p.to(s, s.expires).Seconds()*second)), 2*second
	}
	if math.Abs(*life-want) > tolerance {
		p.violate(t, "TokenLifePercent is %v, not %v", want, *life)
	}
}

// When all of a crowd have ended.
func (w *world) judgeCrowd(i *invocation) {
	t := i.tenant
	if i.crowd.running == 0 && i.crowd.members > 1 && i.crowd.granted && !i.crowd.disturbed && t.broken == 0 && t.accepts(t.current) {
		// However many there were at once, a living token is stored in the end.
		if s := t.stored; !t.c8.Valid(s.token) && !s.dead(w.now()) {
			w.violate(t, "rotations that overlap end with a living token")
		}
	}
}

// When a rotation has ended. One in whose way nothing was, or nothing that could not be
// overcome at once, does what it is for.
func (w *world) judgeRotation(i *invocation, result c8auth.Result, err error) {
	t := i.tenant
	if t.current.version == "" && (result.Outcome == c8auth.Rotated || len(i.asks) > 0) {
		w.violate(t, "without credentials, a rotation waits")
	}
	// A token that it was given it stores, however long that took to get, if the store
	// lets it: it may be the only living one.
	if i.told && i.writes == 0 && !i.killed && !i.stalled && !i.disturbed && i.crowd.members == 1 && i.storeFaults == 0 && len(i.rejected) == 0 {
		w.violate(t, "a token that was granted is stored: %v", err)
	}
	clean := !i.killed && !i.disturbed && i.crowd.members == 1 && t.broken == 0 &&
		i.faults == i.brief && i.brief <= 3 && i.begun >= t.retryAt && w.now()-t.filled > refill
	if !clean || !t.accepts(t.current) || w.now()-t.current.since < slack {
		return
	}
	if err != nil {
		w.violate(t, "a rotation succeeds if nothing is in its way: %v", err)
		return
	}
	s, p, took := i.begin, i.process, w.now()-i.begun
	must := s.version == "" || !s.readable || !s.endless && p.to(s, s.due())+took < -time.Second ||
		s.made != t.current.version || i.force && -p.to(s, s.issued)-took > forceAge+time.Second ||
		i.faults == 0 && w.detectable(t) && i.dead
	may := must || !s.endless && p.to(s, s.due()) < time.Second ||
		i.force && -p.to(s, s.issued) > forceAge-time.Second || len(i.rejected) > 0
	switch {
	case result.Outcome == c8auth.Waiting:
		w.violate(t, "a rotation waits, though there are credentials")
	case must && result.Outcome != c8auth.Rotated:
		w.violate(t, "a token that is due is replaced: %s of %+v", result.Outcome, s)
	case !may && result.Outcome != c8auth.Fresh:
		w.violate(t, "a token that is not due is not replaced: %s %s of %+v", result.Outcome, result.Reason, s)
	case result.Version != t.stored.version:
		w.violate(t, "the result names %s, and %s is stored", result.Version, t.stored.version)
	case result.Outcome == c8auth.Rotated && t.stored.version == s.version:
		w.violate(t, "rotated, and nothing was stored")
	}
}

// When vend has answered.
func (w *world) judgeVend(i *invocation, fresh bool, vending c8auth.CachedToken, err error) {
	t, p, now := i.tenant, i.process, w.now()
	if err == nil {
		w.judgeVended(i, fresh, vending)
		return
	}
	// It does not fail while it remembers a living token of a tenant that is there.
	if m, ok := p.memory[t]; ok && (m.endless || p.to(m, m.expires) >= margin) {
		w.violate(t, "vend fails though it has read %s, which lives: %v", m.version, err)
	}
	// Nor while there is one in a store that answers.
	s := t.stored
	answers := i.begun-p.faultAt > time.Second && (i.faults == 0 || i.faults == 1 && i.brief == 1)
	if i.disturbed || !answers || t.deleted != 0 {
		return
	}
	if s.readable && s.since < i.begun-2*time.Second && (s.endless || p.to(s, s.expires) >= margin+time.Second) {
		w.violate(t, "vend fails though a living token is stored: %v", err)
	}
	// And when there is none, the alarm has been there for hours.
	if errors.Is(err, c8auth.ErrExpired) && !s.byHand && s.readable && s.expires-s.issued > 8*w.heartbeat {
		if warning := (s.expires - s.issued) * lifeAlarm / 100; t.good > s.expires-warning+slack {
			w.violate(t, "the alarm rings a quarter of a lifetime before a caller notices: it was %v, and this is %v", t.good, now)
		}
	}
}

func (w *world) judgeVended(i *invocation, fresh bool, vending c8auth.CachedToken) {
	t, p, now := i.tenant, i.process, w.now()
	token := vending.Token.AccessToken.Reveal()
	// What is vended lives, by what Communic8 has said of it. A clock that is behind
	// that of the one who stored it may eat up the margin.
	if end, ok := t.ends[token]; ok {
		left := end - now + w.writers[vending.Version] - p.offset
		if t.same { // the one who stored it is not the one who was told
			left += skew
		}
		if left < margin-time.Second/2 || end < now {
			w.violate(t, "an expired token is vended: %v left", end-now)
		}
		if vending.Remaining > left+time.Second {
			w.violate(t, "a token is vended with %v left, which has %v", vending.Remaining, left)
		}
	} else if !vending.Token.ExpiresAt.IsZero() {
		w.violate(t, "a token is vended that Communic8 has not issued")
	}
	// What is vended is what is stored, or was a short time ago.
	s := t.stored
	usable := s.readable && !s.dead(now+2*margin)
	ttl := w.cacheTTL + 2*time.Second
	if fresh {
		ttl = 2 * time.Second
	}
	since := i.begun - ttl
	if vending.Version != s.version && usable && s.since < since && i.faults == 0 && p.faultAt < s.since && t.deleted == 0 {
		w.violate(t, "%s is vended, fresh %t, though %s is stored since %v", vending.Version, fresh, s.version, s.since)
	}
	if t.deleted != 0 && t.deleted < i.begun-w.cacheTTL-2*time.Second && i.faults == 0 && p.faultAt < t.deleted {
		w.violate(t, "a tenant that was taken away is not served")
	}
}
