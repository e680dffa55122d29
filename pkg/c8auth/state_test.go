package c8auth

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// Tokens of ten minutes are replaced more often than Secrets Manager allows, which every line says
// from the first one on. While writes are refused, no token is requested but the first that was
// refused, and one for each write that is possible. Tokens of seventeen minutes and a second are
// the shortest that are always stored.
func TestVersionQuota(t *testing.T) {
	forEach(t, map[string]time.Duration{"exceeded": 10 * time.Minute, "not reached": 17*time.Minute + time.Second}, func(e *env, lifetime time.Duration) {
		exceeded := lifetime == 10*time.Minute
		e.sm.Put(acmeCredentials, client)
		e.c8.Set(func(b *c8test.Behaviour) { b.Lifetime, b.Exclusive = lifetime, true })
		refused, notStored := 0, 0
		for beat := range 3 * 288 {
			unstored := e.rotator.states.get("acme").unstored
			_, version := e.sm.Value(acmeToken)
			var err error
			requests, _ := e.sent(func() { _, err = e.rotate(false) })
			switch {
			case errors.Is(err, ErrQuota):
				refused++
				e.mustLog(members{"error_code": "version_quota"})
			case err != nil:
				e.Errorf("got %v", err)
			}
			if _, now := e.sm.Value(acmeToken); requests > 0 && now == version {
				notStored++
				if unstored != nil && unstored.Valid(time.Now()) {
					e.Fatalf("heartbeat %d: another token is requested while there is one to store", beat)
				}
			}
			if !exceeded {
				e.mustLog(members{"version_quota": nil})
				if _, err := e.vend(false); err != nil {
					e.Fatal(err)
				}
			} else if beat == 0 {
				e.mustLog(members{"version_quota": true, "level": "WARN"})
			}
			time.Sleep(heartbeat)
		}
		if exceeded && (refused < 100 || notStored > 10) || !exceeded && refused > 0 {
			e.Errorf("%d heartbeats could not write, %d tokens were not stored", refused, notStored)
		}
	})
}

// A write that the quota of versions refuses is not repeated. The token is stored at a later
// heartbeat, unless it has expired or was revoked; a claim is never the first version of a secret.
func TestQuotaIsNotRetried(t *testing.T) {
	forEach(t, map[string]func(e *env){
		"expired": func(e *env) { e.rotator.Endpoint.ProbePath = ""; time.Sleep(24 * time.Hour) },
		"revoked": func(e *env) { e.c8.Revoke(e.c8.Issued()[0]) },
	}, func(e *env, end func(e *env)) {
		e.sm.Put(acmeCredentials, client)
		e.storeFault("PutSecretValue", "", smtest.Fault{Status: 400, Type: "LimitExceededException", Message: "MARK"})
		for n := 1; n <= 2; n++ {
			_, err := e.rotate(false)
			if !errors.Is(err, ErrQuota) || errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "MARK") || e.sm.Calls("PutSecretValue") != n || e.c8.Requests() != 1 {
				e.Errorf("got %v after %d writes and %d token requests", err, e.sm.Calls("PutSecretValue"), e.c8.Requests())
			}
			e.mustLog(members{"error_code": "version_quota"})
		}
		end(e)
		e.storeWorks()
		e.mustRotate(Rotated, FirstToken)
		e.mustBeValid()
		if n := e.sm.Versions(acmeToken); n != 1 {
			e.Errorf("%d versions", n)
		}
	})
}

// While the quota of versions refuses writes, and another process has just made a claim, no token is
// requested.
func TestQuotaAndAClaim(t *testing.T) {
	withEnv(t, func(e *env) {
		e.start(client)
		version := e.revoke()
		e.storeFault("PutSecretValue", "", smtest.Fault{Status: 400, Type: "LimitExceededException"})
		if _, err := e.report(version); !errors.Is(err, ErrQuota) {
			t.Errorf("got %v", err)
		}
		e.storeWorks()
		if claimed, err := e.process(nil).Store.claim(e.Context(), "acme", version); !claimed || err != nil {
			t.Errorf("got %t, %v", claimed, err)
		}
		requests, _ := e.sent(func() {
			if _, err := e.rotate(false); !errors.Is(err, ErrQuota) {
				t.Errorf("got %v", err)
			}
		})
		if requests != 0 {
			t.Errorf("%d token requests", requests)
		}
		time.Sleep(claimLease)
		e.tokenFault(c8test.Fault{Status: 503})
		if _, err := e.rotate(false); !errors.Is(err, ErrUpstream) { // a claim has shown that writes succeed
			t.Errorf("got %v", err)
		}
		e.c8Faults(nil)
		e.mustRotate(Rotated, Rejected)
	})
}

