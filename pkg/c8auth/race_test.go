package c8auth

// Rotations that overlap, and stores whose AWSCURRENT is not what it seems.

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// Two rotations at once, the first of which pauses before one of its requests and the other before
// another: one valid token is stored, whether or not a new token ends the earlier ones, and whether
// or not probes show that.
func TestTwoAtOnce(t *testing.T) {
	type test struct {
		exclusive bool
		probe     string
		rejection c8test.Rejection
		pauses    [2]int
	}
	tests := make(map[string]test)
	for _, exclusive := range []bool{false, true} {
		for _, probe := range []string{defaultProbePath, ""} {
			for _, rejection := range []c8test.Rejection{c8test.Reject401, c8test.Reject403, c8test.Reject200} {
				for i := range 64 {
					test := test{exclusive, probe, rejection, [2]int{i / 8, i % 8}}
					tests[fmt.Sprint(test)] = test
				}
			}
		}
	}
	forEach(t, tests, func(e *env, test test) {
		e.rotator.Endpoint.ProbePath = test.probe
		e.c8.Set(func(b *c8test.Behaviour) { b.Exclusive, b.Rejection = test.exclusive, test.rejection })
		e.start(client)
		time.Sleep(12 * time.Hour)
		var rotating sync.WaitGroup
		for i, pause := range test.pauses {
			requests := 0
			rotator := e.process(func(*http.Request) {
				if requests == pause {
					time.Sleep(time.Duration(i+1) * 100 * time.Millisecond)
				}
				requests++
			})
			rotating.Go(func() {
				// If a new token ends the earlier ones, the one whose token ended before its probe fails.
				if _, err := e.rotateBy(rotator, false); err != nil && !(test.exclusive && errors.Is(err, ErrRejected)) {
					e.Errorf("failed: %v", err)
				}
			})
		}
		rotating.Wait()
		e.mustBeValid()
		e.mustRotate(Fresh, "")
	})
}

// Of many rotations at once, in which a new token ends the earlier ones and each stores its token
// only after all have requested one, none fails with the only valid token.
func TestManyAtOnce(t *testing.T) {
	for many := 2; many <= 6; many++ {
		forEach(t, map[string]time.Duration{
			fmt.Sprint(many, ", shortly"): 13 * time.Millisecond, fmt.Sprint(many, ", slowly"): 211 * time.Millisecond, fmt.Sprint(many, ", more slowly"): 457 * time.Millisecond,
		}, func(e *env, pause time.Duration) {
			e.exclusive()
			e.start(client)
			time.Sleep(12 * time.Hour)
			var rotating sync.WaitGroup
			for i := range many {
				rotator := e.process(func(r *http.Request) {
					if strings.HasSuffix(r.Header.Get("X-Amz-Target"), "PutSecretValue") {
						time.Sleep(time.Duration(i+1) * pause)
					}
				})
				rotating.Go(func() {
					time.Sleep(time.Duration(i) * time.Millisecond)
					if _, err := e.rotateBy(rotator, false); err != nil && !errors.Is(err, ErrRejected) {
						e.Errorf("failed: %v", err)
					}
				})
			}
			rotating.Wait()
			e.mustBeValid()
			e.mustRotate(Fresh, "")
		})
	}
}

// AWSCURRENT that somebody has moved back by hand does not keep a token from being replaced at
// once, though the version ids derived from it are taken.
func TestCurrentMovedByHand(t *testing.T) {
	type test struct {
		exclusive bool
		after     time.Duration // since the last rotation
		report    bool
	}
	forEach(t, map[string]test{
		"after minutes":                {false, 5 * time.Minute, false},
		"after minutes, exclusive":     {true, 5 * time.Minute, false},
		"after a second":               {true, time.Second, false},
		"after a second, and a report": {true, time.Second, true},
	}, func(e *env, test test) {
		e.c8.Set(func(b *c8test.Behaviour) { b.Exclusive = test.exclusive })
		old := e.start(client)
		for range 5 {
			time.Sleep(12 * time.Hour)
			e.mustRotate(Rotated, HalfLife)
			time.Sleep(test.after)
			e.sm.Move(acmeToken, awsCurrent, old)
			start := time.Now()
			rotate := func() (Result, error) { return e.rotate(false) }
			if test.report {
				rotate = func() (Result, error) { return e.report(old) }
			}
			if result, err := rotate(); err != nil || result.Outcome != Rotated || time.Since(start) > time.Second {
				e.Errorf("got %+v, %v after %v", result, err, time.Since(start))
			}
			e.mustBeValid()
			e.mustRotate(Fresh, "")
		}
	})
}

