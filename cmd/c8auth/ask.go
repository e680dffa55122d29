package main

// Questions to a person at a terminal. What must not be seen has no echo, and Ctrl-C
// stops at once.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// maxInput is what Secrets Manager takes.
const maxInput = 64 << 10

// ask returns the JSON of a tenant's credentials: from a person, or from the standard
// input as it is.
func (p *program) ask(ctx context.Context, tenant string) (value []byte, err error) {
	if !isTerminal(p.stdin) {
		return abandon(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(p.stdin, maxInput)) })
	}
	err = p.converse(ctx, func(t *term.Terminal) error {
		value, err = interview(t, tenant)
		return err
	})
	return value, err
}

// interview asks for credentials, and returns them as JSON.
func interview(t *term.Terminal, tenant string) ([]byte, error) {
	fmt.Fprintf(t, "Credentials of %s, as Communic8's admin console shows them. Ctrl-C stores nothing.\n", tenant)
	fields := make(map[string]string)
	for {
		url, err := question(t, "Base URL, such as https://acme.communic8.com: ")
		if err != nil {
			return nil, err
		}
		fields["base_url"] = url
		probe, err := json.Marshal(map[string]string{"base_url": url, "access_key": "a"})
		if err != nil {
			return nil, err
		}
		if _, err = c8auth.ParseCredentials(probe); err == nil {
			break
		}
		fmt.Fprintln(t, err)
	}
	method := ""
	for method != "1" && method != "2" {
		var err error
		if method, err = question(t, "Method, 1 for OAuth 2 (ID and value) or 2 for an access key: "); err != nil {
			return nil, err
		}
	}
	secret := "access_key"
	if method == "1" {
		secret = "client_secret"
		id, err := question(t, "The token's ID: ")
		if err != nil {
			return nil, err
		}
		fields["client_id"] = id
	}
	hidden, err := t.ReadPassword("The token's value (not shown): ")
	if err != nil {
		return nil, err
	}
	fields[secret] = strings.TrimSpace(hidden) // a copy often brings some along
	return json.Marshal(fields)
}

func question(t *term.Terminal, prompt string) (string, error) {
	t.SetPrompt(prompt)
	line, err := t.ReadLine()
	return strings.TrimSpace(line), err
}

// converse lets talk ask and answer at the terminal that the standard input is, and
// leaves it as it was, also if ctx ends before.
func (p *program) converse(ctx context.Context, talk func(*term.Terminal) error) error {
	fd := int(p.stdin.(*os.File).Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{p.stdin, p.stderr.stream}, "")
	_, err = abandon(ctx, func() (struct{}, error) { return struct{}{}, talk(t) })
	if failed := term.Restore(fd, before); failed != nil {
		return fmt.Errorf("terminal: %w", failed)
	}
	if errors.Is(err, io.EOF) || ctx.Err() != nil { // Ctrl-C and Ctrl-D, of which a raw terminal makes no signals
		p.stderr.printf("\n")
		return fail(statusInterrupted, "", "stopped")
	}
	return err
}

// abandon returns what f does, or else the end of ctx at once: f, which reads what nobody
// may ever write, is not waited for.
func abandon[T any](ctx context.Context, f func() (T, error)) (value T, err error) {
	done := make(chan struct{})
	var read T
	var failed error
	go func() {
		defer close(done)
		read, failed = f()
	}()
	select {
	case <-done:
		return read, failed
	case <-ctx.Done():
		return value, ctx.Err()
	}
}
