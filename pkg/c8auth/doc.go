// Package c8auth keeps the API tokens of Communic8 valid in AWS Secrets Manager and gives
// them out, so that only one program holds the long-lived credentials.
//
// A tenant is one Communic8 instance. It has two secrets:
//
//	<stack>/credentials/<tenant>   [Credentials]: a person writes them, only a Rotator reads them
//	<stack>/token/<tenant>         [Token]: a Rotator writes it, a Cache reads it
//
// A [Rotator] is called every few minutes. It checks whether a new token is due, requests
// one from Communic8 ([Endpoint]), probes it, and stores it ([Store]) in such a way that of
// two concurrent rotations one wins and the other notices. No failure changes the stored
// token. A caller whose token Communic8 rejects can report that ([Rotator.Reject]), and need
// not wait for the next check.
//
// A [Cache] gives out the stored token while it is valid. It collapses concurrent reads, and
// serves a valid token while Secrets Manager fails.
//
// Secrets are held as a [Secret], which no log, error or encoder shows. Every time is UTC and
// compared by the wall clock: a Lambda sandbox is frozen between two requests, and monotonic
// time stands still.
package c8auth

import "time"

// now returns the wall clock, without the monotonic reading.
func now() time.Time { return time.Now().UTC().Round(0) }
