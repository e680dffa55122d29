//go:build mixture

package harness_test

// The previous release and this tree together: functions, secrets and tool of either. It takes
// git and the history of the repository.

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/harness"
)

// beforeReleases stands for the previous release until there is one: it is the oldest commit
// whose functions and tool invoke each other by today's names.
const beforeReleases = "38cb525411b9bffce6028c890cd259f1bc25ff3c"

// release is what was built of a commit: rotate/bootstrap, vend/bootstrap and c8auth.
type release struct {
	name, dir string
}

// releases builds the previous release and this tree.
func releases(t *testing.T) [2]release {
	t.Helper()
	root, err := lambdatest.Root()
	if err != nil {
		t.Fatal(err)
	}
	// The checkout may belong to somebody else.
	git := []string{"-c", "safe.directory=*", "-C", root}
	previous := beforeReleases
	if tag, err := exec.CommandContext(t.Context(), "git", append(git, "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^")...).Output(); err == nil {
		previous = strings.TrimSpace(string(tag))
	}
	source, archive := t.TempDir(), filepath.Join(t.TempDir(), "source.tar")
	command(t, root, "git", append(git, "archive", "--output", archive, previous)...)
	command(t, source, "tar", "-xf", archive)
	both := [2]release{{name: previous[:min(8, len(previous))], dir: t.TempDir()}, {name: "this", dir: t.TempDir()}}
	for i, from := range []string{source, root} {
		for _, function := range []string{"rotate", "vend"} {
			if _, err := lambdatest.Build(t.Context(), from, filepath.Join(both[i].dir, function), function); err != nil {
				t.Fatal(err)
			}
		}
		command(t, from, "go", "build", "-buildvcs=false", "-o", filepath.Join(both[i].dir, "c8auth"), "./cmd/c8auth")
	}
	return both
}

// command runs one that has to succeed.
func command(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", c, err, out)
	}
}

// TestMixture: whichever releases rotate, vend and the tool are of, credentials become a token
// that callers get, a rejected one is replaced, and refused credentials do no harm. When either
// function is replaced by that of the other release, up or back, it takes what is stored as its own.
func TestMixture(t *testing.T) {
	both := releases(t)
	for i := range 8 {
		rotator, vendor, tool := both[i&1], both[i>>1&1], both[i>>2]
		t.Run(fmt.Sprintf("rotate %s, vend %s, tool %s", rotator.name, vendor.name, tool.name), func(t *testing.T) {
			t.Parallel() // most of it is waiting
			s := mixed(t, rotator, vendor)
			set(t, s, tool, fmt.Sprintf(`{"base_url":%q,"client_id":"id","client_secret":"secret"}`, s.Communic8URL))
			vend(t, s, nil)
			rotate(t, s, "fresh", "")
			if got := c8auth(t, s, tool, "", 0, "token", "default"); strings.TrimSpace(got) != newest(s) {
				t.Errorf("c8auth token prints %q, want %q", got, newest(s))
			}
			c8auth(t, s, tool, "", 0, "rotate", "default")
			c8auth(t, s, tool, "", 0, "grant", "default", "--role", "arn:aws:iam::123456789012:role/payroll")

			reported(t, s)
			s.Secrets.Put(credentialsName, fmt.Sprintf(`{"base_url":%q,"client_id":"id","client_secret":"wrong"}`, s.Communic8URL))
			rotate(t, s, "rotated", "credentials_changed") // with the previous ones
			s.Secrets.Put(credentialsName, "nonsense")
			if answer, err := s.Rotate.Invoke(t.Context(), []byte(heartbeat)); err == nil {
				t.Errorf("rotate answers %s, want an error, as the credentials are none", answer)
			}
			fetch(t, s)
			s.Communic8.AddAccessKey("key")
			s.Secrets.Put(credentialsName, fmt.Sprintf(`{"base_url":%q,"access_key":"key"}`, s.Communic8URL))
			rotate(t, s, "rotated", "credentials_changed")
			s.Vend.Kill(syscall.SIGKILL) // it would give the last one for a minute
			if got := c8auth(t, s, tool, "", 0, "token", "default"); strings.TrimSpace(got) != "key" {
				t.Errorf("c8auth token prints %q, want the access key", got)
			}
			set(t, s, tool, fmt.Sprintf(`{"base_url":%q,"client_id":"id","client_secret":"secret"}`, s.Communic8URL))

			for _, replaced := range []*lambdatest.Function{s.Rotate, s.Vend} {
				replace(t, replaced, both)
				rotate(t, s, "fresh", "") // what the other release has stored
				fetch(t, s)
				reported(t, s)
			}
		})
	}
}

// mixed starts a stack of two releases' functions.
func mixed(t *testing.T, rotator, vendor release) *harness.Stack {
	t.Helper()
	dir := t.TempDir()
	for function, of := range map[string]release{"rotate": rotator, "vend": vendor} {
		if err := os.Symlink(filepath.Join(of.dir, function), filepath.Join(dir, function)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := harness.StartBuilt(dir, harness.Ports{}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	s.Communic8.AddClient("id", "secret")
	return s
}

// replace lets a function be that of the other release.
func replace(t *testing.T, f *lambdatest.Function, both [2]release) {
	t.Helper()
	was, err := filepath.EvalSymlinks(f.Bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	function := filepath.Base(filepath.Dir(was))
	other := filepath.Join(both[0].dir, function, "bootstrap")
	if was == other {
		other = filepath.Join(both[1].dir, function, "bootstrap")
	}
	f.Stop()
	f.Bootstrap = other
}

// set stores credentials by the tool, which has rotate make a token of them.
func set(t *testing.T, s *harness.Stack, tool release, credentials string) {
	t.Helper()
	c8auth(t, s, tool, credentials, 0, "credentials", "set", "default", "--now")
}

// c8auth runs a release's tool, and returns what it printed for programs.
func c8auth(t *testing.T, s *harness.Stack, tool release, stdin string, status int, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(tool.dir, "c8auth"), args...)
	command.Env = append(s.Environ(), "C8AUTH_STACK="+harness.Name, "HOME="+t.TempDir())
	command.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, _ := command.Output()
	if got := command.ProcessState.ExitCode(); got != status {
		t.Errorf("c8auth %s ends with %d, want %d:\n%s%s", strings.Join(args, " "), got, status, out, &stderr)
	}
	return string(out)
}

// newest is the token that Communic8 issued last.
func newest(s *harness.Stack) string {
	issued := s.Communic8.Issued()
	return issued[len(issued)-1]
}

// fetch expects vend to read the newest token.
func fetch(t *testing.T, s *harness.Stack) {
	t.Helper()
	time.Sleep(time.Second) // the store is read once a second at most
	vend(t, s, http.Header{"Cache-Control": {"no-cache"}})
}

// reported has the token revoked and reported, and expects another one.
func reported(t *testing.T, s *harness.Stack) {
	t.Helper()
	for _, token := range s.Communic8.Issued() {
		s.Communic8.Revoke(token)
	}
	s.Rotate.Kill(syscall.SIGKILL) // it remembers for some seconds that the token was good
	_, version := s.Secrets.Value(tokenName)
	resp, body, err := s.Report(t.Context(), "default", version)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"rotated"`)) {
		t.Errorf("the report is answered %s %s, want a new token", resp.Status, body)
	}
	fetch(t, s)
}
