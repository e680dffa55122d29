package c8auth

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// vend vends and returns the token, or nothing.
func (w *world) vend(fresh bool) (string, error) {
	vending, err := w.cache.Token(w.Context(), "acme", fresh)
	return vending.Token.AccessToken.Reveal(), err
}

// put stores a token of that name and life by hand.
func (w *world) put(name string, life time.Duration) {
	w.Helper()
	token := Token{BaseURL: acmeBase, AccessToken: NewSecret(name), TokenType: bearer, IssuedAt: now().Truncate(time.Second), ExpiresAt: now().Truncate(time.Second).Add(life)}
	text, err := token.encode()
	if err != nil {
		w.Fatal(err)
	}
	w.sm.Put(acmeToken, text)
}

func (w *world) reads(want int) {
	w.Helper()
	if got := w.sm.Calls("GetSecretValue"); got != want {
		w.Errorf("%d reads of the store, want %d", got, want)
	}
}

// However many ask a cold cache at once, the store is read once, and all get the
// token.
func TestOneReadHoweverManyAsk(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("one", time.Hour)
		var asking sync.WaitGroup
		var reads atomic.Int64
		for range 100 {
			asking.Go(func() {
				got, err := w.cache.Token(w.Context(), "acme", false)
				if got.Token.AccessToken.Reveal() != "one" || err != nil {
					t.Errorf("got %v, %v", got, err)
				}
				reads.Add(int64(got.Reads))
			})
		}
		asking.Wait()
		w.reads(1)
		if n := reads.Load(); n != 1 {
			t.Errorf("counted %d reads", n)
		}
	})
}

// A failure is shared as well, and remembered for a second.
func TestFailuresAreSharedAndRememberedBriefly(t *testing.T) {
	inWorld(t, func(w *world) {
		w.smFault("GetSecretValue", smtest.Fault{Status: 400, Type: "AccessDeniedException"})
		var asking sync.WaitGroup
		for range 100 {
			asking.Go(func() {
				if _, err := w.vend(false); !errors.Is(err, ErrUnavailable) {
					t.Errorf("got %v", err)
				}
			})
		}
		asking.Wait()
		w.reads(1)
		w.smFaults(nil)
		w.put("one", time.Hour)
		time.Sleep(time.Second - 1)
		if _, err := w.vend(false); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		w.reads(1)
		time.Sleep(time.Nanosecond)
		if got, err := w.vend(false); got != "one" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// A token is vended from memory for the TTL and then read again.
func TestTTL(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("one", time.Hour)
		_, _ = w.vend(false)
		w.put("two", time.Hour)
		time.Sleep(time.Minute - 1)
		if got, err := w.vend(false); got != "one" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		time.Sleep(time.Nanosecond)
		if got, err := w.vend(false); got != "two" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		w.reads(2)
	})
}

// A caller whose token was rejected gets the newest one; the store is not asked
// more often than once a second for that.
func TestFresh(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("one", time.Hour)
		_, _ = w.vend(false)
		w.put("two", time.Hour)
		if got, _ := w.vend(true); got != "one" {
			t.Errorf("read within a second: %q", got)
		}
		time.Sleep(time.Second)
		for range 100 {
			if got, err := w.vend(true); got != "two" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		}
		w.reads(2)
	})
}

// A token whose life ends between two reads is not vended: its successor is read at
// once, though the TTL is not over.
func TestLifeEndsBetweenTwoReads(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("one", 40*time.Second)
		time.Sleep(9500 * time.Millisecond)
		if got, err := w.vend(false); got != "one" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		w.put("two", time.Hour)
		time.Sleep(501 * time.Millisecond) // one has less than the margin left
		if got, err := w.vend(false); got != "two" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		w.reads(2)
	})
}

// A token whose life ends while the store is read is no reason to give the read up early.
func TestLifeEndsDuringARead(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("one", 40*time.Second)
		_, _ = w.vend(false)
		w.put("two", time.Hour)
		time.Sleep(9500 * time.Millisecond)
		w.smFault("GetSecretValue", smtest.Fault{Hang: true})
		time.AfterFunc(staleTimeout, func() { w.smFaults(nil) })
		if got, err := w.vend(true); got != "two" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// When there is no successor, it is ErrExpired, and the store is asked for one no
// more than once a second.
func TestExpired(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("one", 31*time.Second)
		_, _ = w.vend(false)
		time.Sleep(2 * time.Second)
		for range 10 {
			if _, err := w.vend(false); !errors.Is(err, ErrExpired) {
				t.Errorf("got %v", err)
			}
		}
		w.reads(2)
	})
}

// Whatever the store does, a living token in memory is vended until its end, and
// never beyond. Without one, the error says what is wrong, in the time that a caller
// can wait.
func TestStoreFails(t *testing.T) {
	for name, fault := range map[string]smtest.Fault{
		"throttles":       {Status: 400, Type: "ThrottlingException"},
		"denies":          {Status: 400, Type: "AccessDeniedException"},
		"fails":           {Status: 500, Type: "InternalServiceError"},
		"hangs":           {Hang: true},
		"breaks off":      {Break: true},
		"answers garbage": {Status: 200, Body: "<html>"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("one", time.Hour)
				_, _ = w.vend(false)
				w.smFault("GetSecretValue", fault)
				end := time.Now().Add(time.Hour - Margin)
				for time.Now().Before(end) {
					start := time.Now()
					vending, err := w.cache.Token(w.Context(), "acme", false)
					if time.Now().After(end) {
						break // its life ended while the store was asked
					}
					if err != nil || vending.Token.AccessToken.Reveal() != "one" {
						t.Fatalf("%v: got %v", time.Now(), err)
					}
					if took := time.Since(start); took > staleTimeout {
						t.Fatalf("took %v", took)
					}
					time.Sleep(17 * time.Second)
				}
				time.Sleep(time.Minute)
				start := time.Now()
				if _, err := w.vend(false); !errors.Is(err, ErrUnavailable) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(start); took > readTimeout {
					t.Errorf("took %v", took)
				}
				w.smFaults(nil)
				w.put("two", time.Hour)
				time.Sleep(time.Second)
				if got, err := w.vend(false); got != "two" || err != nil {
					t.Errorf("afterwards: got %q, %v", got, err)
				}
			})
		})
	}
}

