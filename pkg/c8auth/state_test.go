package c8auth

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// Tokens of ten minutes are replaced more often than Secrets Manager allows. The lines say
// so from the first one on, long before writes are refused. While they are, no token is
// requested but the one that found that out, and one for every write that is possible.
func TestVersionQuota(t *testing.T) {
	const heartbeats = 3 * 288
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.behave(func(b *c8test.Behaviour) { b.Lifetime, b.Exclusive = 10*time.Minute, true })
		refused, inVain := 0, 0
		for beat := range heartbeats {
			asked, unstored := w.c8.Requests(), w.rotator.states.get("acme").unstored
			_, version := w.sm.Value(acmeToken)
			_, err := w.rotate(false)
			line := w.line()
			if hint, _ := line["hint"].(string); beat == 0 && (line["version_quota"] != true || line["level"] != "WARN" || !strings.Contains(hint, "longer lifetime")) {
				t.Errorf("logged %v", line)
			}
			switch {
			case errors.Is(err, ErrQuota):
				refused++
				if line["error_code"] != "version_quota" {
					t.Errorf("logged %v", line)
				}
			case err != nil:
				t.Errorf("got %v", err)
			}
			if _, now := w.sm.Value(acmeToken); w.c8.Requests() > asked && now == version {
				inVain++
				if unstored != nil && unstored.Valid(time.Now()) {
					w.Fatalf("heartbeat %d: another token is requested while there is one to store", beat)
				}
			}
			time.Sleep(heartbeat)
		}
		t.Logf("%d heartbeats: %d tokens requested, %d of them not stored at once; %d heartbeats could not write", heartbeats, w.c8.Requests(), inVain, refused)
		if refused < 100 || inVain > 10 {
			t.Errorf("%d heartbeats could not write, %d tokens were requested in vain", refused, inVain)
		}
	})
}

// Tokens of seventeen minutes and a second are the shortest that do not.
func TestShortLifetimeWithinQuota(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.behave(func(b *c8test.Behaviour) { b.Lifetime = 17*time.Minute + time.Second })
		w.must(Rotated, FirstToken)
		for range 2 * 288 {
			if _, err := w.rotate(false); err != nil || w.line()["version_quota"] != nil {
				w.Fatalf("%v: %v, %v", time.Now(), err, w.line())
			}
			if _, err := w.cache.Token(w.Context(), "acme", false); err != nil {
				w.Fatalf("%v: %v", time.Now(), err)
			}
			time.Sleep(heartbeat)
		}
	})
}

// A Retry-After is kept to from one heartbeat to the next, for an hour at most; but not
// with other credentials, nor by a process that starts meanwhile.
func TestRetryAfterAcrossHeartbeats(t *testing.T) {
	for seconds, want := range map[string]time.Duration{"600": 10 * time.Minute, "3600": time.Hour, "86400": time.Hour} {
		t.Run(seconds, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.sm.Put(acmeCreds, acmeOAuth)
				w.c8Fault(c8test.Fault{Status: 429, Header: http.Header{"Retry-After": {seconds}}})
				for at := time.Duration(0); at < want; at += heartbeat {
					_, err := w.rotate(at == heartbeat)
					if line := w.line(); !errors.Is(err, ErrUpstream) || w.c8.Requests() != 1 || line["error_code"] != "communic8_unavailable" {
						w.Fatalf("after %v: %d requests, %v", at, w.c8.Requests(), err)
					}
					time.Sleep(heartbeat)
				}
				w.behave(func(b *c8test.Behaviour) { b.Fault = nil })
				w.must(Rotated, FirstToken)
			})
		})
	}
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.c8Fault(c8test.Fault{Status: 503, Header: http.Header{"Retry-After": {"3600"}}})
		_, _ = w.rotate(false)
		w.behave(func(b *c8test.Behaviour) { b.Fault = nil })
		other := w.clone(func(h http.Handler) http.Handler { return h })
		if result, err := other.Rotate(w.Context(), Request{Tenant: "acme"}); err != nil || result.Outcome != Rotated {
			t.Errorf("another process: %+v, %v", result, err)
		}
		w.sm.Put(acmeCreds, acmeOAuth)
		w.must(Rotated, CredentialsChanged)
	})
}

