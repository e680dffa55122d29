//go:build clients

package conformance

// The clients in other languages. PYTHON is an interpreter with the Python client, requests
// and httpx; NODE_MODULES is a directory that the JavaScript client is installed in.

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func init() {
	for _, how := range []string{"alone", "requests", "httpx"} {
		drivers["Python, "+how] = driver{[]string{os.Getenv("PYTHON"), "driver/driver.py", how}, how != "alone"}
	}
	// Node.js looks for modules beside the file that imports them.
	drivers["JavaScript"] = driver{command: []string{"node", filepath.Join(os.Getenv("NODE_MODULES"), "..", "driver.mjs")}}
}

// The snippets of docs/calling.md, run as they stand there but for the names of hosts, get
// a token and use it.
func TestCallingPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/calling.md")
	if err != nil {
		t.Fatal(err)
	}
	interpreters := map[string]struct{ command, file string }{
		"python": {os.Getenv("PYTHON"), "snippet.py"},
		"js":     {"node", "snippet.mjs"},
	}
	snippets := regexp.MustCompile("(?ms)^```(python|js)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	if len(snippets) != 4 {
		t.Errorf("%d snippets", len(snippets))
	}
	for _, snippet := range snippets {
		t.Run(snippet[1], func(t *testing.T) {
			t.Parallel()
			e := newEnvironment(t, scenario{})
			program := strings.NewReplacer("https://<api>.execute-api.<region>.amazonaws.com/v1", e.api, "https://acme.communic8.com", e.communic8).Replace(snippet[2])
			interpreter := interpreters[snippet[1]]
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