// A replica of the store that lags behind does not make a rotation overwrite a token that another
// one has just stored.
func TestStoreLagsBehind(t *testing.T) {
	withEnv(t, func(e *env) {
		e.exclusive() // otherwise the winner's token is valid, and kept for that
		e.start(client)
		time.Sleep(12 * time.Hour)
		text, old := e.sm.Value(acmeToken)
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		version := e.mustRotate(Rotated, HalfLife).Version
		e.storeFaults(func(op, name string) *smtest.Fault {
			switch {
			case name != acmeToken:
			case op == "GetSecretValue": // by label and by id
				return &smtest.Fault{Status: 200, Body: fmt.Sprintf(`{"VersionId":%q,"SecretString":%s,"CreatedDate":%d}`, old, quoted, time.Now().Unix())}
			case op == "DescribeSecret":
				return &smtest.Fault{Status: 200, Body: fmt.Sprintf(`{"VersionIdsToStages":{%q:["AWSCURRENT"]}}`, old)}
			}
			return nil
		})
		if _, err := e.rotate(false); !errors.Is(err, ErrLostRace) {
			t.Errorf("got %v", err)
		}
		e.mustBe(version)
		time.AfterFunc(5*time.Second, e.storeWorks)
		e.mustRotate(Rotated, HalfLife) // with the only valid token
		e.mustBeValid()
	})
}

// A write that comes minutes after the read it is based on is lost to one that came in between. So is
// one that comes soon, even if no label shows the one in between yet.
func TestLateWrite(t *testing.T) {
	forEach(t, map[string]bool{"minutes later": false, "soon, by a replica that lags behind": true}, func(e *env, lags bool) {
		replaces := e.start(client)
		time.Sleep(2 * settled)
		current := e.wins(newToken("winner", time.Hour), replaces)
		if lags {
			current = replaces
			e.sm.Move(acmeToken, awsCurrent, replaces)
			e.sm.Move(acmeToken, awsPrevious, replaces)
		} else {
			time.Sleep(2 * settled)
		}
		if _, err := e.rotator.Store.PutToken(e.Context(), "acme", newToken("loser", time.Hour), replaces); !errors.Is(err, ErrLostRace) {
			e.Errorf("got %v, want ErrLostRace", err)
		}
		e.mustBe(current)
	})
}

// A winner's token that is about to expire is replaced, though Communic8 accepts it.
func TestWinnerAboutToExpire(t *testing.T) {
	withEnv(t, func(e *env) {
		replaces := e.start(client)
		winner, _ := e.stored()
		time.Sleep(12 * time.Hour)
		winner.ExpiresAt = now().Add(Margin - time.Second)
		e.beforeWrite(func() { e.wins(winner, replaces) })
		e.mustRotate(Rotated, HalfLife)
		if _, err := e.vend(true); err != nil {
			t.Error(err)
		}
	})
}

// wins stores the token in the place of that version, as another rotation that wins a race does, and
// returns its version.
func (e *env) wins(token Token, replaces string) string {
	e.Helper()
	version, err := e.process(nil).Store.PutToken(e.Context(), "acme", token, replaces)
	if err != nil {
		e.Error(err)
	}
	return version
}

