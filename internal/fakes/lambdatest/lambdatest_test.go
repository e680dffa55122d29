package lambdatest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestMain makes the test binary its own bootstrap: under a Runtime API it is the function.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		os.Exit(m.Run())
	}
	if os.Getenv("AT_INIT") == "exit" {
		fmt.Fprintln(os.Stderr, "C8AUTH_STACK is missing")
		os.Exit(1)
	}
	lambda.Start(handle)
}

// order is an event of the test function: what it does.
type order struct{ Print, Do, Text string }

// handle is the test function.
func handle(_ context.Context, o order) (any, error) {
	if o.Print != "" {
		fmt.Print(o.Print)
	}
	switch o.Do {
	case "answer":
		return o.Text, nil
	case "environment":
		return os.Environ(), nil
	case "error":
		return nil, errors.New(o.Text)
	case "panic":
		panic(o.Text)
	case "exit":
		os.Exit(3)
	case "hang":
		time.Sleep(time.Hour)
	}
	return nil, fmt.Errorf("unknown order %q", o.Do)
}

// function is the test function. Its time limit is far away, except where a test sets another.
func function(t *testing.T, env ...string) *Function {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if testing.CoverMode() != "" { // or it prints a warning when it exits
		env = append(env, "GOCOVERDIR="+t.TempDir())
	}
	f := &Function{Bootstrap: self, Name: "test", Env: env, Timeout: time.Minute}
	t.Cleanup(f.Stop)
	return f
}

func invoke(t *testing.T, f *Function, o order) (string, error) {
	t.Helper()
	event, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := f.Invoke(t.Context(), event)
	return string(answer), err
}

// answers expects the function to answer, in its nth process.
func answers(t *testing.T, f *Function, process int) {
	t.Helper()
	if got, err := invoke(t, f, order{Do: "answer", Text: "hello"}); err != nil || got != `"hello"` {
		t.Fatalf("got %s, %v", got, err)
	}
	if got := f.Starts(); got != process {
		t.Errorf("%d processes were started, want %d", got, process)
	}
}

