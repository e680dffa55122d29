package main

// The real binary at a terminal.

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
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

// terminal is one with a program on it.
type terminal struct {
	*testing.T
	keys, screen *os.File // the end of the person, and of the program
	fresh        *term.State
	command      *exec.Cmd
	seen         strings.Builder
	unread       string // of what the screen shows
}

func open(t *testing.T, binary string, args ...string) *terminal {
	t.Helper()
	return openWith(t, func(*terminal) {}, binary, args...)
}

// openWith is open with a terminal that is prepared before the program starts.
func openWith(t *testing.T, prepare func(*terminal), binary string, args ...string) *terminal {
	t.Helper()
	keys, screen, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.SetNonblock(int(keys.Fd()), true); err != nil { // else reading knows no deadline
		t.Fatal(err)
	}
	x := &terminal{T: t, keys: keys, screen: screen, command: exec.CommandContext(t.Context(), binary, args...)}
	x.fresh = x.state()
	prepare(x)
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
	binary := build(t)
	s := operate(t)
	x := open(t, binary, "credentials", "set", "default", "--now")
	x.sees("Base URL")
	x.types(s.Communic8URL + "\r")
	x.sees("Method")
	x.types("1\r")
	x.sees("ID: ")
	x.types(clientID + "\r")
	x.sees("value")
	x.types(" " + clientSecret + "\r")
	x.sees("Z.\r\n")
	x.ends(0)
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	screen := strings.ReplaceAll(x.seen.String(), s.Communic8URL, "https://acme.communic8.com")
	screen = varying["2026-01-02T03:04:05Z"].ReplaceAllString(strings.ReplaceAll(screen, " \n", "\n"), "2026-01-03T03:04:05Z")
	if transcript := "$ c8auth credentials set default --now\n" + screen; !strings.Contains(string(page), transcript) {
		t.Errorf("docs/operating.md does not show this:\n%s", transcript)
	}
	if stored, _ := s.Secrets.Value("c8auth/credentials/default"); !strings.Contains(stored, `"`+clientSecret+`"`) {
		t.Errorf("stored is %s", stored)
	}
	if token := s.c8auth("token", "default"); !s.Communic8.Valid(strings.TrimSuffix(token, "\n")) {
		t.Errorf("callers have %q", token)
	}

	x = open(t, binary, "credentials", "set", "default")
	x.sees("Base URL")
	x.types("https://acme.communic8.com/\r")
	x.sees("malformed")
	x.sees("Base URL")
	x.types(s.Communic8URL + "\r")
	x.sees("Method")
	x.types("\r")
	x.sees("Method")
	x.types("2\r")
	x.sees("value")
	x.types(accessKey + "\r")
	x.sees("does it now")
	x.ends(0)
	if strings.Contains(x.seen.String(), accessKey[:5]) {
		t.Errorf("the screen shows %s", &x.seen)
	}
}

// Ctrl-C, Ctrl-D and a signal end it at any question, at once, and nothing is stored.
func TestInterrupted(t *testing.T) {
	binary := build(t)
	s := operate(t)
	for name, stop := range map[string]func(*terminal){
		"Ctrl-C":  func(x *terminal) { x.types("\x03") },
		"Ctrl-D":  func(x *terminal) { x.types("\x04") },
		"SIGTERM": func(x *terminal) { _ = x.command.Process.Signal(syscall.SIGTERM) },
		"SIGINT":  func(x *terminal) { _ = x.command.Process.Signal(syscall.SIGINT) },
	} {
		t.Run(name, func(t *testing.T) {
			x := open(t, binary, "credentials", "set", "default")
			x.sees("Base URL")
			stop(x)
			x.ends(statusInterrupted)

			x = open(t, binary, "credentials", "set", "default")
			x.sees("Base URL")
			x.types(s.Communic8URL + "\r")
			x.sees("Method")
			x.types("2\r")
			x.sees("value")
			stop(x)
			x.ends(statusInterrupted)
		})
	}
	if n := s.Secrets.Versions("c8auth/credentials/default"); n != 0 {
		t.Errorf("%d versions are stored", n)
	}
}

// A pipe that nobody writes to is as little waited for.
func TestInterruptedPipe(t *testing.T) {
	binary := build(t)
	s := operate(t)
	command := exec.CommandContext(t.Context(), binary, "credentials", "set", "default")
	reads, writes, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stdin = reads
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	_ = reads.Close()
	defer func() { _ = writes.Close() }()
	for s.Secrets.Calls("DescribeSecret") == 0 { // before it reads
		select {
		case <-time.After(5 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("it does not begin")
		}
	}
	_ = command.Process.Signal(os.Interrupt)
	_ = command.Wait()
	if status := command.ProcessState.ExitCode(); status != statusInterrupted {
		t.Errorf("it ends with %d", status)
	}
}

// A secret arrives as it was typed or pasted, however long it is, and a terminal that
// understands no escape sequences gets none.
func TestLongSecrets(t *testing.T) {
	binary := build(t)
	s := operate(t)
	t.Setenv("TERM", "dumb")
	long := strings.Repeat("0123456789<", 5000/11) + "end"
	s.Communic8.AddAccessKey(long)
	set := func(secret string) *terminal {
		x := open(t, binary, "credentials", "set", "default")
		x.sees("Base URL")
		x.types("\ufeff" + s.Communic8URL + "?\b \x1b[D\r")
		x.sees("Method")
		x.types("2\r")
		x.sees("value")
		x.types(secret + "\r")
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
	x = set(strings.Repeat(long, 14))
	x.sees("longer than the 65536 bytes")
	x.ends(statusFailure)
	x = set(accessKey[:5] + "\u200b" + accessKey[5:])
	x.sees("U+200B")
	x.ends(statusFailure)
	if n := s.Secrets.Versions(credentialsName); n != before {
		t.Errorf("%d versions are stored", n-before)
	}
}
