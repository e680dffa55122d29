package c8auth

import (
	"errors"
	"time"
)

// Reason is why a new token is due; empty when none is.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	FirstToken         Reason = "first_token"         // none is stored yet
	UnreadableToken    Reason = "unreadable_token"    // the stored value cannot be read
	HalfLife           Reason = "half_life"           // half of its life is over
	CredentialsChanged Reason = "credentials_changed" // it was made from other credentials
	Forced             Reason = "forced"              // an operator wishes so
	Rejected           Reason = "rejected"            // Communic8 does not take it any more
)

// forceAfter is the age under which a token is too young to be replaced at an
// operator's wish: a wish that is delivered twice is one wish.
const forceAfter = time.Minute

// due decides from what is stored whether a new token is due. readErr is what came
// of reading the stored token: nil, [ErrNoToken] or [ErrUnreadable]. Whether
// Communic8 rejects the token cannot be seen from here; see [Rotator.Rotate].
func due(now time.Time, stored Token, readErr error, credentialsVersion string, force bool) Reason {
	age := now.Sub(stored.IssuedAt)
	switch {
	case errors.Is(readErr, ErrNoToken):
		return FirstToken
	case readErr != nil:
		return UnreadableToken
	case stored.Expires() && age >= stored.ExpiresAt.Sub(stored.IssuedAt)/2:
		return HalfLife
	case stored.CredentialsVersion != credentialsVersion:
		return CredentialsChanged
	case force && age > forceAfter:
		return Forced
	}
	return ""
}
