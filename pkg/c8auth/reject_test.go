package c8auth

import (
	"context"
	"encoding/json"
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

// begin stores credentials and has the first token made, whose version it returns.
func (w *world) begin(credentials string) string {
	w.Helper()
	w.sm.Put(acmeCreds, credentials)
	w.c8.AddAccessKey("key-1")
	return w.must(Rotated, FirstToken).Version
}

// report reports the version, and expects the outcome.
func (w *world) report(version string, want Outcome) Result {
	w.Helper()
	result, err := w.rotator.Reject(w.Context(), Report{Tenant: "acme", Version: version})
	if err != nil || result.Outcome != want {
		w.Fatalf("got %+v, %v, want %s", result, err, want)
	}
	return result
}

// revoke ends the life of the stored token and returns its version.
func (w *world) revoke() string {
	w.Helper()
	token, version := w.stored()
	w.c8.Revoke(token.AccessToken.Reveal())
	return version
}

func same(h http.Handler) http.Handler { return h }

// A report of a version that is not current asks nothing of Communic8.
func TestReportOfAnotherVersion(t *testing.T) {
	inWorld(t, func(w *world) {
		w.report("11111111-1111-8111-8111-111111111111", Superseded) // there is none yet
		w.begin(acmeOAuth)
		old := w.revoke()
		w.must(Rotated, Rejected)
		asked, tried := w.c8.Requests(), w.c8.Probes()
		result := w.report(old, Superseded)
		if _, version := w.stored(); result.Version != version || result.Tenant != "acme" {
			t.Errorf("got %+v, want version %s", result, version)
		}
		w.report("", Superseded)
		if w.c8.Requests() != asked || w.c8.Probes() != tried {
			t.Error("Communic8 was asked")
		}
	})
}

// A token that Communic8 takes is kept, however often it is reported, and tried every
// five seconds at most.
func TestReportOfALivingToken(t *testing.T) {
	inWorld(t, func(w *world) {
		version := w.begin(acmeOAuth)
		asked, tried := w.c8.Requests(), w.c8.Probes()
		for range 600 {
			w.report(version, Kept)
			time.Sleep(100 * time.Millisecond)
		}
		if got := w.c8.Probes() - tried; got != 12 {
			t.Errorf("in a minute it was tried %d times, want 12", got)
		}
		if w.c8.Requests() != asked {
			t.Error("a token was asked for")
		}
	})
}

// A rejected token is replaced at once, and vend gives out the new one to whom asks for
// a fresh one.
func TestReportOfARejectedToken(t *testing.T) {
	for name, behave := range map[string]func(*c8test.Behaviour){
		"overlap":   func(*c8test.Behaviour) {},
		"exclusive": func(b *c8test.Behaviour) { b.Exclusive = true },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.behave(behave)
				w.begin(acmeOAuth)
				if _, err := w.cache.Token(w.Context(), "acme", false); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				result := w.report(w.revoke(), Rotated)
				if result.Reason != Rejected || result.ExpiresIn == 0 {
					t.Errorf("got %+v", result)
				}
				w.living()
				vending, err := w.cache.Token(w.Context(), "acme", true)
				if err != nil || vending.Version != result.Version {
					t.Errorf("vend gives out %+v, %v, want version %s", vending, err, result.Version)
				}
				w.must(Fresh, "")
			})
		})
	}
}

// When the trial proves nothing, a token is kept for ten minutes; then there is a new one.
// An access key is never replaced by itself.
func TestReportInDoubt(t *testing.T) {
	doubts := map[string]func(*world){
		"a probe path that is out of order": func(w *world) {
			w.behave(func(b *c8test.Behaviour) {
				b.Fault = func(r *http.Request, _ int) *c8test.Fault {
					if r.URL.Path == c8test.TokenPath {
						return nil
					}
					return &c8test.Fault{Status: http.StatusInternalServerError}
				}
			})
		},
		"403":           func(w *world) { w.behave(func(b *c8test.Behaviour) { b.Rejection = c8test.Reject403 }); w.revoke() },
		"success:false": func(w *world) { w.behave(func(b *c8test.Behaviour) { b.Rejection = c8test.Reject200 }); w.revoke() },
		"no probe path": func(w *world) { w.rotator.Endpoint.ProbePath = "" },
	}
	for name, doubt := range doubts {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				version := w.begin(acmeOAuth)
				doubt(w)
				asked := w.c8.Requests()
				w.report(version, Kept)
				time.Sleep(inconclusiveAge)
				w.report(version, Kept)
				if w.c8.Requests() != asked {
					t.Error("a token was asked for")
				}
				time.Sleep(time.Second)
				w.report(version, Rotated)
			})
		})
		t.Run(name+", access key", func(t *testing.T) {
			inWorld(t, func(w *world) {
				version := w.begin(acmeKey)
				doubt(w)
				time.Sleep(time.Hour)
				versions := w.sm.Versions(acmeToken)
				w.report(version, Kept)
				if w.sm.Versions(acmeToken) != versions {
					t.Error("something was written")
				}
			})
		})
	}
}

