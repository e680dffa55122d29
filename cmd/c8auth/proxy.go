package main

// c8auth proxy: Communic8 on loopback, with the token added.

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"
	"github.com/spf13/cobra"

	"github.com/c8auth/c8auth/internal/proxy"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

const (
	baseVariable = "C8AUTH_BASE_URL"
	// drainTime bounds the requests in progress when the proxy ends. ECS and Kubernetes kill a
	// container 30 seconds after SIGTERM.
	drainTime = 25 * time.Second
)

// proxyFlags are the command line of c8auth proxy.
type proxyFlags struct {
	tenant, url, listen, pathFile string
	log, ping                     bool
}

func (p *program) proxyCommand() *cobra.Command {
	var flags proxyFlags
	command := &cobra.Command{
		Use:   "proxy [flags] [-- COMMAND ARG...]",
		Short: "Run a program whose requests to Communic8 get the token",
		Long: `Proxy is a reverse proxy to Communic8 for programs on this machine, in any language. It
adds the tenant's token to each request: it fetches the token by the AWS credentials that
it runs with, holds and renews it, and when Communic8 rejects one, reports that and
repeats the request. The programs see no token and need no AWS credentials.

With a COMMAND, proxy runs it with the proxy's URL in its environment, C8AUTH_BASE_URL,
passes signals on, and ends when it ends, with its status (128 and the signal's number, if
a signal ended it). Without, it prints the URL and serves until Ctrl-C or SIGTERM; then
requests under way have 25 seconds to end.

The URL has a random segment in its path: whoever knows it can use the proxy, so it is as
confidential as the token while the proxy runs. In --path-file, "/" and the segment are
kept for other containers and the next start; then only the rest is printed. A Unix socket
has no segment, but mode 0600.

While there is no valid token, the proxy answers 503, with Retry-After and what to do.`,
		Example: `  c8auth proxy -- ./program
  c8auth proxy --tenant acme --log -- sh -c 'echo "url=$C8AUTH_BASE_URL/int/v1/broadcast?limit=1" | curl --config -'
  c8auth proxy --url https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1 --listen 127.0.0.1:8918 --path-file /run/c8auth/path
  c8auth proxy --listen unix:/run/c8auth/socket
  c8auth proxy --listen 127.0.0.1:8918 --ping`,
		RunE: p.does(func(ctx context.Context, args []string) error {
			network, at, err := proxy.SplitAddress(flags.listen)
			switch {
			case err != nil:
				return fail(statusUsage, "c8auth proxy --help", "--listen: %w", err)
			case flags.ping:
				return ping(ctx, network, at)
			case network == "unix" && len(args) > 0:
				return fail(statusUsage, "leave out --listen", "a COMMAND is told a URL, which a Unix socket does not have")
			case network == "unix" && flags.pathFile != "":
				return fail(statusUsage, "leave out --path-file", "there is no path segment with a Unix socket")
			}
			return p.proxy(ctx, flags, network, at, args)
		}),
	}
	command.Flags().SetInterspersed(false) // flags after COMMAND belong to it
	command.Flags().StringVar(&flags.tenant, "tenant", "default", "whose token")
	command.Flags().StringVar(&flags.url, "url", os.Getenv("C8AUTH_URL"), "the API's URL, the stack's output Url; also C8AUTH_URL")
	command.Flags().StringVar(&flags.listen, "listen", "127.0.0.1:0", "loopback address and port (0: any that is free), or unix:PATH")
	command.Flags().StringVar(&flags.pathFile, "path-file", "", "file that keeps the path of the URL, \"/\" and the random segment")
	command.Flags().BoolVar(&flags.log, "log", false, "print a line for each request to stderr: method, path, status, milliseconds")
	command.Flags().BoolVar(&flags.ping, "ping", false, "see whether a proxy is up at --listen, as a health check, and end")
	return command
}

