package cli

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

	"golang.org/x/term"

	"github.com/c8auth/c8auth/internal/proxy"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

const (
	baseVariable = "C8AUTH_BASE_URL"
	// drainTime bounds the requests in progress when the proxy ends. ECS and Kubernetes kill a
	// container 30 seconds after SIGTERM.
	drainTime = 25 * time.Second
)

// Proxy is the command c8auth proxy. All exported fields must be set.
type Proxy struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Source returns where the tenant's tokens come from. url is that of the API, or empty if
	// neither --url nor C8AUTH_URL has it.
	Source func(ctx context.Context, url, tenant string) (*caller.Source, error)
	Report func(error) // prints an error that does not end the proxy

	tenant, url, listen, pathFile string
	log, ping                     bool
}

// Flags defines the flags of the command in a set of the package flag or of pflag.
func (p *Proxy) Flags(set interface {
	StringVar(p *string, name, value, usage string)
	BoolVar(p *bool, name string, value bool, usage string)
}) {
	set.StringVar(&p.tenant, "tenant", "default", "whose token")
	set.StringVar(&p.url, "url", os.Getenv("C8AUTH_URL"), "the API's URL, the stack's output Url; also C8AUTH_URL")
	set.StringVar(&p.listen, "listen", "127.0.0.1:0", "loopback address and port (0: any that is free), or unix:PATH")
	set.StringVar(&p.pathFile, "path-file", "", "file that keeps the path of the URL, \"/\" and the random segment")
	set.BoolVar(&p.log, "log", false, "print a line for each request to stderr: method, path, status, milliseconds")
	set.BoolVar(&p.ping, "ping", false, "see whether a proxy is up at --listen, as a health check, and end")
}

// Run runs the proxy, with args as COMMAND and its arguments, until COMMAND or ctx ends. The error
// is an [ExitError] if COMMAND has failed, a [*Error] if it is known what to do, or another one.
func (p *Proxy) Run(ctx context.Context, args []string) error {
	network, at, err := proxy.SplitAddress(p.listen)
	switch {
	case err != nil:
		return Fail(StatusUsage, "c8auth proxy --help", "--listen: %w", err)
	case p.ping:
		return ping(ctx, network, at)
	case network == "unix" && len(args) > 0:
		return Fail(StatusUsage, "leave out --listen", "a COMMAND is told a URL, which a Unix socket does not have")
	case network == "unix" && p.pathFile != "":
		return Fail(StatusUsage, "leave out --path-file", "there is no path segment with a Unix socket")
	}
	return p.serve(ctx, network, at, args)
}

// serve serves until the command, or else ctx, ends.
func (p *Proxy) serve(ctx context.Context, network, at string, command []string) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(75) // a sidecar should use little memory; docs/proxy.md has the figures
	}
	source, err := p.Source(ctx, p.url, p.tenant)
	if err != nil {
		return err
	}
	base := url.URL{Scheme: "http", Host: "localhost"}
	if network == "tcp" {
		if base.Path, err = proxy.Segment(p.pathFile); err != nil {
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
	if p.log {
		handler.Log = log.New(p.Stderr, "", 0)
	}
	server := proxy.NewServer(handler)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	defer func() { _ = server.Close() }()
	go func() { // fetches the token now, so that the first request does not wait and errors show at once
		if _, err := source.TokenContext(ctx); err != nil && ctx.Err() == nil {
			p.Report(Explain(err, p.tenant))
		}
	}()

	if len(command) > 0 {
		return p.child(ctx, command, base.String())
	}
	switch {
	case network == "unix":
		_, err = fmt.Fprintln(p.Stdout, p.listen)
	case p.pathFile != "": // the standard output may be a log
		base.Path = ""
		fallthrough
	default:
		_, err = fmt.Fprintln(p.Stdout, base.String())
	}
	if err != nil { // nobody knows the URL
		return fmt.Errorf("the standard output could not be written: %w", err)
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if server.Shutdown(drain) != nil {
		fmt.Fprintf(p.Stderr, "c8auth: requests took longer than %.0f s and were cut off\n", drainTime.Seconds())
	}
	return nil
}

// ExitError is the exit status of a COMMAND, which the program returns as its own.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("the command ended with status %d", int(e)) }

// child runs the command with the proxy's URL in its environment. It does not end with ctx: the
// signal that ended ctx is passed to the command.
func (p *Proxy) child(ctx context.Context, command []string, base string) error {
	child := exec.CommandContext(context.WithoutCancel(ctx), command[0], command[1:]...) // #nosec G204 -- it is the user's own
	child.Stdin, child.Stdout, child.Stderr = p.Stdin, p.Stdout, p.Stderr
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
		return Fail(status, "", "the command cannot be run: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- child.Wait() }()
	for {
		select {
		case s := <-signals:
			// The terminal sends its signals to the command as well.
			if stdin, ok := p.Stdin.(*os.File); !ok || !term.IsTerminal(int(stdin.Fd())) || s != os.Interrupt && s != syscall.SIGQUIT {
				_ = child.Process.Signal(s)
			}
		case err := <-exited:
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok {
				return err
			}
			if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
				return ExitError(128 + int(status.Signal()))
			}
			return ExitError(exit.ExitCode())
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
		return Fail(StatusAgain, "", "no proxy answers at %s", at)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(body, []byte("up\n")) {
		return Fail(StatusFailure, "", "%s is not a c8auth proxy", at)
	}
	return nil
}