// An access key that Communic8 rejects cannot be replaced: that is said, and nothing stored.
func TestReportOfARejectedAccessKey(t *testing.T) {
	inWorld(t, func(w *world) {
		w.begin(acmeKey)
		version := w.revoke()
		_, err := w.rotator.Reject(w.Context(), Report{Tenant: "acme", Version: version})
		if !errors.Is(err, ErrRefused) {
			t.Errorf("got %v, want a refusal", err)
		}
		if _, now := w.stored(); now != version {
			t.Error("the stored token has changed")
		}
	})
}

// A token that comes again is not stored again.
func TestReportWhereTheTokenComesAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.behave(func(b *c8test.Behaviour) { b.Same = true })
		w.rotator.Endpoint.ProbePath = ""
		version := w.begin(acmeOAuth)
		time.Sleep(time.Hour)
		w.report(version, Kept)
		if _, now := w.stored(); now != version {
			t.Error("the stored token has changed")
		}
	})
}

// A thousand callers report the same rejection at once, to fifty processes: Communic8 is
// asked for one token. Who is not heard now finds that it was done.
func TestAThousandReports(t *testing.T) {
	for name, exclusive := range map[string]bool{"overlap": false, "exclusive": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.behave(func(b *c8test.Behaviour) {
					b.Exclusive = exclusive
				})
				w.begin(acmeOAuth)
				version := w.revoke()
				asked, tried := w.c8.Requests(), w.c8.Probes()
				outcomes := make(map[Outcome]int)
				held := 0
				var mu sync.Mutex
				var all sync.WaitGroup
				for range 50 {
					rotator := w.clone(slowly)
					for range 20 {
						all.Go(func() {
							result, err := rotator.Reject(w.Context(), Report{Tenant: "acme", Version: version})
							mu.Lock()
							defer mu.Unlock()
							switch {
							case errors.Is(err, ErrHeld):
								held++
							case err != nil:
								t.Error(err)
							default:
								outcomes[result.Outcome]++
							}
						})
					}
				}
				all.Wait()
				if got := w.c8.Requests() - asked; got != 1 {
					t.Errorf("Communic8 was asked for %d tokens, want one", got)
				}
				if outcomes[Rotated] != 1 || outcomes[Kept] != 0 {
					t.Errorf("outcomes are %v", outcomes)
				}
				t.Logf("outcomes %v, held %d, trials %d", outcomes, held, w.c8.Probes()-tried)
				w.living()
				w.report(version, Superseded)
			})
		})
	}
}

// slowly delays every answer a little, so that those who come at once overlap.
func slowly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		time.Sleep(50 * time.Millisecond)
		h.ServeHTTP(rw, r)
	})
}

// Two who hold the same credentials, where a new token ends the life of all others, do
// not wear Communic8 out, nor the versions of the secret: five tokens at once, three an
// hour after that, in however many processes.
func TestReportsAreBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		w.begin(acmeOAuth)
		rotators := []*Rotator{w.rotator, w.clone(same), w.clone(same)}
		asked := w.c8.Requests()
		hour := func() (tokens int) {
			before := w.c8.Requests()
			for i := range 360 {
				rotator := rotators[i%len(rotators)]
				rotator.states.of = nil // it would only spare trials
				_, err := rotator.Reject(w.Context(), Report{Tenant: "acme", Version: w.revoke()})
				if err != nil && !errors.Is(err, ErrHeld) {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
			}
			return w.c8.Requests() - before
		}
		if first, second := hour(), hour(); first > claimBurst+3 || second > 3 {
			t.Errorf("it was asked for %d and %d tokens in two hours", first, second)
		}
		if got := w.c8.Requests() - asked; got < claimBurst+5 {
			t.Errorf("it was asked for %d tokens, want at least %d", got, claimBurst+5)
		}
		w.must(Rotated, Rejected) // the heartbeat does not depend on it
		w.living()
	})
}

// If Communic8 gives no token, the stored one stays, others do not take turns in asking,
// and as soon as the lease is over, the next report does.
func TestReportThatCannotBeFollowed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.begin(acmeOAuth)
		version := w.revoke()
		w.c8Fault(c8test.Fault{Status: http.StatusServiceUnavailable})
		start := time.Now()
		_, err := w.rotator.Reject(w.Context(), Report{Tenant: "acme", Version: version})
		var upstream *UpstreamError
		if !errors.As(err, &upstream) || time.Since(start) > rejectTime {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		if _, now := w.stored(); now != version {
			t.Error("the stored token has changed")
		}
		asked := w.c8.Requests()
		if _, err := w.clone(same).Reject(w.Context(), Report{Tenant: "acme", Version: version}); !errors.Is(err, ErrHeld) {
			t.Errorf("got %v, want ErrHeld", err)
		}
		if w.c8.Requests() != asked {
			t.Error("Communic8 was asked again")
		}
		w.behave(func(b *c8test.Behaviour) { b.Fault = nil })
		time.Sleep(claimLease)
		w.report(version, Rotated)
		w.living()
	})
}

