package main

// Nothing secret is written where it does not belong, by the operator's tool either.

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/c8auth/c8auth/internal/fakes/awstest"
	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/harness"
	"github.com/c8auth/c8auth/internal/secretscan"
)

// The marked secrets; what travels in a header can only be ASCII.
const (
	markedSecret = `MARK+/ü&"x<cl13nt-s3cr3t>%41=\é;:tail`
	markedKey    = `MARK+/~&"x<4cc3ss-k3y>%42=\;:tail`
)

// hiddenKey is what is said of an unknown key that could be a secret.
const hiddenKey = "unknown key (not shown: it could be a secret)"

// object returns a JSON object of names and values.
func object(members ...any) string {
	out := make(map[string]any)
	for i := 0; i < len(members); i += 2 {
		out[members[i].(string)] = members[i+1]
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// TestNoSecretIsShown drives the real binary through all that it does, well and badly, and
// looks at what it prints, at the files that it leaves, and, while it talks to Communic8,
// at the command lines of all processes.
func TestNoSecretIsShown(t *testing.T) {
	binary := build(t)
	s := operate(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("TMPDIR", home)
	s.Communic8.AddClient(clientID, markedSecret)
	s.Communic8.AddAccessKey(markedKey)
	secrets := func() []string {
		return append(s.Communic8.Issued(), markedSecret, markedKey, letters, harness.SecretKey)
	}
	var watched atomic.Bool
	answers := func(fault *c8test.Fault) {
		s.Communic8.Set(func(b *c8test.Behaviour) {
			b.Fault = func(*http.Request, int) *c8test.Fault {
				files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // none but on Linux
				var lines []byte
				for _, file := range files {
					line, _ := os.ReadFile(file) // of a process that may have ended since
					lines = append(append(lines, line...), '\n')
				}
				if bytes.Contains(lines, []byte(binary)) {
					watched.Store(true)
				}
				if found := secretscan.Find(string(lines), secrets()...); found != nil {
					t.Errorf("a command line shows %q, in\n%q", found, lines)
				}
				return fault
			}
		})
	}

	seen := ""
	c8auth := func(stdin string, args ...string) string {
		t.Helper()
		stdout, printed := execute(t, stdin, args...)
		seen += printed
		if args[0] != "token" { // which is asked for one by name
			printed += stdout
		}
		if found := secretscan.Find(printed, secrets()...); found != nil {
			t.Errorf("%q prints %q, in\n%s", args, found, printed)
		}
		return stdout
	}
	set := []string{"credentials", "set", "default"}
	sets := func(each ...string) {
		for _, credentials := range each {
			c8auth(credentials, set...)
			c8auth(credentials, append(set, "--json")...)
		}
	}
	probed := []string{s.oauth(markedSecret), s.bearer(markedKey), s.oauth(markedSecret + "?"), s.bearer(markedKey + "?")} // the latter are refused
	operations := func() {
		c8auth(s.oauth(markedSecret), append(set, "--now")...)
		c8auth(s.oauth(markedSecret+"?"), append(set, "--insist", "--now")...)
		c8auth(s.bearer(markedKey), append(set, "--insist", "--json")...)
		c8auth(s.oauth(markedSecret), append(set, "--now")...)
		for _, args := range [][]string{
			{"rotate", "default"}, {"rotate", "default", "--force", "--json"}, {"rotate", "acme"},
			{"token", "default"}, {"token", "default", "--header"}, {"token", "default", "--json"}, {"token", "acme"},
			{"status"}, {"status", "--json"}, {"who", "default"}, {"grant", "default", "--role", payroll}, {"__complete", "rotate", ""},
		} {
			c8auth("", args...)
		}
	}
	answers(nil)
	sets(harness.Credentials("http://127.0.0.1:1", clientID, markedSecret), // unreachable
		markedSecret, s.oauth(markedSecret)+"}", object(markedSecret, 1), object(letters, 1),
		object("base_url", markedKey, "access_key", markedKey), object("client_secret", []string{markedKey}))
	sets(probed...)
	operations()
	if token := strings.TrimSuffix(c8auth("", "token", "default"), "\n"); !s.Communic8.Valid(token) {
		t.Error("it prints no token where one is asked for")
	}
	answers(&c8test.Fault{Status: http.StatusUnauthorized, Body: markedSecret})
	sets(probed...)
	operations()
	for _, passing := range []*c8test.Fault{{Status: http.StatusServiceUnavailable, Body: markedKey}, {Break: true}} { // on which rotate would wait
		answers(passing)
		sets(probed...)
	}
	answers(nil)
	for _, action := range []string{"cloudformation:DescribeStacks", "lambda:InvokeFunction", "secretsmanager:DescribeSecret", "secretsmanager:PutSecretValue", "secretsmanager:ListSecrets"} {
		s.AWS.Set(func(state *awstest.State) { state.Refused = map[string]bool{action: true} })
		c8auth(s.oauth(markedSecret), append(set, "--now")...)
		c8auth("", "rotate", "default", "--force")
		c8auth("", "token", "default")
	}
	for _, want := range []string{"not a JSON object", hiddenKey, `"base_url" must be https://`, `"client_secret" must be a string`} {
		if !strings.Contains(seen, want) {
			t.Errorf("it never says %q", want)
		}
	}
	if _, err := os.Stat("/proc/self/cmdline"); err == nil && !watched.Load() {
		t.Error("its command line was never seen")
	}

	err := filepath.WalkDir(home, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			t.Errorf("it leaves %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
