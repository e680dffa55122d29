package c8auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

func (e *env) mustHaveRead(want int) {
	e.Helper()
	if got := e.sm.Calls("GetSecretValue"); got != want {
		e.Errorf("%d reads of the store, want %d", got, want)
	}
}

// Concurrent calls share one read and its result, also a failure, and also if the first of them was
// cancelled.
func TestConcurrentCalls(t *testing.T) {
	denied := smtest.Fault{Status: 400, Type: "AccessDeniedException"}
	forEach(t, map[string]*smtest.Fault{"a token": nil, "a failure": &denied}, func(e *env, fault *smtest.Fault) {
		e.put(newToken("one", time.Hour))
		e.storeFaults(func(string, string) *smtest.Fault {
			time.Sleep(time.Millisecond) // so that all calls come during the read
			return fault
		})
		cancelled, cancel := context.WithCancel(e.Context())
		cancel()
		var calls sync.WaitGroup
		var reads atomic.Int64
		for range 100 {
			calls.Go(func() {
				got, err := e.cache.Token(cancelled, "acme", false)
				if fault == nil && (got.Token.AccessToken.Reveal() != "one" || err != nil) || fault != nil && !errors.Is(err, ErrUnavailable) {
					e.Errorf("got %v, %v", got, err)
				}
				reads.Add(int64(got.Reads))
			})
		}
		calls.Wait()
		e.mustHaveRead(1)
		if n := reads.Load(); n != 1 {
			e.Errorf("counted %d reads", n)
		}
	})
}

// When the store is read: for a token "one", which is stored at first, and a token "two",
// which is stored after the first call.
func TestCacheReads(t *testing.T) {
	type call struct {
		after time.Duration // since the call before
		fresh bool
		want  string // empty for ErrExpired
		reads int
	}
	type test struct {
		lifetime, next time.Duration // of one and two
		calls          []call
	}
	forEach(t, map[string]test{
		"after the TTL":               {time.Hour, time.Hour, []call{{0, false, "one", 1}, {time.Minute - 1, false, "one", 1}, {1, false, "two", 2}}},
		"on request, once a second":   {time.Hour, time.Hour, []call{{0, false, "one", 1}, {time.Second - 1, true, "one", 1}, {1, true, "two", 2}, {0, true, "two", 2}}},
		"when the token expires":      {40 * time.Second, time.Hour, []call{{0, false, "one", 1}, {10 * time.Second, false, "one", 1}, {1, false, "two", 2}}},
		"without a valid one":         {31 * time.Second, time.Second, []call{{0, false, "one", 1}, {2 * time.Second, false, "", 2}, {0, false, "", 2}, {time.Second - 1, false, "", 2}, {1, false, "", 3}}},
		"an invalid one, on request":  {31 * time.Second, time.Second, []call{{0, false, "one", 1}, {2 * time.Second, true, "", 2}, {0, true, "", 2}}},
		"a valid one, before its end": {32 * time.Second, time.Hour, []call{{0, false, "one", 1}, {2 * time.Second, false, "one", 1}}},
	}, func(e *env, test test) {
		e.put(newToken("one", test.lifetime))
		for i, call := range test.calls {
			time.Sleep(call.after)
			got, err := e.vend(call.fresh)
			if got != call.want || (call.want == "") != errors.Is(err, ErrExpired) {
				e.Errorf("call %d: got %q, %v, want %q", i, got, err, call.want)
			}
			e.mustHaveRead(call.reads)
			if i == 0 {
				e.put(newToken("two", test.next))
			}
		}
	})
}

// A read is not given up early if the cached token expires during it.
func TestTokenExpiresDuringARead(t *testing.T) {
	withEnv(t, func(e *env) {
		e.put(newToken("one", 40*time.Second))
		e.mustVend(false, "one")
		e.put(newToken("two", time.Hour))
		time.Sleep(9500 * time.Millisecond)
		e.storeFault("GetSecretValue", "", smtest.Fault{Hang: true})
		time.AfterFunc(staleTimeout, e.storeWorks)
		e.mustVend(true, "two")
	})
}

