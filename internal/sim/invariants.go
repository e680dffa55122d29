package sim

// The invariants, and when they are checked. Those on reports are in reports.go.

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
	margin      = 30 * time.Second // a token with less lifetime left is not given out
	forceAge    = time.Minute      // a younger token is not replaced because an operator forces it
	maxRequests = 5                // of one invocation with one pair of credentials
	// slack is how much longer than a heartbeat it may take until what is stored is right: the
	// longest rotation, the schedule's jitter, and the offsets of clocks.
	slack = 2 * time.Minute
	// lifeAlarm is the threshold of the alarm on TokenLifePercent, as in tenant.yaml.
	lifeAlarm = 25
	skew      = 28 * time.Second // between two clocks, at most
)

// check is called at every event. What is stored is right, or something went wrong at most a
// heartbeat and the time of a rotation ago. Right is a token that Communic8 accepts, made from
// the right credentials, which is not due. So after an outage that leaves two heartbeats of the
// second half of a lifetime, nobody is without a token.
func (e *env) check() {
	if e.now() >= e.horizon { // there are no more heartbeats
		return
	}
	for _, t := range e.tenants {
		since, why := e.wrong(t)
		if why == "" {
			t.wrongSince, t.wrong = 0, ""
			continue
		}
		if why != t.wrong {
			t.wrongSince = since
		}
		t.wrong = why
		if now := e.now(); now-max(t.wrongSince, e.undisturbedSince(t)) > e.heartbeat+slack {
			e.violate(t, "what is stored is right again within a heartbeat: %s since %v, and nothing went wrong since %v", why, t.wrongSince, e.undisturbedSince(t))
		}
	}
}

// wrong returns what is wrong with what is stored, and since when.
func (e *env) wrong(t *tenant) (since time.Duration, why string) {
	s, now := t.stored, e.now()
	switch {
	case s.version == "":
		return max(s.since, 1), "no token"
	case !s.readable:
		return s.since, "an unreadable token"
	case !s.neverExpires && now >= s.due():
		return max(s.since, s.due()), "a token that is due"
	case t.accepts(t.current) && s.credentials != t.current.version:
		return max(s.since, t.current.since), "a token made from other credentials"
	case !t.c8.Valid(s.token) && e.detectable(t):
		return max(now, 1), "a token that Communic8 rejects"
	}
	return 0, ""
}

// issued is called when Communic8 has issued a token.
func (p *process) issued(c call, f callFault, body []byte) {
	var in struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   any    `json:"expires_in"`
	}
	if json.Unmarshal(body, &in) != nil || in.AccessToken == "" {
		return
	}
	t := c.tenant
	lifetime := readLifetime(in.ExpiresIn)
	if time.Until(t.c8.Expiry(in.AccessToken)) < 3*margin { // the same token again, whatever expires_in says
		p.disturb(t)
	}
	if p.inv.assumed[in.AccessToken] = lifetime == 0; lifetime == 0 {
		lifetime = time.Hour
	}
	if p.inv.overlap != nil {
		p.inv.overlap.issued = true
	}
	t.expiries[in.AccessToken] = max(t.expiries[in.AccessToken], p.now()+lifetime)
	p.inv.issuedTokens++
	if f.invalid {
		t.c8.Revoke(in.AccessToken)
	}
}

// readLifetime returns the lifetime that expires_in says; 0: none.
func readLifetime(raw any) time.Duration {
	seconds, _ := raw.(float64)
	if text, ok := raw.(string); ok {
		seconds, _ = strconv.ParseFloat(text, 64)
	}
	return time.Duration(min(max(0, seconds), longest.Seconds())) * time.Second
}

// received is called when a process is told the result of its call. It is not surely told of
// an answer that is so slow that the process may have given up.
func (p *process) received(c call, resp *http.Response, body []byte, surely bool) {
	i, t := p.inv, c.tenant
	switch c.op {
	case "request":
		if surely && resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") != "" {
			if d, err := time.ParseDuration(resp.Header.Get("Retry-After") + "s"); err == nil {
				p.retryAfter[t] = retryAfter{t.credentialOf(c.bearer).version, p.now() + min(d, time.Hour)}
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
	case "probe":
		if i.report != "" && !i.claimed && resp.StatusCode == http.StatusUnauthorized {
			p.probed[t] = probe{i.report, p.now(), true}
		}
		if _, ever := i.rejections[c.bearer]; ever || resp.StatusCode == http.StatusUnauthorized {
			i.rejections[c.bearer] = surely && resp.StatusCode == http.StatusUnauthorized
		}
		good := resp.StatusCode == http.StatusOK && bytes.Contains(body, []byte(`"success":true`))
		i.good[c.bearer] = i.good[c.bearer] || good
		i.proven[c.bearer] = surely && good
	case "PutSecretValue":
		if bytes.Contains(body, []byte("LimitExceededException")) {
			p.quota[t], i.full = quota{i.shown.version, p.now()}, true
		} else if resp.StatusCode == http.StatusOK {
			delete(p.quota, t)
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
				i.shownCredentials = id
			}
		}
	case "GetSecretValue":
		if c.secret == t.tokenName() && c.id == "" && c.stage == "" {
			p.shown(t, resp.StatusCode, body)
		}
	}
}

