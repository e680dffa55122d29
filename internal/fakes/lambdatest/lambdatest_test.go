package lambdatest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestMain makes the test binary its own bootstrap: under a Runtime API it is
// the function.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		os.Exit(m.Run())
	}
	switch os.Getenv("AT_INIT") {
	case "exit":
		fmt.Fprintln(os.Stderr, "C8AUTH_STACK is missing")
		os.Exit(1)
	case "leave":
		os.Exit(0)
	case "report":
		post("init/error", `{"errorMessage":"no settings","errorType":"Runtime.NoSettings"}`)
		hang()
	case "hang":
		hang()
	}
	if os.Getenv("RUNTIME") == "raw" {
		rawRuntime()
	}
	lambda.Start(handle)
}

// order is an event of the test function: what it shall do.
type order struct {
	Print string
	Do    string
	Text  string
}

// handle is the test function.
func handle(ctx context.Context, o order) (any, error) {
	if o.Print != "" {
		fmt.Print(o.Print)
	}
	switch o.Do {
	case "answer":
		return o.Text, nil
	case "context":
		lc, _ := lambdacontext.FromContext(ctx)
		deadline, _ := ctx.Deadline()
		return map[string]any{"arn": lc.InvokedFunctionArn, "id": lc.AwsRequestID, "left": time.Until(deadline)}, nil
	case "environment":
		return os.Environ(), nil
	case "error":
		return nil, errors.New(o.Text)
	case "panic":
		panic(o.Text)
	case "exit":
		os.Exit(3)
	case "hang":
		hang()
	case "pid":
		return os.Getpid(), nil
	}
	return nil, fmt.Errorf("unknown order %q", o.Do)
}

// hang outlives any test. (Go sees through an empty select.)
func hang() { time.Sleep(time.Hour) }

// rawRuntime is a runtime with bad manners: it posts each event back to the
// path that the event names, twice, and asks for the event again before.
func rawRuntime() {
	for {
		get("invocation/next")
		id, path := get("invocation/next")
		post("invocation/"+id+"/"+path, "garbage")
		post("invocation/"+id+"/"+path, "more garbage")
	}
}

func get(path string) (id, body string) {
	resp, err := http.Get("http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/" + path)
	if err != nil {
		log.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		log.Fatal(err)
	}
	return resp.Header.Get("Lambda-Runtime-Aws-Request-Id"), string(b)
}

