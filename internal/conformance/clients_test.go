//go:build clients

package conformance

// The clients in other languages. PYTHON is an interpreter with the Python client, requests
// and httpx; NODE_MODULES is a directory that the JavaScript client is installed in.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/c8auth/c8auth/internal/docs"
)

func init() {
	for _, how := range []string{"alone", "requests", "httpx"} {
		drivers["Python, "+how] = driver{[]string{os.Getenv("PYTHON"), "driver/driver.py", how}, how != "alone"}
	}
	// Node.js looks for modules beside the file that imports them.
	drivers["JavaScript"] = driver{command: []string{"node", filepath.Join(os.Getenv("NODE_MODULES"), "..", "driver.mjs")}}
}

// The snippets of the documentation for the clients, run unchanged except for the names of hosts,
// get a token and use it.
func TestClientSnippets(t *testing.T) {
	snippets, err := docs.For("../..", "TestClientSnippets")
	if err != nil {
		t.Fatal(err)
	}
	interpreters := map[string]struct{ command, file string }{
		"python": {os.Getenv("PYTHON"), "snippet.py"},
		"js":     {"node", "snippet.mjs"},
	}
	if len(snippets) < 4 {
		t.Errorf("%d snippets", len(snippets))
	}
	for _, snippet := range snippets {
		t.Run(fmt.Sprintf("%s:%d", snippet.File, snippet.Line), func(t *testing.T) {
			t.Parallel()
			e := newEnvironment(t, scenario{})
			program := strings.NewReplacer("https://<api>.execute-api.<region>.amazonaws.com/v1", e.api, "https://acme.communic8.com", e.communic8).Replace(snippet.Text)
			interpreter := interpreters[snippet.Language]
			e.write(interpreter.file, program)
			if err := os.Symlink(os.Getenv("NODE_MODULES"), filepath.Join(e.dir, "node_modules")); err != nil {
				t.Fatal(err)
			}
			command := exec.CommandContext(t.Context(), interpreter.command, interpreter.file)
			command.Dir, command.Env = e.dir, e.environ()
			if out, err := command.CombinedOutput(); err != nil || !strings.Contains(string(out), `"success":true`) {
				t.Errorf("%v\n%s\n%s", err, program, out)
			}
		})
	}
}
