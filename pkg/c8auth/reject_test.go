package c8auth

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// sent returns how many token requests and probes f makes.
func (e *env) sent(f func()) (requests, probes int) {
	requests, probes = e.c8.Requests(), e.c8.Probes()
	f()
	return e.c8.Requests() - requests, e.c8.Probes() - probes
}

// A report of a version that is not the current one sends nothing to Communic8.
func TestReportOfAnotherVersion(t *testing.T) {
	withEnv(t, func(e *env) {
		e.mustReport("11111111-1111-8111-8111-111111111111", Superseded) // none is stored
		e.mustReport("", Superseded)
		e.start(client)
		old := e.revoke()
		version := e.mustRotate(Rotated, Rejected).Version
		requests, probes := e.sent(func() {
			if result := e.mustReport(old, Superseded); result.Version != version || result.Tenant != "acme" {
				t.Errorf("got %+v, want version %s", result, version)
			}
			e.mustReport("", Superseded)
		})
		if requests != 0 || probes != 0 {
			t.Errorf("%d requests, %d probes", requests, probes)
		}
	})
}

// A token that Communic8 accepts is kept, however often it is reported, and probed once in five
// seconds; while Communic8 does not respond, once a minute, by one slow report.
func TestReportOfAValidToken(t *testing.T) {
	withEnv(t, func(e *env) {
		version := e.start(client)
		slow := 0
		reports := func(d time.Duration) (requests, probes int) {
			return e.sent(func() {
				for start := time.Now(); time.Since(start) < d; time.Sleep(100 * time.Millisecond) {
					before := time.Now()
					e.mustReport(version, Kept)
					if time.Since(before) > time.Second {
						slow++
					}
				}
			})
		}
		if requests, probes := reports(time.Minute); requests != 0 || probes != 12 || slow != 0 {
			t.Errorf("in a minute %d requests, %d probes, %d slow answers", requests, probes, slow)
		}
		time.Sleep(time.Minute)
		e.c8Faults(func(*http.Request, int) *c8test.Fault { return &c8test.Fault{Delay: time.Hour} })
		if requests, probes := reports(5 * time.Minute); requests != 0 || probes != 5 || slow != 5 {
			t.Errorf("in five minutes %d requests, %d probes, %d slow answers", requests, probes, slow)
		}
	})
}

// A rejected token is replaced at once, and the cache gives out the new one to a caller that asks
// for a fresh one.
func TestReportOfARejectedToken(t *testing.T) {
	forEach(t, map[string]bool{"overlap": false, "exclusive": true}, func(e *env, exclusive bool) {
		e.c8.Set(func(b *c8test.Behaviour) { b.Exclusive = exclusive })
		e.start(client)
		token, _ := e.stored()
		e.mustVend(false, token.AccessToken.Reveal())
		time.Sleep(time.Second)
		if result := e.mustReport(e.revoke(), Rotated); result.Reason != Rejected || result.ExpiresIn == 0 {
			e.Errorf("got %+v", result)
		}
		e.mustBeValid()
		token, _ = e.stored()
		e.mustVend(true, token.AccessToken.Reveal())
		e.mustRotate(Fresh, "")
	})
}

// If the probe is inconclusive, a token is kept for ten minutes, and then replaced. An access key is
// always kept.
func TestReportWithInconclusiveProbe(t *testing.T) {
	reject := func(rejection c8test.Rejection) func(e *env) {
		return func(e *env) {
			e.c8.Set(func(b *c8test.Behaviour) { b.Rejection = rejection })
			e.revoke()
		}
	}
	for name, given := range map[string]func(e *env){
		"500":           func(e *env) { e.probeFault(c8test.Fault{Status: 500}) },
		"403":           reject(c8test.Reject403),
		"success:false": reject(c8test.Reject200),
		"no probe path": func(e *env) { e.rotator.Endpoint.ProbePath = "" },
	} {
		forEach(t, map[string]string{name: client, name + ", access key": accessKey}, func(e *env, credentials string) {
			version := e.start(credentials)
			given(e)
			e.mustReport(version, Kept)
			time.Sleep(inconclusiveAge)
			e.mustReport(version, Kept)
			if requests := e.c8.Requests(); credentials == client && requests != 1 {
				e.Errorf("%d token requests", requests)
			}
			time.Sleep(time.Second)
			if credentials == client {
				e.mustReport(version, Rotated)
				return
			}
			time.Sleep(time.Hour)
			e.mustReport(version, Kept)
			if n := e.sm.Versions(acmeToken); n != 1 {
				e.Errorf("%d versions", n)
			}
		})
	}
}