// What is not a token, or none, or an older and dead one put back by hand: while a
// living one is in memory, that is vended, and the reason for it is told.
func TestLivingTokenOutlivesWhatIsStored(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*world)
		want  error
	}{
		"unreadable": {func(w *world) { w.sm.Put(acmeToken, "hello") }, ErrUnreadable},
		"empty":      {func(w *world) { w.sm.Destroy(acmeToken); w.sm.Create(acmeToken) }, ErrNoToken},
		"dead":       {func(w *world) { w.put("dead", time.Second) }, ErrExpired},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("one", time.Hour)
				_, _ = w.vend(false)
				test.spoil(w)
				time.Sleep(2 * time.Minute)
				vending, err := w.cache.Token(w.Context(), "acme", true)
				if err != nil || vending.Token.AccessToken.Reveal() != "one" || !errors.Is(vending.StoreErr, test.want) {
					t.Errorf("got %v, store error %v", err, vending.StoreErr)
				}
				// A cache without memory can only say so.
				w.cache = &Cache{Store: w.cache.Store, TTL: time.Minute}
				if _, err := w.vend(false); !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
			})
		})
	}
}

// A tenant that was taken away is not served from memory.
func TestTenantTakenAway(t *testing.T) {
	for name, take := range map[string]func(*smtest.Server){
		"destroyed":              func(s *smtest.Server) { s.Destroy(acmeToken) },
		"scheduled for deletion": func(s *smtest.Server) { s.Delete(acmeToken) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("one", time.Hour)
				_, _ = w.vend(false)
				take(w.sm)
				time.Sleep(time.Minute)
				if _, err := w.vend(false); !errors.Is(err, ErrUnknownTenant) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// What is no tenant's name never reaches the store, and tenants that do not exist
// never fill the memory.
func TestMadeUpNames(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, name := range []string{"", "../x", "a/b", "%2e%2e", "Acme", "ä", strings.Repeat("a", 200)} {
			if _, err := w.cache.Token(w.Context(), name, false); !errors.Is(err, ErrTenantName) {
				t.Errorf("%q: got %v", name, err)
			}
		}
		w.reads(0)
		for i := range 1000 {
			_, err := w.cache.Token(w.Context(), fmt.Sprintf("t%d", i), false)
			if !errors.Is(err, ErrUnknownTenant) {
				t.Fatalf("got %v", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := len(w.cache.tenants); n > 100 {
			t.Errorf("%d tenants that do not exist are remembered", n)
		}
	})
}

// A store error in words: what was asked, of what, and what is wrong; never what was
// sent, stored or answered.
func TestStoreErrors(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault smtest.Fault
		want  string
	}{
		{"denied", smtest.Fault{Status: 400, Type: "AccessDeniedException", Message: "MARK"}, "the secret store is unavailable: access denied: GetSecretValue of stack/token/acme: AccessDeniedException: the function's role needs secretsmanager:GetSecretValue on it, and the use of its KMS key if it has one of its own"},
		{"throttled", smtest.Fault{Status: 400, Type: "ThrottlingException", Message: "MARK"}, "the secret store is unavailable: GetSecretValue of stack/token/acme: Secrets Manager kept failing or throttling until the deadline"},
		{"a name that is none of AWS's", smtest.Fault{Status: 400, Type: "MARKException", Message: "MARK"}, "the secret store is unavailable: GetSecretValue of stack/token/acme: an error without a known name"},
		{"an invalid request", smtest.Fault{Status: 400, Type: "InvalidRequestException", Message: "You provided a VersionStage that is not associated to the provided VersionId."}, "the secret store is unavailable: GetSecretValue of stack/token/acme: InvalidRequestException"},
		{"garbage", smtest.Fault{Status: 500, Body: "MARK"}, "the secret store is unavailable: GetSecretValue of stack/token/acme: "},
		{"garbage for an answer", smtest.Fault{Status: 200, Body: "MARK"}, "the secret store is unavailable: GetSecretValue of stack/token/acme: Secrets Manager gives an unreadable answer (HTTP 200)"},
		{"broken off", smtest.Fault{Break: true}, "the secret store is unavailable: GetSecretValue of stack/token/acme: Secrets Manager "},
		{"hanging", smtest.Fault{Hang: true}, "the secret store is unavailable: GetSecretValue of stack/token/acme: Secrets Manager "},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.smFault("GetSecretValue", test.fault)
				_, err := w.vend(false)
				if !errors.Is(err, ErrUnavailable) || !strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), "MARK") {
					t.Errorf("got  %v\nwant %s", err, test.want)
				}
			})
		})
	}
}
