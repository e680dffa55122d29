// Package conformance checks that all clients of c8auth behave alike: the Go package
// caller, c8auth proxy, the Python and the JavaScript client. The scenarios and what must
// come of them are data, in testdata/scenarios.json, and the same for every client.
//
// A client takes part by a driver: a program that reads commands from its standard input,
// a JSON object on each line, and writes a line with an array of results for each:
//
//	{"method": "GET", "path": "/int/v1/broadcast?limit=1", "body": "", "times": 1}
//	[{"outcome": "200", "body": "…"}]
//
// times is how many requests it makes at once. path is a path of Communic8's or, to see
// that it is refused, the URL of another host. outcome is the status that Communic8 answers
// with, or else the kind of the error: credentials, denied, tenant, no_token, unreachable,
// host or kept; then error is its text. The environment has the API's URL (C8AUTH_URL), the
// tenant (C8AUTH_TENANT) and AWS credentials. At the end of its input, the driver ends.
//
// To add a client, write its driver and add a line to drivers.
package conformance

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/c8auth/c8auth/internal/harness"
)

// A driver is a client's driver.
type driver struct {
	command []string
	// transport leaves out the scenarios about the API alone, for a client that shares all
	// of that with another one.
	transport bool
}

// drivers are those that take nothing but Go; clients_test.go adds to them.
var drivers = map[string]driver{}

// built holds the binaries of the drivers in Go and, for the scenarios that use them, of
// the functions.
var built string

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "20"); err != nil { // the scenarios mostly wait
		panic(err)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if built, err = os.MkdirTemp("", "conformance-"); err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(built) }()
	if out, err := exec.Command("go", "build", "-o", built, "./driver", "../../cmd/c8auth").CombinedOutput(); err != nil {
		panic(string(out))
	}
	if err := harness.Build(context.Background(), built); err != nil {
		panic(err)
	}
	program := filepath.Join(built, "driver")
	drivers["Go"] = driver{command: []string{program}}
	drivers["proxy"] = driver{command: []string{program, filepath.Join(built, "c8auth")}}
	return m.Run()
}

// A scenario is what happens to the API and to Communic8, with the calls that a program
// makes meanwhile.
type scenario struct {
	Name        string
	Requirement string   // what a program relies on
	Tenant      string   // of the driver; "" means "default", the only one that exists
	Credentials string   // of the driver: see environment
	Grants      []string // what IAM allows; left out, GET and POST
	Functions   bool     // the real rotate and vend answer for the API
	Rejection   int      // how Communic8 rejects a token: 401 or 403
	Endless     bool     // the body of a rejection has no end
	Token       *life    // the first one; left out, it has an hour to live
	API         *answer  // from the beginning
	Reports     []report // what comes of reports, one after the other; the last one repeats
	Communic8   map[string]answer
	Steps       []step
}

// life is how long a new token of the API has to live.
type life struct {
	Life    float64 // in seconds, from when it is first given out; 0: it does not expire
	Always  bool    // the API says so of it whenever it is asked
	Revoked bool    // Communic8 rejects it
}

// answer is given in the place of the API or of Communic8.
type answer struct {
	Status     int
	Type       string // x-amzn-ErrorType
	RetryAfter string `json:"retry_after"`
	Location   string
	Body       string
	Endless    bool    // the body repeats without end
	Break      bool    // the connection breaks off
	Delay      float64 // in seconds. Without a status, the right answer follows
	Times      int     // so often; 0: always
}

// report is what comes of a report of a rejection.
type report struct {
	Outcome    string  // rotated, which makes a new token; superseded; kept
	Revoked    bool    // the new token
	Status     int     // of a failure
	RetryAfter float64 `json:"retry_after"` // in seconds
}

// A step changes the environment, waits, makes a call, and checks the requests so far, in
// this order.
type step struct {
	Revoke       bool    // Communic8 rejects the newest token
	RenewKey     bool    `json:"renew_key"` // the AWS key is another one, in the driver's file, too
	Token        *life   // the API has a new one
	API          *answer // an empty one: the right answers
	Wait, Freeze float64 // in seconds; frozen, the driver's processes are stopped
	Call         *call
	Expect       *expectation
}

