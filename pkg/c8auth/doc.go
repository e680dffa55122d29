// Package c8auth keeps API tokens of Communic8 valid in AWS Secrets Manager and vends them.
// Callers hold short-lived tokens; only one function reads the long-lived credentials.
//
// A tenant is one Communic8 instance. It has two secrets:
//
//	<stack>/credentials/<tenant>   [Credentials]: a person writes them, only a Rotator reads them
//	<stack>/token/<tenant>         [Token]: a Rotator writes it, a Cache reads it
//
// A [Rotator] is called every five minutes. If a new token is due, it requests one from
// Communic8 ([Endpoint]), probes the token, and stores it ([Store]). The write is a
// compare-and-swap: of two concurrent ones one succeeds, and the other gets [ErrLostRace]. A
// failure before the write leaves the stored token as it was. A caller whose token Communic8
// rejects can report that ([Rotator.Reject]) and need not wait for the next check.
//
// A [Cache] vends the stored token while it is valid. Concurrent calls share one read of
// Secrets Manager, and while reads fail, a cached token is vended until it expires.
//
// Secrets are held as a [Secret], which no log, error or encoder shows. Every time is UTC and
// compared by the wall clock: a Lambda sandbox is frozen between two requests, and monotonic
// time stands still.
package c8auth

import "time"

// now returns the wall clock, without the monotonic reading.
func now() time.Time { return time.Now().UTC().Round(0) }
