package caller

// The token between the API and the program: held, shared, and renewed.

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
	// fetchTime bounds a fetch, repetitions included; renewTime, what follows a rejection.
	fetchTime = 15 * time.Second
	renewTime = 45 * time.Second
	// firstPause doubles with every exchange that failed, up to maxPause.
	firstPause = 250 * time.Millisecond
	maxPause   = 4 * time.Second
	// minRetry is the least time between two fetches, and after a lookup that found nothing
	// newer than a rejected token; longRetry, after a fetch whose failure a person has to
	// fix, and between two reports of the same token.
	minRetry  = time.Second
	longRetry = 10 * time.Second
)

// Source gives out the token of one tenant. Its methods may be called concurrently; its
// fields must not be changed after the first call, and it must not be copied.
type Source struct {
	URL    string // of the API: the stack's output Url, https://….execute-api.….amazonaws.com/v1
	Tenant string // empty means "default"

	// AWS holds the credentials to sign with and, for a URL that does not name it, the
	// API's region. Zero means the ambient configuration: environment, shared files,
	// container or instance role. That is loaded once, and again when the API refuses the
	// signature.
	AWS aws.Config
	// Base carries requests to the API. Nil means http.DefaultTransport or, if AWS_CA_BUNDLE
	// is set, a transport that trusts the certificates in that file.
	Base http.RoundTripper

	flight singleflight.Group

	// Times are on the wall clock: monotonic time stands still while the machine is frozen.
	mu       sync.Mutex
	session  *session  // nil before the first request and after a refused signature
	held     token     // the latest; zero if there is none
	err      error     // of the last fetch
	retryAt  time.Time // when the next fetch may begin
	replaced string    // the version that was replaced last because it was rejected
	lookups  backoff   // for a newer token than a rejected one
	reports  backoff   // of a rejected token
}

var _ oauth2.TokenSource = (*Source)(nil)

// Token is [Source.TokenContext] without a context. It implements oauth2.TokenSource.
func (s *Source) Token() (*oauth2.Token, error) { return s.TokenContext(context.Background()) }

// TokenContext returns the tenant's token, which has at least ten seconds left. Its Expiry is
// by this machine's clock, zero for a token that does not expire. Extra("base_url") is
// where it is good, and must be sent nowhere else; Extra("version") is its version.
//
// While a usable token is held, it is returned at once, and TokenContext does not fail.
// Otherwise it waits for the API, for fifteen seconds at most, or as long as ctx lasts.
// The error is an [ErrCredentials], [ErrDenied], [ErrTenant], [ErrNoToken] or
// [ErrUnreachable], or that of ctx.
func (s *Source) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	t, err := s.token(ctx)
	if err != nil {
		return nil, err
	}
	return t.oauth2(), nil
}

// Reject says that Communic8 rejects a token of this Source. If it returns nil, there is
// another one, which TokenContext returns from now on. A [Transport] does this by itself;
// Reject is for programs that send requests in another way, or know a rejection when
// they see one that is not HTTP 401.
//
// It takes some seconds, 45 at most, or as long as ctx lasts. The error is an [ErrKept],
// or one of TokenContext.
func (s *Source) Reject(ctx context.Context, rejected *oauth2.Token) error {
	version, _ := rejected.Extra("version").(string)
	if version == "" {
		return fmt.Errorf("c8auth: %w: that is not a token of a Source", ErrKept)
	}
	_, err := s.renew(ctx, version, true)
	return err
}

// RetryAfter returns how long TokenContext will go on to return the same error without a
// request to the API, unless a token is held. It returns 0 if a call would make one. It
// is for servers that have to tell their own callers when to come back.
func (s *Source) RetryAfter() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !pending(s.retryAt) {
		return 0
	}
	return s.retryAt.Sub(now())
}

func (s *Source) tenant() string { return cmp.Or(s.Tenant, "default") }

