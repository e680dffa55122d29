package sim

// What is true of a tenant, whatever its functions believe.

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
	index   int
	name    string
	c8      *c8test.Server
	ends    map[string]time.Duration // by token: the end of the life that Communic8 said, as far as it is to be believed
	clients int                      // that there ever were

	stored  stored     // AWSCURRENT of the token secret
	before  stored     // what was current before it
	held    []string   // every version there was, oldest first
	current credential // AWSCURRENT of the credentials
	former  credential // AWSPREVIOUS of the credentials

	broken  int             // what operators and Communic8 have to mend before anything can work
	rough   time.Duration   // when something last went wrong
	ill     time.Duration   // since when what is stored is not as it should be; 0: it is
	why     string          // and how
	deleted time.Duration   // since when the token secret is scheduled for deletion; 0: it is not
	writes  []time.Duration // of the last day
	events  []time.Duration // of the last day: what may be the reason for a write
	good    time.Duration   // when the metric was last above the alarm's threshold
	struck  time.Duration   // when a fault struck last, or a person did something but end a token's life
	filled  time.Duration   // when the quota of versions last refused one
	retryAt time.Duration   // until when a Retry-After may keep a process from asking
	claims  claims
}

// credential is one version of a credentials secret.
type credential struct {
	version    string
	id, secret string // of an OAuth 2 client
	key        string // or an access key
	malformed  bool
	since      time.Duration
}

// text is how a person stores it.
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

// accepts reports whether Communic8 takes the credentials.
func (t *tenant) accepts(c credential) bool {
	switch {
	case c.version == "" || c.malformed:
		return false
	case c.key != "":
		return t.c8.Valid(c.key)
	}
	return t.c8.Knows(c.id, c.secret)
}

// settle makes a tenant whose secrets are empty, as a deployment leaves them. Its instance has a few
// of everything that the documentation leaves open.
func (w *world) settle(index int, plan tenantPlan) *tenant {
	t := &tenant{
		tenantPlan: plan, index: index, name: fmt.Sprintf("tenant-%d", index),
		c8: new(c8test.Server), filled: -refill - 1, ends: make(map[string]time.Duration),
	}
	t.c8.Set(func(b *c8test.Behaviour) {
		*b = c8test.Behaviour{Lifetime: t.life, Exclusive: t.exclusive, Same: t.same, ExpiresIn: t.said, Refusal: t.refusal, Rejection: t.rejection}
	})
	w.sm.Create(t.tokenName())
	w.sm.Create(t.credsName())
	t.broken++ // until somebody has stored credentials
	return t
}

// with returns the credentials that a token request is made with.
func (t *tenant) with(bearer string) credential {
	pair, _ := base64.StdEncoding.DecodeString(bearer)
	if id, _, _ := strings.Cut(string(pair), ":"); id == t.current.id {
		return t.current
	}
	return t.former
}

// newCredential makes credentials that Communic8 takes.
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

// storeCredentials stores credentials as a person does, who restores the secret for that
// if need be.
func (w *world) storeCredentials(t *tenant, c credential) {
	w.sm.Restore(t.credsName())
	c.version, c.since = w.sm.Put(t.credsName(), c.text(t.base())), w.now()
	t.former, t.current = t.current, c
}

// stored is what the token secret holds: read here once more, so as not to ask the
// product.
type stored struct {
	version  string // empty: nothing is stored
	readable bool
	token    string
	made     string        // version of the credentials that it was made from
	issued   time.Duration // true times, whatever the writer's clock said
	expires  time.Duration
	endless  bool          // it does not expire
	off      time.Duration // how far off that clock was
	since    time.Duration // when it became current
	assumed  bool          // Communic8 did not say its lifetime
	previous string        // what was AWSPREVIOUS then
	byHand   bool          // an operator made it current
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

// dead reports whether it has nothing left at that time that can be vended.
func (s stored) dead(at time.Duration) bool { return !s.endless && s.expires-at < 30*time.Second }

// read reads the value of a token secret that was written by a clock that was off.
func (w *world) read(text, version string) stored {
	s := stored{version: version, since: w.now()}
	var in struct {
		AccessToken string    `json:"access_token"`
		IssuedAt    time.Time `json:"issued_at"`
		ExpiresAt   time.Time `json:"expires_at"`
		Made        string    `json:"credentials_version"`
	}
	if json.Unmarshal([]byte(text), &in) != nil || in.AccessToken == "" {
		return s
	}
	s.readable, s.token, s.made, s.off = true, in.AccessToken, in.Made, w.writers[version]
	s.issued = in.IssuedAt.Sub(w.start) - s.off
	s.endless = in.ExpiresAt.IsZero()
	if !s.endless {
		s.expires = in.ExpiresAt.Sub(w.start) - s.off
	}
	return s
}

// look sees what is current in the token secret now.
func (w *world) look(t *tenant, byHand bool) {
	text, version := w.sm.Value(t.tokenName())
	if version == t.stored.version {
		return
	}
	t.before = t.stored
	t.stored = w.read(text, version)
	t.stored.byHand, t.stored.previous = byHand, t.before.version
	t.held = append(t.held, version)
}

// to is how long it is until a moment of the stored token's life, to a process both of
// whose clock and of the writer's are off.
func (p *process) to(s stored, moment time.Duration) time.Duration {
	return moment + s.off - p.now() - p.offset
}

// detectable reports whether rotate can find out that Communic8 rejects a token.
func (w *world) detectable(t *tenant) bool { return w.probe && t.rejection == c8test.Reject401 }

// disturb notes that something has gone wrong with the tenant, or with all if it is
// nil, that is not the functions' fault.
func (w *world) disturb(t *tenant) {
	for _, each := range w.tenants {
		if t == nil || t == each {
			each.struck = w.now()
		}
	}
	w.upset(t)
}

// upset is disturb for what a report can heal.
func (w *world) upset(t *tenant) {
	for _, each := range w.tenants {
		if t == nil || t == each {
			each.rough = w.now()
			w.event(each)
		}
	}
	for _, i := range w.running {
		if t == nil || t == i.tenant {
			i.disturbed = true
		}
	}
}

// event notes what may be the reason for a write.
func (w *world) event(t *tenant) { t.events = append(lastDay(t.events, w.now()), w.now()) }

// lastDay is the times that are not longer ago than a day.
func lastDay(times []time.Duration, now time.Duration) []time.Duration {
	for len(times) > 0 && times[0] < now-24*time.Hour {
		times = times[1:]
	}
	return times
}

// calmSince returns when the tenant's troubles ended: now, while there are any.
func (w *world) calmSince(t *tenant) time.Duration {
	now, calm := w.now(), t.rough
	if t.broken > 0 {
		return now
	}
	calm = max(calm, t.retryAt)
	if t.filled > 0 { // claims, of which there is one in that time, may show that there is room again
		calm = max(calm, min(now, t.filled+refill+w.heartbeat))
	}
	for _, s := range w.spells {
		if (s.tenant == -1 || s.tenant == t.index) && s.kind != twice && s.kind != force && s.from <= now {
			calm = max(calm, min(s.to, now))
		}
	}
	return calm
}
