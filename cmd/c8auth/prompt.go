package main

// Prompts at a terminal. Secrets are not echoed, and Ctrl-C stops at once.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// maxInput is the largest value of a secret in Secrets Manager, in bytes.
const maxInput = 64 << 10

// askCredentials returns the JSON of a tenant's credentials. It prompts at a terminal, and reads
// any other standard input to its end.
func (p *program) askCredentials(ctx context.Context, tenant string) (value []byte, err error) {
	if isTerminal(p.stdin) {
		err = p.converse(ctx, func(c *conversation) error {
			value, err = c.credentials(tenant)
			return err
		})
	} else {
		value, err = abandon(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(p.stdin, maxInput+1)) })
	}
	if err == nil && len(value) > maxInput {
		return nil, fail(0, "", "the credentials are longer than the %d bytes that a secret may have; nothing was stored", maxInput)
	}
	return bytes.TrimFunc(value, isBlank), err
}

// conversation is a series of prompts at a terminal in raw mode.
type conversation struct {
	keys   *bufio.Reader
	screen *printer
}

// errStopped: Ctrl-C or Ctrl-D was typed, which a terminal in raw mode does not turn into signals.
var errStopped = errors.New("stopped")

// converse calls talk with the terminal in raw mode, and restores the terminal when talk or ctx
// ends.
func (p *program) converse(ctx context.Context, talk func(*conversation) error) error {
	fd := int(p.stdin.(*os.File).Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	c := &conversation{bufio.NewReader(p.stdin), p.stderr}
	_, err = abandon(ctx, func() (struct{}, error) { return struct{}{}, talk(c) })
	if failed := term.Restore(fd, before); failed != nil {
		return fmt.Errorf("terminal: %w", failed)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, errStopped) || ctx.Err() != nil {
		p.stderr.printf("\n")
		return fail(statusInterrupted, "", "stopped")
	}
	return err
}

// confirm prints a question and returns whether the answer is yes.
func (p *program) confirm(ctx context.Context, question string) (yes bool, _ error) {
	err := p.converse(ctx, func(c *conversation) error {
		answer, err := c.ask(question, false)
		yes = strings.HasPrefix(strings.ToLower(answer), "y")
		return err
	})
	return yes && err == nil, err
}

// say prints a line.
func (c *conversation) say(format string, args ...any) { c.screen.printf(format+"\r\n", args...) }

// ask prints a question and returns the typed line, without white space and invisible characters
// at its ends, which are often copied along. If hidden, the line is not echoed.
func (c *conversation) ask(question string, hidden bool) (string, error) {
	c.screen.printf("%s", question)
	var line []rune
	for sequence := rune(0); ; { // the last rune, if it is part of the escape sequence of a key
		r, size, err := c.keys.ReadRune()
		if err != nil {
			return "", err
		}
		switch {
		case sequence == '\x1b' && (r == '[' || r == 'O'), sequence == '[' && (r < '@' || r > '~'):
			sequence = '['
			continue
		case sequence == '[':
			sequence = 0
			continue
		}
		sequence = 0
		switch {
		case r == '\r', r == '\n':
			c.say("")
			return strings.TrimFunc(string(line), isBlank), nil
		case r == '\x03', r == '\x04' && len(line) == 0:
			return "", errStopped
		case r == '\x1b':
			sequence = r
		case r == '\x7f', r == '\b', r == '\x15': // the last character, or with Ctrl-U all of them
			for n := len(line); n > 0; n = len(line) {
				if unicode.IsPrint(line[n-1]) && !hidden {
					c.screen.printf("\b \b")
				}
				if line = line[:n-1]; r != '\x15' {
					break
				}
			}
		case r == utf8.RuneError && size == 1:
			return "", fail(0, "", "what was typed is not UTF-8; nothing was stored")
		case r >= ' ':
			line = append(line, r)
			if unicode.IsPrint(r) && !hidden {
				c.screen.printf("%s", string(r))
			}
		}
	}
}

// isBlank reports whether r is white space or invisible, such as a byte order mark.
func isBlank(r rune) bool { return unicode.IsSpace(r) || unicode.In(r, unicode.Cf) }

// credentials prompts for credentials, and returns them as JSON.
func (c *conversation) credentials(tenant string) ([]byte, error) {
	c.say("Credentials of %s, as Communic8's admin console shows them. Ctrl-C stores nothing.", tenant)
	fields := make(map[string]string)
	for {
		url, err := c.ask("Base URL, such as https://acme.communic8.com: ", false)
		if err != nil {
			return nil, err
		}
		fields["base_url"] = url
		if _, err = c8auth.ParseCredentials(encode(map[string]string{"base_url": url, "access_key": "a"})); err == nil {
			break
		}
		c.say("%s", err)
	}
	method := ""
	for method != "1" && method != "2" {
		var err error
		if method, err = c.ask("Method, 1 for OAuth 2 (client ID and client secret) or 2 for an access key: ", false); err != nil {
			return nil, err
		}
	}
	secret, noun := "access_key", "access key"
	if method == "1" {
		secret, noun = "client_secret", "client secret"
		id, err := c.ask("The client ID, in the console the token's ID: ", false)
		if err != nil {
			return nil, err
		}
		fields["client_id"] = id
	}
	hidden, err := c.ask("The "+noun+", in the console the token's value (not shown): ", true)
	fields[secret] = hidden
	return encode(fields), err
}

// encode returns fields as JSON, without the escapes that would make a secret up to six times as
// long.
func encode(fields map[string]string) []byte {
	var value bytes.Buffer
	encoder := json.NewEncoder(&value)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(fields) // cannot fail
	return value.Bytes()
}

// abandon returns the results of f, or the error of ctx as soon as that ends. f then goes on in
// its goroutine, because a read of a terminal cannot be cancelled.
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
