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
	"sync/atomic"
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
	s.Gateway.Keys = accessKeys
	for _, snippet := range snippets(t, "TestCallers") {
		text := fill(t, snippet, "https://<api>.execute-api.<region>.amazonaws.com/v1", s.APIURL, "<region>", harness.Region)
		if snippet.Language == "console" {
			text = watched + text
		}
		answers := func(out string) bool { return s.Communic8.Valid(vended(out)) }
		if strings.Contains(text, "/rejections") {
			answers = func(out string) bool { return strings.Contains(out, `"outcome":`) }
		}
		for id, key := range accessKeys {
			env := []string{"AWS_ACCESS_KEY_ID=" + id, "AWS_SECRET_ACCESS_KEY=" + key.SecretAccessKey}
			if key.SessionToken != "" {
				env = append(env, "AWS_SESSION_TOKEN="+key.SessionToken)
			}
			t.Run(fmt.Sprintf("%s:%d %s", snippet.File, snippet.Line, id), func(t *testing.T) {
				if out := run(t, snippet.Language, text, env); !answers(out) {
					t.Errorf("no answer to\n%s\n%s", text, out)
				}
				wrong := strings.Replace(text, "execute-api", "lambda", 1)
				if wrong == text {
					t.Fatal("it names no service")
				}
				out := run(t, snippet.Language, wrong, env)
				if answers(out) || !strings.Contains(out, "403") && !strings.Contains(out, "The request signature we calculated does not match") {
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
		command.Env = append(os.Environ(), s.Environ()...)
		if out, err := command.CombinedOutput(); err != nil || string(out) != "200 OK\n" {
			t.Errorf("%s: %v\n%s", snippet, err, out)
		}
	}
}

// TestDirectly: the snippet that reads Secrets Manager itself prints where the token is valid.
func TestDirectly(t *testing.T) {
	s := started(t)
	for _, snippet := range snippets(t, "TestDirectly") {
		if out := run(t, snippet.Language, snippet.Text, s.Environ()); !strings.HasPrefix(out, s.Communic8URL+" 20") {
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
	pasted := strings.Replace(typed[2], "https://acme.communic8.com", s.Communic8URL, 1)
	for _, snippet := range snippets(t, "TestOperator") {
		script, want := snippet.Text, `"outcome":"rotated"`
		if script == typed[1] {
			script, want = script+" <<'END'\n"+pasted+"END\n", "VersionId"
		}
		if out := run(t, "console", script, s.Environ()); !strings.Contains(out, want) {
			t.Errorf("%s\n%s", snippet, out)
		}
	}
}

// TestAWS: the aws command accepts the other command lines, and sends a request for each.
func TestAWS(t *testing.T) {
	var requests atomic.Int64
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
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
			requests.Store(0)
			out := run(t, "console", "aws() { command aws --endpoint-url '"+service.URL+"' \"$@\"; }\n"+ // version 1 has SQS elsewhere otherwise
				"echo '[{\"Id\":\"1\",\"ProductArn\":\"arn\"}]' >findings.json\n"+text, []string{
				"AWS_ACCESS_KEY_ID=" + harness.AccessKey, "AWS_SECRET_ACCESS_KEY=" + harness.SecretKey, "AWS_MAX_ATTEMPTS=1",
			})
			if got, want := requests.Load(), strings.Count(text, "aws "); got != int64(want) {
				t.Errorf("%d requests, want %d:\n%s\n%s", got, want, text, out)
			}
		})
	}
}

// snippets returns those that a test here runs.
func snippets(t *testing.T, test string) []docs.Snippet {
	t.Helper()
	found, err := docs.For(root, test)
	if err != nil {
		t.Fatal(err)
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
func run(t *testing.T, language, program string, env []string) string {
	t.Helper()
	dir, interpreter := t.TempDir(), interpreters[language]
	err := os.WriteFile(filepath.Join(dir, interpreter.file), []byte(program), 0o600)
	if err == nil {
		err = os.Symlink(os.Getenv("NODE_MODULES"), filepath.Join(dir, "node_modules"))
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, interpreter.command, interpreter.file)
	cmd.Dir = dir
	// No proxy, profile or certificate of the surroundings.
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "AWS_EC2_METADATA_DISABLED=true", "AWS_DEFAULT_REGION=" + harness.Region}, env...)
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
