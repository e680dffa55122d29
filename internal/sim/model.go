package sim

// The state of a tenant, followed independently of the product.

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
)

// tenant is a tenant and its Communic8 instance.
type tenant struct {
	tenantPlan
	index    int
	name     string
	c8       *c8test.Server
	expiries map[string]time.Duration // by token: when it expires by what Communic8 said, as far as that is to be believed
	clients  int                      // that there ever were

	stored   stored     // AWSCURRENT of the token secret
	before   stored     // what was current before it
	versions []string   // every version that was current, oldest first
	current  credential // AWSCURRENT of the credentials
	previous credential // AWSPREVIOUS of the credentials

	unusable   int             // what people have to correct before rotations can succeed
	disturbed  time.Duration   // when something last went wrong
	wrongSince time.Duration   // since when what is stored violates an expectation; 0: it does not
	wrong      string          // and which
	deleted    time.Duration   // since when the token secret is scheduled for deletion; 0: it is not
	writes     []time.Duration // of the last day
	events     []time.Duration // of the last day: possible reasons for a write
	noAlarm    time.Duration   // when the metric was last above the alarm's threshold
	faulted    time.Duration   // when a fault last occurred, or a person did something other than revoke a token
	refusedAt  time.Duration   // when the quota of versions last refused a write
	retryAt    time.Duration   // until when a Retry-After may keep a process from requesting a token
	claims     claims
}

// credential is one version of a credentials secret.
type credential struct {
	version    string
	id, secret string // of an OAuth 2 client
	key        string // or an access key
	malformed  bool
	since      time.Duration
}

// text is what a person stores.
func (c credential) text(base string) string {
	switch {
	case c.malformed:
		return `{"base_url": "` + base + `"}`
	case c.key != "":
		return fmt.Sprintf(`{"base_url": %q, "access_key": %q}`, base, c.key)
	}
	return fmt.Sprintf(`{"base_url": %q, "client_id": %q, "client_secret": %q}`, base, c.id, c.secret)
}

func (t *tenant) base() string        { return "https://" + t.name + ".communic8.com" }
func (t *tenant) tokenName() string   { return stack + "/token/" + t.name }
func (t *tenant) credsName() string   { return stack + "/credentials/" + t.name }
func (c credential) is(v string) bool { return v != "" && c.version == v }

// accepts reports whether Communic8 accepts the credentials.
func (t *tenant) accepts(c credential) bool {
	switch {
	case c.version == "" || c.malformed:
		return false
	case c.key != "":
		return t.c8.Valid(c.key)
	}
	return t.c8.Knows(c.id, c.secret)
}

// newTenant makes a tenant whose secrets are empty, as a deployment leaves them.
func (e *env) newTenant(index int, plan tenantPlan) *tenant {
	t := &tenant{
		tenantPlan: plan, index: index, name: fmt.Sprintf("tenant-%d", index),
		c8: new(c8test.Server), refusedAt: -refill - 1, expiries: make(map[string]time.Duration),
	}
	t.c8.Set(func(b *c8test.Behaviour) {
		*b = c8test.Behaviour{Lifetime: t.lifetime, Exclusive: t.exclusive, Same: t.same, ExpiresIn: t.expiresIn, Refusal: t.refusal, Rejection: t.rejection}
	})
	e.sm.Create(t.tokenName())
	e.sm.Create(t.credsName())
	t.unusable++ // until somebody has stored credentials
	return t
}

// credentialOf returns the credentials that a token request is made with.
func (t *tenant) credentialOf(bearer string) credential {
	pair, _ := base64.StdEncoding.DecodeString(bearer)
	if id, _, _ := strings.Cut(string(pair), ":"); id == t.current.id {
		return t.current
	}
	return t.previous
}

// newCredential makes credentials that Communic8 accepts.
func (t *tenant) newCredential() credential {
	t.clients++
	if t.accessKey {
		c := credential{key: fmt.Sprintf("%s-key-%d", t.name, t.clients)}
		t.c8.AddAccessKey(c.key)
		return c
	}
	c := credential{id: fmt.Sprintf("%s-id-%d", t.name, t.clients), secret: fmt.Sprintf("%s-secret-%d", t.name, t.clients)}
	t.c8.AddClient(c.id, c.secret)
	return c
}

