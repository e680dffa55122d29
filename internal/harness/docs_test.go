//go:build docs

package harness_test

// The snippets of the documentation, run unchanged except for the names of the API, the region
// and what else stands in angle brackets. They need bash, curl, the aws command, python3 with
// botocore and aws-secretsmanager-caching, and node, whose modules are in NODE_MODULES.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/docs"
	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/harness"
)

const root = "../.."

// interpreters are what runs the snippets of a language, and the file that they are in.
var interpreters = map[string]struct{ command, file string }{
	"console": {"bash", "snippet.sh"},
	"python":  {"python3", "snippet.py"},
	"js":      {"node", "snippet.mjs"},
}

// accessKeys are a user's and a session's.
var accessKeys = map[string]gwtest.Key{
	"AKIAIOSFODNN7EXAMPLE": {SecretAccessKey: harness.SecretKey, ARN: harness.Caller, Tenants: []string{"default"}, Reports: []string{"default"}},
	"ASIAIOSFODNN7EXAMPLE": {SecretAccessKey: harness.SecretKey, SessionToken: "IQoJb3JpZ2luX2VjEXAMPLE//a+b=", ARN: "arn:aws:sts::123456789012:assumed-role/payroll/i-0123456789abcdef0", Tenants: []string{"default"}, Reports: []string{"default"}},
}

// watched replaces curl by a function that refuses secrets on the command line, which every
// user of a machine can see.
const watched = `curl() {
	case "$*" in *"$AWS_SECRET_ACCESS_KEY"*|*"${AWS_SESSION_TOKEN:-no session}"*) echo "a secret is on the command line"; return 1;; esac
	command curl "$@"
}
`

// TestCallers: each snippet that calls the API gets a token, or the answer to a report. With a
// signature for another service it does not.
func TestCallers(t *testing.T) {
	s := started(t)
	api := httptest.NewServer(&gwtest.Gateway{Region: harness.Region, Keys: accessKeys, Invoke: s.Vend.Invoke, Report: s.Rotate.Invoke})
	t.Cleanup(api.Close)
	for _, snippet := range snippets(t, "TestCallers") {
		interpreter := interpreters[snippet.Language]
		text := fill(t, snippet, "https://<api>.execute-api.<region>.amazonaws.com/", api.URL+"/", "<region>", harness.Region)
		if snippet.Language == "console" {
			text = watched + text
		}
		answers := func(out string) bool { return s.Communic8.Valid(vended(out)) }
		if strings.Contains(text, "/rejections") {
			answers = func(out string) bool { return strings.Contains(out, `"outcome":`) }
		}
		for id, key := range accessKeys {
			env := []string{"AWS_ACCESS_KEY_ID=" + id, "AWS_SECRET_ACCESS_KEY=" + key.SecretAccessKey}
			credentials := "key"
			if key.SessionToken != "" {
				env = append(env, "AWS_SESSION_TOKEN="+key.SessionToken)
				credentials = "session"
			}
			t.Run(fmt.Sprintf("%s:%d %s", snippet.File, snippet.Line, credentials), func(t *testing.T) {
				if out := run(t, interpreter.command, interpreter.file, text, env); !answers(out) {
					t.Errorf("no answer to\n%s\n%s", text, out)
				}
				wrong := strings.Replace(text, "execute-api", "lambda", 1)
				if wrong == text {
					t.Fatal("it names no service")
				}
				out := run(t, interpreter.command, interpreter.file, wrong, env)
				if answers(out) || !strings.Contains(out, "403") && !strings.Contains(out, "Credential should be scoped to correct service") {
					t.Errorf("want a refusal, got\n%s", out)
				}
			})
		}
	}
}

// TestGo: the Go snippets are programs that call Communic8.
func TestGo(t *testing.T) {
	s := started(t)
	for _, snippet := range snippets(t, "TestGo") {
		text := fill(t, snippet, "https://<api>.execute-api.<region>.amazonaws.com/v1", s.APIURL)
		program := "package main\n\nimport (\n\"fmt\"\n\"net/http\"\n\n\"github.com/c8auth/c8auth/pkg/c8auth/caller\"\n)\n\nfunc main() {\n" +
			text + "if err != nil {\npanic(err)\n}\nfmt.Println(resp.Status)\n}\n"
		file := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
			t.Fatal(err)
		}
		command := exec.CommandContext(t.Context(), "go", "run", file)
		command.Env = append(os.Environ(), "AWS_REGION="+harness.Region, "AWS_ACCESS_KEY_ID="+harness.AccessKey, "AWS_SECRET_ACCESS_KEY="+harness.SecretKey)
		if out, err := command.CombinedOutput(); err != nil || string(out) != "200 OK\n" {
			t.Errorf("%s: %v\n%s", snippet, err, out)
		}
	}
}

// TestDirectly: the snippet that reads Secrets Manager itself prints where the token is valid.
func TestDirectly(t *testing.T) {
	s := started(t)
	for _, snippet := range snippets(t, "TestDirectly") {
		out := run(t, "python3", "snippet.py", snippet.Text, []string{
			"AWS_ACCESS_KEY_ID=" + harness.AccessKey, "AWS_SECRET_ACCESS_KEY=" + harness.SecretKey, "AWS_DEFAULT_REGION=" + harness.Region,
			"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + s.SecretsURL,
		})
		if !strings.HasPrefix(out, s.Communic8URL+" 20") {
			t.Errorf("%s\n%s", snippet, out)
		}
	}
}

