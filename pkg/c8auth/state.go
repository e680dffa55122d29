package c8auth

// What a process keeps of a tenant between invocations.

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// probeTTL is how long the probe of a stored token counts before a report has it
	// repeated. An inconclusive one counts for longer: most likely it timed out, and while
	// it waits, no other report can use the sandbox.
	probeTTL        = 5 * time.Second
	inconclusiveTTL = time.Minute
	// maxHold bounds how long a Retry-After keeps a process from requesting a token. A
	// process that starts meanwhile makes a request of its own.
	maxHold = time.Hour
)

// state saves requests: a process without it makes one more to Communic8.
type state struct {
	probe       probe
	hold        time.Time // no token is requested before, as a Retry-After said,
	holdVersion string    // with this version of the credentials
	quota       time.Time // when the quota of versions refused the latest write; zero: it did not
	version     string    // of the stored token then
	unstored    *Token    // what was not stored; nil if that was a claim
	rejected    string    // version of the latest stored token that was counted as rejected
}

// probe is the probe of a stored token.
type probe struct {
	version string
	result  ProbeResult
	detail  string
	at      time.Time
}

// counts reports whether the probe still holds for that version.
func (p probe) counts(version string, now time.Time) bool {
	ttl := probeTTL
	if p.result == ProbeInconclusive {
		ttl = inconclusiveTTL
	}
	age := now.Sub(p.at)
	return p.version == version && age >= 0 && age < ttl
}

// holds returns until when a Retry-After holds for that version of the credentials; zero if
// none does.
func (s state) holds(version string, now time.Time) time.Time {
	if left := s.hold.Sub(now); s.holdVersion != version || left <= 0 || left > maxHold {
		return time.Time{}
	}
	return s.hold
}

// states are those of all tenants. They may be used concurrently.
type states struct {
	flight singleflight.Group
	mu     sync.Mutex
	of     map[string]state
}

func (s *states) get(tenant string) state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[tenant]
}

func (s *states) update(tenant string, change func(*state)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = make(map[string]state)
	}
	of := s.of[tenant]
	change(&of)
	s.of[tenant] = of
}

// noteWrite notes the result of writing a version of the token secret: a token, or a claim
// if that is nil.
func (run *rotation) noteWrite(token *Token, err error) {
	if err != nil && !errors.Is(err, ErrQuota) {
		return
	}
	run.states.update(run.Tenant, func(s *state) {
		if err == nil {
			s.quota, s.unstored = time.Time{}, nil
			return
		}
		s.quota, s.version = now(), run.version
		if token != nil {
			s.unstored = token
		}
	})
}

// unstored returns the token that this process could not store because of the quota of
// versions, so that no other one is requested meanwhile. When that token cannot be used any
// more, a claim shows whether Secrets Manager accepts writes again, unless another process
// has written.
func (run *rotation) unstored(ctx context.Context) (*Token, error) {
	s := run.states.get(run.Tenant)
	if s.quota.IsZero() || s.version != run.version {
		return nil, nil
	}
	if s.unstored != nil && s.unstored.Valid(now()) && run.probe(ctx, *s.unstored) != ProbeRejected {
		return s.unstored, nil
	}
	if run.version == "" { // there is none to claim
		return nil, nil
	}
	claimed, err := run.claim(ctx)
	if err == nil && !claimed && now().Sub(s.quota) < claimRefill { // no other process has made a claim since
		err = explain(ErrQuota, "the next attempt to write one is made in %v at most", claimRefill)
	}
	return nil, err
}

// claim is [Store.claim] of the stored version, whose result it notes.
func (run *rotation) claim(ctx context.Context) (bool, error) {
	claimed, err := run.Store.claim(ctx, run.Tenant, run.version)
	if claimed || err != nil {
		run.noteWrite(nil, err)
	}
	return claimed, err
}

// probeStored probes the stored token for a report, unless that was just done or is being
// done.
func (run *rotation) probeStored(ctx context.Context) ProbeResult {
	result, _, _ := run.states.flight.Do(run.Tenant+" "+run.version, func() (any, error) {
		last := run.states.get(run.Tenant).probe
		if !last.counts(run.version, now()) {
			run.probe(context.WithoutCancel(ctx), run.stored) // others wait for it
			last = probe{run.version, run.probed, run.detail, now()}
			run.states.update(run.Tenant, func(s *state) { s.probe = last })
		}
		return last, nil
	})
	last := result.(probe)
	run.probed, run.detail = last.result, last.detail
	return last.result
}
