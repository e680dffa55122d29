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

import "time"

// now is the wall clock, without the monotonic reading.
func now() time.Time { return time.Now().UTC().Round(0) }
