// Package cli is what the tool c8auth and the image's binary have in common: the command proxy,
// and how a command fails. Its functions may be called concurrently.
package cli

import (
	"errors"
	"fmt"

	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

// Exit statuses; the help of c8auth describes them. 1 and 2 mean that the user must change
// something about the command, 3 that somebody must change something about the deployment.
const (
	StatusFailure     = 1
	StatusUsage       = 2
	StatusAttention   = 3 // a person must act
	StatusAgain       = 4 // it may pass by itself
	StatusInterrupted = 130
)

// Error is an error with what to do and an exit status.
type Error struct {
	Err    error  // what happened; not nil
	Do     string // what to do about it, or empty
	Status int    // of the exit; 0 means [StatusFailure]
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Fail returns a [*Error]. format is that of fmt.Errorf.
func Fail(status int, do, format string, args ...any) error {
	return &Error{fmt.Errorf(format, args...), do, status}
}

// Explain returns an [*Error] that says what to do about err, if err is of the package caller and
// that is known; otherwise err itself.
func Explain(err error, tenant string) error {
	switch {
	case errors.Is(err, caller.ErrDenied) && !errors.Is(err, caller.ErrSignature):
		return Fail(0, "is "+tenant+" the right name? API Gateway gives the same answer for a name that no policy of yours has. If it is right, `c8auth grant "+tenant+" --role ARN` prints the policies that admit a role", "%w", err)
	case errors.Is(err, caller.ErrTenant):
		return Fail(0, "`c8auth status` shows which there are", "%w", err)
	case errors.Is(err, caller.ErrNoToken):
		return Fail(StatusAgain, "`c8auth status` shows why; `c8auth rotate "+tenant+"` requests one now", "%w", err)
	case errors.Is(err, caller.ErrUnreachable):
		return Fail(StatusAgain, "is this machine online, and the URL the stack's output Url? A private API is reached through its VPC endpoints alone", "%w", err)
	}
	return err
}
