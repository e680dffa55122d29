//go:build unix

package cli

import (
	"os"
	"syscall"
)

// passedOn are the signals that proxy passes to a COMMAND.
var passedOn = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
}
