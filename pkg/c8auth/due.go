package c8auth

// When a new token is due, and with which credentials it is requested.

import (
	"errors"
	"time"
)

// Reason is why a new token is due; empty when none is.
type Reason string

// The reasons, in the order in which they are checked.
const (
	FirstToken         Reason = "first_token"         // none is stored yet
	UnreadableToken    Reason = "unreadable_token"    // the stored value cannot be read, or is dated ahead of the clock
	HalfLife           Reason = "half_life"           // half of its lifetime is over, or more if that is short
	CredentialsChanged Reason = "credentials_changed" // it was made from other credentials
	Forced             Reason = "forced"              // an operator forces it
	Rejected           Reason = "rejected"            // Communic8 rejects it
)

const (
	// forceAfter is the age under which a token is too young to be replaced because an
	// operator forces it: a request that is delivered twice is one request.
	forceAfter = time.Minute
	// maxAhead is how far two clocks may be apart. A token that is dated further ahead
	// than that would count as fresh for too long.
	maxAhead = time.Minute

	// heartbeat is the schedule's interval.
	heartbeat = 5 * time.Minute
	// writeInterval makes every third heartbeat a rotation at most, 96 in a day: a secret
	// has about 100 versions, and none is removed within a day.
	writeInterval = 3*heartbeat - time.Minute
	// minRemaining is the remaining lifetime at which a token is replaced however short its
	// lifetime is: the next heartbeat can be a minute late, and needs time to rotate.
	minRemaining = heartbeat + 2*time.Minute
)

// dueAge returns the age at which a token of that lifetime is due: half of the lifetime, or
// later if that saves versions and is safe, which concerns lifetimes of 14 to 28 minutes.
func dueAge(lifetime time.Duration) time.Duration {
	return max(lifetime/2, min(writeInterval, lifetime-minRemaining))
}

// fillsQuota reports whether tokens of that lifetime are replaced so often that the
// secret's versions reach their quota in a day.
func fillsQuota(lifetime time.Duration) bool {
	interval := (dueAge(lifetime) + heartbeat - 1).Truncate(heartbeat) // a check comes once a heartbeat
	return 24*time.Hour/max(interval, heartbeat) >= maxVersions
}

// due decides from what is stored whether a new token is due. readErr is the error of
// reading the stored token: nil, [ErrNoToken] or [ErrUnreadable]. Whether Communic8 rejects
// the token is checked by [rotation.due].
func due(now time.Time, stored Token, readErr error, credentialsVersion string, force bool) Reason {
	age := now.Sub(stored.IssuedAt)
	switch {
	case errors.Is(readErr, ErrNoToken):
		return FirstToken
	case readErr != nil, age < -maxAhead:
		return UnreadableToken
	case stored.Expires() && age >= dueAge(stored.ExpiresAt.Sub(stored.IssuedAt)):
		return HalfLife
	case stored.CredentialsVersion != credentialsVersion:
		return CredentialsChanged
	case force && age > forceAfter:
		return Forced
	}
	return ""
}

// madeByFallback reports whether the stored token was made from the previous credentials
// after the current ones were stored, because those cannot be used. Malformed ones could
// never be used, so that the age of the token does not matter then.
func madeByFallback(stored Token, current, previous storedCredentials, malformed bool) bool {
	return stored.CredentialsVersion == previous.version && (malformed || stored.IssuedAt.After(current.created))
}