// A rejected access key cannot be replaced, which is an error, and a token that is issued again need
// not be. Neither is stored again.
func TestReportWithoutANewToken(t *testing.T) {
	withEnv(t, func(e *env) {
		e.start(accessKey)
		version := e.revoke()
		if _, err := e.report(version); !errors.Is(err, ErrRefused) {
			t.Errorf("got %v, want ErrRefused", err)
		}
		e.mustBe(version)
	})
	withEnv(t, func(e *env) {
		e.c8.Set(func(b *c8test.Behaviour) { b.Same = true })
		e.rotator.Endpoint.ProbePath = ""
		version := e.start(client)
		time.Sleep(time.Hour)
		e.mustReport(version, Kept)
		e.mustBe(version)
	})
}

// A thousand reports of the same rejection at once, in fifty processes, request one token. Each
// process probes the stored one once.
func TestAThousandReports(t *testing.T) {
	forEach(t, map[string]bool{"overlap": false, "exclusive": true}, func(e *env, exclusive bool) {
		e.c8.Set(func(b *c8test.Behaviour) { b.Exclusive = exclusive })
		e.start(client)
		version := e.revoke()
		outcomes := make(map[Outcome]int)
		var mu sync.Mutex
		var reports sync.WaitGroup
		requests, probes := e.sent(func() {
			for range 50 {
				rotator := e.process(func(*http.Request) { time.Sleep(50 * time.Millisecond) })
				for range 20 {
					reports.Go(func() {
						result, err := rotator.Reject(e.Context(), Report{Tenant: "acme", Version: version})
						if err != nil && !errors.Is(err, ErrHeld) {
							e.Error(err)
						}
						mu.Lock()
						defer mu.Unlock()
						outcomes[result.Outcome]++
					})
				}
			}
			reports.Wait()
		})
		if requests != 1 || probes > 50+1 || outcomes[Rotated] != 1 || outcomes[Kept] != 0 {
			e.Errorf("%d token requests, %d probes, outcomes %v", requests, probes, outcomes)
		}
		e.mustBeValid()
		e.mustReport(version, Superseded)
	})
}

// If tokens keep being rejected, reports to any number of processes request five tokens at once, and
// three an hour after that. The heartbeat replaces one that is rejected then.
func TestReportsAreBounded(t *testing.T) {
	withEnv(t, func(e *env) {
		e.start(client)
		rotators := []*Rotator{e.rotator, e.process(nil), e.process(nil)}
		hour := func() int {
			requests, _ := e.sent(func() {
				for i := range 360 {
					rotator := rotators[i%len(rotators)]
					rotator.states.of = nil // it saves probes only
					if _, err := rotator.Reject(e.Context(), Report{Tenant: "acme", Version: e.revoke()}); err != nil && !errors.Is(err, ErrHeld) {
						t.Fatal(err)
					}
					time.Sleep(10 * time.Second)
				}
			})
			return requests
		}
		if first, second := hour(), hour(); first > claimBurst+3 || second > 3 || first+second < claimBurst+5 {
			t.Errorf("%d and %d tokens were requested in two hours", first, second)
		}
		e.mustRotate(Rotated, Rejected)
		e.mustBeValid()
	})
}