// While the store fails, a cached token is given out until it expires, and no longer. Without
// one, the error comes in the time that a caller can wait.
func TestStoreFails(t *testing.T) {
	forEach(t, map[string]smtest.Fault{
		"throttles":       {Status: 400, Type: "ThrottlingException"},
		"denies":          {Status: 400, Type: "AccessDeniedException"},
		"fails":           {Status: 500, Type: "InternalServiceError"},
		"hangs":           {Hang: true},
		"breaks off":      {Break: true},
		"answers garbage": {Status: 200, Body: "<html>"},
	}, func(e *env, fault smtest.Fault) {
		e.put(newToken("one", time.Hour))
		e.mustVend(false, "one")
		e.storeFault("GetSecretValue", "", fault)
		end := time.Now().Add(time.Hour - Margin)
		for {
			start := time.Now()
			token, err := e.vend(false)
			if time.Now().After(end) {
				break
			}
			if err != nil || token != "one" || time.Since(start) > staleTimeout {
				e.Fatalf("%v: got %v after %v", time.Now(), err, time.Since(start))
			}
			time.Sleep(17 * time.Second)
		}
		time.Sleep(time.Minute)
		start := time.Now()
		if _, err := e.vend(false); !errors.Is(err, ErrUnavailable) || time.Since(start) > readTimeout {
			e.Errorf("got %v after %v", err, time.Since(start))
		}
		e.storeWorks()
		e.put(newToken("two", time.Hour))
		time.Sleep(time.Second)
		e.mustVend(false, "two")
	})
}

// While a valid token is cached, it is given out whatever is stored, with the error; not if
// the tenant was removed.
func TestStoredTokenIsSpoiled(t *testing.T) {
	type test struct {
		spoil func(e *env)
		want  error
	}
	forEach(t, map[string]test{
		"unreadable":             {func(e *env) { e.sm.Put(acmeToken, "hello") }, ErrUnreadable},
		"empty":                  {func(e *env) { e.sm.Destroy(acmeToken); e.sm.Create(acmeToken) }, ErrNoToken},
		"expired":                {func(e *env) { e.put(newToken("two", time.Second)) }, ErrExpired},
		"destroyed":              {func(e *env) { e.sm.Destroy(acmeToken) }, ErrUnknownTenant},
		"scheduled for deletion": {func(e *env) { e.sm.Delete(acmeToken) }, ErrUnknownTenant},
	}, func(e *env, test test) {
		e.put(newToken("one", time.Hour))
		e.mustVend(false, "one")
		test.spoil(e)
		time.Sleep(2 * time.Minute)
		token, err := e.cache.Token(e.Context(), "acme", true)
		switch {
		case test.want == ErrUnknownTenant: //nolint:errorlint // it is the case's own
			if !errors.Is(err, ErrUnknownTenant) {
				e.Errorf("got %v", err)
			}
		case err != nil || token.Token.AccessToken.Reveal() != "one" || !errors.Is(token.StoreErr, test.want):
			e.Errorf("got %v, store error %v", err, token.StoreErr)
		}
		e.cache = &Cache{Store: e.cache.Store, TTL: time.Minute}
		if _, err := e.vend(false); !errors.Is(err, test.want) {
			e.Errorf("an empty cache: got %v, want %v", err, test.want)
		}
	})
}

// A malformed name never reaches the store, and unknown names do not fill the memory.
func TestUnknownNames(t *testing.T) {
	withEnv(t, func(e *env) {
		if _, err := e.cache.Token(e.Context(), "../x", false); !errors.Is(err, ErrTenantName) {
			e.Errorf("got %v", err)
		}
		e.mustHaveRead(0)
		for i := range 1000 {
			if _, err := e.cache.Token(e.Context(), fmt.Sprintf("t%d", i), false); !errors.Is(err, ErrUnknownTenant) {
				e.Fatalf("got %v", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := len(e.cache.tenants); n > 100 {
			e.Errorf("%d unknown names are kept", n)
		}
	})
}
