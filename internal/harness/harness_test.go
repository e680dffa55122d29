package harness_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/harness"
)

// start starts a stack whose tenant has credentials that Communic8 takes.
func start(t *testing.T) *harness.Stack {
	t.Helper()
	s, err := harness.Start(t.Context(), harness.Ports{}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	s.Communic8.AddClient("id", "secret")
	s.Secrets.Put(credentialsName, fmt.Sprintf(`{"base_url":%q,"client_id":"id","client_secret":"secret"}`, s.Communic8URL))
	return s
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

// vend gets the token as a caller does and expects the latest that was issued.
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

// TestMainJob: credentials become a token, a caller gets it, and a token that was
// revoked is replaced for those who ask for a fresh one.
func TestMainJob(t *testing.T) {
	s := start(t)
	rotate(t, s, "rotated", "first_token")
	vend(t, s, nil)
	rotate(t, s, "fresh", "")

	time.Sleep(time.Second) // the store is not asked more often, however fresh the wish
	s.Communic8.Revoke(s.Communic8.Issued()[0])
	rotate(t, s, "rotated", "rejected")
	vend(t, s, http.Header{"Cache-Control": {"no-cache"}})
}

// TestSpellings: of all spellings of a path that IAM and the API let pass, only the tenant's own
// leads to a token or a report.
func TestSpellings(t *testing.T) {
	s := start(t)
	rotate(t, s, "rotated", "first_token")
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

// TestCrash: the request after a crash of vend is served.
func TestCrash(t *testing.T) {
	s := start(t)
	rotate(t, s, "rotated", "first_token")
	vend(t, s, nil)
	s.Vend.Kill(syscall.SIGKILL)
	vend(t, s, nil)
	if got := s.Vend.Starts(); got != 2 {
		t.Errorf("vend was started %d times, want 2", got)
	}
}

// TestSettings: settings that are missing or malformed end the initialization of
// either function, with one line that names all of them.
func TestSettings(t *testing.T) {
	bootstraps := build(t)
	for name, bootstrap := range bootstraps {
		t.Run(name, func(t *testing.T) {
			var printed record
			f := &lambdatest.Function{Bootstrap: bootstrap, Name: name, Log: &printed, Env: []string{
				"C8AUTH_CACHE_TTL=soon", "C8AUTH_PROBE_PATH=elsewhere",
			}}
			defer f.Stop()
			_, err := f.Invoke(t.Context(), []byte(`{}`))
			if failure := new(lambdatest.Error); !errors.As(err, &failure) || failure.Kind != lambdatest.InitError {
				t.Fatalf("got %v, want an init error", err)
			}
			lines := printed.all()
			if len(lines) != 1 {
				t.Fatalf("it prints %q, want one line", lines)
			}
			for _, variable := range []string{"C8AUTH_STACK", "C8AUTH_CACHE_TTL", "C8AUTH_PROBE_PATH"} {
				if !strings.Contains(lines[0], variable) {
					t.Errorf("%s does not name %s", lines[0], variable)
				}
			}
		})
	}
}

// TestEvents: every sample event comes to what its name says.
func TestEvents(t *testing.T) {
	s := start(t)
	rotate(t, s, "rotated", "first_token")
	samples := map[string]struct {
		function *lambdatest.Function
		want     string // in the answer or in the error
	}{
		"rotate-eventbridge-rule.json":    {s.Rotate, `"outcome":"fresh"`},
		"rotate-forced.json":              {s.Rotate, `"outcome":"fresh"`}, // the token is not a minute old
		"rotate-rejection-malformed.json": {s.Rotate, `"statusCode":400`},
		"rotate-rejection.json":           {s.Rotate, `\"outcome\":\"kept\"`},
		"rotate-schedule.json":            {s.Rotate, `"outcome":"fresh"`},
		"rotate-unknown-shape.json":       {s.Rotate, "malformed input"},
		"vend-malformed-tenant.json":      {s.Vend, `"statusCode":400`},
		"vend-no-cache.json":              {s.Vend, `"statusCode":200`},
		"vend-test-invocation.json":       {s.Vend, `"statusCode":400`},
		"vend-unknown-tenant.json":        {s.Vend, `"statusCode":404`},
		"vend.json":                       {s.Vend, `"statusCode":200`},
	}
	root, err := lambdatest.Root()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "events", "*.json"))
	if err != nil || len(files) < len(samples) {
		t.Fatalf("events holds %q (%v), want %d files at least", files, err, len(samples))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			sample, ok := samples[filepath.Base(file)]
			if !ok {
				t.Fatal("nobody says what is to come of it")
			}
			event, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := sample.function.Invoke(t.Context(), event)
			got := string(answer)
			if err != nil {
				got = harness.Reason(err)
			}
			if !strings.Contains(got, sample.want) {
				t.Errorf("got %s, want %s in it", got, sample.want)
			}
		})
	}
}

// TestNothingIsLeftBehind: ports that are taken are replaced, and after Stop there is
// no process, no port and no file.
func TestNothingIsLeftBehind(t *testing.T) {
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
	resp, body, err := s.Get(t.Context(), "default", nil)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %v %s (%v), want 503 without a token", resp, body, err)
	}

	s.Stop()
	for _, url := range []string{s.Communic8URL, s.SecretsURL, s.APIURL, s.AWSURL} {
		address := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/v1")
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			t.Errorf("%s is still served", url)
		}
	}
	if runtime.GOOS == "linux" {
		for _, f := range []*lambdatest.Function{s.Rotate, s.Vend} {
			if pids := processes(t, f.Bootstrap); pids != nil {
				t.Errorf("%s still runs as %v", f.Name, pids)
			}
		}
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}
