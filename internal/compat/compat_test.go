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

// interfaces are lines of the interface, each with the name by which the changelog speaks of it.
type interfaces map[string]string

// add adds a line: of which kind it is, the name, and what else callers rely on.
func (i interfaces) add(kind, name, detail string) {
	i[strings.TrimSpace(kind+"\t"+name+"\t"+detail)] = name
}

func TestChangelogNamesEveryChange(t *testing.T) {
	found, released := make(interfaces), make(interfaces)
	for _, add := range []func(*testing.T, interfaces){packages, templates, api, sources, tool} {
		add(t, found)
	}
	if *update {
		text := strings.Join(slices.Sorted(maps.Keys(found)), "\n") + "\n"
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(read(t, golden)) {
		line = strings.TrimSpace(line)
		released[line] = strings.Split(line, "\t")[1]
	}
	_, rest, ok := strings.Cut(read(t, root, "CHANGELOG.md"), "\n## Unreleased\n")
	if !ok {
		t.Fatal("CHANGELOG.md has no section Unreleased")
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	for _, missing := range unnamed(released, found, section) {
		t.Errorf("CHANGELOG.md, section Unreleased, does not name what this change of the interface is about:\n%s", missing)
	}
}

// unnamed returns the lines that differ and whose names are not in the text.
func unnamed(released, found interfaces, text string) (lines []string) {
	for sign, pair := range map[string][2]interfaces{"-": {released, found}, "+": {found, released}} {
		for line, name := range pair[0] {
			if _, same := pair[1][line]; !same && !regexp.MustCompile(`(^|[^\w-])`+regexp.QuoteMeta(name)+`($|[^\w-])`).MatchString(text) {
				lines = append(lines, sign+line)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func TestUnnamed(t *testing.T) {
	before := interfaces{"metric\tVended\tCount": "Vended", "parameter\tPace\tString": "Pace"}
	after := interfaces{"metric\tServed\tCount": "Served", "parameter\tPace\tNumber": "Pace"}
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

// packages are the exported declarations of the Go packages.
func packages(t *testing.T, found interfaces) {
	t.Helper()
	for _, dir := range []string{"pkg/c8auth", "pkg/c8auth/caller"} {
		p, err := build.ImportDir(filepath.Join(root, dir), 0)
		if err != nil {
			t.Fatal(err)
		}
		files := token.NewFileSet()
		add := func(name string, node any) {
			var text bytes.Buffer
			if err := printer.Fprint(&text, files, node); err != nil {
				t.Fatal(err)
			}
			found.add("go "+dir, name, strings.Join(strings.Fields(text.String()), " "))
		}
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(files, filepath.Join(root, dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.FileExports(file)
			for _, declared := range file.Decls {
				declarations(declared, add)
			}
		}
	}
}

// receiver is an exported type.
var receiver = regexp.MustCompile(`^\*?[A-Z]`)

// declarations adds each name that is declared.
func declarations(declared ast.Decl, add func(name string, node any)) {
	switch d := declared.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil || receiver.MatchString(types.ExprString(d.Recv.List[0].Type)) {
			d.Body = nil
			add(d.Name.Name, d)
		}
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
}

// templates are the parameters and the outputs.
func templates(t *testing.T, found interfaces) {
	t.Helper()
	for _, file := range []string{"template.yaml", "tenant.yaml"} {
		for _, l := range leaves(read(t, root, file)) {
			switch {
			case l.path[0] == "Parameters" && len(l.path) > 2:
				found.add(file+" parameter", l.path[1], strings.Join(l.path[2:], " ")+" "+l.value)
			case l.path[0] == "Outputs":
				found.add(file+" output", l.path[1], "")
			}
		}
	}
}

// api is what openapi.yaml describes.
func api(t *testing.T, found interfaces) {
	t.Helper()
	for _, l := range leaves(read(t, root, "openapi.yaml")) {
		of := map[string]int{"paths": 1, "components": 2}[l.path[0]]
		if 0 < of && of < len(l.path) {
			found.add("openapi.yaml", l.path[of], strings.Join(l.path, " ")+" "+l.value)
		}
	}
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

// sources are the names in the source of packages, and the words that belong to them: of
// environment variables, of metrics, of keys and of error_code in the functions' log lines, and in
// the JSON of secrets, events, results, responses and the tool.
func sources(t *testing.T, found interfaces) {
	t.Helper()
	for _, names := range []struct{ kind, pattern, dirs string }{
		{"setting", `"((?:C8AUTH|COMMUNIC8)_[A-Z_]+)"`, "pkg/c8auth pkg/c8auth/caller functions/rotate functions/vend cmd/c8auth internal/cli"},
		{"metric", `\bcount\("(\w+)"`, "pkg/c8auth"},
		{"metric", `\bmetric\{"(\w+)", "(\w+)"`, "pkg/c8auth"},
		{"log key", `\b(?:slog\.[A-Z]\w+|text)\("(\w+)"`, "pkg/c8auth functions/rotate functions/vend internal/restapi"},
		{"error_code", `Err\w+ += coded\("(\w+)"`, "pkg/c8auth"},
		{"json", "`json:\"(\\w+)", "pkg/c8auth functions/rotate functions/vend internal/restapi cmd/c8auth"},
	} {
		for dir := range strings.FieldsSeq(names.dirs) {
			files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				if strings.HasSuffix(file, "_test.go") {
					continue
				}
				for _, match := range regexp.MustCompile(names.pattern).FindAllStringSubmatch(read(t, file), -1) {
					found.add(names.kind+" "+dir, match[1], strings.Join(match[2:], " "))
				}
			}
		}
	}
}

var (
	command = regexp.MustCompile(`(?m)^  ([a-z]+) +[A-Z]`)
	option  = regexp.MustCompile(`(?m)^ +((?:-\w, )?--[\w-]+(?: [a-zA-Z]+)?)(?:  .*?)?(\(default .*\))?$`)
	status  = regexp.MustCompile(`(?m)^  (\d+) +\w`)
)

// tool are the commands of c8auth with their flags, and its exit statuses.
func tool(t *testing.T, found interfaces) {
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
				found.add("exit status", match[1], "")
			}
		}
		_, flags, _ := strings.Cut(text, "Flags:\n")
		for _, match := range option.FindAllStringSubmatch(flags, -1) {
			found.add(of, "--"+strings.Fields(match[1][strings.Index(match[1], "--")+2:])[0], match[1]+" "+match[2])
		}
		_, commands, _ := strings.Cut(text, "Available Commands:\n")
		commands, _, _ = strings.Cut(commands, "\n\n")
		for _, match := range command.FindAllStringSubmatch(commands, -1) {
			if match[1] != "help" && match[1] != "completion" {
				found.add(of, match[1], "")
				visit(append(slices.Clone(path), match[1])...)
			}
		}
	}
	visit()
}

// read returns the text of a file.
func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
