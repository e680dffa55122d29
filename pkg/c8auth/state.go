package c8auth

// State of a tenant that a process keeps in memory between invocations.

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// probeTTL is how long the result of a probe is used for further reports. An inconclusive
	// one is used for longer: most likely the probe timed out, and no other report can use the
	// sandbox while one waits.
	probeTTL        = 5 * time.Second
	inconclusiveTTL = time.Minute
	// maxHold bounds how long a process obeys a Retry-After. Other processes do not know of it.
	maxHold = time.Hour
)

// state saves requests to Communic8. Correctness does not depend on it, because Lambda can end
// a process at any time.
type state struct {
	probe       probe
	hold        time.Time // a Retry-After: no token is requested before this time
	holdVersion string    // version of the credentials that hold is for
	quota       time.Time // when the latest write failed with ErrQuota; zero: it did not
	version     string    // of the stored token at that time
	unstored    *Token    // the latest token that could not replace that version; nil if only claims failed
	rejected    string    // version of the latest stored token that TokenRejected has counted
}

// probe is the probe of a stored token.
type probe struct {
	version string
	result  ProbeResult
	detail  string
	at      time.Time
}

// counts reports whether the result can be used for that version without another probe.
func (p probe) counts(version string, now time.Time) bool {
	ttl := probeTTL
	if p.result == ProbeInconclusive {
		ttl = inconclusiveTTL
	}
	age := now.Sub(p.at)
	return p.version == version && age >= 0 && age < ttl
}

// holds returns the time before which no token may be requested with that version of the
// credentials; zero if there is none.
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

// noteWrite keeps whether a write of the token secret succeeded or failed with ErrQuota. token
// is nil if the write was a claim.
func (run *rotation) noteWrite(token *Token, err error) {
	if err != nil && !errors.Is(err, ErrQuota) {
		return
	}
	run.states.update(run.Tenant, func(s *state) {
		if err == nil {
			s.quota, s.unstored = time.Time{}, nil
			return
		}
		if token != nil || s.version != run.version { // a token that was to replace another version is outdated
			s.unstored = token
		}
		s.quota, s.version = now(), run.version
	})
}

// unstored returns the token that this process could not store because of ErrQuota, so that it
// can be stored now without another request. If that token is no longer usable, unstored writes
// a claim, which shows whether Secrets Manager accepts writes again. The error is then that of
// the claim. Both are nil if a token may be requested.
func (run *rotation) unstored(ctx context.Context) (*Token, error) {
	s := run.states.get(run.Tenant)
	if s.quota.IsZero() || s.version != run.version {
		return nil, nil
	}
	if s.unstored != nil && s.unstored.Valid(now()) && run.probe(ctx, *s.unstored) != ProbeRejected {
		return s.unstored, nil
	}
	if run.version == "" { // without a version, there is nothing to claim
		return nil, nil
	}
	claimed, err := run.claim(ctx)
	if err == nil && !claimed && now().Sub(s.quota) < claimRefill { // later, a refused claim shows that another process has written one
		err = explain(ErrQuota, "the next attempt to write one is made in %v at most", claimRefill)
	}
	return nil, err
}

// claim is [Store.claim] of the stored version, followed by noteWrite.
func (run *rotation) claim(ctx context.Context) (bool, error) {
	claimed, err := run.Store.claim(ctx, run.Tenant, run.version)
	if claimed || err != nil {
		run.noteWrite(nil, err)
	}
	return claimed, err
}

// probeStored probes the stored token for a report. Concurrent reports share one probe, and
// its result is used again while it counts. The probe does not end with ctx.
func (run *rotation) probeStored(ctx context.Context) ProbeResult {
	result, _, _ := run.states.flight.Do(run.Tenant+" "+run.version, func() (any, error) {
		last := run.states.get(run.Tenant).probe
		if !last.counts(run.version, now()) {
			run.probe(context.WithoutCancel(ctx), run.stored)
			last = probe{run.version, run.probed, run.detail, now()}
			run.states.update(run.Tenant, func(s *state) { s.probe = last })
		}
		return last, nil
	})
	last := result.(probe)
	run.probed, run.detail = last.result, last.detail
	return last.result
}
