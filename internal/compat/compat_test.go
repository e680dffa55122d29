// Package compat_test holds what is interface, as docs/releases.md lists it, against that of
// the last release, which is in testdata/interface.txt: whatever differs is named in the section
// Unreleased of CHANGELOG.md.
package compat_test

import (
	"bytes"
	"flag"
	"go/ast"
	"go/build"
	"go/parser"
	"go/printer"
	"go/token"
	"go/types"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/interface.txt, which is part of a release")

const (
	root   = "../.."
	golden = "testdata/interface.txt"
)

// item is one line of the interface: of which kind, the name by which the changelog speaks of
// it, and what else callers rely on.
type item struct{ kind, name, detail string }

func (i item) String() string { return strings.TrimSpace(i.kind + "\t" + i.name + "\t" + i.detail) }

func TestChangelogNamesEveryChange(t *testing.T) {
	found := make(map[string]item)
	for _, of := range []func(*testing.T) []item{packages, templates, api, settings, logs, fields, tool} {
		for _, i := range of(t) {
			found[i.String()] = i
		}
	}
	if *update {
		text := strings.Join(slices.Sorted(maps.Keys(found)), "\n") + "\n"
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	released := make(map[string]item)
	for line := range strings.Lines(read(t, golden)) {
		line = strings.TrimSpace(line)
		parts := append(strings.SplitN(line, "\t", 3), "")
		released[line] = item{parts[0], parts[1], parts[2]}
	}
	for _, missing := range unnamed(released, found, unreleased(t)) {
		t.Errorf("CHANGELOG.md, section Unreleased, does not name what this change of the interface is about:\n%s", missing)
	}
}

// unnamed returns the lines that differ and whose names are not in the text.
func unnamed(released, found map[string]item, text string) (lines []string) {
	for sign, pair := range map[string][2]map[string]item{"-": {released, found}, "+": {found, released}} {
		for line, i := range pair[0] {
			if _, same := pair[1][line]; !same && !regexp.MustCompile(`(^|[^\w-])`+regexp.QuoteMeta(i.name)+`($|[^\w-])`).MatchString(text) {
				lines = append(lines, sign+line)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func TestUnnamed(t *testing.T) {
	of := func(items ...item) map[string]item {
		all := make(map[string]item)
		for _, i := range items {
			all[i.String()] = i
		}
		return all
	}
	before := of(item{"metric", "Vended", "Count"}, item{"parameter", "Pace", "String"})
	after := of(item{"metric", "Served", "Count"}, item{"parameter", "Pace", "Number"})
	for text, want := range map[string][]string{
		"":                                    {"+metric\tServed\tCount", "+parameter\tPace\tNumber", "-metric\tVended\tCount", "-parameter\tPace\tString"},
		"`Vended` is called `Served`.":        {"+parameter\tPace\tNumber", "-parameter\tPace\tString"},
		"Vended is Served, Pace is a number.": nil,
		"Paces, Vended-ish and ServedAt":      {"+metric\tServed\tCount", "+parameter\tPace\tNumber", "-metric\tVended\tCount", "-parameter\tPace\tString"},
	} {
		if diff := cmp.Diff(want, unnamed(before, after, text)); diff != "" {
			t.Errorf("%q:\n%s", text, diff)
		}
	}
	if got := unnamed(before, before, ""); got != nil {
		t.Errorf("of no change: %q", got)
	}
}

// unreleased is that section of the changelog.
func unreleased(t *testing.T) string {
	t.Helper()
	_, rest, ok := strings.Cut(read(t, "CHANGELOG.md"), "\n## Unreleased\n")
	if !ok {
		t.Fatal("CHANGELOG.md has no section Unreleased")
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	return section
}

// packages are the exported declarations of the Go packages.
func packages(t *testing.T) (items []item) {
	t.Helper()
	for _, dir := range []string{"pkg/c8auth", "pkg/c8auth/caller"} {
		p, err := build.ImportDir(filepath.Join(root, dir), 0)
		if err != nil {
			t.Fatal(err)
		}
		files := token.NewFileSet()
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(files, filepath.Join(root, dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.FileExports(file)
			for _, declared := range file.Decls {
				items = append(items, declarations(t, files, dir, declared)...)
			}
		}
	}
	return items
}

// receiver is an exported type.
var receiver = regexp.MustCompile(`^\*?[A-Z]`)

// declarations returns an item for each name that is declared.
func declarations(t *testing.T, files *token.FileSet, dir string, declared ast.Decl) (items []item) {
	t.Helper()
	add := func(name string, node any) {
		var text bytes.Buffer
		if err := printer.Fprint(&text, files, node); err != nil {
			t.Fatal(err)
		}
		items = append(items, item{"go " + dir, name, strings.Join(strings.Fields(text.String()), " ")})
	}
	switch d := declared.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil && !receiver.MatchString(types.ExprString(d.Recv.List[0].Type)) {
			return nil
		}
		d.Body = nil
		add(d.Name.Name, d)
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				add(s.Name.Name, s)
			case *ast.ValueSpec:
				if d.Tok == token.VAR {
					s.Values = nil // what an error says is not interface
				}
				add(s.Names[0].Name, s)
			}
		}
	}
	return items
}

// templates are the parameters and the outputs.
func templates(t *testing.T) (items []item) {
	t.Helper()
	for _, file := range []string{"template.yaml", "tenant.yaml"} {
		for _, l := range leaves(read(t, file)) {
			switch {
			case l.path[0] == "Parameters" && len(l.path) > 2:
				items = append(items, item{file + " parameter", l.path[1], strings.Join(l.path[2:], " ") + " " + l.value})
			case l.path[0] == "Outputs":
				items = append(items, item{file + " output", l.path[1], ""})
			}
		}
	}
	return items
}

// api is what openapi.yaml describes.
func api(t *testing.T) (items []item) {
	t.Helper()
	for _, l := range leaves(read(t, "openapi.yaml")) {
		of := map[string]int{"paths": 1, "components": 2}[l.path[0]]
		if 0 < of && of < len(l.path) {
			items = append(items, item{"openapi.yaml", l.path[of], strings.Join(l.path, " ") + " " + l.value})
		}
	}
	return items
}

// leaf is a line of YAML with a value, and the keys that it is under.
type leaf struct {
	path  []string
	value string
}

// prose are keys whose values are for people.
var prose = regexp.MustCompile(`^ *(- )?(Description|description|summary|title|example|examples|ConstraintDescription):`)

var yamlLine = regexp.MustCompile(`^( *(?:- )?)([^\s#][^:]*?)(?::(?: +(.*))?)?$`)

// leaves returns those of the files here, which are plain: a line is a key, or a key and its
// value, or an element of a list.
func leaves(text string) (found []leaf) {
	type key struct {
		indent int
		name   string
	}
	var keys []key
	skipped := -1 // the indent of prose
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimRight(line, "\n"), " # ")
		indent := len(line) - len(strings.TrimLeft(line, " "))
		if strings.TrimSpace(line) == "" || skipped >= 0 && indent > skipped {
			continue
		}
		skipped = -1
		if prose.MatchString(line) {
			skipped = indent
			continue
		}
		match := yamlLine.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		for len(keys) > 0 && keys[len(keys)-1].indent >= len(match[1]) {
			keys = keys[:len(keys)-1]
		}
		keys = append(keys, key{len(match[1]), strings.Trim(match[2], `'"`)})
		if value := match[3]; value != "" || strings.HasSuffix(match[1], "- ") {
			l := leaf{value: value}
			for _, k := range keys {
				l.path = append(l.path, k.name)
			}
			found = append(found, l)
		} else if len(keys) == 2 { // a key that may have nothing but prose
			found = append(found, leaf{path: []string{keys[0].name, keys[1].name}})
		}
	}
	return found
}

// settings are the environment variables.
func settings(t *testing.T) []item {
	t.Helper()
	return quoted(t, "setting", regexp.MustCompile(`"((?:C8AUTH|COMMUNIC8)_[A-Z_]+)"`), "pkg/c8auth", "pkg/c8auth/caller", "functions/rotate", "functions/vend", "cmd/c8auth", "internal/cli")
}

// logs are the metrics, the keys and the words of error_code in the functions' log lines.
func logs(t *testing.T) []item {
	t.Helper()
	return slices.Concat(
		quoted(t, "metric", regexp.MustCompile(`\bcount\("(\w+)"`), "pkg/c8auth"),
		quoted(t, "metric", regexp.MustCompile(`\bmetric\{"(\w+)", "(\w+)"`), "pkg/c8auth"),
		quoted(t, "log key", regexp.MustCompile(`\b(?:slog\.[A-Z]\w+|text)\("(\w+)"`), "pkg/c8auth", "functions/rotate", "functions/vend", "internal/restapi"),
		quoted(t, "error_code", regexp.MustCompile(`Err\w+ += coded\("(\w+)"`), "pkg/c8auth"),
	)
}

// fields are the names in the JSON of secrets, events, results, responses and the tool.
func fields(t *testing.T) []item {
	t.Helper()
	return quoted(t, "json", regexp.MustCompile("`json:\"(\\w+)"), "pkg/c8auth", "functions/rotate", "functions/vend", "internal/restapi", "cmd/c8auth")
}

// quoted finds names, and words that belong to them, in the source files of packages.
func quoted(t *testing.T, kind string, pattern *regexp.Regexp, dirs ...string) (items []item) {
	t.Helper()
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, match := range pattern.FindAllStringSubmatch(read(t, strings.TrimPrefix(file, root+"/")), -1) {
				items = append(items, item{kind + " " + dir, match[1], strings.Join(match[2:], " ")})
			}
		}
	}
	return items
}

var (
	command = regexp.MustCompile(`(?m)^  ([a-z]+) +[A-Z]`)
	option  = regexp.MustCompile(`(?m)^ +((?:-\w, )?--[\w-]+(?: [a-zA-Z]+)?)(?:  .*?)?(\(default .*\))?$`)
	status  = regexp.MustCompile(`(?m)^  (\d+) +\w`)
)

// tool are the commands of c8auth with their flags, and its exit statuses.
func tool(t *testing.T) (items []item) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "c8auth")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../cmd/c8auth").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var visit func(path ...string)
	visit = func(path ...string) {
		help, err := exec.CommandContext(t.Context(), binary, append(path, "--help")...).Output()
		if err != nil {
			t.Fatalf("c8auth %s --help: %v", strings.Join(path, " "), err)
		}
		text, _, _ := strings.Cut(string(help), "\nGlobal Flags:")
		of := strings.Join(append([]string{"c8auth"}, path...), " ")
		if len(path) == 0 {
			for _, match := range status.FindAllStringSubmatch(text, -1) {
				items = append(items, item{"exit status", match[1], ""})
			}
		}
		if _, flags, ok := strings.Cut(text, "Flags:\n"); ok {
			for _, match := range option.FindAllStringSubmatch(flags, -1) {
				items = append(items, item{of, "--" + strings.Fields(match[1][strings.Index(match[1], "--")+2:])[0], strings.TrimSpace(match[1] + " " + match[2])})
			}
		}
		if _, commands, ok := strings.Cut(text, "Available Commands:\n"); ok {
			commands, _, _ = strings.Cut(commands, "\n\n")
			for _, match := range command.FindAllStringSubmatch(commands, -1) {
				if match[1] != "help" && match[1] != "completion" {
					items = append(items, item{of, match[1], ""})
					visit(append(slices.Clone(path), match[1])...)
				}
			}
		}
	}
	visit()
	return items
}

// read returns the text of a file, by its name in the repository unless it is the golden one.
func read(t *testing.T, name string) string {
	t.Helper()
	if name != golden {
		name = filepath.Join(root, name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