type call struct {
	Method, Path  string
	Body          string  // sent, with a Method; else expected
	Times, Repeat int     // at once, and one after the other; 0 means 1
	Pause         float64 // in seconds, after each that is repeated
	Outcome       []string
	Error         string // a part of it
}

// expectation is about everything since the start. Pairs are the least and the most.
type expectation struct {
	Fetches, Reports, Sent *[2]int  // requests to the API, by method, and to Communic8
	Newest                 bool     // the last request to Communic8 had the newest token
	Bodies                 []string // of the requests to Communic8
	Gap                    float64  // mean of the seconds between fetches, at least
}

type result struct{ Outcome, Body, Error string }

func TestConformance(t *testing.T) {
	text, err := os.ReadFile("testdata/scenarios.json")
	if err != nil {
		t.Fatal(err)
	}
	var scenarios []scenario
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&scenarios); err != nil {
		t.Fatal(err)
	}
	for name, d := range drivers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, s := range scenarios {
				if d.transport && (s.API != nil || s.Credentials != "") {
					continue
				}
				t.Run(s.Name, func(t *testing.T) {
					t.Parallel()
					runScenario(t, s, d.command)
				})
			}
		})
	}
}

// runScenario runs the driver through a scenario.
func runScenario(t *testing.T, s scenario, command []string) {
	e := newEnvironment(t, s)
	d := e.start(command)
	for i, step := range s.Steps {
		e.change(step)
		if step.Freeze > 0 {
			d.signal(syscall.SIGSTOP)
		}
		time.Sleep(seconds(step.Wait + step.Freeze))
		if step.Freeze > 0 {
			d.signal(syscall.SIGCONT)
		}
		if step.Call != nil {
			for range max(1, step.Call.Repeat) {
				d.call(*step.Call)
				time.Sleep(seconds(step.Call.Pause))
			}
		}
		if step.Expect != nil {
			e.check(*step.Expect)
		}
		if t.Failed() {
			t.Fatalf("step %d; the requirement: %s", i+1, s.Requirement)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); e.count(0) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the client goes on reading an answer without end")
		}
	}
	d.stop()
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// running is a driver that runs.
type running struct {
	*environment
	command  *exec.Cmd
	commands *json.Encoder
	input    io.Closer
	results  *json.Decoder
	printed  bytes.Buffer // to its standard error
}

// start starts a driver, in a process group of its own.
func (e *environment) start(command []string) *running {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.Context(), 2*time.Minute)
	d := &running{environment: e, command: exec.CommandContext(ctx, command[0], command[1:]...)}
	d.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	d.command.Cancel = func() error { return syscall.Kill(-d.command.Process.Pid, syscall.SIGKILL) }
	d.command.Env = e.environ()
	d.command.Stderr = &d.printed
	input, err := d.command.StdinPipe()
	if err != nil {
		e.Fatal(err)
	}
	output, err := d.command.StdoutPipe()
	if err != nil {
		e.Fatal(err)
	}
	if err := d.command.Start(); err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() {
		cancel()
		_ = d.command.Wait() // killed, unless it has ended
	})
	d.input, d.commands, d.results = input, json.NewEncoder(input), json.NewDecoder(output)
	return d
}

// signal sends a signal to all processes of the driver.
func (d *running) signal(s syscall.Signal) {
	if err := syscall.Kill(-d.command.Process.Pid, s); err != nil {
		d.Error(err)
	}
}

// call has the driver make requests, and compares what came of each.
func (d *running) call(c call) {
	d.Helper()
	method, sent := c.Method, c.Body
	if method == "" {
		method, sent = "GET", ""
	}
	command := map[string]any{"method": method, "path": d.fill(cmp.Or(c.Path, broadcast)), "body": sent, "times": max(1, c.Times)}
	var results []result
	if err := errors.Join(d.commands.Encode(command), d.results.Decode(&results)); err != nil {
		d.Fatalf("the driver does not answer: %v: %s", err, d.printed.String())
	}
	if len(results) != max(1, c.Times) {
		d.Errorf("%d results", len(results))
	}
	for _, r := range results {
		if !slices.Contains(c.Outcome, r.Outcome) || !strings.Contains(r.Error, c.Error) {
			d.Errorf("got %+v, want %v %s", r, c.Outcome, c.Error)
			return
		}
		if sent == "" && c.Body != "" && r.Body != c.Body {
			d.Errorf("got the body %q", r.Body)
		}
		d.fit("an error", r.Error)
	}
}