// proxy serves until the command, or else ctx, ends.
func (p *program) proxy(ctx context.Context, flags proxyFlags, network, at string, command []string) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(75) // a sidecar should use little memory; docs/proxy.md has the figures
	}
	source, err := p.source(ctx, flags)
	if err != nil {
		return err
	}
	base := url.URL{Scheme: "http", Host: "localhost"}
	if network == "tcp" {
		if base.Path, err = proxy.Segment(flags.pathFile); err != nil {
			return err
		}
	}
	listener, err := proxy.Listen(network, at)
	if err != nil {
		return err
	}
	if network == "tcp" {
		base.Host = listener.Addr().String()
	}
	handler := &proxy.Handler{Transport: &caller.Transport{Source: source, Base: proxy.NewTransport()}, Base: base}
	if flags.log {
		handler.Log = log.New(p.stderr, "", 0)
	}
	server := proxy.NewServer(handler)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	defer func() { _ = server.Close() }()
	go func() { // fetches the token now, so that the first request does not wait and errors show at once
		if _, err := source.TokenContext(ctx); err != nil && ctx.Err() == nil {
			_ = p.report(vendFailure(err, flags.tenant))
		}
	}()

	if len(command) > 0 {
		return p.child(ctx, command, base.String())
	}
	switch {
	case network == "unix":
		fmt.Fprintln(p.stdout, flags.listen)
	case flags.pathFile != "": // the standard output may be a log
		base.Path = ""
		fallthrough
	default:
		fmt.Fprintln(p.stdout, base.String())
	}
	if err := p.stdout.failed(); err != nil { // nobody knows the URL
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if server.Shutdown(drain) != nil {
		fmt.Fprintf(p.stderr, "c8auth: requests took longer than %.0f s and were cut off\n", drainTime.Seconds())
	}
	return nil
}

// source returns the Source of the proxy. Without --region and --profile, its AWS configuration is
// the ambient one, which it reads again if the API refuses the signature.
func (p *program) source(ctx context.Context, flags proxyFlags) (*caller.Source, error) {
	source := &caller.Source{URL: flags.url, Tenant: flags.tenant}
	if source.URL == "" {
		d, err := p.deployment(ctx)
		if f, ok := errors.AsType[*failure](err); ok {
			f.do += "; or name the API by --url, which takes no right but that to the token"
		}
		if err != nil {
			return nil, err
		}
		source.URL = d.outputs["Url"]
	}
	if p.region != "" || p.profile != "" {
		var err error
		source.AWS, err = config.LoadDefaultConfig(ctx, config.WithRegion(p.region), config.WithSharedConfigProfile(p.profile), config.WithLogger(logging.Nop{}))
		if err != nil {
			return nil, fail(0, "aws configure list-profiles shows which profiles there are", "the AWS configuration cannot be read")
		}
	}
	return source, nil
}

// ended is the exit status of a COMMAND, which the program returns as its own.
type ended int

func (e ended) Error() string { return fmt.Sprintf("the command ended with status %d", int(e)) }

// child runs the command with the proxy's URL in its environment. It does not end with ctx: the
// signal that ended ctx is passed to the command.
func (p *program) child(ctx context.Context, command []string, base string) error {
	child := exec.CommandContext(context.WithoutCancel(ctx), command[0], command[1:]...) // #nosec G204 -- it is the user's own
	child.Stdin, child.Stdout, child.Stderr = p.stdin, p.stdout.stream, p.stderr.stream
	child.Env = append(os.Environ(), baseVariable+"="+base)
	// Many clients send requests to loopback through HTTP_PROXY, which would then learn the URL.
	for name, other := range map[string]string{"NO_PROXY": "no_proxy", "no_proxy": "NO_PROXY"} {
		value := cmp.Or(os.Getenv(name), os.Getenv(other))
		if value != "" {
			value += ","
		}
		child.Env = append(child.Env, name+"="+value+"127.0.0.1,::1,localhost")
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, passedOn...)
	defer signal.Stop(signals)
	if err := child.Start(); err != nil {
		status := 126
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			status = 127
		}
		return fail(status, "", "the command cannot be run: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- child.Wait() }()
	for {
		select {
		case s := <-signals:
			// The terminal sends its signals to the command as well.
			if !isTerminal(p.stdin) || s != os.Interrupt && s != syscall.SIGQUIT {
				_ = child.Process.Signal(s)
			}
		case err := <-exited:
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok {
				return err
			}
			if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
				return ended(128 + int(status.Signal()))
			}
			return ended(exit.ExitCode())
		}
	}
}

// ping returns an error unless a proxy answers at the address.
func ping(ctx context.Context, network, at string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/ping", nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, at)
	}}}
	resp, err := client.Do(req)
	if err != nil {
		return fail(statusAgain, "", "no proxy answers at %s", at)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(body, []byte("up\n")) {
		return fail(statusFailure, "", "%s is not a c8auth proxy", at)
	}
	return nil
}
