package sim

// Operators, and the owner of a Communic8 instance: what people do.

import (
	"math/rand/v2"
	"time"
)

// room is how many more versions of credentials must be possible when somebody begins to
// replace them.
const room = 5

// operate has people do what the plan says.
func (e *env) operate(t *tenant) {
	for f, act := range map[fault]func(*tenant, *rand.Rand){
		force: e.force, replace: e.replace, mistake: e.mistake, move: e.moveLabel, garble: e.garbleToken, remove: e.removeSecret, c8Revoke: e.revoke,
	} {
		var windows []window
		for _, w := range e.windows {
			if w.fault == f && w.tenant == t.index {
				windows = append(windows, w)
			}
		}
		if windows == nil {
			continue
		}
		e.actor(func() {
			r := dice(e.seed, f.String(), t.index)
			for _, w := range windows {
				for {
					if !e.wait(max(0, w.from-e.now()) + gap(r, 10*e.heartbeat)) {
						return
					}
					if e.now() >= w.to {
						break
					}
					act(t, r)
				}
			}
		})
	}
}

// onboard stores the tenant's first credentials, after a while.
func (e *env) onboard(t *tenant) {
	r := dice(e.seed, "onboard", t.index)
	e.wait(between(r, time.Second, 10*e.heartbeat))
	e.do(t, "operator", "stores credentials", func() {
		e.storeCredentials(t, t.newCredential())
		t.unusable--
	})
}

// do does something that changes what rotate or vend may do.
func (e *env) do(t *tenant, who, what string, act func()) {
	e.check()
	e.note(who, "%s: %s", t.name, what)
	e.disturb(t)
	act()
	e.check()
}

// doFor does something that a person undoes after a while.
func (e *env) doFor(t *tenant, r *rand.Rand, what string, act func(), undoing string, undo func()) {
	e.do(t, "operator", what, act)
	left := e.horizon - e.plan.calm - e.now()
	e.wait(min(between(r, time.Second, 40*e.heartbeat), max(left, time.Second)))
	e.do(t, "operator", undoing, undo)
}

func (e *env) force(t *tenant, r *rand.Rand) {
	e.note("operator", "%s: force", t.name)
	e.rotate(t, true, "")
	if r.IntN(4) == 0 { // the request comes twice
		e.sleep(between(r, time.Millisecond, time.Minute))
		e.rotate(t, true, "")
	}
}

// replace stores new right credentials. The old ones are removed from Communic8 then or later.
func (e *env) replace(t *tenant, r *rand.Rand) {
	old := t.current
	if old.version == "" || e.sm.Room(t.credsName()) < room {
		return
	}
	e.do(t, "operator", "replaces the credentials", func() { e.storeCredentials(t, t.newCredential()) })
	if r.IntN(2) == 0 {
		e.wait(between(r, time.Second, 10*e.heartbeat))
	}
	e.do(t, "owner", "removes the old ones", func() {
		if old.id == t.current.id && old.key == t.current.key { // which somebody has stored again meanwhile
			return
		}
		if old.key != "" {
			t.c8.Revoke(old.key)
		} else {
			t.c8.RemoveClient(old.id)
		}
	})
}

// mistake stores wrong credentials, so that the right ones are the previous ones, if there were
// any. They are stored again after a while.
func (e *env) mistake(t *tenant, r *rand.Rand) {
	right, wrong := t.current, t.current
	if !t.accepts(right) || e.sm.Room(t.credsName()) < room {
		return // one at a time
	}
	switch r.IntN(3) {
	case 0:
		wrong.malformed = true
	case 1:
		wrong.secret, wrong.key = "typo", ""
		wrong.id = "typo"
	case 2:
		wrong.id, wrong.secret, wrong.key = "", "", "typo"
	}
	e.doFor(t, r, "stores wrong credentials", func() { e.storeCredentials(t, wrong) }, "stores the right ones again", func() {
		if !t.accepts(right) { // they were removed meanwhile
			right = t.newCredential()
		}
		e.storeCredentials(t, right)
	})
}

// moveLabel moves AWSCURRENT to a version that was current before.
func (e *env) moveLabel(t *tenant, r *rand.Rand) {
	if len(t.versions) < 2 {
		return
	}
	to := t.versions[max(0, len(t.versions)-1-r.IntN(5))]
	if text, _ := e.sm.Version(t.tokenName(), to); text == "" { // it was removed
		return
	}
	e.do(t, "operator", "moves AWSCURRENT to "+to, func() {
		e.sm.Move(t.tokenName(), "AWSCURRENT", to)
		e.load(t, true)
	})
}

func (e *env) garbleToken(t *tenant, r *rand.Rand) {
	text := pick(r, "hello", "{}", `{"access_token":""}`, `{"base_url":"ftp://x"}`)
	e.do(t, "operator", "writes nonsense over the token", func() {
		if t.deleted == 0 && e.sm.Room(t.tokenName()) > 0 {
			e.sm.Put(t.tokenName(), text)
			e.load(t, true)
		}
	})
}

// removeSecret schedules a secret for deletion, and restores it.
func (e *env) removeSecret(t *tenant, r *rand.Rand) {
	what, name := "deletes the credentials", t.credsName()
	token := r.IntN(2) == 0
	if token {
		what, name = "deletes the token secret", t.tokenName()
	}
	e.doFor(t, r, what, func() {
		t.unusable++
		e.sm.Delete(name)
		if token {
			t.deleted = e.now()
		}
	}, "undoes that", func() {
		t.unusable--
		e.sm.Restore(name)
		if token {
			t.deleted = 0
		}
	})
}

// revoke ends the validity of the stored token before it expires. Where a new token does that,
// it may be another holder of the credentials who requests one.
func (e *env) revoke(t *tenant, r *rand.Rand) {
	elsewhere := t.exclusive && r.IntN(2) == 0
	what := "revokes the token"
	if elsewhere {
		what = "requests a token elsewhere"
	}
	e.check()
	e.note("owner", "%s: %s", t.name, what)
	e.disturbToken(t)
	switch {
	case t.stored.neverExpires:
	case elsewhere:
		t.requestElsewhere()
	default:
		t.c8.Revoke(t.stored.token)
	}
	e.check()
}