// If no token can be probed and no other one is issued, a rotation that lost the race stores its
// own only if it was requested last: if a new token ends the earlier ones, that is the valid one.
func TestLoserThatGetsNoOther(t *testing.T) {
	forEach(t, map[string]time.Duration{"requested last": -time.Second, "requested first": time.Second}, func(e *env, winnerLater time.Duration) {
		e.rotator.Endpoint.ProbePath = ""
		e.exclusive()
		replaces := e.start(client)
		time.Sleep(12 * time.Hour)
		winner, _ := e.stored() // which the next request ends
		winner.IssuedAt, winner.ExpiresAt = now().Add(winnerLater), now().Add(24*time.Hour)
		var stored string
		e.beforeWrite(func() {
			stored = e.wins(winner, replaces)
			e.tokenFault(c8test.Fault{Status: 503})
		})
		if winnerLater > 0 {
			if _, err := e.rotate(false); !errors.Is(err, ErrUpstream) {
				e.Errorf("got %v", err)
			}
			e.mustBe(stored)
			return
		}
		e.mustRotate(Rotated, HalfLife)
		e.mustBeValid()
	})
}

// The loser of a race that got the same token as the winner, but later, does not store it again
// with a later expiry.
func TestSameTokenInARace(t *testing.T) {
	withEnv(t, func(e *env) {
		e.sm.Put(acmeCredentials, client)
		e.c8.Set(func(b *c8test.Behaviour) { b.Same, b.Lifetime, b.ExpiresIn = true, time.Hour, "3600" })
		slow := e.process(func(r *http.Request) {
			if r.URL.Path == c8test.TokenPath {
				time.Sleep(2 * time.Second)
			}
		})
		done := make(chan error)
		go func() {
			_, err := e.rotateBy(slow, false)
			done <- err
		}()
		time.Sleep(time.Second)
		result := e.mustRotate(Rotated, FirstToken)
		probes := e.c8.Probes()
		e.c8Faults(func(r *http.Request, n int) *c8test.Fault {
			if r.URL.Path != c8test.TokenPath && n == probes+2 { // of the winner's token; that of the loser's succeeds
				return &c8test.Fault{Status: 429}
			}
			return nil
		})
		if err := <-done; err != nil {
			t.Error(err)
		}
		e.mustBe(result.Version)
	})
}

// A token that was rejected during a lost race is not stored: here an access key, whose first probe
// was inconclusive.
func TestTokenRejectedInARace(t *testing.T) {
	withEnv(t, func(e *env) {
		e.sm.Put(acmeCredentials, wrongKey)
		e.c8Faults(func(_ *http.Request, n int) *c8test.Fault {
			if n < 4 { // the new one, the winner's, and the new one again
				return &c8test.Fault{Status: 503}
			}
			return nil
		})
		var winner string
		e.beforeWrite(func() { winner = e.wins(newToken("winner", time.Hour), "") })
		if _, err := e.rotate(false); !errors.Is(err, ErrRefused) {
			t.Errorf("got %v", err)
		}
		e.mustBe(winner)
	})
}

// A token that was rejected and is issued again is not stored because its second probe is
// inconclusive: an access key, or the token of a Communic8 that issues the same one.
func TestRejectedTokenAgain(t *testing.T) {
	forEach(t, map[string]string{"access key": accessKey, "the same token": client}, func(e *env, credentials string) {
		e.c8.Set(func(b *c8test.Behaviour) { b.Same = true })
		version := e.start(credentials)
		probes := e.c8.Probes()
		e.c8Faults(func(r *http.Request, n int) *c8test.Fault {
			switch {
			case r.URL.Path == c8test.TokenPath:
				return nil
			case n == probes+1:
				return &c8test.Fault{Status: http.StatusUnauthorized}
			}
			return &c8test.Fault{Break: true}
		})
		if _, err := e.rotate(false); !errors.Is(err, ErrRejected) && !errors.Is(err, ErrRefused) {
			e.Errorf("got %v", err)
		}
		e.mustBe(version)
	})
}

// Nor if another token was rejected in between, such as the winner's of a race.
func TestRejectedTokens(t *testing.T) {
	withEnv(t, func(e *env) {
		run := rotation{Rotator: e.rotator}
		for i, want := range []ProbeResult{ProbeRejected, ProbeRejected, ProbeRejected, ProbeInconclusive} {
			if i == 2 {
				e.probeFault(c8test.Fault{Break: true})
			}
			token := []string{"one", "other", "one", "third"}[i]
			if got := run.probe(e.Context(), newToken(token, time.Hour)); got != want {
				t.Errorf("%s: got %s, want %s", token, got, want)
			}
		}
	})
}
