package caller

// Source: a tenant's token is fetched, held, and replaced after a rejection.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
)

const (
	// fetchTime bounds a fetch, retries included; renewTime, the report of a rejection and the
	// fetch of the next token.
	fetchTime = 15 * time.Second
	renewTime = 45 * time.Second
	// firstPause doubles with every exchange that failed, up to maxPause.
	firstPause = 250 * time.Millisecond
	maxPause   = 4 * time.Second
	// minRetry is the least time until the next fetch, and until the next request for a newer
	// token than the rejected one. longRetry is the least time until the next fetch after a
	// failure that is not temporary, and until the next report of the same token.
	minRetry  = time.Second
	longRetry = 10 * time.Second
)

// Source returns the token of one tenant. Its methods may be called concurrently; its fields
// must not be changed after the first call, and it must not be copied.
type Source struct {
	URL    string // of the API: the stack's output Url, https://….execute-api.….amazonaws.com/v1
	Tenant string // empty means "default"

	// AWS has the credentials to sign with and, if URL does not name it, the API's region. If
	// its Credentials are nil, the ambient configuration is used: environment, shared files,
	// container or instance role. It is loaded once, and again if the API refuses the signature.
	AWS aws.Config
	// Base is the transport of requests to the API. Nil means http.DefaultTransport or, if
	// AWS_CA_BUNDLE is set, a transport that trusts the certificates in that file.
	Base http.RoundTripper

	flight singleflight.Group

	// Times are without a monotonic reading, which stands still while the machine is frozen.
	mu       sync.Mutex
	session  *session  // nil before the first request and after a refused signature
	held     token     // the latest token; zero if there is none
	err      error     // of the last fetch; nil if it succeeded
	retryAt  time.Time // when the next fetch may begin
	replaced string    // the latest version that was replaced after a rejection
	lookups  backoff   // delays requests for a newer token than the rejected one
	reports  backoff   // delays reports of a rejected token
}

var _ oauth2.TokenSource = (*Source)(nil)

// Token is [Source.TokenContext] without a context. It implements oauth2.TokenSource.
func (s *Source) Token() (*oauth2.Token, error) { return s.TokenContext(context.Background()) }

// TokenContext returns the tenant's token, which has at least ten seconds left. Expiry is by
// this machine's clock, and zero for a token that does not expire. Extra("base_url") is the base
// URL, a string; the token must be sent nowhere else. Extra("version") is the version, a string.
//
// If the Source holds such a token, TokenContext returns the token at once, without an error.
// Otherwise TokenContext waits for the API, until ctx ends, and fifteen seconds at most. The
// error is an [ErrCredentials], [ErrDenied], [ErrTenant], [ErrNoToken] or [ErrUnreachable], or
// wraps that of ctx. After a failed request, calls return the same error without another one
// until [Source.RetryAfter] is zero.
func (s *Source) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	t, err := s.token(ctx)
	if err != nil {
		return nil, err
	}
	return t.oauth2(), nil
}

// Reject reports that Communic8 rejects a token of this Source. If Reject returns nil, there is
// another token, which TokenContext returns from then on. [Transport] reports HTTP 401 by
// itself; Reject is for programs without one, and for rejections with another status.
//
// Reject waits for c8auth, usually some seconds, until ctx ends, and 45 seconds at most. The
// error is an [ErrKept] or one of TokenContext.
func (s *Source) Reject(ctx context.Context, rejected *oauth2.Token) error {
	version, _ := rejected.Extra("version").(string)
	if version == "" {
		return fmt.Errorf("c8auth: %w: that is not a token of a Source", ErrKept)
	}
	_, err := s.renew(ctx, version, true)
	return err
}

// RetryAfter returns the time until TokenContext requests a token again after a failed request,
// and 0 if it may request one now. A server can send that time to its own callers.
func (s *Source) RetryAfter() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !pending(s.retryAt) {
		return 0
	}
	return s.retryAt.Sub(now())
}

func (s *Source) tenant() string { return cmp.Or(s.Tenant, "default") }

// token returns the held token while it is usable. If the next one is due, token starts a fetch,
// and waits for it only if there is no usable token.
func (s *Source) token(ctx context.Context) (token, error) {
	held, due, err := s.current()
	switch {
	case due && held.secret == nil:
		return wait(ctx, s.share("token", s.fetch))
	case due:
		s.share("token", s.fetch)
	case err != nil:
		return token{}, fmt.Errorf("c8auth: %w", err)
	}
	return held, nil
}

// current returns the held token if it is usable, and whether to fetch the next one. If neither,
// it returns the error of the last fetch.
func (s *Source) current() (held token, due bool, err error) {
	now := now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held.usable(now) {
		held = s.held
	}
	switch {
	case !pending(s.retryAt):
		return held, held.secret == nil || held.due(now), nil
	case held.secret == nil:
		return token{}, false, s.err
	}
	return held, false, nil
}