// storeCredentials stores credentials as a person does, who restores the secret if need be.
func (e *env) storeCredentials(t *tenant, c credential) {
	e.sm.Restore(t.credsName())
	c.version, c.since = e.sm.Put(t.credsName(), c.text(t.base())), e.now()
	t.previous, t.current = t.current, c
}

// stored is a value of the token secret, read without the product's code.
type stored struct {
	version      string // empty: nothing is stored
	readable     bool
	token        string
	credentials  string        // the version of the credentials that it was made from
	issued       time.Duration // true times, whatever the writer's clock showed
	expires      time.Duration
	neverExpires bool
	clockOffset  time.Duration // of the writer
	since        time.Duration // when it became current
	assumed      bool          // Communic8 did not say its lifetime
	previous     string        // what was AWSPREVIOUS then
	byHand       bool          // an operator made it current
}

// due is when half of its lifetime is over, or later if that is short: after 14 minutes, but
// with 7 minutes left.
func (s stored) due() time.Duration {
	age := (s.expires - s.issued) / 2
	if late := min(14*time.Minute, s.expires-s.issued-7*time.Minute); late > age {
		age = late
	}
	return s.issued + age
}

// expired reports whether it has too little lifetime left at that time to be given out.
func (s stored) expired(at time.Duration) bool { return !s.neverExpires && s.expires-at < margin }

// read reads a value of the token secret.
func (e *env) read(text, version string) stored {
	s := stored{version: version, since: e.now()}
	var in struct {
		AccessToken string    `json:"access_token"`
		IssuedAt    time.Time `json:"issued_at"`
		ExpiresAt   time.Time `json:"expires_at"`
		Credentials string    `json:"credentials_version"`
	}
	if json.Unmarshal([]byte(text), &in) != nil || in.AccessToken == "" {
		return s
	}
	s.readable, s.token, s.credentials, s.clockOffset = true, in.AccessToken, in.Credentials, e.writers[version]
	s.issued = in.IssuedAt.Sub(e.start) - s.clockOffset
	s.neverExpires = in.ExpiresAt.IsZero()
	if !s.neverExpires {
		s.expires = in.ExpiresAt.Sub(e.start) - s.clockOffset
	}
	return s
}

// load reads what is current in the token secret now.
func (e *env) load(t *tenant, byHand bool) {
	text, version := e.sm.Value(t.tokenName())
	if version == t.stored.version {
		return
	}
	t.before = t.stored
	t.stored = e.read(text, version)
	t.stored.byHand, t.stored.previous = byHand, t.before.version
	t.versions = append(t.versions, version)
}

// until is how long it is until a time in the stored token, by the clocks of the process and of
// the token's writer.
func (p *process) until(s stored, at time.Duration) time.Duration {
	return at + s.clockOffset - p.now() - p.offset
}

// detectable reports whether rotate can find out that Communic8 rejects a token.
func (e *env) detectable(t *tenant) bool { return e.probe && t.rejection == c8test.Reject401 }

// disturb notes that something has gone wrong with the tenant that the product did not cause.
func (e *env) disturb(t *tenant) {
	t.faulted = e.now()
	e.disturbToken(t)
}

// disturbToken is disturb for what a report can resolve.
func (e *env) disturbToken(t *tenant) {
	t.disturbed = e.now()
	e.event(t)
	for _, i := range e.running {
		i.disturbed = i.disturbed || i.tenant == t
	}
}

// event notes a possible reason for a write.
func (e *env) event(t *tenant) { t.events = append(lastDay(t.events, e.now()), e.now()) }

// lastDay is the times that are not longer ago than a day.
func lastDay(times []time.Duration, now time.Duration) []time.Duration {
	for len(times) > 0 && times[0] < now-24*time.Hour {
		times = times[1:]
	}
	return times
}

// undisturbedSince returns since when nothing has gone wrong with the tenant: now, if something
// does.
func (e *env) undisturbedSince(t *tenant) time.Duration {
	now, since := e.now(), t.disturbed
	if t.unusable > 0 {
		return now
	}
	since = max(since, t.retryAt)
	if t.refusedAt > 0 { // a claim may show that writes are accepted again, and there is one in that time
		since = max(since, min(now, t.refusedAt+refill+e.heartbeat))
	}
	for _, w := range e.windows {
		if w.concerns(t) && w.fault != twice && w.fault != force && w.from <= now {
			since = max(since, min(w.to, now))
		}
	}
	return since
}
