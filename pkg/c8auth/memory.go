package c8auth

// What a process remembers of a tenant from one invocation to the next.

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// probeTTL is how long the probe of a stored token counts before a report has it made
	// again. An inconclusive one counts for longer: most likely it has waited for an answer
	// in vain, and while it does, no other report can use the sandbox.
	probeTTL        = 5 * time.Second
	inconclusiveTTL = time.Minute
	// maxHold is the longest time that a Retry-After keeps a process from requesting a
	// token. A process that starts meanwhile makes a request of its own.
	maxHold = time.Hour
)

// memory is never needed: without it, Communic8 is asked once more.
type memory struct {
	probe    probe
	hold     time.Time // until when no token is requested with the credentials of heldFor
	heldFor  string    // version of credentials
	full     time.Time // when the quota of versions refused the latest write; zero: it did not
	version  string    // of the stored token then
	unstored *Token    // what it refused to store; nil if that was a claim
	rejected string    // version of the latest stored token that was counted as rejected
}

// probe is what came of trying a stored token.
type probe struct {
	version string
	trial   Trial
	detail  string
	at      time.Time
}

// counts reports whether the probe says enough about that version now.
func (p probe) counts(version string, now time.Time) bool {
	ttl := probeTTL
	if p.trial == TrialInconclusive {
		ttl = inconclusiveTTL
	}
	age := now.Sub(p.at)
	return p.version == version && age >= 0 && age < ttl
}

// memories are those of all tenants. They may be used concurrently.
type memories struct {
	flight singleflight.Group
	mu     sync.Mutex
	of     map[string]memory
}

func (m *memories) get(tenant string) memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.of[tenant]
}

func (m *memories) update(tenant string, change func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = make(map[string]memory)
	}
	of := m.of[tenant]
	change(&of)
	m.of[tenant] = of
}

// wrote remembers what came of writing a version of the token secret, which held the token,
// or a claim if that is nil.
func (run *rotation) wrote(token *Token, err error) {
	if err == nil || errors.Is(err, ErrQuota) {
		run.memories.update(run.Tenant, func(m *memory) {
			if err == nil {
				m.full, m.unstored = time.Time{}, nil
				return
			}
			m.full, m.version = now(), run.version
			if token != nil {
				m.unstored = token
			}
		})
	}
}

// probe tries the stored token, unless that was just done, or is being done.
func (run *rotation) probe(ctx context.Context) Trial {
	result, _, _ := run.memories.flight.Do(run.Tenant+" "+run.version, func() (any, error) {
		last := run.memories.get(run.Tenant).probe
		if !last.counts(run.version, now()) {
			run.try(context.WithoutCancel(ctx), *run.stored) // others wait for it
			last = probe{run.version, run.trial, run.detail, now()}
			run.memories.update(run.Tenant, func(m *memory) { m.probe = last })
		}
		return last, nil
	})
	last := result.(probe)
	run.trial, run.detail = last.trial, last.detail
	return last.trial
}
