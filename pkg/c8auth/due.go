package c8auth

// When a new token is due, and with which credentials it is requested.

import (
	"errors"
	"time"
)

// Reason is why a new token is due; empty if none is due.
type Reason string

// The reasons, in the order in which they are checked.
const (
	FirstToken         Reason = "first_token"         // none is stored yet
	UnreadableToken    Reason = "unreadable_token"    // the stored value cannot be read, or is dated ahead of the clock
	HalfLife           Reason = "half_life"           // half of its lifetime is over; more, if that is 14 to 28 minutes
	CredentialsChanged Reason = "credentials_changed" // it was made from other credentials
	Forced             Reason = "forced"              // Request.Force is set
	Rejected           Reason = "rejected"            // Communic8 rejects it
)

const (
	// forceAfter is the age up to which Request.Force does not replace a token, so that an
	// event that Lambda delivers twice rotates once.
	forceAfter = time.Minute
	// maxAhead is the accepted difference of two clocks. A token that is dated further ahead
	// would not be due for too long.
	maxAhead = time.Minute

	// heartbeat is the schedule's interval.
	heartbeat = 5 * time.Minute
	// writeInterval makes every third heartbeat a rotation at most, 96 in a day: a secret
	// has about 100 versions, and none is removed within a day.
	writeInterval = 3*heartbeat - time.Minute
	// minRemaining is the remaining lifetime at which writeInterval no longer delays a
	// rotation: the next heartbeat can be a minute late, and the rotation takes time.
	minRemaining = heartbeat + 2*time.Minute
)

// dueAge returns the age at which a token of that lifetime is due. It is half of the lifetime.
// For lifetimes between 14 and 28 minutes it is more, which saves versions of the secret.
func dueAge(lifetime time.Duration) time.Duration {
	return max(lifetime/2, min(writeInterval, lifetime-minRemaining))
}

// fillsQuota reports whether tokens of that lifetime are replaced so often that the
// secret's versions reach their quota in a day.
func fillsQuota(lifetime time.Duration) bool {
	interval := (dueAge(lifetime) + heartbeat - 1).Truncate(heartbeat) // a check comes once a heartbeat
	return 24*time.Hour/max(interval, heartbeat) >= maxVersions
}

// due decides from what is stored whether a new token is due. readErr is the error of reading
// the stored token: nil, [ErrNoToken] or [ErrUnreadable]. The reason [Rejected] needs a probe
// and is found by [rotation.due].
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
// because the current ones cannot be used. The token must then be younger than the current
// credentials, unless those are malformed: malformed ones never made a token.
func madeByFallback(stored Token, current, previous storedCredentials, malformed bool) bool {
	return stored.CredentialsVersion == previous.version && (malformed || stored.IssuedAt.After(current.created))
}
