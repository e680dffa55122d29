// C8auth-sidecar is c8auth with the command proxy alone, for the container image: it takes half of the
// memory of the operators' tool, because it links none of the AWS services that the tool calls.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/c8auth/c8auth/internal/cli"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

func main() {
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run runs the program and returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	report := func(err error) int {
		fmt.Fprintln(stderr, "c8auth:", strings.TrimPrefix(err.Error(), "c8auth: "))
		failure, ok := errors.AsType[*cli.Error](err)
		if !ok {
			return cli.StatusFailure
		}
		if failure.Do != "" {
			fmt.Fprintln(stderr, "  Do:", failure.Do)
		}
		return max(failure.Status, cli.StatusFailure)
	}
	proxy := &cli.Proxy{
		Stdin: stdin, Stdout: stdout, Stderr: stderr,
		Source: func(_ context.Context, url, tenant string) (*caller.Source, error) {
			if url == "" {
				return nil, cli.Fail(cli.StatusUsage, "set C8AUTH_URL to the stack's output Url", "the API's URL is missing")
			}
			return &caller.Source{URL: url, Tenant: tenant}, nil
		},
		Report: func(err error) { _ = report(err) },
	}
	flags := flag.NewFlagSet("c8auth proxy", flag.ContinueOnError)
	flags.SetOutput(stderr)
	proxy.Flags(flags)
	if len(args) == 0 || args[0] != "proxy" {
		flags.Usage()
		return cli.StatusUsage
	}
	switch err := flags.Parse(args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil: // it has printed the error and the flags
		return cli.StatusUsage
	}
	err := proxy.Run(ctx, flags.Args())
	switch status, ended := errors.AsType[cli.ExitError](err); {
	case ended:
		return int(status)
	case err != nil && ctx.Err() != nil:
		return cli.StatusInterrupted
	case err != nil:
		return report(err)
	}
	return 0
}