func post(path, body string) {
	resp, err := http.Post("http://"+os.Getenv("AWS_LAMBDA_RUNTIME_API")+"/2018-06-01/runtime/"+path, "", strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	_ = resp.Body.Close()
}

// function is the test function. Its time limit is far away, except where a
// test sets another.
func function(t *testing.T, env ...string) *Function {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if testing.CoverMode() != "" { // or it prints a warning when it exits
		env = append(env, "GOCOVERDIR="+t.TempDir())
	}
	f := &Function{Bootstrap: self, Name: "test", Env: env, Timeout: time.Minute, initTimeout: time.Minute}
	t.Cleanup(f.Stop)
	return f
}

func do(t *testing.T, f *Function, o order) (string, error) {
	t.Helper()
	event, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := f.Invoke(t.Context(), event)
	return string(answer), err
}

// mustAnswer is for where the answer is known to come.
func mustAnswer(t *testing.T, f *Function, o order) string {
	t.Helper()
	answer, err := do(t, f, o)
	if err != nil {
		t.Fatalf("%+v: %v", o, err)
	}
	return answer
}

// wantError checks everything that the caller of Lambda would see. Request ids
// are random, and read "ID" here.
func wantError(t *testing.T, err error, want Error) {
	t.Helper()
	var got *Error
	if !errors.As(err, &got) {
		t.Fatalf("got %v, want an *Error", err)
	}
	var shown struct{ ErrorType, ErrorMessage string }
	if err := json.Unmarshal(got.Payload, &shown); err != nil {
		t.Fatalf("payload %q: %v", got.Payload, err)
	}
	if shown.ErrorType != got.Type || shown.ErrorMessage != got.Message {
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

func wantStarts(t *testing.T, f *Function, want int) {
	t.Helper()
	if got := f.Starts(); got != want {
		t.Errorf("%d processes were started, want %d", got, want)
	}
}

func TestAnswer(t *testing.T) {
	f := function(t)
	if got, want := mustAnswer(t, f, order{Do: "answer", Text: "hello"}), `"hello"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEventComesWithItsContext(t *testing.T) {
	f := function(t, "AWS_REGION=eu-west-1")
	var got struct {
		ARN, ID string
		Left    time.Duration
	}
	if err := json.Unmarshal([]byte(mustAnswer(t, f, order{Do: "context"})), &got); err != nil {
		t.Fatal(err)
	}
	if want := "arn:aws:lambda:eu-west-1:123456789012:function:test"; got.ARN != want {
		t.Errorf("ARN %s, want %s", got.ARN, want)
	}
	if len(got.ID) != len("8476a536-e9f4-11e8-9739-2dfe598c3fcd") {
		t.Errorf("request id %q is no UUID", got.ID)
	}
	if got.Left <= 0 || got.Left > f.Timeout {
		t.Errorf("%v left of %v", got.Left, f.Timeout)
	}
}

func TestProcessLivesOn(t *testing.T) {
	f := function(t)
	if got := f.PID(); got != 0 {
		t.Errorf("before it starts, it is process %d", got)
	}
	first, second := mustAnswer(t, f, order{Do: "pid"}), mustAnswer(t, f, order{Do: "pid"})
	if first != second || first != strconv.Itoa(f.PID()) {
		t.Errorf("process %s, then %s, want %d", first, second, f.PID())
	}
	wantStarts(t, f, 1)
	f.Kill(syscall.SIGKILL)
	if got := f.PID(); got != 0 {
		t.Errorf("after its end, it is process %d", got)
	}
}

func TestErrorOfHandler(t *testing.T) {
	f := function(t)
	_, err := do(t, f, order{Do: "error", Text: "refused"})
	wantError(t, err, Error{Kind: FunctionError, Type: "errorString", Message: "refused"})
	mustAnswer(t, f, order{Do: "answer"})
	wantStarts(t, f, 1)
}

func TestPanicOfHandler(t *testing.T) {
	f := function(t)
	_, err := do(t, f, order{Do: "panic", Text: "at the disco"})
	wantError(t, err, Error{Kind: FunctionError, Type: "string", Message: "at the disco"})
	mustAnswer(t, f, order{Do: "answer"})
	wantStarts(t, f, 2) // a panic ends the process
}

func TestExitDuringInvocation(t *testing.T) {
	f := function(t)
	_, err := do(t, f, order{Do: "exit"})
	wantError(t, err, Error{Kind: Crash, Type: "Runtime.ExitError", Message: "RequestId: ID Error: Runtime exited with error: exit status 3"})
	mustAnswer(t, f, order{Do: "answer"})
	wantStarts(t, f, 2)
}

func TestExitBetweenInvocations(t *testing.T) {
	f := function(t)
	mustAnswer(t, f, order{Do: "answer"})
	if err := f.sandbox.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-f.sandbox.exited
	mustAnswer(t, f, order{Do: "answer"})
	wantStarts(t, f, 2)
}

func TestInitialization(t *testing.T) {
	for name, test := range map[string]struct {
		want Error
		log  string
	}{
		"exit": {
			want: Error{Kind: InitError, Type: "Runtime.ExitError", Message: "RequestId: ID Error: Runtime exited with error: exit status 1"},
			log:  "C8AUTH_STACK is missing\n",
		},
		"leave": {
			want: Error{Kind: InitError, Type: "Runtime.ExitError", Message: "RequestId: ID Error: Runtime exited without providing a reason"},
		},
		"report": {
			want: Error{Kind: InitError, Type: "Runtime.NoSettings", Message: "no settings"},
		},
		"hang": {
			want: Error{Kind: Timeout, Type: "Sandbox.Timedout", Message: "RequestId: ID Error: Task timed out after 0.05 seconds"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := function(t, "AT_INIT="+name)
			var log bytes.Buffer
			f.Log = &log
			if name == "hang" {
				f.initTimeout = 50 * time.Millisecond
			}
			_, err := do(t, f, order{Do: "answer"})
			wantError(t, err, test.want)
			if diff := cmp.Diff(test.log, log.String()); diff != "" {
				t.Errorf("log (-want +got)\n%s", diff)
			}

			f.Env, f.initTimeout = nil, time.Minute // and once that is repaired
			mustAnswer(t, f, order{Do: "answer"})
			wantStarts(t, f, 2)
		})
	}
}

func TestNoBootstrap(t *testing.T) {
	f := &Function{Bootstrap: filepath.Join(t.TempDir(), "bootstrap")}
	t.Cleanup(f.Stop)
	_, err := do(t, f, order{})
	wantError(t, err, Error{Kind: InitError, Type: "Runtime.InvalidEntrypoint",
		Message: "RequestId: ID Error: fork/exec " + f.Bootstrap + ": no such file or directory"})
}

func TestTimeoutThenRecovery(t *testing.T) {
	f := function(t)
	mustAnswer(t, f, order{Do: "answer"})
	f.Timeout = 50 * time.Millisecond
	_, err := do(t, f, order{Do: "hang"})
	wantError(t, err, Error{Kind: Timeout, Type: "Sandbox.Timedout", Message: "RequestId: ID Error: Task timed out after 0.05 seconds"})
	f.Timeout = time.Minute
	mustAnswer(t, f, order{Do: "answer"})
	wantStarts(t, f, 2)
}

func TestGarbage(t *testing.T) {
	f := function(t, "RUNTIME=raw")
	got, err := f.Invoke(t.Context(), []byte("response"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "garbage" { // Lambda does not look into answers
		t.Errorf("got %q", got)
	}
	_, err = f.Invoke(t.Context(), []byte("error"))
	wantError(t, err, Error{Kind: FunctionError, Type: "Runtime.Unknown", Message: "RequestId: ID Error: the runtime reported an error that is not a JSON object"})
	wantStarts(t, f, 1)
}

func TestLogIsCompleteWhenInvokeReturns(t *testing.T) {
	f := function(t)
	var log lines
	f.Log = &log
	mustAnswer(t, f, order{Print: "one\ntwo\nhal", Do: "answer"})
	log.want(t, "one\n", "two\n")
	mustAnswer(t, f, order{Print: "f a line\n", Do: "answer"})
	log.want(t, "one\n", "two\n", "half a line\n")
	_, _ = do(t, f, order{Print: "last words", Do: "exit"})
	log.want(t, "one\n", "two\n", "half a line\n", "last words\n")
	mustAnswer(t, f, order{Print: "reborn\n", Do: "answer"})
	log.want(t, "one\n", "two\n", "half a line\n", "last words\n", "reborn\n")
}

// lines remembers each Write on its own.
type lines []string

func (l *lines) Write(p []byte) (int, error) {
	*l = append(*l, string(p))
	return len(p), nil
}

func (l *lines) want(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, []string(*l)); diff != "" {
		t.Errorf("log (-want +got)\n%s", diff)
	}
}

func TestEnvironmentIsLambdasAndTheFunctionsOwn(t *testing.T) {
	t.Setenv("OF_THE_PARENT", "not to be seen")
	f := function(t, "OWN=value", "TZ=:Europe/Berlin", "AWS_LAMBDA_RUNTIME_API=elsewhere")
	var got []string
	if err := json.Unmarshal([]byte(mustAnswer(t, f, order{Do: "environment"})), &got); err != nil {
		t.Fatal(err)
	}
	got = slices.DeleteFunc(got, func(v string) bool { // random, set by aws-lambda-go, or by function
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"AWS_LAMBDA_LOG_STREAM_NAME", "_X_AMZN_TRACE_ID", "GOCOVERDIR"}, name)
	})
	slices.Sort(got)
	want := []string{
		"AWS_DEFAULT_REGION=eu-central-1",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
		"AWS_LAMBDA_FUNCTION_NAME=test",
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/test",
		"AWS_LAMBDA_RUNTIME_API=" + f.sandbox.api.address,
		"AWS_REGION=eu-central-1",
		"AWS_XRAY_CONTEXT_MISSING=LOG_ERROR",
		"LAMBDA_RUNTIME_DIR=/var/runtime",
		"LAMBDA_TASK_ROOT=" + filepath.Dir(f.Bootstrap),
		"LANG=en_US.UTF-8",
		"OWN=value",
		"PATH=/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"TZ=:Europe/Berlin",
		"_HANDLER=bootstrap",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestStopThenInvoke(t *testing.T) {
	f := function(t)
	f.Stop() // nothing runs yet
	mustAnswer(t, f, order{Do: "answer"})
	exited := f.sandbox.exited
	f.Stop()
	<-exited
	mustAnswer(t, f, order{Do: "answer"})
	wantStarts(t, f, 2)
}

func TestCancelDuringInvocation(t *testing.T) {
	f := function(t)
	mustAnswer(t, f, order{Do: "answer"})
	exited := f.sandbox.exited
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := f.Invoke(ctx, []byte(`{"Do":"hang"}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	<-exited
	mustAnswer(t, f, order{Do: "answer"})
	wantStarts(t, f, 2)
}

func TestCancelDuringInitialization(t *testing.T) {
	f := function(t, "AT_INIT=hang")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := f.Invoke(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestCancelBeforeTurn(t *testing.T) {
	f := function(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Invoke(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	wantStarts(t, f, 0)
}

func TestLargePayloads(t *testing.T) {
	f := function(t)
	text := strings.Repeat("x", 3<<20)
	if got := mustAnswer(t, f, order{Do: "answer", Text: text}); got != `"`+text+`"` {
		t.Errorf("got %d bytes back of %d", len(got), len(text))
	}
	_, err := do(t, f, order{Do: "answer", Text: text + text + text})
	wantError(t, err, Error{Kind: FunctionError, Type: "Function.ResponseSizeTooLarge",
		Message: "RequestId: ID Error: Response payload size exceeded maximum allowed payload size (6291556 bytes)."})
}

func TestManyCallers(t *testing.T) {
	f := function(t)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			text := fmt.Sprint("caller ", i)
			answer, err := f.Invoke(t.Context(), []byte(`{"Do":"answer","Text":"`+text+`"}`))
			if want := `"` + text + `"`; err != nil || string(answer) != want {
				t.Errorf("got %s, %v, want %s", answer, err, want)
			}
		})
	}
	wg.Wait()
	wantStarts(t, f, 1)
}

func TestBuildRunsTheMakefile(t *testing.T) {
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
	if want := filepath.Join(dir, "bootstrap"); path != want {
		t.Errorf("path %s, want %s", path, want)
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
	if _, err := Build(t.Context(), root, dir, "other"); err == nil {
		t.Error("an unknown function was built")
	}
}

func TestRootHoldsTheModule(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(mod, []byte("module github.com/c8auth/c8auth\n")) {
		t.Errorf("%s is another module's", root)
	}
}
