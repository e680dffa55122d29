package sim

// Callers, and the sandboxes of vend that serve them.

import (
	"context"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

const vendTimeout = 10 * time.Second // as in template.yaml

// call is the tenant's callers: now and then one fetches the token, and some do so several
// times.
func (e *env) call(t *tenant) {
	r := dice(e.seed, "callers", t.index)
	for e.wait(gap(r, t.gap)) {
		for again := true; again; {
			vended := e.vend(t, r.IntN(10) == 0)
			if vended.rejected(t) && !e.reportUntilReplaced(t, r, vended) {
				return
			}
			again = r.IntN(3) == 0
			if !e.wait(between(r, time.Millisecond, 20*time.Second) + time.Duration(r.Int64N(int64(time.Millisecond)))) {
				return
			}
		}
	}
}

// vended is a token as a caller has it; zero: none.
type vended struct{ version, token string }

// rejected reports whether Communic8 rejects it.
func (v vended) rejected(t *tenant) bool { return v.version != "" && !t.c8.Valid(v.token) }

// vend is one invocation of the function vend.
func (e *env) vend(t *tenant, fresh bool) (got vended) {
	e.mu.Lock()
	if len(e.vendSandboxes.idle) == 0 && e.busy() >= e.vends { // Lambda would start one more
		e.mu.Unlock()
		return got
	}
	e.check()
	i := e.begin(&e.vendSandboxes, "vend", t, vendTimeout)
	i.vend = true
	e.counts.Vends++
	e.mu.Unlock()

	token, err := i.serve(fresh)
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case i.killed:
		e.note(i.process.name, "is gone")
	case err != nil:
		e.counts.Refusals++
		e.note(i.process.name, "vend %s, fresh %t: %v", t.name, fresh, err)
	default:
		e.note(i.process.name, "vend %s, fresh %t: %s, %v left", t.name, fresh, token.Version, token.Remaining)
		got = vended{token.Version, token.Token.AccessToken.Reveal()}
	}
	if !i.killed {
		e.checkVend(i, fresh, token, err)
	}
	e.end(i, &e.vendSandboxes)
	e.check()
	return got
}

func (i *invocation) serve(fresh bool) (c8auth.CachedToken, error) {
	ctx, cancel := context.WithTimeout(context.Background(), vendTimeout)
	defer cancel()
	defer i.recoverKill()
	return i.process.cache.Token(ctx, i.tenant.name, fresh)
}

// busy is how many sandboxes of vend serve a request.
func (e *env) busy() (n int) {
	for _, i := range e.running {
		if i.vend {
			n++
		}
	}
	return n
}
