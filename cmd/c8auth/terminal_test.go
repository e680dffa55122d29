package main

// The real binary at a terminal.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// build builds the program, once for all tests.
func build(t *testing.T) string {
	t.Helper()
	binary, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

var built = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(functions, "c8auth")
	command := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".")
	command.Env = machine
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return binary, nil
})

// execute runs the binary without a terminal, and returns what it prints.
func execute(t *testing.T, stdin string, args ...string) (stdout, stderr string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), build(t), args...)
	var out, failures strings.Builder
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &out, &failures
	if err := command.Run(); err != nil && command.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), failures.String()
}

// terminal is one with a program on it.
type terminal struct {
	*testing.T
	keys, screen *os.File // the end of the person, and of the program
	fresh        *term.State
	command      *exec.Cmd
	seen         strings.Builder
	unread       string // of what the screen shows
}

func open(t *testing.T, args ...string) *terminal {
	t.Helper()
	return openSized(t, 0, args...)
}

// openSized is open with a terminal of so many columns. 0 means that it does not know its width.
func openSized(t *testing.T, columns uint16, args ...string) *terminal {
	t.Helper()
	binary := build(t)
	keys, screen, err := pty.Open()
	if err == nil {
		err = pty.Setsize(screen, &pty.Winsize{Rows: 50, Cols: columns})
	}
	if err == nil {
		err = syscall.SetNonblock(int(keys.Fd()), true) // else reading knows no deadline
	}
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{T: t, keys: keys, screen: screen, command: exec.CommandContext(t.Context(), binary, args...)}
	x.fresh = x.state()
	x.command.Stdin, x.command.Stdout, x.command.Stderr = screen, screen, screen
	x.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := x.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = x.command.Process.Kill() // if the test has failed
		_ = keys.Close()
		_ = screen.Close()
	})
	return x
}

func (x *terminal) state() *term.State {
	x.Helper()
	state, err := term.GetState(int(x.screen.Fd()))
	if err != nil {
		x.Fatal(err)
	}
	return state
}

// sees waits until the screen shows the text, after what was waited for before.
func (x *terminal) sees(text string) {
	x.Helper()
	if err := x.keys.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		x.Fatal(err)
	}
	for buffer := make([]byte, 1024); !strings.Contains(x.unread, text); {
		n, err := x.keys.Read(buffer)
		if err != nil {
			x.Fatalf("%v, after\n%q", err, x.unread[max(0, len(x.unread)-2000):])
		}
		x.unread += string(buffer[:n])
	}
	shown, unread, _ := strings.Cut(x.unread, text)
	x.unread = unread
	x.seen.WriteString(strings.ReplaceAll(shown+text, "\r", ""))
}

func (x *terminal) types(keys string) {
	x.Helper()
	if _, err := x.keys.WriteString(keys); err != nil {
		x.Fatal(err)
	}
}

// answers waits for each prompt, and types the answer that follows it, with Enter.
func (x *terminal) answers(promptsAndAnswers ...string) {
	x.Helper()
	for pair := range slices.Chunk(promptsAndAnswers, 2) {
		x.sees(pair[0])
		x.types(pair[1] + "\r")
	}
}

// ends waits for the program, and expects the terminal to be as it was.
func (x *terminal) ends(status int) {
	x.Helper()
	err := x.command.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		x.Fatal(err)
	} else if got := x.command.ProcessState.ExitCode(); got != status {
		x.Errorf("it ends with %d (%v), want %d", got, exit, status)
	}
	if !reflect.DeepEqual(x.state(), x.fresh) {
		x.Errorf("it leaves the terminal as\n%+v, which was\n%+v", x.state(), x.fresh)
	}
}

