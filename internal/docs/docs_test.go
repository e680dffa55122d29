package docs_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/c8auth/c8auth/internal/docs"
)

const root = "../.."

// Every snippet is run by a test or a step of CI that exists, or there is a reason why not.
func TestEverySnippetIsChecked(t *testing.T) {
	all, err := docs.All(root)
	if err != nil {
		t.Fatal(err)
	}
	defined, makefile := definitions(t), read(t, "Makefile")
	for _, s := range all {
		check := docs.Of(s)
		target, isMake := strings.CutPrefix(check.Name, "make ")
		switch {
		case check.Reason != "":
			t.Logf("%s: not run: %s", s, check.Reason)
		case check.Name == "":
			t.Errorf("%s: nothing checks it", s)
		case isMake && !strings.Contains(makefile, "\n"+target+":"):
			t.Errorf("%s: there is no target %s", s, target)
		case strings.HasPrefix(check.Name, ".ci/"):
			read(t, check.Name)
		case strings.HasPrefix(check.Name, "Test") && !defined[check.Name]:
			t.Errorf("%s: there is no %s", s, check.Name)
		}
	}
	if len(all) < 100 {
		t.Errorf("%d snippets were found", len(all))
	}
}

// What a page says of tests and of moto's steps is so.
func TestCitations(t *testing.T) {
	defined, cited := definitions(t), 0
	for _, file := range prose(t) {
		page := read(t, file)
		var names []string
		for _, name := range regexp.MustCompile("`((?:Test|Fuzz|test_)\\w+)`").FindAllStringSubmatch(page, -1) {
			names = append(names, name[1])
		}
		for _, list := range regexp.MustCompile(`moto((?:,? "[^"]+")+)`).FindAllString(page, -1) {
			names = append(names, regexp.MustCompile(`"[^"]+"`).FindAllString(list, -1)...)
		}
		for _, name := range names {
			if !defined[name] {
				t.Errorf("%s: there is no %s", file, name)
			}
		}
		cited += len(names)
	}
	if cited < 80 {
		t.Errorf("%d citations were found", cited)
	}
}

// make takes the commands that name a target, and CI the parts.
func TestMake(t *testing.T) {
	parts := regexp.MustCompile(`(?m)^part (\w+)`).FindAllStringSubmatch(read(t, ".ci/run"), -1)
	for _, s := range snippets(t, "TestMake") {
		command := strings.TrimPrefix(s.Text, "ARCH=x86_64 ")
		command, _, _ = strings.Cut(command, " && ")
		words := strings.Fields(command)
		if words[0] == ".ci/run" {
			for _, part := range words[1:] {
				if !slices.ContainsFunc(parts, func(p []string) bool { return p[1] == part }) {
					t.Errorf("%s: there is no part %s", s, part)
				}
			}
			continue
		}
		dry := exec.CommandContext(t.Context(), "make", append([]string{"-n", "-C", root}, words[1:]...)...)
		if out, err := dry.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", s, err, out)
		}
	}
}

// The packages and tests that go commands name exist.
func TestGoCommands(t *testing.T) {
	defined := definitions(t)
	for _, s := range snippets(t, "TestGoCommands") {
		for _, path := range regexp.MustCompile(`\./([\w/]+)`).FindAllStringSubmatch(s.Text, -1) {
			if len(glob(t, path[1]+"/*.go")) == 0 {
				t.Errorf("%s: there is no package %s", s, path[1])
			}
		}
		for _, name := range regexp.MustCompile(`-run (\w+)`).FindAllStringSubmatch(s.Text, -1) {
			if !defined[name[1]] {
				t.Errorf("%s: there is no %s", s, name[1])
			}
		}
	}
}

// prose returns the files that people read.
func prose(t *testing.T) []string {
	t.Helper()
	return glob(t, "*.md", "docs/*.md", "clients/*/README.md", ".github/*.md")
}

