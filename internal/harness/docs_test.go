//go:build readme

package harness_test

// The README's snippets, run as they stand there but for the names of the API and the
// region: what an operator types, and what callers in other languages do. They take
// bash, curl, aws, python3 with botocore, and node, whose modules are in NODE_MODULES.

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/harness"
)

// callers are the languages of the README's snippets that fetch a token, each with how
// its snippet begins and what runs it.
var callers = []struct{ name, language, begins, file, command string }{
	{"curl", "console", "$ curl --aws-sigv4", "snippet.sh", "bash"},
	{"Python", "python", "from urllib", "snippet.py", "python3"},
	{"JavaScript", "js", "import { Sha256 }", "snippet.mjs", "node"},
}

func TestReadme(t *testing.T) {
	s := start(t)
	s.Communic8.AddClient("<token's ID>", "<token's value>")

	t.Run("operator", func(t *testing.T) { operate(t, s) })

	keys := map[string]gwtest.Key{
		"AKIAIOSFODNN7EXAMPLE": {SecretAccessKey: harness.SecretKey, ARN: harness.Caller, Tenants: []string{"default"}},
		"ASIAIOSFODNN7EXAMPLE": {SecretAccessKey: harness.SecretKey, SessionToken: "IQoJb3JpZ2luX2VjEXAMPLE//a+b=", ARN: "arn:aws:sts::123456789012:assumed-role/payroll/i-0123456789abcdef0", Tenants: []string{"default"}},
	}
	api := httptest.NewServer(&gwtest.Gateway{Region: harness.Region, Keys: keys, Invoke: s.Vend.Invoke})
	t.Cleanup(api.Close)

	for _, caller := range callers {
		snippet := fill(t, snippet(t, "README.md", caller.language, caller.begins), api.URL)
		for id, key := range keys {
			env := []string{"AWS_ACCESS_KEY_ID=" + id, "AWS_SECRET_ACCESS_KEY=" + key.SecretAccessKey}
			credentials := "key"
			if key.SessionToken != "" {
				env = append(env, "AWS_SESSION_TOKEN="+key.SessionToken)
				credentials = "session"
			}
			t.Run(caller.name+"/"+credentials, func(t *testing.T) {
				out := run(t, caller.command, caller.file, snippet, env)
				if token := vended(out); !s.Communic8.Valid(token) {
					t.Errorf("no token from\n%s\n%s", snippet, out)
				}
			})
			// The fake accepts no signature for another service.
			t.Run(caller.name+"/"+credentials+", wrong service", func(t *testing.T) {
				wrong := strings.Replace(snippet, "execute-api", "lambda", 1)
				if wrong == snippet {
					t.Fatal("it names no service")
				}
				out := run(t, caller.command, caller.file, wrong, env)
				if vended(out) != "" || !strings.Contains(out, "403") && !strings.Contains(out, "Credential should be scoped to correct service") {
					t.Errorf("want a refusal, got\n%s", out)
				}
			})
		}
	}
}

// operate does what the documentation tells the operator, with the aws command: stores the
// credentials by pasting them, and rotates.
func operate(t *testing.T, s *harness.Stack) {
	deploy := snippet(t, "docs/deploying.md", "console", "$ aws secretsmanager put-secret-value ")
	typed := regexp.MustCompile(`(?s)^(\$ aws secretsmanager [^\n]*)\n(.*\n)\^D\n`).FindStringSubmatch(deploy)
	if typed == nil {
		t.Fatalf("no credentials are pasted in\n%s", deploy)
	}
	store, pasted := typed[1], strings.Replace(typed[2], "https://acme.communic8.com", s.Communic8URL, 1)
	rotate := regexp.MustCompile(`(?m)^\$ echo .* aws lambda invoke .*$`).FindString(snippet(t, "README.md", "console", "$ aws cloudwatch"))

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
	out := run(t, "bash", "snippet.sh", "set -e\n"+commands(store)+" <<'END'\n"+pasted+"END\n"+commands(rotate), []string{
		"AWS_ACCESS_KEY_ID=" + harness.AccessKey, "AWS_SECRET_ACCESS_KEY=" + harness.SecretKey, "AWS_DEFAULT_REGION=" + harness.Region,
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + s.SecretsURL, "AWS_ENDPOINT_URL_LAMBDA=" + lambda.URL,
	})
	if !strings.Contains(out, `"outcome":"rotated"`) {
		t.Errorf("want a rotation, got\n%s", out)
	}
}

// snippet returns a file's one block of a language that begins so.
func snippet(t *testing.T, file, language, begins string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + file)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, block := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		if strings.HasPrefix(block[1], begins) {
			found = append(found, block[1])
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s has %d %s blocks that begin with %q", file, len(found), language, begins)
	}
	return found[0]
}

// commands returns what one types at a prompt.
func commands(transcript string) string {
	return strings.ReplaceAll("\n"+transcript, "\n$ ", "\n")
}

// fill gives a snippet the API and the region.
func fill(t *testing.T, snippet, api string) string {
	t.Helper()
	snippet = strings.Replace(commands(snippet), "https://<api>.execute-api.<region>.amazonaws.com/", api+"/", 1)
	snippet = strings.ReplaceAll(snippet, "<region>", harness.Region)
	if blank := regexp.MustCompile(`<[a-z]+>`).FindString(snippet); blank != "" || !strings.Contains(snippet, api) {
		t.Fatalf("%s is left in\n%s", blank, snippet)
	}
	return snippet
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