// token returns the token that is held while it is usable, and fetches the next one when
// it is due: then in the background.
func (s *Source) token(ctx context.Context) (token, error) {
	now := now()
	s.mu.Lock()
	held, err, pausing := s.held, s.err, pending(s.retryAt)
	s.mu.Unlock()
	switch {
	case held.usable(now) && (pausing || !held.due(now)):
		return held, nil
	case held.usable(now):
		s.share("token", s.fetch)
		return held, nil
	case pausing:
		return token{}, fmt.Errorf("c8auth: %w", err)
	}
	return wait(ctx, s.share("token", s.fetch))
}

// fetch gets the token until there is one, or it is not worth retrying. Others wait for
// it: it does not end with the context of who began it.
func (s *Source) fetch() (token, error) {
	s.mu.Lock()
	held, err, pausing := s.held, s.err, pending(s.retryAt)
	s.mu.Unlock()
	switch now := now(); { // another fetch may just have ended
	case pausing:
		return token{}, err
	case held.usable(now) && !held.due(now):
		return held, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	failed := fail(ErrUnreachable, "Base panicked")
	defer func() {
		if failed == nil {
			return
		}
		retry := minRetry
		if !failed.temporary {
			retry = longRetry
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err, s.retryAt = failed.error, now().Add(max(retry, failed.retryAfter))
	}()
	for n := 1; ; n++ {
		t, f := s.get(ctx, false)
		if failed = f; failed == nil {
			return s.hold(t, ""), nil
		}
		if !failed.temporary || !sleep(ctx, failed.retryAfter+pause(n)) {
			return token{}, failed.error
		}
	}
}

// hold keeps t for later calls, and returns what is held then. instead is the version
// that t replaces, empty for none: that one is not held again.
func (s *Source) hold(t token, instead string) token {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.retryAt = nil, time.Time{}
	if instead != "" {
		s.replaced = instead
	}
	if t.version != s.replaced || !s.held.usable(now()) {
		s.held = t
	}
	return s.held
}

// renew returns a token of another version than the rejected one. report is whether
// c8auth is told about that.
func (s *Source) renew(ctx context.Context, rejected string, report bool) (token, error) {
	return wait(ctx, s.share(fmt.Sprint("renew ", report, " ", rejected), func() (token, error) {
		ctx, cancel := context.WithTimeout(context.Background(), renewTime) // others wait for it, too
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
		failed := fail(ErrUnreachable, "Base panicked")
		defer func() {
			if failed == nil {
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.lookups.fail(rejected, minRetry)
			if report {
				s.reports.fail(rejected, max(longRetry, failed.retryAfter))
			}
		}()
		for n := 1; ; n++ {
			t, f := s.tryRenew(ctx, rejected, report)
			if failed = f; failed == nil {
				return t, nil
			}
			if !failed.temporary || !sleep(ctx, failed.retryAfter+pause(n)) {
				return token{}, failed.error
			}
		}
	}))
}

// tryRenew is renew, once.
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
		return token{}, &failure{error: ErrKept}
	case reported == nil: // c8auth has a newer one: this one came from a cache, or none came
		return token{}, &failure{error: ErrKept, temporary: true, retryAfter: minRetry}
	}
	return token{}, &failure{
		error:      fmt.Errorf("%w: %w", ErrKept, reported.error),
		temporary:  reported.temporary && reported.retryAfter <= maxPause,
		retryAfter: max(minRetry, reported.retryAfter),
	}
}

// share runs f once for all who call it with the key meanwhile. A panic, of Base, ends
// the process from a goroutine of singleflight's; here it is passed on to who waits.
func (s *Source) share(key string, f func() (token, error)) <-chan singleflight.Result {
	return s.flight.DoChan(key, func() (_ any, err error) {
		defer func() {
			if value := recover(); value != nil {
				err = &panicError{value}
			}
		}()
		return f()
	})
}

// panicError carries a panic to the goroutines that wait.
type panicError struct{ value any }

func (*panicError) Error() string { return "Base panicked" }

// wait waits for what is under way, but not longer than ctx lasts. It panics if that did.
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

// pause is how long to wait after the nth exchange failed, with jitter.
func pause(n int) time.Duration {
	full := min(maxPause, firstPause<<min(n-1, 10))
	return full/2 + rand.N(full/2) // #nosec G404 -- spreads load, guards nothing
}

// sleep reports whether d has passed before the end of ctx. If it could not, it does not
// wait at all.
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
