package harness_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/harness"
)

var (
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

const heartbeat = `{"tenant":"default"}`

// started is a stack whose tenant has a token.
func started(t *testing.T) *harness.Stack {
	t.Helper()
	s := start(t)
	firstToken(t, s)
	return s
}

// firstToken stores credentials that Communic8 accepts, and rotates.
func firstToken(t *testing.T, s *harness.Stack) {
	t.Helper()
	s.Communic8.AddClient("id", "secret")
	s.Secrets.Put(credentialsName, harness.Credentials(s.Communic8URL, "id", "secret"))
	rotate(t, s, "rotated", "first_token")
}

// rotate invokes rotate and expects the outcome and its reason.
func rotate(t *testing.T, s *harness.Stack, outcome, reason string) {
	t.Helper()
	answer, err := s.Rotate.Invoke(t.Context(), []byte(heartbeat))
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Outcome, Reason string }
	if err := json.Unmarshal(answer, &got); err != nil {
		t.Fatal(err)
	}
	if got.Outcome != outcome || got.Reason != reason {
		t.Fatalf("rotate answers %s, want %s because of %q", answer, outcome, reason)
	}
}

// vend fetches the token as a caller does, and expects the latest that was issued.
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
	issued := s.Communic8.Issued()
	_, version := s.Secrets.Value(tokenName)
	if got.AccessToken != issued[len(issued)-1] || got.TokenType != "Bearer" || got.Version != version || got.BaseURL != s.Communic8URL {
		t.Errorf("vend answers %s, want the latest of %q, of version %s, for %s", body, issued, version, s.Communic8URL)
	}
	if left := int(time.Until(got.ExpiresAt).Seconds()); got.ExpiresIn < left || got.ExpiresIn > left+10 {
		t.Errorf("expires_in is %d, of expires_at there are %d seconds left", got.ExpiresIn, left)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestMainJob: credentials become a token, a caller gets it, and a token that was revoked is
// replaced for those who request a fresh one.
func TestMainJob(t *testing.T) {
	s := started(t)
	vend(t, s, nil)
	rotate(t, s, "fresh", "")

	time.Sleep(time.Second) // the store is read no more often, also for a fresh token
	s.Communic8.Revoke(s.Communic8.Issued()[0])
	rotate(t, s, "rotated", "rejected")
	vend(t, s, http.Header{"Cache-Control": {"no-cache"}})
}

// TestSpellings: of all spellings of a path that IAM and the API let pass, only the tenant's own
// leads to a token or a report.
func TestSpellings(t *testing.T) {
	s := started(t)
	all := gwtest.Key{SecretAccessKey: harness.SecretKey, ARN: harness.Caller, Tenants: []string{"*"}, Reports: []string{"*"}}
	api := httptest.NewServer(&gwtest.Gateway{Keys: map[string]gwtest.Key{harness.AccessKey: all}, Invoke: s.Vend.Invoke, Report: s.Rotate.Invoke})
	t.Cleanup(api.Close)
	s.APIURL = api.URL + "/v1"
	_, version := s.Secrets.Value(tokenName)
	for tenant, want := range map[string]int{"default": 200, "default/": 400, "%64efault": 400, "default%2F": 400} {
		resp, body, err := s.Get(t.Context(), tenant, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Errorf("GET of %s: %v, want %d: %s", tenant, resp.Status, want, body)
		}
		if tenant == "default/" { // leads to another route
			continue
		}
		resp, body, err = s.Report(t.Context(), tenant, version)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Errorf("a report of %s: %v, want %d: %s", tenant, resp.Status, want, body)
		}
	}
}

// TestSettings: settings that are missing or malformed end the initialization of either
// function, with one line that names all of them.
func TestSettings(t *testing.T) {
	s := start(t)
	for _, function := range []*lambdatest.Function{s.Rotate, s.Vend} {
		t.Run(function.Name, func(t *testing.T) {
			var printed record
			f := &lambdatest.Function{Bootstrap: function.Bootstrap, Log: &printed, Env: []string{"C8AUTH_CACHE_TTL=soon", "C8AUTH_PROBE_PATH=elsewhere"}}
			defer f.Stop()
			_, err := f.Invoke(t.Context(), []byte(`{}`))
			if failure := new(lambdatest.Error); !errors.As(err, &failure) || failure.Kind != lambdatest.InitError {
				t.Fatalf("got %v, want an init error", err)
			}
			lines := printed.all()
			for _, variable := range []string{"C8AUTH_STACK", "C8AUTH_CACHE_TTL", "C8AUTH_PROBE_PATH"} {
				if len(lines) != 1 || !strings.Contains(lines[0], variable) {
					t.Errorf("%q is not one line that names %s", lines, variable)
				}
			}
		})
	}
}

// TestStop: ports that are taken are replaced, and after Stop nothing listens and no file is
// left.
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
		if address == fmt.Sprintf("127.0.0.1:%d", port) {
			t.Errorf("%s was taken", address)
		}
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			t.Errorf("%s is still served", url)
		}
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v (%v)", left, err)
	}
}
