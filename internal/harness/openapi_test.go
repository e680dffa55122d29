//go:build schemathesis

package harness_test

// openapi.yaml against what both functions and the gateway really answer, by schemathesis:
// run by .ci/openapi, which installs it.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/internal/harness"
)

// TestOpenAPI: schemathesis finds nothing in the description, though there was nearly every
// answer, and something in each changed copy of it.
func TestOpenAPI(t *testing.T) {
	text, err := os.ReadFile("../../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("as it is", func(t *testing.T) {
		out, answers, err := schemathesis(t, string(text))
		if err != nil {
			t.Fatalf("%v:\n%s", err, out)
		}
		for _, answer := range []string{
			"GET 200", "GET 400", "GET 404", "GET 500", "GET 502", "GET 503",
			"POST 200 kept", "POST 200 rotated", "POST 200 superseded", "POST 400", "POST 404", "POST 502", "POST 503",
		} {
			if answers[answer] == 0 {
				t.Errorf("there was no %s", answer)
			}
		}
		_, summary, _ := strings.Cut(out, "SUMMARY")
		t.Logf("%v, and those of API Gateway\n%s", answers, summary)
	})
	for name, change := range map[string]struct{ old, with, finds string }{
		"an undocumented answer": {"        '404': &unknown", "        '499': &unknown", "Undocumented status code"},
		"an undocumented member": {"        expires_at:\n          type", "        expires:\n          type", "Response violates schema"},
		"another type":           {"type: integer\n          minimum: 29", "type: string", "Response violates schema"},
		"another outcome":        {"enum: [superseded, kept, rotated]", "enum: [kept, rotated]", "Response violates schema"},
		"another form of errors": {"enum: [invalid_request,", "enum: [invalid,", "Response violates schema"},
		"another header":         {"            Pragma:\n", "            Pragmatic:\n", "Pragmatic"},
		"another header's value": {"const: no-store", "const: no-cache", "Response header does not conform"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(string(text), change.old) {
				t.Fatalf("%q is not in openapi.yaml", change.old)
			}
			out, _, err := schemathesis(t, strings.Replace(string(text), change.old, change.with, 1))
			if err == nil || !strings.Contains(out, change.finds) {
				t.Errorf("it does not find %q (%v):\n%s", change.finds, err, out)
			}
		})
	}
}

// schemathesis runs it with the description against a stack of its own, where things go wrong.
// It returns what it printed, and how often the functions gave which answer.
func schemathesis(t *testing.T, description string) (string, map[string]int, error) {
	t.Helper()
	s := started(t) // with the version that the description gives as an example
	answers := disturb(s)
	dir := t.TempDir()
	file := filepath.Join(dir, "openapi.yaml")
	if err := os.WriteFile(file, []byte(description), 0o600); err != nil {
		t.Fatal(err)
	}
	data, err := filepath.Abs("testdata/openapi")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), os.Getenv("SCHEMATHESIS"), "--config-file", filepath.Join(data, "schemathesis.toml"),
		"run", file, "--url", s.APIURL, "--max-examples", "200", "--no-color")
	command.Dir = dir
	command.Env = append(append(os.Environ(), s.Environ()...), "SCHEMATHESIS_HOOKS=sign", "PYTHONPATH="+data, "PYTHONDONTWRITEBYTECODE=1")
	out, err := command.CombinedOutput()
	return string(out), answers, err
}

// disturb makes everything go wrong at times, by the number of requests.
func disturb(s *harness.Stack) map[string]int {
	s.Gateway.Keys[harness.AccessKey] = gwtest.Key{SecretAccessKey: harness.SecretKey, ARN: harness.Caller, Tenants: []string{"*"}, Reports: []string{"*"}}
	var reads, tokens, requests atomic.Int64
	s.Secrets.Fault = func(string, string) *smtest.Fault {
		if reads.Add(1)%23 == 0 {
			return &smtest.Fault{Status: http.StatusBadRequest, Type: "AccessDeniedException"} // which is not retried
		}
		return nil
	}
	s.Communic8.Set(func(b *c8test.Behaviour) {
		b.Fault = func(r *http.Request, _ int) *c8test.Fault {
			if r.URL.Path == c8test.TokenPath && tokens.Add(1)%5 == 0 {
				return &c8test.Fault{Status: http.StatusBadRequest, Body: `{"error":"invalid_client"}`}
			}
			return nil
		}
	})
	var mu sync.Mutex
	answers := make(map[string]int)
	through := func(method string, invoke func(context.Context, []byte) ([]byte, error)) func(context.Context, []byte) ([]byte, error) {
		return func(ctx context.Context, event []byte) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			n := requests.Add(1)
			if method == "POST" && n%5 == 0 { // the first version once more
				s.Secrets.Destroy(tokenName)
				s.Secrets.Create(tokenName)
				_, _ = s.Rotate.Invoke(ctx, []byte(heartbeat))
			}
			switch {
			case method == "POST" && n%10 == 0:
				s.Rotate.Kill(syscall.SIGKILL) // its probe still counts
				for _, token := range s.Communic8.Issued() {
					s.Communic8.Revoke(token)
				}
			case n%19 == 0:
				s.Secrets.Put(tokenName, "no token")
				s.Vend.Kill(syscall.SIGKILL) // it has a valid one cached
			case n%11 == 0:
				_, _ = s.Rotate.Invoke(ctx, []byte(heartbeat))
			case n%17 == 0:
				answers[method+" 502"]++
				return nil, errors.New("crashed")
			}
			answer, err := invoke(ctx, event)
			var out struct {
				StatusCode int    `json:"statusCode"`
				Body       string `json:"body"`
			}
			var body struct {
				Outcome string `json:"outcome"`
			}
			if err == nil && json.Unmarshal(answer, &out) == nil && json.Unmarshal([]byte(out.Body), &body) == nil {
				answers[strings.TrimSpace(fmt.Sprintf("%s %d %s", method, out.StatusCode, body.Outcome))]++
			}
			return answer, err
		}
	}
	s.Gateway.Invoke, s.Gateway.Report = through("GET", s.Gateway.Invoke), through("POST", s.Gateway.Report)
	return answers
}
