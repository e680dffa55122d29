package sim

// Callers, and the sandboxes of vend that serve them.

import (
	"context"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

const vendTimeout = 10 * time.Second // as in template.yaml

// call is the tenant's callers: now and then one asks, and some ask more than once.
func (w *world) call(t *tenant) {
	r := dice(w.seed, "callers", t.index)
	for w.wait(gap(r, t.gap)) {
		for again := true; again; {
			vended := w.vend(t, r.IntN(10) == 0)
			if vended.dead(t) && !w.appeal(t, r, vended) {
				return
			}
			again = r.IntN(3) == 0
			if !w.wait(between(r, time.Millisecond, 20*time.Second) + time.Duration(r.Int64N(int64(time.Millisecond)))) {
				return
			}
		}
	}
}

// vended is a token as a caller has it; zero: none.
type vended struct{ version, token string }

// dead reports whether Communic8 does not take it.
func (v vended) dead(t *tenant) bool { return v.version != "" && !t.c8.Valid(v.token) }

// vend is one invocation of the function vend.
func (w *world) vend(t *tenant, fresh bool) (got vended) {
	w.mu.Lock()
	if len(w.vendors.idle) == 0 && w.busy() >= w.vends { // Lambda would start one more
		w.mu.Unlock()
		return got
	}
	w.check()
	i := w.begin(&w.vendors, "vend", t, vendTimeout)
	i.vend = true
	w.counts.Vends++
	w.mu.Unlock()

	vending, err := i.serve(fresh)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case i.killed:
		w.note(i.process.name, "is gone")
	case err != nil:
		w.counts.Refusals++
		w.note(i.process.name, "vend %s, fresh %t: %v", t.name, fresh, err)
	default:
		w.note(i.process.name, "vend %s, fresh %t: %s, %v left", t.name, fresh, vending.Version, vending.Remaining)
		got = vended{vending.Version, vending.Token.AccessToken.Reveal()}
	}
	if !i.killed {
		w.judgeVend(i, fresh, vending, err)
	}
	w.end(i, &w.vendors)
	w.check()
	return got
}

func (i *invocation) serve(fresh bool) (c8auth.CachedToken, error) {
	ctx, cancel := context.WithTimeout(context.Background(), vendTimeout)
	defer cancel()
	defer i.bury()
	return i.process.cache.Token(ctx, i.tenant.name, fresh)
}

// busy is how many sandboxes of vend serve a request.
func (w *world) busy() (n int) {
	for _, i := range w.running {
		if i.vend {
			n++
		}
	}
	return n
}
