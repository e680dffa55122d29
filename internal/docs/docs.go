// Package docs finds the commands and snippets of the documentation, and says what checks each
// of them, so that none is left unchecked.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Snippet is a command or a block of code that the documentation shows.
type Snippet struct {
	File     string // below the root
	Line     int    // of the block, or of the line that a command is in
	Language string // of the block; "console" for a command, whether in a block or in a sentence
	Text     string // of a command without the prompt and without what it printed
}

func (s Snippet) String() string {
	first, _, _ := strings.Cut(s.Text, "\n")
	return fmt.Sprintf("%s:%d: %s: %s", s.File, s.Line, s.Language, first)
}

// pages are where the documentation is.
var pages = []string{"README.md", "CHANGELOG.md", "docs/*.md", "clients/*/README.md", ".github/*.md"}

var (
	fence  = regexp.MustCompile("^```(\\w*)$")
	inline = regexp.MustCompile("`((?:make|c8auth|aws|sam|go) [^`]+|\\.ci/run[^`]*)`")
)

// All returns the snippets of the documentation below the root, in its order.
func All(root string) (all []Snippet, err error) {
	below := os.DirFS(root)
	for _, pattern := range pages {
		files, err := fs.Glob(below, pattern)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := fs.ReadFile(below, file)
			if err != nil {
				return nil, err
			}
			all = append(all, read(file, string(text))...)
		}
	}
	return all, nil
}

// read returns the snippets of a page.
func read(file, text string) (found []Snippet) {
	var block *Snippet
	for i, line := range strings.Split(text, "\n") {
		mark := fence.FindStringSubmatch(line)
		switch {
		case block == nil && mark != nil:
			block = &Snippet{File: file, Line: i + 1, Language: mark[1]}
		case block == nil:
			for _, span := range inline.FindAllStringSubmatch(line, -1) {
				found = append(found, Snippet{file, i + 1, "console", strings.ReplaceAll(span[1], `\|`, "|")})
			}
		case mark != nil && block.Language == "console":
			found = append(found, commands(*block)...)
			block = nil
		case mark != nil:
			found = append(found, *block)
			block = nil
		default:
			block.Text += line + "\n"
		}
	}
	return found
}

// commands returns the commands of a transcript: what follows a prompt, to the end of the
// shell's last line of it.
func commands(block Snippet) (found []Snippet) {
	lines := strings.Split(block.Text, "\n")
	for i := 0; i < len(lines); i++ {
		command, ok := strings.CutPrefix(lines[i], "$ ")
		if !ok {
			continue
		}
		at := block.Line + 1 + i
		for continues(command) && i+1 < len(lines) {
			i++
			command += "\n" + lines[i]
		}
		found = append(found, Snippet{block.File, at, block.Language, command})
	}
	return found
}

// continues reports whether the shell would read another line.
func continues(command string) bool {
	return strings.HasSuffix(command, `\`) || strings.Count(command, "'")%2 == 1
}

// Check is what checks a kind of snippets.
type Check struct {
	Name     string // of a Go test, or of a step of CI
	Language string
	Pattern  *regexp.Regexp // in Text
	// Reason is why snippets of this kind are not run; empty if they are.
	Reason string
}

// checks are in the order in which they are compared.
var checks = []Check{
	{Name: "TestCallers", Language: "console", Pattern: starts(`printf '%s\\n' "user=`)},
	{Name: "TestCallers", Language: "python", Pattern: starts(`from urllib`)},
	{Name: "TestCallers", Language: "js", Pattern: starts(`import \{ Sha256 \}`)},
	{Name: "TestDirectly", Language: "python", Pattern: starts(`import json\n\nfrom aws_secretsmanager_caching`)},
	{Name: "TestGo", Language: "go", Pattern: starts(`client := &http\.Client`)},
	{Name: "TestClientSnippets", Language: "python", Pattern: starts(`import c8auth`)},
	{Name: "TestClientSnippets", Language: "js", Pattern: starts(`import \{ Source \} from "c8auth"`)},
	{Name: "TestSnippets", Language: "sh", Pattern: starts(`echo "url=\$C8AUTH_BASE_URL`)},
	{Name: "TestSnippets", Language: "java", Pattern: starts(`import java`)},
	{Name: "TestSnippets", Language: "php", Pattern: starts(`<\?php`)},
	{Name: "TestSnippets", Language: "ruby", Pattern: starts(`require 'net/http'`)},
	{Language: "csharp", Pattern: starts(``), Reason: "no .NET runtime is installed in CI"},
	{Name: ".ci/docs", Language: "mermaid", Pattern: starts(``)},
	{Name: ".ci/template/test_template.py", Language: "toml", Pattern: starts(`parameter_overrides`)},
	{Name: ".ci/template/test_template.py", Language: "json", Pattern: starts(`\{"Version"`)},

	{Name: "TestOperator", Language: "console", Pattern: starts(`aws secretsmanager put-secret-value|echo '.*' \| aws lambda invoke`)},
	{Name: "make deployment", Language: "console", Pattern: starts(`sam (deploy|delete|build)|key=\$\(aws kms describe-key|for secret in|aws kms schedule-key-deletion`)},
	{Name: "make lint", Language: "console", Pattern: starts(`sam validate`)},
	{Name: "TestInvoke", Language: "console", Pattern: starts(`sam local`)},
	{Language: "console", Pattern: starts(`aws logs tail`), Reason: "it is a command of the AWS CLI 2, which no package index has"},
	{Language: "console", Pattern: starts(`curl -H @leaked`), Reason: "it calls an instance of Communic8"},
	{Language: "console", Pattern: starts(`aws configure`), Reason: "it changes the configuration of whoever runs it"},
	{Name: "TestAWS", Language: "console", Pattern: starts(`aws `)},
	{Name: "TestCommandLines", Language: "console", Pattern: starts(`c8auth |export (AWS_|C8AUTH_)`)},
	{Name: "TestMake", Language: "console", Pattern: starts(`make |\.ci/run|ARCH=`)},
	{Name: "make deployment", Language: "console", Pattern: starts(`cd c8auth-v|sha256sum --check`)},
	{Language: "console", Pattern: starts(`go install .*@|gh (release|attestation) `), Reason: "there is no release yet"},
	{Name: "TestGoCommands", Language: "console", Pattern: starts(`go (run|test|doc) `)},
	{Name: ".ci/clients", Language: "console", Pattern: starts(`(pip|npm) install \./clients/`)},
}

func starts(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(` + pattern + `)`) }

// Of returns the check of a snippet. It is the zero value if there is none.
func Of(s Snippet) Check {
	for _, c := range checks {
		if c.Language == s.Language && c.Pattern.MatchString(s.Text) {
			return c
		}
	}
	return Check{}
}

// For returns the snippets that the check of that name checks. It is an error if there are none.
func For(root, name string) ([]Snippet, error) {
	all, err := All(root)
	found := slices.DeleteFunc(all, func(s Snippet) bool { return Of(s).Name != name })
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("the documentation has nothing for %s", name)
	}
	return found, err
}