// fetch gets the token, and retries after temporary failures. It has no context of a caller,
// because several calls share one fetch.
func (s *Source) fetch() (token, error) {
	if held, due, err := s.current(); !due { // another fetch has just ended
		return held, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	t, failed := retry(ctx, func() (token, *failure) { return s.get(ctx, false) })
	if failed == nil {
		return s.hold(t, ""), nil
	}
	pause := minRetry
	if !failed.temporary {
		pause = longRetry
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.retryAt = failed.err, now().Add(max(pause, failed.retryAfter))
	return token{}, failed.err
}

// hold keeps t for later calls, and returns the token that is held then. rejected is the version
// that Communic8 rejected and t replaces; empty if there is none. A fetch that began before the
// rejection can return that version late, and hold then keeps the newer token.
func (s *Source) hold(t token, rejected string) token {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.retryAt = nil, time.Time{}
	if rejected != "" {
		s.replaced = rejected
	}
	if t.version != s.replaced || !s.held.usable(now()) {
		s.held = t
	}
	return s.held
}

// renew returns a token of another version than the rejected one. report says whether the
// rejection is reported to c8auth.
func (s *Source) renew(ctx context.Context, rejected string, report bool) (token, error) {
	return wait(ctx, s.share(fmt.Sprint("renew ", report, " ", rejected), func() (token, error) {
		ctx, cancel := context.WithTimeout(context.Background(), renewTime) // shared, like fetch
		defer cancel()
		s.mu.Lock()
		held := s.held
		report := report && s.reports.allows(rejected)
		lookup := report || s.lookups.allows(rejected)
		s.mu.Unlock()
		switch {
		case held.version != rejected && held.usable(now()): // another call has renewed it
			return held, nil
		case !lookup:
			return token{}, ErrKept
		}
		t, failed := retry(ctx, func() (token, *failure) { return s.tryRenew(ctx, rejected, report) })
		if failed == nil {
			return t, nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lookups.fail(rejected, minRetry)
		if report {
			s.reports.fail(rejected, max(longRetry, failed.retryAfter))
		}
		return token{}, failed.err
	}))
}

// tryRenew is one attempt of renew.
func (s *Source) tryRenew(ctx context.Context, rejected string, report bool) (token, *failure) {
	kept := !report
	var reported *failure
	if report {
		kept, reported = s.report(ctx, rejected)
	}
	t, failed := s.get(ctx, true)
	switch {
	case failed == nil && t.version != rejected:
		return s.hold(t, rejected), nil
	case failed != nil && !failed.temporary:
		return token{}, failed
	case kept:
		return token{}, &failure{err: ErrKept}
	case reported == nil: // c8auth has a newer token, but vend returned a cached one, or failed
		return token{}, &failure{err: ErrKept, temporary: true, retryAfter: minRetry}
	}
	return token{}, &failure{
		err:        fmt.Errorf("%w: %w", ErrKept, reported.err),
		temporary:  reported.temporary && reported.retryAfter <= maxPause,
		retryAfter: max(minRetry, reported.retryAfter),
	}
}

// retry repeats an attempt until it succeeds, its failure is not temporary, or ctx ends. A panic
// of Base or of the provider of credentials becomes a failure, and wait panics with its value.
// In a goroutine of singleflight, the panic could not be recovered and would end the process.
func retry(ctx context.Context, attempt func() (token, *failure)) (t token, failed *failure) {
	defer func() {
		if value := recover(); value != nil {
			failed = &failure{err: fmt.Errorf("%w: %w", ErrUnreachable, &panicError{value})}
		}
	}()
	for n := 1; ; n++ {
		t, failed = attempt()
		if failed == nil || !failed.temporary || !sleep(ctx, failed.retryAfter+pause(n)) {
			return t, failed
		}
	}
}

// panicError passes a panic to the goroutines that wait.
type panicError struct{ value any }

func (*panicError) Error() string { return "Base panicked" }

// share runs f once for all concurrent calls with the key.
func (s *Source) share(key string, f func() (token, error)) <-chan singleflight.Result {
	return s.flight.DoChan(key, func() (any, error) { return f() })
}

// wait waits for a shared call, or until ctx ends. If the call panicked, wait panics.
func wait(ctx context.Context, done <-chan singleflight.Result) (token, error) {
	select {
	case result := <-done:
		if p, ok := errors.AsType[*panicError](result.Err); ok {
			panic(p.value)
		}
		if result.Err != nil {
			return token{}, fmt.Errorf("c8auth: %w", result.Err)
		}
		return result.Val.(token), nil
	case <-ctx.Done():
		return token{}, fmt.Errorf("c8auth: waiting for the token: %w", ctx.Err())
	}
}

// pause returns the time to wait after the nth failed attempt, with jitter.
func pause(n int) time.Duration {
	full := min(maxPause, firstPause<<min(n-1, 10))
	return full/2 + rand.N(full/2) // #nosec G404 -- spreads load, guards nothing
}

// sleep waits for d and reports whether ctx lasted that long. If the deadline of ctx is earlier,
// sleep returns false at once.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return false
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
