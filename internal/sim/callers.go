package sim

// Callers, and the sandboxes of vend that serve them.

import (
	"context"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

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
	if len(e.vendSandboxes.idle) == 0 && e.vendSandboxes.busy >= e.vends { // Lambda would start one more
		return got
	}
	e.check()
	i := e.begin(&e.vendSandboxes, t)
	var token c8auth.CachedToken
	var err error
	i.run(func(ctx context.Context) { token, err = i.process.cache.Token(ctx, t.name, fresh) })
	switch {
	case i.killed:
	case err != nil:
		e.counts["vend failed"]++
		e.note(i.process.name, "vend %s, fresh %t: %v", t.name, fresh, err)
	default:
		e.note(i.process.name, "vend %s, fresh %t: %s, %v left", t.name, fresh, token.Version, token.Remaining)
		got = vended{token.Version, token.Token.AccessToken.Reveal()}
	}
	if !i.killed {
		e.checkVend(i, fresh, token, err)
	}
	e.check()
	return got
}