// wantError checks what the caller of Lambda would see. Request ids are random, and read "ID".
func wantError(t *testing.T, err error, want Error) {
	t.Helper()
	var got *Error
	if !errors.As(err, &got) {
		t.Fatalf("got %v, want an *Error", err)
	}
	var shown struct{ ErrorType, ErrorMessage string }
	if err := json.Unmarshal(got.Payload, &shown); err != nil || shown.ErrorType != got.Type || shown.ErrorMessage != got.Message {
		t.Errorf("payload %s differs from %q, %q", got.Payload, got.Type, got.Message)
	}
	if rest, ok := strings.CutPrefix(got.Message, "RequestId: "); ok {
		_, rest, _ = strings.Cut(rest, " ")
		got.Message = "RequestId: ID " + rest
	}
	if diff := cmp.Diff(want, *got, cmpopts.IgnoreFields(Error{}, "Payload")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A failed invocation is what Lambda reports, and the next one succeeds, in a new process if
// the failure ended the old one.
func TestFailures(t *testing.T) {
	const id = "RequestId: ID Error: "
	for name, test := range map[string]struct {
		do      order
		want    Error
		process int // that answers next
	}{
		"an error":  {order{Do: "error", Text: "refused"}, Error{Type: "errorString", Message: "refused"}, 1},
		"a panic":   {order{Do: "panic", Text: "at the disco"}, Error{Type: "string", Message: "at the disco"}, 2},
		"an exit":   {order{Do: "exit"}, Error{Type: "Runtime.ExitError", Message: id + "Runtime exited with error: exit status 3"}, 2},
		"a timeout": {order{Do: "hang"}, Error{Type: "Sandbox.Timedout", Message: id + "Task timed out after 0.05 seconds"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			f := function(t)
			answers(t, f, 1)
			if name == "a timeout" {
				f.Timeout = 50 * time.Millisecond
			}
			_, err := invoke(t, f, test.do)
			wantError(t, err, test.want)
			f.Timeout = time.Minute
			answers(t, f, test.process)
		})
	}
}

// So is a failed initialization.
func TestInitialization(t *testing.T) {
	f := function(t, "AT_INIT=exit")
	var log bytes.Buffer
	f.Log = &log
	_, err := invoke(t, f, order{Do: "answer"})
	wantError(t, err, Error{Init: true, Type: "Runtime.ExitError", Message: "RequestId: ID Error: Runtime exited with error: exit status 1"})
	if got := log.String(); got != "C8AUTH_STACK is missing\n" {
		t.Errorf("it printed %q", got)
	}
	f.Env = nil
	answers(t, f, 2)
}

// What the function prints is in the log when Invoke returns, by whole lines.
func TestLog(t *testing.T) {
	f := function(t)
	var log lines
	f.Log = &log
	for _, o := range []order{
		{Print: "one\ntwo\nhal", Do: "answer"}, {Print: "f a line\n", Do: "answer"}, {Print: "last words", Do: "exit"}, {Print: "a new process\n", Do: "answer"},
	} {
		_, _ = invoke(t, f, o)
		log = append(log, "-")
	}
	want := lines{"one\n", "two\n", "-", "half a line\n", "-", "last words\n", "-", "a new process\n", "-"}
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("log (-want +got)\n%s", diff)
	}
}

// lines holds each Write on its own.
type lines []string

func (l *lines) Write(p []byte) (int, error) {
	*l = append(*l, string(p))
	return len(p), nil
}

// The environment is Lambda's and the function's own, without anything of this process.
func TestEnvironment(t *testing.T) {
	t.Setenv("OF_THE_PARENT", "not passed on")
	f := function(t, "OWN=value", "TZ=:Europe/Berlin", "AWS_LAMBDA_RUNTIME_API=elsewhere")
	answer, err := invoke(t, f, order{Do: "environment"})
	if err != nil {
		t.Fatal(err)
	}
	var variables []string
	if err := json.Unmarshal([]byte(answer), &variables); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, variable := range variables {
		name, value, _ := strings.Cut(variable, "=")
		got[name] = value
	}
	want := map[string]string{"OWN": "value", "TZ": ":Europe/Berlin", "AWS_LAMBDA_RUNTIME_API": f.sandbox.api.address, "AWS_LAMBDA_FUNCTION_NAME": "test"}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
	// GOCOVERDIR is set by function, and _X_AMZN_TRACE_ID by aws-lambda-go.
	const names = "AWS_DEFAULT_REGION AWS_LAMBDA_FUNCTION_MEMORY_SIZE AWS_LAMBDA_FUNCTION_NAME AWS_LAMBDA_FUNCTION_VERSION AWS_LAMBDA_INITIALIZATION_TYPE " +
		"AWS_LAMBDA_LOG_GROUP_NAME AWS_LAMBDA_LOG_STREAM_NAME AWS_LAMBDA_RUNTIME_API AWS_REGION AWS_XRAY_CONTEXT_MISSING LAMBDA_RUNTIME_DIR LAMBDA_TASK_ROOT " +
		"LANG OWN PATH TZ _HANDLER _X_AMZN_TRACE_ID"
	delete(got, "GOCOVERDIR")
	if got := strings.Join(slices.Sorted(maps.Keys(got)), " "); got != names {
		t.Errorf("the variables are\n%s, want\n%s", got, names)
	}
}

// When the caller gives up, the process ends.
func TestCancel(t *testing.T) {
	f := function(t)
	answers(t, f, 1)
	exited := f.sandbox.exited
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := f.Invoke(ctx, []byte(`{"Do":"hang"}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	<-exited
	answers(t, f, 2)
}

// Build runs the Makefile's target, also under a make with other variables.
func TestBuild(t *testing.T) {
	root, dir := t.TempDir(), filepath.Join(t.TempDir(), "out")
	makefile := `
build-VendFunction:
	mkdir -p '$(ARTIFACTS_DIR)'
	echo $(GOOS) $(GOARCH) $(MAKELEVEL) $(ONCE) > '$(ARTIFACTS_DIR)/bootstrap'
build-RotateFunction:
	@echo does not compile; exit 1
`
	if err := os.WriteFile(filepath.Join(root, "Makefile"), []byte(makefile), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MAKELEVEL", "3") // as under `make test ONCE=1`
	t.Setenv("MAKEFLAGS", "-- ONCE=1")
	path, err := Build(t.Context(), root, dir, "vend")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := runtime.GOOS + " " + runtime.GOARCH + " 0\n"; string(got) != want {
		t.Errorf("make saw %q, want %q", got, want)
	}
	if _, err := Build(t.Context(), root, dir, "rotate"); err == nil || !strings.Contains(err.Error(), "does not compile") {
		t.Errorf("got %v, want what make printed", err)
	}
}