// TestOperator: an operator without the tool pastes credentials and rotates.
func TestOperator(t *testing.T) {
	s := start(t)
	s.Communic8.AddClient("<token's ID>", "<token's value>")
	page, err := os.ReadFile(root + "/docs/deploying.md")
	if err != nil {
		t.Fatal(err)
	}
	typed := regexp.MustCompile(`(?s)\n\$ (aws secretsmanager put-secret-value [^\n]*)\n(.*?\n)\^D\n`).FindStringSubmatch(string(page))
	if typed == nil {
		t.Fatal("no credentials are pasted")
	}
	store, pasted := typed[1], strings.Replace(typed[2], "https://acme.communic8.com", s.Communic8URL, 1)
	lambda := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		event, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodPost || r.URL.Path != "/2015-03-31/functions/"+s.Rotate.Name+"/invocations" {
			http.Error(w, `{"Message":"Function not found"}`, http.StatusNotFound)
			return
		}
		result, err := s.Rotate.Invoke(r.Context(), event)
		if err != nil {
			w.Header().Set("X-Amz-Function-Error", "Unhandled")
			result, _ = json.Marshal(map[string]string{"errorMessage": harness.Reason(err)})
		}
		_, _ = w.Write(result)
	}))
	defer lambda.Close()
	for _, snippet := range snippets(t, "TestOperator") {
		script := snippet.Text
		if script == store {
			script += " <<'END'\n" + pasted + "END\n"
		}
		out := run(t, "bash", "snippet.sh", script, []string{
			"AWS_ACCESS_KEY_ID=" + harness.AccessKey, "AWS_SECRET_ACCESS_KEY=" + harness.SecretKey, "AWS_DEFAULT_REGION=" + harness.Region,
			"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + s.SecretsURL, "AWS_ENDPOINT_URL_LAMBDA=" + lambda.URL,
		})
		if snippet.Text == store && !strings.Contains(out, "VersionId") || snippet.Text != store && !strings.Contains(out, `"outcome":"rotated"`) {
			t.Errorf("%s\n%s", snippet, out)
		}
	}
}

// TestAWS: the aws command accepts the other command lines, and sends a request for each.
func TestAWS(t *testing.T) {
	var mu sync.Mutex
	requests := 0
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		requests++
		mu.Unlock()
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_, _ = io.WriteString(w, `{"QueueUrl":"https://sqs.example/queue"}`)
	}))
	t.Cleanup(service.Close)
	for _, snippet := range snippets(t, "TestAWS") {
		if !strings.Contains(snippet.Text, " --") {
			continue // a command's name in a sentence
		}
		t.Run(fmt.Sprintf("%s:%d", snippet.File, snippet.Line), func(t *testing.T) {
			text := fill(t, snippet, "<version>", "7", "<you>", "ann", "<the note>", "note")
			requests = 0
			out := run(t, "bash", "snippet.sh", "aws() { command aws --endpoint-url '"+service.URL+"' \"$@\"; }\n"+ // version 1 has SQS elsewhere otherwise
				"echo '[{\"Id\":\"1\",\"ProductArn\":\"arn\"}]' >findings.json\n"+text, []string{
				"AWS_ACCESS_KEY_ID=" + harness.AccessKey, "AWS_SECRET_ACCESS_KEY=" + harness.SecretKey, "AWS_DEFAULT_REGION=" + harness.Region,
				"AWS_MAX_ATTEMPTS=1",
			})
			if want := strings.Count(text, "aws "); requests != want {
				t.Errorf("%d requests, want %d:\n%s\n%s", requests, want, text, out)
			}
		})
	}
}

// snippets returns those that a test here runs.
func snippets(t *testing.T, test string) []docs.Snippet {
	t.Helper()
	found, err := docs.For(root, test)
	if err != nil || len(found) == 0 {
		t.Fatalf("%d snippets for %s: %v", len(found), test, err)
	}
	return found
}

// fill returns the snippet's text with other names in the place of these.
func fill(t *testing.T, snippet docs.Snippet, names ...string) string {
	t.Helper()
	text := strings.NewReplacer(names...).Replace(snippet.Text)
	if blank := regexp.MustCompile(`<[a-z ]+>`).FindString(text); blank != "" {
		t.Fatalf("%s is left in\n%s", blank, text)
	}
	return text
}

// run runs a program in a directory of its own and returns what it printed.
func run(t *testing.T, command, file, program string, env []string) string {
	t.Helper()
	dir := t.TempDir()
	err := os.WriteFile(filepath.Join(dir, file), []byte(program), 0o600)
	if err == nil {
		err = os.Symlink(os.Getenv("NODE_MODULES"), filepath.Join(dir, "node_modules"))
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command, file)
	cmd.Dir = dir
	// No proxy, profile or certificate of the surroundings.
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "AWS_EC2_METADATA_DISABLED=true"}, env...)
	out, err := cmd.CombinedOutput()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err) // it could not run
	}
	return string(out)
}

// vended returns the token in what a snippet printed.
func vended(out string) string {
	var body struct {
		AccessToken string `json:"access_token"`
	}
	if start := strings.Index(out, "{"); start >= 0 {
		_ = json.NewDecoder(strings.NewReader(out[start:])).Decode(&body)
	}
	return body.AccessToken
}