// shown is called when a process is told what token is stored.
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
		if s.readable && (s.neverExpires || p.until(s, s.expires) >= margin) {
			p.cached[t] = s
		}
	case in.Type == "ResourceNotFoundException" && strings.Contains(in.Message, "secret value"):
		i.shown = new(stored)
	case in.Type == "ResourceNotFoundException", in.Type == "InvalidRequestException":
		delete(p.cached, t)
	}
}

// checkRequest is called when a token is requested. Only rotate requests one, because one is
// due by what it was told; not more often than it may, not before a Retry-After is over, and
// not again with credentials that were refused.
func (p *process) checkRequest(c call) {
	i, t := p.inv, c.tenant
	if i.vend || i.tenant != t {
		p.violate(t, "only rotate requests tokens, and for its own tenant")
		return
	}
	i.requests[c.bearer]++
	switch {
	case i.raced:
		return
	case i.requests[c.bearer] > maxRequests:
		p.violate(t, "no more than %d requests for a token in an invocation", maxRequests)
	case i.refused[c.bearer] && !i.disturbed:
		p.violate(t, "a refusal is not retried within an invocation")
	case p.retryAfter[t].version == t.credentialOf(c.bearer).version && p.now() < p.retryAfter[t].until && !i.disturbed:
		p.violate(t, "Retry-After is honoured, for an hour at most")
	case p.noRoom(t, t.stored) && !i.disturbed && t.claims.last.at < p.quota[t].at:
		p.violate(t, "no token is requested while Secrets Manager accepts no more versions")
	}
	with := t.credentialOf(c.bearer)
	if !i.disturbed && !p.due(i, with) {
		p.violate(t, "a token is requested only when one is due: shown %+v, and credentials %s", *i.shown, i.shownCredentials)
	}
}

// noRoom reports whether the process was told that the tenant's token secret accepted no more
// versions when s was current.
func (p *process) noRoom(t *tenant, s stored) bool {
	full, ok := p.quota[t]
	return ok && full.version == s.version
}

// due reports whether a new token may be due by what the function was told.
func (p *process) due(i *invocation, with credential) bool {
	s := i.shown
	if s == nil || s.version == "" || !s.readable {
		return true
	}
	if _, ever := i.rejections[s.token]; ever {
		return true
	}
	age := -p.until(*s, s.issued) + time.Second // issued is in whole seconds
	if i.report != "" {
		last := p.probed[i.tenant] // the latest probe of the sandbox still counts
		return !s.neverExpires && age > inconclusiveAge || last.rejected && last.version == s.version && p.now()-last.at < probePause+slack
	}
	if !s.neverExpires && p.until(*s, s.due()) <= time.Second || i.force && age > forceAge {
		return true
	}
	if with.is(i.shownCredentials) || i.shownCredentials != i.tenant.current.version {
		return s.credentials != i.shownCredentials
	}
	// The previous credentials are used once, not at every heartbeat.
	return s.credentials != with.version || !i.tenant.current.malformed && s.issued < i.tenant.current.since+2*margin
}