// Two stacks that use the same client, where a new token ends the validity of all others,
// take turns in replacing each other's token. The log says at WARN what it is, and a
// metric counts it; a revoked token that cannot be replaced for hours counts once.
func TestTokenRejected(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.sm.Put("other/credentials/acme", acmeOAuth)
		w.sm.Create("other/token/acme")
		w.behave(func(b *c8test.Behaviour) { b.Exclusive = true })
		other := w.clone(func(h http.Handler) http.Handler { return h })
		other.Store.Stack = "other"
		for range 24 {
			if _, err := w.rotate(false); err != nil {
				w.Fatal(err)
			}
			time.Sleep(time.Minute)
			if _, err := other.Rotate(w.Context(), Request{Tenant: "acme"}); err != nil {
				w.Fatal(err)
			}
			time.Sleep(heartbeat - time.Minute)
		}
		counted := map[string]int{}
		for text := range strings.Lines(w.lines.String()) {
			var line struct {
				Level, Reason, Hint, Stack string
				TokenRejected              int
			}
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				w.Fatal(err)
			}
			counted[line.Stack] += line.TokenRejected
			if rejected := line.Reason == string(Rejected); rejected != (line.TokenRejected == 1) || rejected && (line.Level != "WARN" || !strings.Contains(line.Hint, "same client")) {
				t.Errorf("logged %s", text)
			}
		}
		if counted["stack"] != 23 || counted["other"] != 23 {
			t.Errorf("counted %v, want 23 of each stack", counted)
		}
	})
	inWorld(t, func(w *world) {
		w.begin(acmeOAuth)
		w.revoke()
		w.c8Fault(c8test.Fault{Status: 503})
		for n := range 24 {
			_, _ = w.rotate(false)
			if got := w.line()["TokenRejected"]; (got == 1.0) != (n == 0) {
				t.Errorf("heartbeat %d: counted %v", n, got)
			}
			time.Sleep(heartbeat)
		}
		w.behave(func(b *c8test.Behaviour) { b.Fault = nil })
		w.must(Rotated, Rejected)
		w.report(w.revoke(), Rotated)
		if lines := strings.Split(strings.TrimSpace(w.lines.String()), "\n"); !strings.Contains(lines[len(lines)-2], `"TokenRejected":1`) {
			t.Errorf("a report's rotation is logged as %s", lines[len(lines)-2])
		}
	})
}

// However many reports there are while Communic8 does not answer, they cost a process one
// probe a minute.
func TestReportsWhileCommunic8Hangs(t *testing.T) {
	inWorld(t, func(w *world) {
		version := w.begin(acmeOAuth)
		tried := w.c8.Probes()
		w.behave(func(b *c8test.Behaviour) {
			b.Fault = func(*http.Request, int) *c8test.Fault { return &c8test.Fault{Delay: time.Hour} }
		})
		start, slow := time.Now(), 0
		for time.Since(start) < 5*time.Minute {
			before := time.Now()
			w.report(version, Kept)
			if time.Since(before) > time.Second {
				slow++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := w.c8.Probes() - tried; n != 5 || slow != 5 {
			t.Errorf("in five minutes %d probes, and %d slow answers", n, slow)
		}
	})
}

// A name that is not known to be a tenant's is counted under "-": one that is unknown, or
// of which the store cannot say whether it is.
func TestMetricsOfUnknownNames(t *testing.T) {
	inWorld(t, func(w *world) {
		w.begin(acmeOAuth)
		dimension := func(tenant string) [2]any {
			_, _ = w.rotator.Rotate(w.Context(), Request{Tenant: tenant})
			rotation := w.line()
			_, _ = w.rotator.Reject(w.Context(), Report{Tenant: tenant, Version: "x"})
			if w.line()["tenant"] != tenant || rotation["tenant"] != tenant {
				t.Errorf("logged %v, %v", rotation, w.line())
			}
			return [2]any{rotation["Tenant"], w.line()["Tenant"]}
		}
		if got := dimension("acme"); got != [2]any{"acme", "acme"} {
			t.Errorf("a tenant: %v", got)
		}
		if got := dimension("nobody"); got != [2]any{"-", "-"} {
			t.Errorf("an unknown name: %v", got)
		}
		w.smFault("GetSecretValue", smtest.Fault{Status: 400, Type: "AccessDeniedException"})
		for _, name := range []string{"acme", "nobody"} {
			if got := dimension(name); got != [2]any{"-", "-"} {
				t.Errorf("%s, while the store denies: %v", name, got)
			}
		}
	})
}