// The README can be read in two minutes.
func TestReadmeIsShort(t *testing.T) {
	if lines := strings.Count(read(t, "README.md"), "\n"); lines > 120 {
		t.Errorf("README.md has %d lines, and at most 120 are read", lines)
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	block   = regexp.MustCompile("(?ms)^```.*?^```$")
	code    = regexp.MustCompile("`[^`]*`")
)

// Links between files lead to files and headings that exist.
func TestLinks(t *testing.T) {
	count := 0
	for _, file := range prose(t) {
		page := code.ReplaceAllString(block.ReplaceAllString(read(t, file), ""), "")
		for _, found := range link.FindAllStringSubmatch(page, -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			count++
			name := file
			if target != "" {
				name = filepath.Join(filepath.Dir(file), target)
			}
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("%s: %s: there is no such file", file, found[1])
			} else if anchor != "" && !slices.Contains(anchors(read(t, name)), anchor) {
				t.Errorf("%s: %s: there is no such heading", file, found[1])
			}
		}
	}
	if count < 80 {
		t.Errorf("%d links were found", count)
	}
	for _, file := range []string{"template.yaml", "tenant.yaml", "openapi.yaml", "samconfig.toml", "Makefile"} {
		for _, name := range regexp.MustCompile(`\b(?:docs|\.github)/[\w.-]+\.(?:md|json)`).FindAllString(read(t, file), -1) {
			read(t, name)
		}
	}
}

// anchors returns those that GitHub makes of a page's headings.
func anchors(page string) (all []string) {
	for _, found := range heading.FindAllStringSubmatch(block.ReplaceAllString(page, ""), -1) {
		name := regexp.MustCompile(`\]\([^)]*\)`).ReplaceAllString(strings.ToLower(found[1]), "")
		name = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(name, "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}

// interfaces are words of the glossary that programs rely on, or that are names.
var interfaces = regexp.MustCompile(`"trial(,omitempty)?"|hello world`)

// Texts and comments have none of the words of glossary.txt.
func TestGlossary(t *testing.T) {
	var patterns []*regexp.Regexp
	var instead []string
	for line := range strings.Lines(read(t, "internal/docs/glossary.txt")) {
		if pattern, write, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok {
			patterns, instead = append(patterns, regexp.MustCompile("(?i)"+pattern)), append(instead, write)
		}
	}
	if len(patterns) < 20 {
		t.Fatalf("the glossary has %d patterns", len(patterns))
	}
	files := append(prose(t), glob(t, "*.yaml", "samconfig.toml", "Makefile", ".ci/run",
		"pkg/c8auth/*.go", "pkg/c8auth/*/*.go", "functions/*/*.go", "cmd/c8auth/*.go", "internal/cli/*.go",
		"internal/proxy/*.go", "internal/restapi/*.go", "internal/local/*.go",
		"clients/*/*.js", "clients/*/*.ts", "clients/python/c8auth/*.py")...)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		number := 0
		for line := range strings.Lines(read(t, file)) {
			number++
			line = interfaces.ReplaceAllString(line, "")
			for i, pattern := range patterns {
				if word := pattern.FindString(line); word != "" {
					t.Errorf("%s:%d: %q; write: %s", file, number, word, instead[i])
				}
			}
		}
	}
}

func snippets(t *testing.T, check string) []docs.Snippet {
	t.Helper()
	found, err := docs.For(root, check)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// definitions are the tests in Go and of the templates, and, in quotes, the steps of moto's.
func definitions(t *testing.T) map[string]bool {
	t.Helper()
	defined := make(map[string]bool)
	add := func(pattern, text string) {
		for _, name := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			defined[name[1]] = true
		}
	}
	add(`def (test_\w+)\(`, read(t, ".ci/template/test_template.py"))
	if err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		add(`func (\w+)\(`, string(text))
		add(`step\(("[^"]+")`, string(text))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return defined
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// glob returns the files of the patterns, from the root.
func glob(t *testing.T, patterns ...string) (files []string) {
	t.Helper()
	for _, pattern := range patterns {
		found, err := fs.Glob(os.DirFS(root), pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	return files
}