// A person is asked, and sees everything but the secret: docs/operating.md shows it.
func TestQuestions(t *testing.T) {
	s := operate(t)
	x := open(t, "credentials", "set", "default", "--now")
	x.answers("Base URL", s.Communic8URL, "Method", "1", "ID: ", clientID, "value", " "+clientSecret)
	x.sees("Z.\r\n")
	x.ends(0)
	page, err := os.ReadFile(operatingPage)
	if err != nil {
		t.Fatal(err)
	}
	screen := strings.ReplaceAll(x.seen.String(), s.Communic8URL, "https://acme.communic8.com")
	screen = varying["2026-01-02T03:04:05Z"].ReplaceAllString(strings.ReplaceAll(screen, " \n", "\n"), "2026-01-03T03:04:05Z")
	if transcript := "$ c8auth credentials set default --now\n" + screen; !strings.Contains(string(page), transcript) {
		t.Errorf("%s does not show this:\n%s", operatingPage, transcript)
	}
	if stored, _ := s.Secrets.Value(credentialsName); !strings.Contains(stored, `"`+clientSecret+`"`) {
		t.Errorf("stored is %s", stored)
	}
	if token := s.c8auth("token", "default"); !s.Communic8.Valid(strings.TrimSuffix(token, "\n")) {
		t.Errorf("callers have %q", token)
	}

	x = open(t, "credentials", "set", "default")
	x.answers("Base URL", "https://acme.communic8.com/")
	x.sees("malformed")
	x.answers("Base URL", s.Communic8URL, "Method", "", "Method", "2", "value", accessKey)
	x.sees("does it now")
	x.ends(0)
	if strings.Contains(x.seen.String(), accessKey[:5]) {
		t.Errorf("the screen shows %s", &x.seen)
	}
}

// Ctrl-C, Ctrl-D and a signal end it at any question, at once, and nothing is stored.
func TestInterrupted(t *testing.T) {
	s := operate(t)
	for name, stop := range map[string]func(*terminal){
		"Ctrl-C":  func(x *terminal) { x.types("\x03") },
		"Ctrl-D":  func(x *terminal) { x.types("\x04") },
		"SIGTERM": func(x *terminal) { _ = x.command.Process.Signal(syscall.SIGTERM) },
		"SIGINT":  func(x *terminal) { _ = x.command.Process.Signal(syscall.SIGINT) },
	} {
		t.Run(name, func(t *testing.T) {
			x := open(t, "credentials", "set", "default")
			x.sees("Base URL")
			stop(x)
			x.ends(statusInterrupted)

			x = open(t, "credentials", "set", "default")
			x.answers("Base URL", s.Communic8URL, "Method", "2")
			x.sees("value")
			stop(x)
			x.ends(statusInterrupted)
		})
	}
	if n := s.Secrets.Versions(credentialsName); n != 0 {
		t.Errorf("%d versions are stored", n)
	}
}

// silent is a standard input that nobody writes to. It calls began when it is read.
type silent struct{ began func() }

func (s silent) Read([]byte) (int, error) {
	s.began()
	select {}
}

// A pipe that nobody writes to is as little waited for.
func TestInterruptedPipe(t *testing.T) {
	operate(t)
	ctx, cancel := context.WithCancel(t.Context())
	if status := run(ctx, []string{"credentials", "set", "default"}, silent{cancel}, io.Discard, io.Discard); status != statusInterrupted {
		t.Errorf("it ends with %d", status)
	}
}

// A secret arrives as it was typed or pasted, however long it is, and a terminal that
// understands no escape sequences gets none.
func TestLongSecrets(t *testing.T) {
	s := operate(t)
	t.Setenv("TERM", "dumb")
	long := strings.Repeat("0123456789<", 5000/11) + "end"
	s.Communic8.AddAccessKey(long)
	set := func(secret string) *terminal {
		x := open(t, "credentials", "set", "default")
		x.answers("Base URL", "\ufeff"+s.Communic8URL+"?\b \x1b[D", "Method", "2", "value", secret)
		return x
	}
	x := set("wrong\x15\u200b" + long + "\ufeff \u200b")
	x.sees("does it now")
	x.ends(0)
	if stored, _ := s.Secrets.Value(credentialsName); !strings.Contains(stored, `"`+long+`"`) {
		t.Errorf("stored are %d bytes: %.60s", len(stored), stored)
	}
	if strings.Contains(x.seen.String(), "\x1b") {
		t.Errorf("the screen gets %q", x.seen.String())
	}
	before := s.Secrets.Versions(credentialsName)
	for secret, refusal := range map[string]string{
		strings.Repeat(long, 14):                 "longer than the 65536 bytes",
		accessKey[:5] + "\u200b" + accessKey[5:]: "U+200B",
		"\xff":                                   "not UTF-8",
	} {
		x = set(secret)
		x.sees(refusal)
		x.ends(statusFailure)
	}
	if n := s.Secrets.Versions(credentialsName); n != before {
		t.Errorf("%d versions are stored", n-before)
	}
}