// If Communic8 issues no token, the stored one is kept, and no other process requests one until the
// lease is over. A report that is cancelled during its probe leaves the result to the next one.
func TestReportThatFails(t *testing.T) {
	withEnv(t, func(e *env) {
		e.start(client)
		version := e.revoke()
		ctx, cancel := context.WithCancel(e.Context())
		e.c8Faults(func(*http.Request, int) *c8test.Fault { cancel(); return nil })
		if _, err := e.rotator.Reject(ctx, Report{Tenant: "acme", Version: version}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		e.tokenFault(c8test.Fault{Status: 503})
		start := time.Now()
		if _, err := e.report(version); !errors.Is(err, ErrUpstream) || time.Since(start) > rejectTime {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		e.mustBe(version)
		requests, _ := e.sent(func() {
			if _, err := e.process(nil).Reject(e.Context(), Report{Tenant: "acme", Version: version}); !errors.Is(err, ErrHeld) {
				t.Errorf("got %v, want ErrHeld", err)
			}
		})
		if requests != 0 {
			t.Errorf("%d more token requests", requests)
		}
		e.c8Faults(nil)
		time.Sleep(claimLease)
		e.mustReport(version, Rotated)
		e.mustBeValid()
	})
}

// A report is answered in time, whatever hangs: Communic8, the store, or the store for almost as long
// and then Communic8.
func TestReportIsAnsweredInTime(t *testing.T) {
	withEnv(t, func(e *env) {
		e.start(client)
		version := e.revoke()
		e.tokenFault(c8test.Fault{Delay: time.Hour})
		mustFail := func(want error) {
			t.Helper()
			start := time.Now()
			if _, err := e.report(version); !errors.Is(err, want) || time.Since(start) > rejectTime {
				t.Errorf("got %v after %v, want %v", err, time.Since(start), want)
			}
			time.Sleep(time.Minute)
		}
		mustFail(ErrUpstream)
		e.storeFault("GetSecretValue", "", smtest.Fault{Hang: true})
		mustFail(ErrUnavailable)
		for range 20 { // the SDK's pauses are random
			e.storeFault("GetSecretValue", "", smtest.Fault{Hang: true})
			time.AfterFunc(rejectTime-probeTimeout+time.Second/2, e.storeWorks)
			mustFail(ErrUnavailable)
		}
	})
}

// A report during which another rotation replaces the token, before the claim or after it, does not
// replace it again.
func TestTokenReplacedDuringAReport(t *testing.T) {
	forEach(t, map[string]int{"before the claim": 1, "after it": 2}, func(e *env, wantRequests int) {
		e.start(client)
		version := e.revoke()
		replace := func() {
			e.storeWorks()
			e.c8Faults(nil)
			if result, err := e.rotateBy(e.process(nil), false); err != nil || result.Outcome != Rotated {
				e.Errorf("got %+v, %v", result, err)
			}
		}
		if wantRequests == 1 {
			e.beforeWrite(replace)
		} else {
			e.c8Faults(func(r *http.Request, _ int) *c8test.Fault {
				if r.URL.Path == c8test.TokenPath {
					replace()
				}
				return nil
			})
		}
		if requests, _ := e.sent(func() { e.mustReport(version, Superseded) }); requests != wantRequests {
			e.Errorf("%d token requests", requests)
		}
	})
}

// Writes whose answers are lost are repeated and count once: a claim, which is not given out as a
// token, and a token. A claim that fails has changed nothing, and none is made if the store does not
// give the last one. After one that cannot be read, no other can follow at once.
func TestClaims(t *testing.T) {
	withEnv(t, func(e *env) {
		e.start(client)
		calls := 0
		e.storeFaults(func(op, _ string) *smtest.Fault {
			if op != "PutSecretValue" {
				return nil
			}
			if calls++; calls%2 == 1 {
				return &smtest.Fault{After: true, Break: true}
			}
			return nil
		})
		e.mustReport(e.revoke(), Rotated)
		e.mustBeValid()
		if n := e.sm.Versions(acmeToken); calls != 4 || n != 3 {
			t.Errorf("%d calls, %d versions; want 4, and 3 with the first token", calls, n)
		}

		version := e.revoke()
		e.storeFault("PutSecretValue", "", smtest.Fault{Status: 400, Type: "EncryptionFailure", Message: "MARK"})
		if _, err := e.report(version); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "EncryptionFailure") || strings.Contains(err.Error(), "MARK") {
			t.Errorf("got %v", err)
		}
		e.mustBe(version)

		calls = 0
		e.storeFaults(func(string, string) *smtest.Fault {
			if calls++; calls == 2 { // the read of the last claim
				return &smtest.Fault{Status: 400, Type: "AccessDeniedException"}
			}
			return nil
		})
		if _, err := e.report(version); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v", err)
		}

		e.storeWorks()
		unreadable := e.sm.Put(acmeToken, "no claim")
		e.sm.Move(acmeToken, awsCurrent, version)
		e.sm.Move(acmeToken, claimLabel, unreadable)
		if _, err := e.report(version); !errors.Is(err, ErrHeld) {
			t.Errorf("got %v, want ErrHeld", err)
		}
	})
}

