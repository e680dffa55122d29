// Package lambdatest runs a Lambda function on this machine: the real
// bootstrap binary, started by a Lambda Runtime API of its own.
//
//	bootstrap, err := lambdatest.Build(ctx, root, dir, "vend")
//	f := &lambdatest.Function{Bootstrap: bootstrap, Name: "vend", Env: []string{"C8AUTH_STACK=demo"}}
//	defer f.Stop()
//	answer, err := f.Invoke(ctx, []byte(`{}`))
//
// A Function is one sandbox. Its process starts with the first invocation,
// runs on between invocations, and is started again after it ended. A failure
// is an *Error that holds what the caller of Lambda would see.
//
// It differs from Lambda in this: there is one sandbox, so invocations queue
// where Lambda would start another; the process is not frozen between
// invocations; an initialization that fails is not tried twice; and an
// invocation lasts until the function asks for its next event, not until it
// answers, so that its log lines and its exit belong to it.
package lambdatest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Function is a Lambda function on this machine: a bootstrap binary and a
// Runtime API of its own (on a loopback port). Its fields may be changed
// between invocations; what describes the process takes effect when the next
// one starts.
type Function struct {
	Bootstrap string        // path of the executable
	Name      string        // AWS_LAMBDA_FUNCTION_NAME; empty means "function"
	Env       []string      // "KEY=value": the function's own variables, credentials included. The process gets these plus what Lambda itself sets, and nothing of the surrounding environment.
	Timeout   time.Duration // for one invocation; 0 means 3 s, Lambda's default. Initialization has 10 s, as on Lambda.
	Log       io.Writer     // the function's stdout and stderr, one line a Write; nil discards. What it printed until the end of an invocation is here when Invoke returns; what it prints in between comes with the next one.

	initTimeout time.Duration // 0 means 10 s
	once        sync.Once
	turn        chan struct{} // holds a token while the sandbox is in use
	sandbox     *sandbox      // nil while no process runs
	starts      atomic.Int64
}

// Kind tells how an invocation failed.
type Kind string

// The ways in which an invocation fails.
const (
	FunctionError Kind = "function error" // the handler returned an error or panicked
	InitError     Kind = "init error"     // the process ended, or reported an error, before it asked for an event
	Timeout       Kind = "timeout"        // it was not done in time, and was killed
	Crash         Kind = "crash"          // the process ended during the invocation, without an answer
)

// Error is a failed invocation, as Lambda reports it.
type Error struct {
	Kind    Kind
	Type    string // errorType, such as "errorString", "Runtime.ExitError" or "Sandbox.Timedout"
	Message string // errorMessage
	Payload []byte // the JSON object that `aws lambda invoke` would have shown
}

func (e *Error) Error() string { return e.Type + ": " + e.Message }

// newError is an error that Lambda itself reports.
func newError(kind Kind, errorType, id, message string) *Error {
	message = "RequestId: " + id + " Error: " + message
	payload, _ := json.Marshal(struct { // two strings: cannot fail
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}{errorType, message})
	return &Error{kind, errorType, message, payload}
}

// Invoke hands payload to the function and returns its answer. It starts the
// process if none is running (a cold start). Calls are served one at a time,
// as one sandbox does.
//
// A failure of the function is an *Error. If ctx ends first, the process is
// killed, and the error wraps ctx.Err().
func (f *Function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	if err := f.acquire(ctx); err != nil {
		return nil, err
	}
	defer f.release()

	if f.sandbox != nil && f.sandbox.ended() {
		f.discard() // it ended since the last invocation
	}
	id := newID()
	if f.sandbox == nil {
		if err := f.start(ctx, id); err != nil {
			return nil, err
		}
	}
	e := &event{id: id, function: f.arn(), payload: payload}
	answer, err := f.sandbox.invoke(ctx, e, cmp.Or(f.Timeout, 3*time.Second))
	f.sandbox.output.copyTo(f.Log, false)
	if f.sandbox.ended() {
		f.discard()
	}
	return answer, err
}

// start runs a process until it asks for an event.
func (f *Function) start(ctx context.Context, id string) error {
	s, err := f.newSandbox()
	if err != nil {
		return fmt.Errorf("lambdatest: start %s: %w", f.name(), err)
	}
	f.sandbox = s
	f.starts.Add(1)
	if err := s.boot(ctx, id, cmp.Or(f.initTimeout, 10*time.Second)); err != nil {
		f.discard()
		return err
	}
	return nil
}

// Stop ends the process (SIGTERM, then kill) and the Runtime API; Invoke after
// it starts afresh. It waits for an invocation under way.
func (f *Function) Stop() {
	_ = f.acquire(context.Background()) // which never ends
	defer f.release()
	if f.sandbox != nil {
		f.sandbox.terminate(2 * time.Second)
		f.discard()
	}
}

// Kill sends a signal that ends the process, if one runs, and waits for its end. The
// next Invoke starts another.
func (f *Function) Kill(signal syscall.Signal) {
	_ = f.acquire(context.Background()) // which never ends
	defer f.release()
	if f.sandbox != nil {
		_ = f.sandbox.cmd.Process.Signal(signal) // fails only if it has ended
		<-f.sandbox.exited
	}
}

// PID is the process's id, 0 while none runs. It waits for an invocation under way.
func (f *Function) PID() int {
	_ = f.acquire(context.Background()) // which never ends
	defer f.release()
	if f.sandbox == nil || f.sandbox.ended() {
		return 0
	}
	return f.sandbox.cmd.Process.Pid
}

// Starts is how many processes were started.
func (f *Function) Starts() int { return int(f.starts.Load()) }

// discard ends the sandbox, and logs what its process printed last.
func (f *Function) discard() {
	f.sandbox.terminate(0)
	f.sandbox.output.copyTo(f.Log, true)
	f.sandbox.close()
	f.sandbox = nil
}

// acquire is a mutex's Lock that gives up when ctx ends.
func (f *Function) acquire(ctx context.Context) error {
	f.once.Do(func() { f.turn = make(chan struct{}, 1) })
	if ctx.Err() == nil { // select would not prefer it
		select {
		case f.turn <- struct{}{}:
			return nil
		case <-ctx.Done():
		}
	}
	return cancelled(ctx)
}

func (f *Function) release() { <-f.turn }

func cancelled(ctx context.Context) error { return fmt.Errorf("lambdatest: invoke: %w", ctx.Err()) }

func (f *Function) name() string { return cmp.Or(f.Name, "function") }
