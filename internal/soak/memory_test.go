//go:build soak

package soak

// What a sandbox can know is what the store has told it. From that, and from when it was
// told, follows to the letter what it may answer and when it has to ask again.

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	cacheTTL = 2 * time.Second
	pause    = time.Second // of reads that came to nothing, and of fresh ones
	// patience is a little less than the least after which a read is given up. What the
	// store did later than that need not have been heard.
	patience = 900 * time.Millisecond
)

// outcome is what a read came to.
type outcome string

const (
	unread      outcome = ""
	living      outcome = "a living token"
	expired     outcome = "an expired token"
	noToken     outcome = "no token yet"
	unknown     outcome = "no such tenant"
	notToken    outcome = "something that is no token"
	unavailable outcome = "nothing of use"
)

// failures are the statuses that come of outcomes, and after how many seconds a caller
// is to try again.
var failures = map[outcome]struct {
	status int
	wait   string
}{
	living:      {http.StatusServiceUnavailable, "30"}, // it has died since
	expired:     {http.StatusServiceUnavailable, "30"},
	noToken:     {http.StatusServiceUnavailable, "30"},
	unknown:     {http.StatusNotFound, ""},
	notToken:    {http.StatusInternalServerError, ""},
	unavailable: {http.StatusServiceUnavailable, "5"},
}

// cause is why a sandbox reads.
type cause string

const (
	uncalled     cause = "" // there is none
	first        cause = "nothing known"
	periodOver   cause = "cache period over"
	noCache      cause = "no-cache, after a second"
	tokenOver    cause = "token over"
	failedBefore cause = "nothing of use a second ago"
	doubt        cause = "unclear what it was told"
)

// hearing is what a sandbox was told at one attempt to read.
type hearing struct {
	call    string // of the SDK: the same for all of its attempts
	tenant  string
	at      time.Time
	outcome outcome
	token   vended // of a living or expired one
}

// memory is what a sandbox knows of a tenant.
type memory struct {
	last    outcome
	token   *vended   // the latest living one
	asked   time.Time // when the latest read was not over yet
	settled time.Time // when it was
	doubt   bool      // whether all of this is so
}

// after returns what is known after a request that led to a read.
func (m memory) after(read hearing, start, end time.Time) memory {
	m.last, m.asked, m.settled, m.doubt = read.outcome, read.at, end, false
	if given := start.Add(patience); given.Before(m.asked) {
		m.asked = given // up, perhaps
	}
	switch read.outcome {
	case living:
		switch alive(&read.token, read.at, end) {
		case no:
			m.last = expired
		case maybe:
			m.token, m.doubt = &read.token, true
		case yes:
			m.token = &read.token
		}
	case unknown:
		m.token = nil
	}
	return m
}

// cause says why a read at the time is right.
func (m memory) cause(fresh bool, start, at time.Time) cause {
	age := at.Sub(m.asked)
	switch {
	case m.last == unread:
		return first
	case m.doubt:
		return doubt
	case m.last == living && alive(m.token, start, at) != yes:
		return tokenOver
	case m.last != living && age >= pause:
		return failedBefore
	case m.last == living && age >= cacheTTL:
		return periodOver
	case fresh && age >= pause:
		return noCache
	}
	return uncalled
}

// overdue says whether there had to be a read.
func (m memory) overdue(fresh bool, start, end time.Time) bool {
	age := start.Sub(m.settled)
	switch {
	case m.last == unread:
		return true
	case m.doubt:
		return false
	case m.last == living && alive(m.token, start, end) == no:
		return true
	case m.last != living || fresh:
		return age >= pause
	}
	return age >= cacheTTL
}

// explain says what is wrong with an answer that comes of this memory.
func (m memory) explain(a answer, v *vended, start, end time.Time) error {
	has := no
	if m.token != nil {
		has = alive(m.token, start, end)
	}
	want := failures[m.last]
	switch {
	case v != nil && has == no:
		return errors.New("a token that it was never told of, or that is over")
	case v != nil && (v.AccessToken != m.token.AccessToken || v.Version != m.token.Version || !v.ExpiresAt.Equal(m.token.ExpiresAt)):
		return errors.New("not the token that it was told of")
	case v != nil:
		return nil
	case has == yes:
		return fmt.Errorf("%d though it has a living token", a.status)
	case a.status != want.status || a.header.Get("Retry-After") != want.wait:
		return fmt.Errorf("%d, Retry-After %q, though the store had %s", a.status, a.header.Get("Retry-After"), cmp.Or(m.last, "not been asked"))
	}
	return nil
}

// judge holds an answer to what the sandbox was told before and meanwhile, and keeps
// that in mind.
func (s *sandbox) judge(q request, a answer, v *vended, heard []hearing, start, end time.Time) error {
	before := s.known[q.tenant]
	if !tenantName.MatchString(q.tenant) {
		if len(heard) > 0 {
			return errors.New("it asked the store, though that is no name")
		}
		return nil // lawful has seen to the rest
	}
	if len(heard) == 0 {
		if before.overdue(q.fresh, start, end) {
			return fmt.Errorf("it did not ask the store, which it did %v ago", start.Sub(before.settled))
		}
		return before.explain(a, v, start, end)
	}
	if err := orderly(q, heard); err != nil {
		return err
	}
	why := before.cause(q.fresh, start, heard[0].at)
	if why == uncalled {
		return fmt.Errorf("it asked the store, which it did only %v ago", heard[0].at.Sub(before.asked))
	}
	s.world.count(func(c *counts) { c.reads[why]++; c.attempts += len(heard) })

	last := heard[len(heard)-1]
	possible := []memory{before.after(last, start, end)}
	if last.outcome != unavailable && last.at.Sub(start) >= patience {
		last.outcome = unavailable
		possible = append(possible, before.after(last, start, end))
		possible[0].doubt, possible[1].doubt = true, true
	}
	var err error
	for _, m := range possible {
		if err = m.explain(a, v, start, end); err == nil {
			if !strings.HasPrefix(q.tenant, madeUp) { // those do not come again
				s.known[q.tenant] = m
			}
			return nil
		}
	}
	return err
}

// orderly says what is wrong with the way in which the store was asked.
func orderly(q request, heard []hearing) error {
	failed := 0
	for _, h := range heard {
		if h.tenant != q.tenant || h.call != heard[0].call {
			return fmt.Errorf("it asked for %s, and more than once", h.tenant)
		}
		if h.outcome == unavailable {
			failed++
		}
	}
	if len(heard) > failed+1 {
		return fmt.Errorf("%d attempts, of which %d failed", len(heard), failed)
	}
	return nil
}

type answered int

const (
	no answered = iota
	maybe
	yes
)

// alive says whether the token was worth giving out all the time from start to end.
func alive(v *vended, start, end time.Time) answered {
	latest := v.ExpiresAt.Add(-margin)
	switch {
	case v.ExpiresAt.IsZero(), !end.After(latest):
		return yes
	case start.After(latest):
		return no
	}
	return maybe
}
