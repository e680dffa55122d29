package main

// The program as a whole, at the prompt: what was typed, what it printed, and how it ended
// are one text, which is compared with a file in testdata. -update writes the files.

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/c8auth/c8auth/internal/fakes/awstest"
	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/harness"
)

var update = flag.Bool("update", false, "write the golden files, instead of comparing with them")

// functions is the directory in which both functions are built, once for all tests.
var functions string

// machine is the environment of this machine, which the tests change.
var machine = os.Environ()

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		var err error
		if functions, err = os.MkdirTemp("", "c8auth-"); err == nil {
			defer func() { _ = os.RemoveAll(functions) }()
			err = harness.Build(context.Background(), functions)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// session is a person at a prompt.
type session struct {
	*testing.T
	*harness.Stack                 // that the person operates; nil for none
	seen           strings.Builder // by that person
	status         int             // of the last command
}

// operate begins a session with a stack that is deployed and has never rotated. Its
// instance of Communic8 has a client and an access key.
func operate(t *testing.T) *session {
	t.Helper()
	deployed, err := harness.StartBuilt(functions, harness.Ports{}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(deployed.Stop)
	s := sit(t)
	for _, variable := range deployed.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	deployed.Communic8.AddClient(clientID, clientSecret)
	deployed.Communic8.AddAccessKey(accessKey)
	s.Stack = deployed
	return s
}

// What Communic8's console shows, the secrets that it is stored in, and a role.
const (
	clientID     = "4711"
	clientSecret = "value-from-the-console"
	accessKey    = "key-from-the-console"

	credentialsName = "c8auth/credentials/default"
	tokenName       = "c8auth/token/default"
	payroll         = "arn:aws:iam::123456789012:role/payroll"
)

// oauth and bearer are credentials of either method.
func (s *session) oauth(secret string) string {
	return harness.Credentials(s.Communic8URL, clientID, secret)
}

func (s *session) bearer(key string) string {
	return object("base_url", s.Communic8URL, "access_key", key)
}

// serve serves h until the test ends, and returns its URL.
func (s *session) serve(h http.Handler) string {
	server := httptest.NewServer(h)
	s.Cleanup(server.Close)
	return server.URL
}

// sit begins a session in an environment without anything of this machine's.
func sit(t *testing.T) *session {
	t.Helper()
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "C8AUTH_") || strings.HasSuffix(strings.ToLower(name), "_proxy") {
			t.Setenv(name, "") // to have it back after the test
			_ = os.Unsetenv(name)
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	return &session{T: t}
}

// c8auth runs the program without a terminal and returns what it printed to stdout.
func (s *session) c8auth(args ...string) string {
	s.Helper()
	return s.reading("", args...)
}

// reading does so with a text as the standard input.
func (s *session) reading(stdin string, args ...string) string {
	s.Helper()
	var stdout, stderr bytes.Buffer
	s.status = run(s.Context(), args, strings.NewReader(stdin), &stdout, &stderr)
	fmt.Fprintf(&s.seen, "$ c8auth %s\n%s%s", strings.Join(args, " "), stdout.String(), &stderr)
	if s.status != 0 {
		fmt.Fprintf(&s.seen, "[status %d]\n", s.status)
	}
	s.seen.WriteByte('\n')
	return stdout.String()
}

// under runs the program below a heading.
func (s *session) under(heading string, args ...string) {
	s.Helper()
	fmt.Fprintf(&s.seen, "# %s\n", heading)
	s.c8auth(args...)
}

// during is under while AWS is changed.
func (s *session) during(heading string, change func(*awstest.State), args ...string) {
	s.Helper()
	var before []byte
	s.AWS.Set(func(a *awstest.State) {
		before, _ = json.Marshal(a)
		change(a)
	})
	s.under(heading, args...)
	s.AWS.Set(func(a *awstest.State) {
		*a = awstest.State{}
		_ = json.Unmarshal(before, a)
	})
}

// parameter changes a parameter of the stack.
func (s *session) parameter(name, value string) {
	s.AWS.Set(func(a *awstest.State) { a.Stacks["c8auth"].Parameters[name] = value })
}

// communic8 makes every response of Communic8 a fault; nil ends that.
func (s *session) communic8(fault *c8test.Fault) {
	s.Communic8.Set(func(b *c8test.Behaviour) {
		b.Fault = func(*http.Request, int) *c8test.Fault { return fault }
	})
}

// gateway starts an API in front of vend, to which the caller's key is another one, and returns its URL.
func (s *session) gateway(key gwtest.Key) string {
	key.SecretAccessKey = harness.SecretKey
	return s.serve(&gwtest.Gateway{Keys: map[string]gwtest.Key{harness.AccessKey: key}, Invoke: s.Vend.Invoke})
}

// refuse returns the change after which IAM allows the actions no longer.
func refuse(actions ...string) func(*awstest.State) {
	return func(a *awstest.State) {
		for _, action := range actions {
			a.Refused[action] = true
		}
	}
}

// varying is what differs from run to run, with what a golden file has in its place.
var varying = map[string]*regexp.Regexp{
	"127.0.0.1:PORT":       regexp.MustCompile(`127\.0\.0\.1:\d+`),
	"UUID":                 regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`),
	"TOKEN":                regexp.MustCompile(`\b[0-9a-f]{32}\b`),
	`"expires_in": 86399`:  regexp.MustCompile(`"expires_in": 86\d\d\d`),
	"99 %, ":               regexp.MustCompile(`(100|99) %, `),
	"remaining: 99 %":      regexp.MustCompile(`remaining: (100|99) %`),
	"N s ago":              regexp.MustCompile(`\b(\d+ min )?\d+ s ago`),
	"2026-01-02 03:04:05":  regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`),
	"2026-01-02T03:04:05Z": regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`),
}

// normal replaces what varies.
func normal(text string) string {
	for place, pattern := range varying {
		text = pattern.ReplaceAllString(text, place)
	}
	return text
}

// squeeze narrows the columns of tables, whose widths depend on times.
func squeeze(text string) string {
	return regexp.MustCompile(`(\S)   +`).ReplaceAllString(text, "$1  ")
}

// complaints leaves out what doctor finds nothing wrong with, but for clocks.
func complaints(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "ok ") || strings.Contains(line, " behind ") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// golden compares what was seen, after an edit, with testdata/<name>.golden.
func (s *session) golden(name string, edits ...func(string) string) {
	s.Helper()
	got := s.seen.String()
	for _, edit := range append(edits, normal) {
		got = edit(got)
	}
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			s.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		s.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		s.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// A command line that is wrong is told from a command that fails.
func TestUsage(t *testing.T) {
	s := sit(t)
	s.c8auth("sttaus")
	s.c8auth("--colour")
	s.c8auth()
	s.golden("usage")
}

// empty is a program that prints nothing.
func empty() *program {
	return &program{stdout: newPrinter(io.Discard), stderr: newPrinter(io.Discard)}
}

// Every command has examples, and they are command lines that it takes.
func TestExamples(t *testing.T) {
	line := regexp.MustCompile(`c8auth ([a-z][^|)>\n]*)`)
	for queue := []*cobra.Command{empty().root()}; len(queue) > 0; queue = queue[1:] {
		queue = append(queue, queue[0].Commands()...)
		examples := line.FindAllStringSubmatch(queue[0].Example, -1)
		if len(examples) == 0 && !queue[0].HasSubCommands() {
			t.Errorf("%s: no example", queue[0].CommandPath())
		}
		for _, example := range examples {
			if err := accepts(strings.Fields(example[1]), false); err != nil {
				t.Errorf("%s: example %q: %v", queue[0].CommandPath(), example[0], err)
			}
		}
	}
}

// accepts returns why the tool refuses a command line; nil if it does not. named is whether a
// command without arguments may be its name in a sentence.
func accepts(args []string, named bool) error {
	root := empty().root()
	root.InitDefaultCompletionCmd()
	root.InitDefaultVersionFlag()
	command, rest, err := root.Find(args)
	if err == nil {
		command.InitDefaultHelpFlag()
		err = command.ParseFlags(rest)
	}
	if help, _ := command.Flags().GetBool("help"); err != nil || help || command.HasSubCommands() || named && len(rest) == 0 {
		return err
	}
	return command.ValidateArgs(command.Flags().Args())
}

// A program that asks for JSON gets one object, whatever goes wrong, and the verdict or the
// error in it.
func TestJSONErrors(t *testing.T) {
	s := operate(t)
	for _, test := range []struct {
		args   []string
		status int
		want   string // of the object
	}{
		{[]string{"sttaus", "--json"}, statusUsage, `"error":"unknown command \"sttaus\" for \"c8auth\"","do":"did you mean status? ` + "`c8auth --help`" + `","exit_status":2`},
		{[]string{"status", "--jsn", "--json"}, statusUsage, `"exit_status":2`},
		{[]string{"rotate", "--json"}, statusUsage, `"error":"the name of a TENANT is missing"`},
		{[]string{"rotate", "defaul", "--json"}, statusFailure, `"error":"the stack c8auth has no tenant defaul","do":"did you mean default? The tenants are: default","exit_status":1`},
		{[]string{"token", "default", "--json"}, statusAgain, `"exit_status":4`},
		{[]string{"rotate", "default", "--json"}, statusAttention, `"outcome":"waiting"`},
		{[]string{"status", "--json"}, statusAttention, `"verdict":"act"`},
		{[]string{"doctor", "--json"}, statusAttention, `"verdict":"act"`},
		{[]string{"doctor", "--json", "--stack", "c8oauth"}, statusFailure, `"verdict":"unknown"`},
		{[]string{"status", "--json", "--stack", "c8oauth"}, statusFailure, `"error":"there is no stack c8oauth`},
		{[]string{"credentials", "set", "default", "--json"}, statusFailure, `"error":"malformed credentials: not a JSON object`},
		{[]string{"grant", "default", "--role", "payroll", "--json"}, statusUsage, `"error":"--role must be`},
	} {
		var stdout, object bytes.Buffer
		status := run(t.Context(), test.args, strings.NewReader(""), &stdout, io.Discard)
		if err := json.Compact(&object, stdout.Bytes()); err != nil || status != test.status || !strings.Contains(object.String(), test.want) {
			t.Errorf("%s: status %d, want %d, %s, in\n%s (%v)", test.args, status, test.status, test.want, &stdout, err)
		}
	}
	s.Stop()
	var stdout bytes.Buffer
	if status := run(t.Context(), []string{"status", "--json"}, strings.NewReader(""), &stdout, io.Discard); status != statusAgain || !json.Valid(stdout.Bytes()) {
		t.Errorf("without AWS: status %d, in\n%s", status, &stdout)
	}
}