// checkWrite is called when a token is stored. Rotate stores one that Communic8 has issued and
// not rejected, with no longer lifetime than that has, in the place of one that is not better.
func (p *process) checkWrite(t *tenant, old stored) {
	i, s, now := p.inv, t.stored, p.now()
	i.writes++
	p.checkWrites(t)
	switch {
	case i.vend || i.tenant != t:
		p.violate(t, "only rotate stores tokens, and for its own tenant")
		return
	case !s.readable:
		p.violate(t, "what is stored is a token")
		return
	case i.writes > 1 && !i.raced:
		p.violate(t, "an invocation stores no more than one token")
	case i.rejections[s.token]:
		p.violate(t, "a token that was rejected is not stored")
	case s.assumed && !i.good[s.token]:
		p.violate(t, "a token whose lifetime is not said is stored only if it works")
	case !i.disturbed && i.issuedTokens == 0 && !s.neverExpires && !p.noRoom(t, old):
		p.violate(t, "a token that is stored was requested")
	case i.issuedTokens > 0 && i.faults == 0 && !t.same && !s.neverExpires && s.expires+3*time.Second < t.expiries[s.token]:
		p.violate(t, "no lifetime is lost: a token expires at %v as stored, and at %v as issued", s.expires, t.expiries[s.token])
	case !s.neverExpires && s.expires > t.expiries[s.token]+time.Second/2:
		p.violate(t, "a token expires at %v as stored, and at %v as issued", s.expires, t.expiries[s.token])
	}
	if !old.readable || old.expired(now) || i.disturbed || !t.c8.Valid(old.token) {
		return
	}
	if s.token == old.token && !s.neverExpires && s.expires > old.expires+skew && !old.expired(now+skew) {
		p.violate(t, "a token that is issued again keeps its expiry")
	}
	// But a rotation that has lost a race to a token whose probe is inconclusive stores its own,
	// if that is good.
	if s.credentials == old.credentials && !s.neverExpires && !old.neverExpires && s.expires+skew < old.expires && !(i.raced && i.proven[s.token]) && !s.assumed && !old.assumed {
		p.violate(t, "a token with less lifetime left is not stored: %v after %v", s.expires, old.expires)
	}
	if i.proven[s.token] && !t.c8.Valid(s.token) && !p.otherIssued() {
		p.violate(t, "an invalid token does not replace a valid one")
	}
	if i.report != "" && !i.raced && i.faults == 0 && (i.proven[old.token] || !t.c8.Valid(s.token)) {
		p.violate(t, "a report replaces no token whose probe is good, and no valid token by an invalid one")
	}
}

// otherIssued reports whether another rotation of the tenant is under way and has been issued a
// token, which may have ended the validity of this one's.
func (p *process) otherIssued() bool {
	return slices.ContainsFunc(p.running, func(i *invocation) bool {
		return i != p.inv && i.tenant == p.inv.tenant && i.issuedTokens > 0
	})
}

// checkWrites is called when a token is stored: there is no more than one write in half of a
// lifetime, and one for every event that is a reason for it and for every claim.
func (e *env) checkWrites(t *tenant) {
	t.writes, t.events = append(lastDay(t.writes, e.now()), e.now()), lastDay(t.events, e.now())
	n := int(24*time.Hour/min(t.believed/2, t.lifetime)) + 2 + len(t.events) + t.claims.day(e.now())
	if t.same { // half of a lifetime, and half of the rest, and so on
		n += 15 * int(1+24*time.Hour/t.believed)
	}
	if len(t.writes) > n {
		e.violate(t, "no more than %d tokens are stored in a day", n)
	}
}

// checkLine is called when rotate logs. The line holds no secret, and the metric is right, at
// every heartbeat.
func (p *process) checkLine(i *invocation, rotation bool, percent *float64, line []byte) {
	t := i.tenant
	for _, c := range []credential{t.current, t.previous} {
		for _, secret := range []string{c.secret, c.key, t.stored.token} {
			if len(secret) > 4 && bytes.Contains(line, []byte(secret)) {
				p.violate(t, "a secret in the log")
			}
		}
	}
	if !rotation {
		return
	}
	if percent == nil {
		if !i.disturbed && i.faults == 0 && t.deleted == 0 && t.unusable == 0 && i.shown != nil {
			p.violate(t, "TokenLifePercent at every heartbeat")
		}
		return
	}
	if *percent >= lifeAlarm {
		t.noAlarm = p.now()
	}
	if i.disturbed || i.overlap == nil || i.overlap.members > 1 || i.faults > 0 {
		return
	}
	want, tolerance := 0.0, 0.0 // for a process that reads the clock up to 2 s before this
	switch s := t.stored; {
	case !s.readable || t.deleted != 0:
	case s.neverExpires:
		want = 100
	default:
		second := 100 / (s.expires - s.issued).Seconds()
		want, tolerance = min(100, max(0, p.until(s, s.expires).Seconds()*second)), 2*second
	}
	if math.Abs(*percent-want) > tolerance {
		p.violate(t, "TokenLifePercent is %v, not %v", want, *percent)
	}
}