// A token that could not be stored does not replace one that another process stored since.
func TestUnstoredTokenIsOutdated(t *testing.T) {
	withEnv(t, func(e *env) {
		e.start(client)
		full := smtest.Fault{Status: 400, Type: "LimitExceededException"}
		e.revoke()
		e.storeFault("PutSecretValue", "", full)
		if _, err := e.rotate(false); !errors.Is(err, ErrQuota) {
			e.Fatal(err)
		}
		e.storeWorks()
		if result, err := e.process(nil).Rotate(e.Context(), Request{Tenant: "acme"}); err != nil || result.Outcome != Rotated {
			e.Fatal(result, err)
		}
		version := e.revoke()
		e.storeFault("PutSecretValue", "", full)
		if _, err := e.report(version); !errors.Is(err, ErrQuota) {
			e.Fatal(err)
		}
		if kept := e.rotator.states.get("acme").unstored; kept != nil {
			t.Error("the token for the version before is kept")
		}
	})
}

// What was noted by a clock that was set back since does not count.
func TestClockSetBack(t *testing.T) {
	ahead := noon.Add(2 * maxHold)
	switch {
	case !(entry{token: newToken("t", time.Hour), read: ahead}).stale(noon, time.Hour, false):
		t.Error("a cached token is given out without a read")
	case !(state{hold: ahead}).holds("", noon).IsZero():
		t.Error("a Retry-After holds for longer than maxHold")
	case (probe{at: ahead}).counts("", noon):
		t.Error("a probe of the future counts")
	}
}

// A Retry-After holds for later heartbeats, forced ones as well, for an hour at most; but not for
// other credentials, nor in a process that starts meanwhile.
func TestRetryAfterAcrossHeartbeats(t *testing.T) {
	hold := func(e *env, seconds int) {
		e.sm.Put(acmeCredentials, client)
		e.tokenFault(c8test.Fault{Status: 429, Header: http.Header{"Retry-After": {fmt.Sprint(seconds)}}})
		start := time.Now()
		if _, err := e.rotate(false); !errors.Is(err, ErrUpstream) || e.c8.Requests() != 1 || time.Since(start) > time.Second {
			e.Fatalf("got %v after %d requests and %v", err, e.c8.Requests(), time.Since(start))
		}
		e.c8Faults(nil)
	}
	forEach(t, map[string]int{"ten minutes": 600, "an hour": 3600, "a day": 86400}, func(e *env, seconds int) {
		hold(e, seconds)
		for range min(seconds, 3600)/300 - 1 {
			time.Sleep(heartbeat)
			if _, err := e.rotate(true); !errors.Is(err, ErrUpstream) || e.c8.Requests() != 1 {
				e.Fatalf("got %v after %d requests", err, e.c8.Requests())
			}
			e.mustLog(members{"error_code": "communic8_unavailable"})
		}
		time.Sleep(heartbeat)
		e.mustRotate(Rotated, FirstToken)
	})
	withEnv(t, func(e *env) {
		hold(e, 3600)
		if result, err := e.rotateBy(e.process(nil), false); err != nil || result.Outcome != Rotated {
			t.Errorf("another process: %+v, %v", result, err)
		}
		e.sm.Put(acmeCredentials, client)
		e.mustRotate(Rotated, CredentialsChanged)
	})
}

// A rejected token that cannot be replaced for hours is counted once, and the next one anew. The
// line says what can be the cause: two stacks that use the same client.
func TestTokenRejected(t *testing.T) {
	withEnv(t, func(e *env) {
		e.start(client)
		for range 2 {
			e.revoke()
			e.tokenFault(c8test.Fault{Status: 503})
			want := any(1.0)
			for range 24 {
				_, _ = e.rotate(false)
				e.mustLog(members{"TokenRejected": want})
				want = nil
				time.Sleep(heartbeat)
			}
			e.c8Faults(nil)
			e.mustRotate(Rotated, Rejected)
			if hint, _ := e.line(0)["hint"].(string); !strings.Contains(hint, "same client") {
				t.Errorf("logged the hint %q", hint)
			}
			e.mustLog(members{"level": "WARN"})
		}
	})
}
