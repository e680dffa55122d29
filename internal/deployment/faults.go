package main

// Faults planted one by one in copies of the source tree: which step notices each, and
// which tests of the templates do.

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// fault is a change of a file that makes the deployment wrong. It replaces the first text that
// a pattern matches; in the replacement, ${1} is what the first group matched, and $$ is $.
type fault struct {
	name, file, pattern, replacement string
}

var faults = []fault{
	{"vend's role reads credentials", "template.yaml", `(&Tokens .*)/token/\*`, `${1}/*`},
	{"rotate may not write", "template.yaml", `, secretsmanager:PutSecretValue\]`, `]`},
	{"a caller policy with a wrong path", "tenant.yaml", `/v1/GET/tokens/`, `/v1/GET/token/`},
	{"a policy that vanishes", "template.yaml", `- Sid: OnlyOverTLS\n(?:.*\n){7}`, "- !Ref AWS::NoValue\n"},
	{"a parameter that never reaches vend's alias", "template.yaml", `C8AUTH_CACHE_TTL: .*`, `C8AUTH_CACHE_TTL: !Sub $${LogRetention}s`},
	{"the API leads to the wrong function", "template.yaml", `(?s)Method: GET\n( +)Path: /tokens/\{tenant\}\n(.*)Method: POST\n +Path: /tokens/\{tenant\}/rejections\n`,
		"Method: POST\n${1}Path: /tokens/{tenant}/rejections\n${2}Method: GET\n${1}Path: /tokens/{tenant}\n"},
	{"a schedule with a wrong role", "tenant.yaml", `-\$\{AWS::Region\}-scheduler`, `-scheduler`},
	{"an output whose command has a typo", "template.yaml", `(StoreCredentials:\n(?:.*\n){2} +aws secretsmanager put-secret-value) --region`, `${1} --regoin`},
	{"a route that is open", "template.yaml", `( +)Path: /tokens/\{tenant\}\n`, "${0}${1}Auth: {Authorizer: NONE}\n"},
	{"tenants that clash", "tenant.yaml", `Name: !Ref Tenant\n`, "Name: default\n"},
}

// change returns the text of the file with the fault in it.
func (f fault) change(text string) (string, error) {
	pattern := regexp.MustCompile(f.pattern)
	at := pattern.FindStringSubmatchIndex(text)
	if at == nil {
		return "", fmt.Errorf("%s: %s has nothing that matches %s", f.name, f.file, f.pattern)
	}
	return text[:at[0]] + string(pattern.ExpandString(nil, f.replacement, text, at)) + text[at[1]:], nil
}

// plantAll plants one fault after the other in copies of the tree, prints the first step that
// fails and the laws of the templates that it breaks, and reports whether each was noticed.
func plantAll(ctx context.Context, out io.Writer, root string) (all bool, _ error) {
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	before, err := failingLaws(ctx, root)
	if err != nil {
		return false, err
	}
	all = true
	for _, f := range faults {
		step, laws, err := f.run(ctx, self, root)
		if err != nil {
			return false, fmt.Errorf("%s: %w", f.name, err)
		}
		laws = slices.DeleteFunc(laws, func(law string) bool { return slices.Contains(before, law) })
		all = all && (step != "" || len(laws) > 0)
		_, _ = fmt.Fprintf(out, "%s\n    step: %s\n    laws of the templates: %s\n", f.name, cmp.Or(step, "NONE"), cmp.Or(strings.Join(laws, ", "), "NONE"))
	}
	return all, nil
}

// run returns the first step that fails in a copy of the tree with the fault, and the laws that
// it breaks.
func (f fault) run(ctx context.Context, self, root string) (step string, laws []string, _ error) {
	dir, err := os.MkdirTemp("", "c8auth-fault-")
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := copyTree(ctx, root, dir); err != nil {
		return "", nil, err
	}
	path := filepath.Join(dir, f.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	changed, err := f.change(string(text))
	if err != nil {
		return "", nil, err
	}
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		return "", nil, err
	}
	var both errgroup.Group
	both.Go(func() error {
		command := exec.CommandContext(ctx, self, "-first")
		command.Dir = dir
		command.Cancel = func() error { return command.Process.Signal(os.Interrupt) } // it ends the emulator
		command.WaitDelay = time.Minute
		printed, err := command.CombinedOutput()
		if step = failedStep(string(printed)); err != nil && step == "" {
			return fmt.Errorf("%w: it ended without a failed step:\n%s", err, printed)
		}
		return nil
	})
	both.Go(func() (err error) {
		laws, err = failingLaws(ctx, dir)
		return err
	})
	err = both.Wait()
	return step, laws, err
}

var columns = regexp.MustCompile(`  +`)

// failedStep returns the line of the step that failed.
func failedStep(printed string) string {
	for line := range strings.Lines(printed) {
		if text, ok := strings.CutPrefix(line, failed); ok {
			return columns.ReplaceAllString(strings.TrimSpace(text), " | ")
		}
	}
	return ""
}

// copyTree copies what git knows of a source tree, or would.
func copyTree(ctx context.Context, from, to string) error {
	const line = `git ls-files -z --cached --others --exclude-standard --deduplicate |
		tar --create --null --verbatim-files-from --files-from=- | tar --extract --directory "$0"`
	command := exec.CommandContext(ctx, "sh", "-c", line, to)
	command.Dir = from
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("the source tree cannot be copied: %w\n%s", err, out)
	}
	return nil
}

var failingLaw = regexp.MustCompile(`(?m)^(?:FAIL|ERROR): (\w+)`)

// failingLaws runs the tests of the templates, with the Python of the SAM CLI, whose
// translator they need, and returns those that fail.
func failingLaws(ctx context.Context, root string) (laws []string, _ error) {
	sam, err := exec.LookPath("sam")
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, filepath.Join(filepath.Dir(sam), "python"), "-m", "unittest", "discover", "-s", ".ci/template")
	command.Dir, command.Env = root, append(os.Environ(), "AWS_DEFAULT_REGION="+region, "PYTHONDONTWRITEBYTECODE=1")
	printed, err := command.CombinedOutput()
	for _, match := range failingLaw.FindAllSubmatch(printed, -1) {
		laws = append(laws, string(match[1]))
	}
	if err != nil && laws == nil {
		return nil, fmt.Errorf("the tests of the templates: %w\n%s", err, printed)
	}
	return laws, nil
}
