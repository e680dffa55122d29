//go:build mixture

package harness_test

// The previous release and this tree together: functions, secrets and tool of either. It takes
// git and the history of the repository.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
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

// release is what was built of a commit: the functions and c8auth.
type release struct {
	name, dir string
}

// bootstrap is the binary of a function.
func (r release) bootstrap(function string) string {
	return filepath.Join(r.dir, function, "bootstrap")
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
	both := [2]release{{previous[:min(8, len(previous))], t.TempDir()}, {"this", t.TempDir()}}
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
		rotator, vendor, tool := i&1, i>>1&1, both[i>>2]
		t.Run(fmt.Sprintf("rotate %s, vend %s, tool %s", both[rotator].name, both[vendor].name, tool.name), func(t *testing.T) {
			t.Parallel() // most of it is waiting
			s := start(t)
			s.Rotate.Bootstrap, s.Vend.Bootstrap = both[rotator].bootstrap("rotate"), both[vendor].bootstrap("vend")
			s.Communic8.AddClient("id", "secret")
			set := func() {
				t.Helper()
				c8auth(t, s, tool, harness.Credentials(s.Communic8URL, "id", "secret"), "credentials", "set", "default", "--now")
			}
			set()
			vend(t, s, nil)
			rotate(t, s, "fresh", "")
			if got := c8auth(t, s, tool, "", "token", "default"); strings.TrimSpace(got) != newest(s) {
				t.Errorf("c8auth token prints %q, want %q", got, newest(s))
			}
			c8auth(t, s, tool, "", "rotate", "default")
			c8auth(t, s, tool, "", "grant", "default", "--role", "arn:aws:iam::123456789012:role/payroll")

			reported(t, s)
			s.Secrets.Put(credentialsName, harness.Credentials(s.Communic8URL, "id", "wrong"))
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
			if got := c8auth(t, s, tool, "", "token", "default"); strings.TrimSpace(got) != "key" {
				t.Errorf("c8auth token prints %q, want the access key", got)
			}
			set()

			replace := func(f *lambdatest.Function, bootstrap string) { // by that of the other release
				t.Helper()
				f.Stop()
				f.Bootstrap = bootstrap
				rotate(t, s, "fresh", "") // what the other release has stored
				fetch(t, s)
				reported(t, s)
			}
			replace(s.Rotate, both[1-rotator].bootstrap("rotate"))
			replace(s.Vend, both[1-vendor].bootstrap("vend"))
		})
	}
}

// c8auth runs a release's tool, and returns what it printed for programs.
func c8auth(t *testing.T, s *harness.Stack, tool release, stdin string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(tool.dir, "c8auth"), args...)
	command.Env = append(s.Environ(), "C8AUTH_STACK="+harness.Name, "HOME="+t.TempDir())
	command.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Errorf("c8auth %s: %v\n%s%s", strings.Join(args, " "), err, out, &stderr)
	}
	return string(out)
}

// vend fetches the token as a caller does, and expects the newest one, as the contract has it.
func vend(t *testing.T, s *harness.Stack, header http.Header) {
	t.Helper()
	resp, body, err := s.Get(t.Context(), "default", header)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		AccessToken string    `json:"access_token"`
		TokenType   string    `json:"token_type"`
		ExpiresIn   int       `json:"expires_in"`
		ExpiresAt   time.Time `json:"expires_at"`
		Version     string    `json:"version"`
		BaseURL     string    `json:"base_url"`
	}
	in := json.NewDecoder(bytes.NewReader(body))
	in.DisallowUnknownFields()
	if err := in.Decode(&got); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("vend answers %s %s (%v)", resp.Status, body, err)
	}
	_, version := s.Secrets.Value(tokenName)
	if got.AccessToken != newest(s) || got.TokenType != "Bearer" || got.Version != version || got.BaseURL != s.Communic8URL {
		t.Errorf("vend answers %s, want the token %s, of version %s, for %s", body, newest(s), version, s.Communic8URL)
	}
	if left := int(time.Until(got.ExpiresAt).Seconds()); got.ExpiresIn < left || got.ExpiresIn > left+10 {
		t.Errorf("expires_in is %d, of expires_at there are %d seconds left", got.ExpiresIn, left)
	}
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
	revoke(s)
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