func TestNextClaim(t *testing.T) {
	for _, test := range []struct {
		name    string
		was     claim
		version string
		age     time.Duration
		left    float64
		ok      bool
	}{
		{"the first", claim{Left: claimBurst}, "a", 0, claimBurst - 1, true},
		{"another token", claim{Rejected: "a", Left: 1}, "b", 0, 0, true},
		{"the same token within the lease", claim{Rejected: "a", Left: 4}, "a", claimLease - 1, 0, false},
		{"the same token after it", claim{Rejected: "a", Left: 4}, "a", claimLease, 3 + float64(claimLease)/float64(claimRefill), true},
		{"none left", claim{Rejected: "a", Left: 0.5}, "b", claimRefill/2 - 1, 0, false},
		{"one refilled", claim{Rejected: "a", Left: 0.5}, "b", claimRefill / 2, 0, true},
		{"no more than the burst refilled", claim{Rejected: "a"}, "b", 30 * 24 * time.Hour, claimBurst - 1, true},
		{"the clock was set back", claim{Rejected: "a", Left: 2}, "b", -time.Hour, 1, true},
	} {
		got, ok := test.was.next(test.version, test.age)
		if ok != test.ok || math.Abs(got.Left-test.left) > 1e-9 || ok && (got.Rejected != test.version || got.Nonce == "") {
			t.Errorf("%s: got %+v, %t", test.name, got, ok)
		}
	}
}

// The line about a report says who made it and nothing of what was reported. A token request has a
// line of its own.
func TestReportIsLogged(t *testing.T) {
	withEnv(t, func(e *env) {
		e.start(client)
		const caller = "arn:aws:iam::123456789012:user/newcomer"
		report := func(tenant, version string, want members) {
			t.Helper()
			_, _ = e.rotator.Reject(context.Background(), Report{Tenant: tenant, Version: version, By: []slog.Attr{slog.String("caller", caller)}})
			e.mustLog(members{"msg": "rejection", "caller": caller, "Rejections": 1.0})
			e.mustLog(want)
		}
		report("acme", "MARK", members{"outcome": "superseded", "tenant": "acme", "Tenant": "acme", "level": "INFO"})
		report("nobody", "MARK", members{"tenant": "nobody", "Tenant": "-", "level": "WARN", "error_code": "unknown_tenant"})
		report("../MARK", "MARK", members{"tenant": nil, "Tenant": "-", "error_code": "invalid_tenant"})
		report("acme", e.revoke(), members{"outcome": "rotated", "reason": "rejected", "trial": "good"})
		if line := e.line(1); line["msg"] != "rotation" || line["RotationSucceeded"] != 1.0 || line["TokenRejected"] != 1.0 {
			t.Errorf("before it, there is %v", line)
		}
		if strings.Contains(e.log.String(), "MARK") {
			t.Errorf("what was reported is in %s", &e.log)
		}
	})
}