// stop ends the driver.
func (d *running) stop() {
	if err := errors.Join(d.input.Close(), d.command.Wait()); err != nil {
		d.Errorf("%v: %s", err, d.printed.String())
	}
	if !strings.HasPrefix(d.scenario.Credentials, "process") { // the SDK for Go lets the process print there
		d.fit("the standard error", d.printed.String())
	}
}

// fit fails if a text shows anything secret or anything that the other side chose.
func (d *running) fit(what, text string) {
	d.Helper()
	for _, secret := range append(d.issued(), "MARK", secretKey) {
		if strings.Contains(text, secret) {
			d.Errorf("%s shows %q: %s", what, secret, text)
		}
	}
	if utf8.RuneCountInString(text) > 500 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		d.Errorf("%s is long or not printable: %q", what, text)
	}
}

func (e *environment) check(want expectation) {
	e.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range []struct {
		what string
		got  int
		want *[2]int
	}{{"fetches", len(e.fetches), want.Fetches}, {"reports", e.reports, want.Reports}, {"requests to Communic8", len(e.sent), want.Sent}} {
		if n.want != nil && (n.got < n.want[0] || n.got > n.want[1]) {
			e.Errorf("%d %s, want %v", n.got, n.what, *n.want)
		}
	}
	if want.Newest && (len(e.sent) == 0 || e.sent[len(e.sent)-1].token != e.newest()) {
		e.Error("the last request does not have the newest token")
	}
	if want.Bodies != nil {
		var got []string
		for _, r := range e.sent {
			got = append(got, r.body)
		}
		if !slices.Equal(got, want.Bodies) {
			e.Errorf("the bodies are %q", got)
		}
	}
	if n := len(e.fetches) - 1; n > 0 && e.fetches[n].Sub(e.fetches[0]) < time.Duration(n)*seconds(want.Gap) {
		e.Errorf("%d more fetches in %v", n, e.fetches[n].Sub(e.fetches[0]))
	}
}

// environ is the environment of the driver, which inherits nothing but the search path.
func (e *environment) environ() []string {
	out := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + e.dir, "PYTHONDONTWRITEBYTECODE=1",
		"C8AUTH_URL=" + e.api, "C8AUTH_TENANT=" + e.scenario.Tenant,
		"AWS_REGION=" + region, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + filepath.Join(e.dir, "config"), "AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(e.dir, "credentials"),
	}
	process := func(script string) {
		e.write("config", fmt.Sprintf("[default]\ncredential_process = sh %s\n", filepath.Join(e.dir, "script")))
		e.write("script", script)
	}
	// An SDK quotes what a process prints that does not end with an error, if it is not JSON.
	const (
		failing  = "echo MARK >&2; echo MARK; exit 1\n"
		printing = `echo '{"Version": 1, "SecretAccessKey": "MARK'`
	)
	switch e.scenario.Credentials {
	case "":
		return append(out, "AWS_ACCESS_KEY_ID="+keyID, "AWS_SECRET_ACCESS_KEY="+secretKey)
	case "wrong":
		return append(out, "AWS_ACCESS_KEY_ID="+keyID, "AWS_SECRET_ACCESS_KEY=MARK")
	case "newline":
		return append(out, "AWS_ACCESS_KEY_ID="+keyID, "AWS_SECRET_ACCESS_KEY=MA\nRK")
	case "file":
		e.writeKey(keyID)
	case "process":
		process(failing)
	case "process prints":
		process(printing)
	case "process once":
		process(fmt.Sprintf("test -e %[1]s/again || { touch %[1]s/again; %[2]s}\n"+`echo '{"Version":1,"AccessKeyId":"%[3]s","SecretAccessKey":"%[4]s"}'`, e.dir, failing, keyID, secretKey))
	case "none":
	default:
		e.Fatalf("no credentials are called %q", e.scenario.Credentials)
	}
	return out
}

func (e *environment) writeKey(id string) {
	e.write("credentials", fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", id, secretKey))
}

func (e *environment) write(name, text string) {
	if err := os.WriteFile(filepath.Join(e.dir, name), []byte(text), 0o600); err != nil {
		e.Fatal(err)
	}
}
