package caller

// The token between the API and the program: held, shared, and renewed.

import (
	"cmp"
	"context"
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
	// rest is how long the API is left alone at least after a fetch that failed, and
	// after one that found nothing newer than a rejected token; longRest, after a failure
	// that somebody has to mend.
	rest     = time.Second
	longRest = 10 * time.Second
	// quiet is for how long a token that c8auth has kept is not reported again.
	quiet = 10 * time.Second
)

// Source gives out the token of one tenant. Its methods may be called concurrently; its
// fields must not be changed after the first call, and it must not be copied.
type Source struct {
	URL    string // of the API: the stack's output Url, https://….execute-api.….amazonaws.com/v1
	Tenant string // empty means "default"

	// AWS holds the credentials to sign with and, for a URL that does not name it, the
	// API's region. Zero means the ambient configuration: environment, shared files,
	// container or instance role.
	AWS aws.Config
	// Base carries requests to the API. Nil means http.DefaultTransport.
	Base http.RoundTripper

	flight singleflight.Group

	mu      sync.Mutex
	ambient aws.Config
	held    token     // the latest; zero if there is none
	err     error     // what came of the last fetch
	resting time.Time // until when the API is not asked for a token
	dead    string    // the version that was replaced last because it was rejected
	looked  time.Time // when the API was last asked for a newer one than a rejected one
	hushed  string    // a version that is not reported,
	until   time.Time // until then
}

var _ oauth2.TokenSource = (*Source)(nil)

// Token is [Source.TokenContext] without a context. It implements oauth2.TokenSource.
func (s *Source) Token() (*oauth2.Token, error) { return s.TokenContext(context.Background()) }

// TokenContext returns the tenant's token, which has at least ten seconds left. Its Expiry is
// by this machine's clock, zero for a token that does not expire. Extra("base_url") is
// where it is good, and must be sent nowhere else; Extra("version") is its version.
//
// While a usable token is at hand, it is returned at once, and TokenContext does not fail.
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

func (s *Source) tenant() string { return cmp.Or(s.Tenant, "default") }

// token returns the token that is held while it is usable, and fetches the next one when
// it is due: then in the background.
func (s *Source) token(ctx context.Context) (token, error) {
	now := time.Now()
	s.mu.Lock()
	held, err, resting := s.held, s.err, now.Before(s.resting)
	s.mu.Unlock()
	switch {
	case held.usable(now) && (resting || !held.due(now)):
		return held, nil
	case held.usable(now):
		s.flight.DoChan("token", s.fetch)
		return held, nil
	case resting:
		return token{}, fmt.Errorf("c8auth: %w", err)
	}
	return wait(ctx, s.flight.DoChan("token", s.fetch))
}

// fetch gets the token until there is one, or it is not worth repeating. Others wait for
// it: it does not end with the context of who began it.
func (s *Source) fetch() (any, error) {
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	if now := time.Now(); held.usable(now) && !held.due(now) { // another fetch has just ended
		return held, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	for n := 1; ; n++ {
		t, failed := s.get(ctx, false)
		if failed == nil {
			return s.hold(t, ""), nil
		}
		if !failed.temporary || !sleep(ctx, failed.retryAfter+pause(n)) {
			leave := rest
			if !failed.temporary {
				leave = longRest
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.err, s.resting = failed.error, time.Now().Add(max(leave, failed.retryAfter))
			return token{}, failed.error
		}
	}
}

// hold keeps t for the next to ask, and returns what is held then. instead is the version
// that t has come in the place of, empty for none: that one does not come back.
func (s *Source) hold(t token, instead string) token {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.resting = nil, time.Time{}
	if instead != "" {
		s.dead = instead
	}
	if t.version != s.dead || !s.held.usable(time.Now()) {
		s.held = t
	}
	return s.held
}

// renew returns a token of another version than the rejected one. report is whether
// c8auth is told about that.
func (s *Source) renew(ctx context.Context, rejected string, report bool) (token, error) {
	return wait(ctx, s.flight.DoChan(fmt.Sprint("renew ", report, " ", rejected), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), renewTime) // others wait for it, too
		defer cancel()
		for n := 1; ; n++ {
			t, again, err := s.tryRenew(ctx, rejected, report)
			if err == nil || again == 0 || !sleep(ctx, again+pause(n)) {
				return t, err
			}
		}
	}))
}

// tryRenew is renew, once. Its error is nil if there is a newer token; else again is
// after how long another try makes sense, 0 for never.
func (s *Source) tryRenew(ctx context.Context, rejected string, report bool) (t token, again time.Duration, _ error) {
	now := time.Now()
	s.mu.Lock()
	held, looked := s.held, now.Sub(s.looked) < rest
	hushed := s.hushed == rejected && now.Before(s.until)
	s.mu.Unlock()
	report = report && !hushed
	switch {
	case held.version != rejected && held.usable(now): // somebody has been here
		return held, 0, nil
	case !report && looked:
		return token{}, 0, ErrKept
	}
	var unheard *failure
	if report {
		var kept bool
		if kept, unheard = s.report(ctx, rejected); kept {
			s.hush(rejected, quiet)
			report = false
		}
	}
	t, failed := s.get(ctx, true)
	s.mu.Lock()
	s.looked = time.Now()
	s.mu.Unlock()
	switch {
	case failed == nil && t.version != rejected:
		return s.hold(t, rejected), 0, nil
	case failed != nil && !failed.temporary:
		return token{}, 0, failed.error
	case !report:
		return token{}, 0, ErrKept
	case unheard == nil: // it was replaced: what came is from a cache, or nothing did
		return token{}, rest, ErrKept
	case unheard.temporary && unheard.retryAfter <= maxPause:
		return token{}, max(rest, unheard.retryAfter), fmt.Errorf("%w: %w", ErrKept, unheard.error)
	}
	s.hush(rejected, max(quiet, unheard.retryAfter))
	return token{}, 0, fmt.Errorf("%w: %w", ErrKept, unheard.error)
}

// hush keeps the version from being reported for a while.
func (s *Source) hush(version string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hushed, s.until = version, time.Now().Add(d)
}

// wait waits for what is under way, but not longer than ctx lasts.
func wait(ctx context.Context, done <-chan singleflight.Result) (token, error) {
	select {
	case result := <-done:
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