// checkRotation is called when a rotation has ended. One without a fault, or with faults that
// could be overcome at once, does what it is for.
func (e *env) checkRotation(i *invocation, result c8auth.Result, err error) {
	t := i.tenant
	if t.current.version == "" && (result.Outcome == c8auth.Rotated || len(i.requests) > 0) {
		e.violate(t, "without credentials, a rotation waits")
	}
	// A token that it was issued it stores, however long the request took, if the store lets it:
	// it may be the only valid one.
	if i.told && i.writes == 0 && !i.killed && !i.stalled && !i.disturbed && i.overlap.members == 1 && i.storeFaults == 0 && len(i.rejections) == 0 {
		e.violate(t, "a token that was issued is stored: %v", err)
	}
	clean := !i.killed && !i.disturbed && i.overlap.members == 1 && t.unusable == 0 &&
		i.faults == i.transient && i.transient <= 3 && i.begun >= t.retryAt && e.now()-t.refusedAt > refill
	if !clean || !t.accepts(t.current) || e.now()-t.current.since < slack {
		return
	}
	if err != nil {
		e.violate(t, "a rotation succeeds if nothing prevents it: %v", err)
		return
	}
	s, p, took := i.begin, i.process, e.now()-i.begun
	must := s.version == "" || !s.readable || !s.neverExpires && p.until(s, s.due())+took < -time.Second ||
		s.credentials != t.current.version || i.force && -p.until(s, s.issued)-took > forceAge+time.Second ||
		i.faults == 0 && e.detectable(t) && i.rejected
	may := must || !s.neverExpires && p.until(s, s.due()) < time.Second ||
		i.force && -p.until(s, s.issued) > forceAge-time.Second || len(i.rejections) > 0
	switch {
	case result.Outcome == c8auth.Waiting:
		e.violate(t, "a rotation waits, though there are credentials")
	case must && result.Outcome != c8auth.Rotated:
		e.violate(t, "a token that is due is replaced: %s of %+v", result.Outcome, s)
	case !may && result.Outcome != c8auth.Fresh:
		e.violate(t, "a token that is not due is not replaced: %s %s of %+v", result.Outcome, result.Reason, s)
	case result.Version != t.stored.version:
		e.violate(t, "the result names %s, and %s is stored", result.Version, t.stored.version)
	case result.Outcome == c8auth.Rotated && t.stored.version == s.version:
		e.violate(t, "rotated, and nothing was stored")
	}
}

// checkVend is called when vend has answered.
func (e *env) checkVend(i *invocation, fresh bool, token c8auth.CachedToken, err error) {
	t, p, now := i.tenant, i.process, e.now()
	if err == nil {
		e.checkVended(i, fresh, token)
		return
	}
	// It does not fail while it has read a valid token of a tenant that exists.
	if m, ok := p.cached[t]; ok && (m.neverExpires || p.until(m, m.expires) >= margin) {
		e.violate(t, "vend fails though it has read %s, which is valid: %v", m.version, err)
	}
	// Nor while there is one in a store that answers.
	s := t.stored
	answers := i.begun-i.faultBefore > time.Second && (i.faults == 0 || i.faults == 1 && i.transient == 1)
	if i.disturbed || !answers || t.deleted != 0 {
		return
	}
	if s.readable && s.since < i.begun-2*time.Second && (s.neverExpires || p.until(s, s.expires) >= margin+time.Second) {
		e.violate(t, "vend fails though a valid token is stored: %v", err)
	}
	// And if there is none, there has been an alarm for hours.
	if errors.Is(err, c8auth.ErrExpired) && !s.byHand && s.readable && s.expires-s.issued > 8*e.heartbeat {
		if warning := (s.expires - s.issued) * lifeAlarm / 100; t.noAlarm > s.expires-warning+slack {
			e.violate(t, "there is an alarm a quarter of a lifetime before a caller is affected: there was none at %v, and this is %v", t.noAlarm, now)
		}
	}
}

// checkVended is called when vend has given out a token.
func (e *env) checkVended(i *invocation, fresh bool, cached c8auth.CachedToken) {
	t, p, now := i.tenant, i.process, e.now()
	token := cached.Token.AccessToken.Reveal()
	// It has not expired, by what Communic8 has said of it. A clock that is behind that of the
	// token's writer may use up the margin.
	if end, ok := t.expiries[token]; ok {
		left := end - now + e.writers[cached.Version] - p.offset
		if t.same { // the process that stored it is not the one that was told of it
			left += skew
		}
		if left < margin-time.Second/2 || end < now {
			e.violate(t, "an expired token is vended: %v left", end-now)
		}
		if cached.Remaining > left+time.Second {
			e.violate(t, "a token is vended with %v left, which has %v", cached.Remaining, left)
		}
	} else if !cached.Token.ExpiresAt.IsZero() {
		e.violate(t, "a token is vended that Communic8 has not issued")
	}
	// It is the stored one, or was a short time ago.
	s := t.stored
	usable := s.readable && !s.expired(now+2*margin)
	ttl := e.cacheTTL + 2*time.Second
	if fresh {
		ttl = 2 * time.Second
	}
	since := i.begun - ttl
	if cached.Version != s.version && usable && s.since < since && i.faults == 0 && i.faultBefore < s.since && t.deleted == 0 {
		e.violate(t, "%s is vended, fresh %t, though %s is stored since %v", cached.Version, fresh, s.version, s.since)
	}
	if t.deleted != 0 && t.deleted < i.begun-e.cacheTTL-2*time.Second && i.faults == 0 && i.faultBefore < t.deleted {
		e.violate(t, "a tenant that was removed is not served")
	}
}
