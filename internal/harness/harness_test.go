package harness_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/harness"
)

const heartbeat = `{"tenant":"default"}`

var (
	credentialsName = harness.CredentialsName("default")
	tokenName       = harness.TokenName("default")

	functions string // the directory that they are built in, once
	build     = sync.OnceValue(func() error { return harness.Build(context.Background(), functions) })
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "c8auth-harness-")
	if err != nil {
		panic(err)
	}
	functions = dir
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// start starts a stack.
func start(t *testing.T) *harness.Stack {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	s, err := harness.StartBuilt(functions, harness.Ports{}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// started is a stack whose tenant has a token.
func started(t *testing.T) *harness.Stack {
	t.Helper()
	s := start(t)
	store(s)
	rotate(t, s, "rotated", "first_token")
	return s
}

// store stores credentials that Communic8 accepts. When others are stored already, or the same,
// a new token is due.
func store(s *harness.Stack) {
	s.Communic8.AddClient("id", "secret")
	s.Secrets.Put(credentialsName, harness.Credentials(s.Communic8URL, "id", "secret"))
}

// rotate invokes rotate and expects the outcome and its reason.
func rotate(t *testing.T, s *harness.Stack, outcome, reason string) {
	t.Helper()
	answer, err := s.Rotate.Invoke(t.Context(), []byte(heartbeat))
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Outcome, Reason string }
	if err := json.Unmarshal(answer, &got); err != nil || got.Outcome != outcome || got.Reason != reason {
		t.Fatalf("rotate answers %s, want %s because of %q (%v)", answer, outcome, reason, err)
	}
}

// newest is the token that Communic8 issued last.
func newest(s *harness.Stack) string {
	issued := s.Communic8.Issued()
	return issued[len(issued)-1]
}

// revoke revokes all tokens.
func revoke(s *harness.Stack) {
	for _, token := range s.Communic8.Issued() {
		s.Communic8.Revoke(token)
	}
}

// TestSettings: settings that are missing or malformed end the initialization of either
// function, with one line that names all of them.
func TestSettings(t *testing.T) {
	s := start(t)
	for _, function := range []*lambdatest.Function{s.Rotate, s.Vend} {
		var printed harness.Log
		f := &lambdatest.Function{Bootstrap: function.Bootstrap, Log: &printed, Env: []string{"C8AUTH_CACHE_TTL=soon", "C8AUTH_PROBE_PATH=elsewhere"}}
		defer f.Stop()
		_, err := f.Invoke(t.Context(), []byte(`{}`))
		if failure, ok := errors.AsType[*lambdatest.Error](err); !ok || !failure.Init {
			t.Errorf("%s: got %v, want an init error", function.Name, err)
		}
		line := printed.Take()
		for _, variable := range []string{"C8AUTH_STACK", "C8AUTH_CACHE_TTL", "C8AUTH_PROBE_PATH"} {
			if strings.Count(line, "\n") != 1 || !strings.Contains(line, variable) {
				t.Errorf("%s: %q is not one line that names %s", function.Name, line, variable)
			}
		}
	}
}

// TestStop: a port that is taken is replaced, and after Stop nothing runs or listens and no file
// is left.
func TestStop(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port
	s, err := harness.Start(t.Context(), harness.Ports{Communic8: port, Secrets: port, API: port, AWS: port}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	rotate(t, s, "waiting", "")
	pid := s.Rotate.PID()
	s.Stop()
	if s.Rotate.PID() != 0 || pid == 0 {
		t.Errorf("rotate was process %d, and is %d", pid, s.Rotate.PID())
	}
	for _, url := range []string{s.Communic8URL, s.SecretsURL, s.APIURL, s.AWSURL} {
		address := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/v1")
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			t.Errorf("%s is still served, or was taken", url)
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left: %v (%v)", left, err)
	}
}
