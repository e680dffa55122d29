// Package c8auth keeps the API tokens of Communic8 fresh in AWS Secrets Manager
// and gives them out, so that no program but one ever holds the long-lived
// credentials.
//
// A tenant is one Communic8 instance. Two secrets belong to it:
//
//	<stack>/credentials/<tenant>   [Credentials]: a person writes them, only a Rotator reads them
//	<stack>/token/<tenant>         [Token]: a Rotator writes it, a Vendor reads it
//
// A [Rotator] is called every few minutes. It looks whether a new token is due,
// asks Communic8 for one ([Endpoint]), tries it, and stores it ([Store]) so that
// of two concurrent rotations one wins and the other notices. Nothing that goes
// wrong on the way touches the token that is stored. Callers whose token Communic8
// rejects can report that, and are not kept waiting for the next call.
//
// A [Vendor] gives out the stored token while it lives, from a cache that
// collapses concurrent reads and outlasts an outage of the store.
//
// What is secret is held as a [Secret], which shows itself to no log, error or
// encoder. Every time is UTC and compared by the wall clock: between two requests
// a Lambda sandbox is frozen, and monotonic time stands still.
package c8auth

import (
	"errors"
	"fmt"
	"regexp"
	"time"
)

// The errors that callers branch on, with errors.Is.
var (
	// ErrTenantName: the name is not one that a tenant can have.
	ErrTenantName = errors.New("not a tenant's name: expected a lower-case letter followed by at most 30 lower-case letters, digits or hyphens")
	// ErrUnknownTenant: the tenant has no such secret, or it is being deleted.
	ErrUnknownTenant = errors.New("unknown tenant")
	// ErrNoToken: the tenant's token secret is empty.
	ErrNoToken = errors.New("no token has been stored yet")
	// ErrExpired: the newest token to be had has expired, or will within [Margin].
	ErrExpired = errors.New("the stored token has expired")
	// ErrUnreadable: the token secret holds something that is not a token.
	ErrUnreadable = errors.New("the stored value is not a token")
	// ErrUnavailable: Secrets Manager did not do what it was asked.
	ErrUnavailable = errors.New("the secret store is unavailable")
	// ErrNoCredentials: no credentials are stored.
	ErrNoCredentials = errors.New("no credentials are stored")
	// ErrCredentials: the stored credentials are malformed.
	ErrCredentials = errors.New("malformed credentials")
	// ErrRefused: Communic8 refuses the credentials.
	ErrRefused = errors.New("credentials refused")
	// ErrRejected: Communic8 rejects a token that it has just issued.
	ErrRejected = errors.New("new token rejected")
	// ErrLostRace: another rotation stored a token first.
	ErrLostRace = errors.New("another rotation stored a token first")
	// ErrHeld: Communic8 rejects the token that was reported, but is not asked for
	// another one now, because it just was, or was too often of late.
	ErrHeld = errors.New("another report of a rejection was followed just before, or too many were of late")
)

// Lengths are not in the patterns of this package: a pattern with {0,30} is compiled
// into thirty of what it repeats, at every cold start.
var tenantName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

// CheckTenant returns nil if name can be a tenant's, else [ErrTenantName]. The
// error does not repeat the name, which may be anything, even a secret.
func CheckTenant(name string) error {
	if len(name) > 31 || !tenantName.MatchString(name) {
		return ErrTenantName
	}
	return nil
}

// now is the wall clock, without the monotonic reading.
func now() time.Time { return time.Now().UTC().Round(0) }

// explain gives a sentinel its particulars: errors.Is finds the sentinel, and the
// text is the sentinel's followed by detail.
func explain(sentinel error, format string, args ...any) error {
	return fmt.Errorf("%w: %s", sentinel, fmt.Sprintf(format, args...))
}
