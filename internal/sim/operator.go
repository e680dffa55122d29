package sim

// Operators, and the owner of a Communic8 instance: what people do.

import (
	"math/rand/v2"
	"time"
)

// room is for how many more versions of credentials there must be room when somebody begins
// to replace them.
const room = 5

// operate lets people do each of the things that they may come to do.
func (w *world) operate(t *tenant) {
	for k, act := range map[kind]func(*tenant, *rand.Rand){
		force: w.force, replace: w.replace, mistake: w.mistake, move: w.moveLabel, garble: w.garbleToken, remove: w.removeSecret, c8Revoke: w.revoke,
	} {
		var spells []spell
		for _, s := range w.spells {
			if s.kind == k && s.tenant == t.index {
				spells = append(spells, s)
			}
		}
		if spells == nil {
			continue
		}
		w.actors.Go(func() {
			r := dice(w.seed, k.String(), t.index)
			for _, s := range spells {
				for {
					if !w.wait(max(0, s.from-w.now()) + gap(r, 10*w.heartbeat)) {
						return
					}
					if w.now() >= s.to {
						break
					}
					act(t, r)
				}
			}
		})
	}
}

// onboard stores the tenant's first credentials, after a while.
func (w *world) onboard(t *tenant) {
	r := dice(w.seed, "onboard", t.index)
	w.wait(between(r, time.Second, 10*w.heartbeat))
	w.do(t, "operator", "stores credentials", func() {
		w.disturb(t)
		w.storeCredentials(t, t.newCredential())
		t.broken--
	})
}

// do does something at once.
func (w *world) do(t *tenant, who, what string, act func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.check()
	w.note(who, "%s: %s", t.name, what)
	act()
	w.check()
}

// trouble is something that a person mends after a while.
func (w *world) trouble(t *tenant, r *rand.Rand, what string, begin, mend func()) {
	w.do(t, "operator", what, func() {
		t.broken++
		w.disturb(t)
		begin()
	})
	left := w.horizon - w.plan.calm - w.now()
	w.wait(min(between(r, time.Second, 40*w.heartbeat), max(left, time.Second)))
	w.do(t, "operator", "mends that", func() {
		t.broken--
		w.disturb(t)
		mend()
	})
}

func (w *world) force(t *tenant, r *rand.Rand) {
	w.do(t, "operator", "force", func() {})
	w.rotate(t, true)
	if r.IntN(4) == 0 { // the wish comes twice
		time.Sleep(between(r, time.Millisecond, time.Minute))
		w.rotate(t, true)
	}
}

// replace stores new good credentials. The old ones are taken from Communic8 then or
// later.
func (w *world) replace(t *tenant, r *rand.Rand) {
	old := t.current
	if old.version == "" || w.sm.Room(t.credsName()) < room {
		return
	}
	w.do(t, "operator", "replaces the credentials", func() {
		w.disturb(t)
		w.storeCredentials(t, t.newCredential())
	})
	if r.IntN(2) == 0 {
		w.wait(between(r, time.Second, 10*w.heartbeat))
	}
	w.do(t, "owner", "removes the old ones", func() {
		w.disturb(t)
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

// mistake stores credentials that are wrong. The right ones stand in if they were there
// before; they are put back after a while.
func (w *world) mistake(t *tenant, r *rand.Rand) {
	right, wrong := t.current, t.current
	if !t.accepts(right) || w.sm.Room(t.credsName()) < room {
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
	w.do(t, "operator", "stores wrong credentials", func() {
		w.disturb(t)
		w.storeCredentials(t, wrong)
	})
	w.wait(min(between(r, time.Second, 40*w.heartbeat), max(w.horizon-w.plan.calm-w.now(), time.Second)))
	w.do(t, "operator", "stores the right ones again", func() {
		w.disturb(t)
		if !t.accepts(right) { // they were removed meanwhile
			right = t.newCredential()
		}
		w.storeCredentials(t, right)
	})
}

// moveLabel moves AWSCURRENT to a version that was current before.
func (w *world) moveLabel(t *tenant, r *rand.Rand) {
	if len(t.held) < 2 {
		return
	}
	to := t.held[max(0, len(t.held)-1-r.IntN(5))]
	if text, _ := w.sm.Version(t.tokenName(), to); text == "" { // it is no longer kept
		return
	}
	w.do(t, "operator", "moves AWSCURRENT to "+to, func() {
		w.disturb(t)
		w.sm.Move(t.tokenName(), "AWSCURRENT", to)
		w.look(t, true)
	})
}

func (w *world) garbleToken(t *tenant, r *rand.Rand) {
	text := pick(r, "hello", "{}", `{"access_token":""}`, `{"base_url":"ftp://x"}`)
	w.do(t, "operator", "writes nonsense over the token", func() {
		w.disturb(t)
		if t.deleted == 0 && w.sm.Room(t.tokenName()) > 0 {
			w.sm.Put(t.tokenName(), text)
			w.look(t, true)
		}
	})
}

// removeSecret schedules a secret for deletion, and restores it.
func (w *world) removeSecret(t *tenant, r *rand.Rand) {
	if r.IntN(2) == 0 {
		w.trouble(t, r, "deletes the token secret",
			func() { w.sm.Delete(t.tokenName()); t.deleted = w.now() },
			func() { w.sm.Restore(t.tokenName()); t.deleted = 0 })
		return
	}
	w.trouble(t, r, "deletes the credentials",
		func() { w.sm.Delete(t.credsName()) },
		func() { w.sm.Restore(t.credsName()) })
}

// revoke ends the life of the stored token before its time. Where a new one does that,
// it may be another holder of the credentials who asks for it.
func (w *world) revoke(t *tenant, r *rand.Rand) {
	rival := t.exclusive && r.IntN(2) == 0
	what := "revokes the token"
	if rival {
		what = "asks for a token elsewhere"
	}
	w.do(t, "owner", what, func() {
		w.upset(t)
		switch {
		case t.stored.endless:
		case rival:
			t.askElsewhere()
		default:
			t.c8.Revoke(t.stored.token)
		}
	})
}