// An unreachable store, and a Communic8 that hangs, are answered in time.
func TestReportIsAnsweredInTime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.begin(acmeOAuth)
		version := w.revoke()
		check := func() {
			t.Helper()
			start := time.Now()
			if _, err := w.rotator.Reject(w.Context(), Report{Tenant: "acme", Version: version}); err == nil {
				t.Error("no error")
			}
			if took := time.Since(start); took > rejectTime {
				t.Errorf("it took %v", took)
			}
		}
		w.c8Fault(c8test.Fault{Delay: time.Hour})
		check()
		w.smFault("GetSecretValue", smtest.Fault{Hang: true})
		check()
	})
}

// Nor is a report answered late when the store answers at last and Communic8 then hangs.
func TestReportWhereTheStoreIsLate(t *testing.T) {
	inWorld(t, func(w *world) {
		w.begin(acmeOAuth)
		version := w.revoke()
		w.c8Fault(c8test.Fault{Delay: time.Hour})
		for range 20 { // as the SDK's pauses are random
			w.smFault("GetSecretValue", smtest.Fault{Hang: true})
			time.AfterFunc(rejectTime-probeTimeout+time.Second/2, func() { w.smFaults(nil) })
			start := time.Now()
			_, err := w.rotator.Reject(w.Context(), Report{Tenant: "acme", Version: version})
			if took := time.Since(start); !errors.Is(err, ErrUnavailable) || took > rejectTime {
				t.Errorf("got %v after %v", err, took)
			}
			time.Sleep(time.Minute)
		}
	})
}

// A claim whose answer was lost is a claim nevertheless, and never becomes what vend
// gives out. One that failed leaves all as it was.
func TestClaims(t *testing.T) {
	inWorld(t, func(w *world) {
		w.begin(acmeOAuth)
		lost := true
		w.smFaults(func(op, _ string) *smtest.Fault {
			if op == "PutSecretValue" && lost {
				lost = false
				return &smtest.Fault{After: true, Break: true}
			}
			return nil
		})
		w.report(w.revoke(), Rotated)
		w.living()

		version := w.revoke()
		w.smFault("PutSecretValue", smtest.Fault{Status: http.StatusBadRequest, Body: `{"__type":"EncryptionFailure","Message":"MARK"}`})
		_, err := w.rotator.Reject(w.Context(), Report{Tenant: "acme", Version: version})
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "EncryptionFailure") || strings.Contains(err.Error(), "MARK") {
			t.Errorf("got %v", err)
		}
		w.smFaults(nil)
		if _, now := w.stored(); now != version {
			t.Error("the stored token has changed")
		}
	})
}

// What a claim lets follow.
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
		{"refilled to the brim", claim{Rejected: "a"}, "b", 30 * 24 * time.Hour, claimBurst - 1, true},
		{"the clock was put back", claim{Rejected: "a", Left: 2}, "b", -time.Hour, 1, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := test.was.next(test.version, test.age)
			if ok != test.ok || math.Abs(got.Left-test.left) > 1e-9 || ok && (got.Rejected != test.version || got.Nonce == "") {
				t.Errorf("got %+v, %t", got, ok)
			}
		})
	}
}

// A report has a line that names its caller and repeats nothing of what it says; asking
// for a token has its own.
func TestReportIsLogged(t *testing.T) {
	inWorld(t, func(w *world) {
		w.begin(acmeOAuth)
		by := []slog.Attr{slog.String("caller", "arn:aws:iam::123456789012:user/newcomer")}
		reject := func(ctx context.Context, tenant, version string) map[string]any {
			_, _ = w.rotator.Reject(ctx, Report{Tenant: tenant, Version: version, By: by})
			return w.line()
		}
		line := reject(w.Context(), "acme", "MARK")
		if line["msg"] != "rejection" || line["outcome"] != "superseded" || line["Tenant"] != "acme" || line["Rejections"] != 1.0 || line["caller"] != by[0].Value.String() {
			t.Errorf("got %v", line)
		}
		line = reject(w.Context(), "nobody", "MARK")
		if line["Tenant"] != "-" || line["tenant"] != "nobody" || line["level"] != "WARN" {
			t.Errorf("got %v", line)
		}
		line = reject(w.Context(), "../MARK", "MARK")
		if line["Tenant"] != "-" || line["tenant"] != nil {
			t.Errorf("got %v", line)
		}
		line = reject(w.Context(), "acme", w.revoke())
		if line["outcome"] != "rotated" || line["reason"] != "rejected" || line["trial"] != "good" {
			t.Errorf("got %v", line)
		}
		lines := strings.Split(strings.TrimSpace(w.lines.String()), "\n")
		var rotation map[string]any
		if err := json.Unmarshal([]byte(lines[len(lines)-2]), &rotation); err != nil || rotation["msg"] != "rotation" || rotation["RotationSucceeded"] != 1.0 {
			t.Errorf("before it, there is %v (%v)", rotation, err)
		}
		if strings.Contains(w.lines.String(), "MARK") {
			t.Errorf("what was reported is in %s", w.lines)
		}
	})
}
