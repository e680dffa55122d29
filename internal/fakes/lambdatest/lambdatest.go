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
// invocations; an initialization may take any time, and is not tried twice if it
// fails; and an invocation lasts until the function asks for its next event, not
// until it answers, so that its log lines and its exit belong to it.
package lambdatest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	smithyrand "github.com/aws/smithy-go/rand"
)

// Function is a Lambda function on this machine: a bootstrap binary and a
// Runtime API of its own (on a loopback port). Its fields may be changed
// between invocations; what describes the process takes effect when the next
// one starts.
type Function struct {
	Bootstrap string        // path of the executable
	Name      string        // AWS_LAMBDA_FUNCTION_NAME
	Env       []string      // "KEY=value": the function's own variables, credentials included. The process gets these plus what Lambda itself sets, and nothing of the surrounding environment.
	Timeout   time.Duration // for one invocation, from when the process gets the event; 0 means 3 s, Lambda's default
	Log       io.Writer     // the function's stdout and stderr, one line a Write; nil discards. What it printed until the end of an invocation is here when Invoke returns; what it prints in between comes with the next one.

	mu      sync.Mutex // held while the sandbox is in use
	sandbox *sandbox   // nil while no process runs
	starts  atomic.Int64
}

// Error is a failed invocation, as Lambda reports it.
type Error struct {
	Init    bool   // the process ended before it asked for an event
	Type    string // errorType, such as "errorString", "Runtime.ExitError" or "Sandbox.Timedout"
	Message string // errorMessage
	Payload []byte // the JSON object that `aws lambda invoke` would have shown
}

func (e *Error) Error() string { return e.Type + ": " + e.Message }

// newError is an error that Lambda itself reports.
func newError(errorType, id, message string) *Error {
	message = "RequestId: " + id + " Error: " + message
	payload, _ := json.Marshal(map[string]string{"errorType": errorType, "errorMessage": message}) // cannot fail
	return &Error{Type: errorType, Message: message, Payload: payload}
}

// Invoke hands payload to the function and returns its answer. It starts the
// process if none is running (a cold start). Calls are served one at a time,
// as one sandbox does.
//
// A failure of the function is an *Error. If ctx ends first, the process is
// killed, and the error wraps ctx.Err().
func (f *Function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.discardEnded() // since the last invocation
	if f.sandbox == nil {
		s, err := f.start()
		if err != nil {
			return nil, fmt.Errorf("lambdatest: start %s: %w", f.Name, err)
		}
		f.sandbox = s
		f.starts.Add(1)
	}
	id, _ := smithyrand.NewUUID(rand.Reader).GetUUID() // never fails
	answer, err := f.sandbox.invoke(ctx, &event{id, f.arn(), payload, cmp.Or(f.Timeout, 3*time.Second)})
	f.sandbox.output.copyTo(f.Log, false)
	f.discardEnded()
	return answer, err
}

// Stop ends the process and the Runtime API; Invoke after it starts afresh. It waits for
// an invocation under way.
func (f *Function) Stop() { f.Kill(syscall.SIGTERM) }

// Kill is Stop with another signal that ends the process.
func (f *Function) Kill(signal syscall.Signal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sandbox != nil {
		f.sandbox.end(signal)
		f.discardEnded()
	}
}

// PID is the process's id, 0 while none runs. It waits for an invocation under way.
func (f *Function) PID() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sandbox == nil {
		return 0
	}
	return f.sandbox.cmd.Process.Pid
}

// Starts is how many processes were started.
func (f *Function) Starts() int { return int(f.starts.Load()) }

// discardEnded forgets a process that has ended, and logs what it printed last.
func (f *Function) discardEnded() {
	if f.sandbox == nil || !f.sandbox.ended() {
		return
	}
	f.sandbox.output.copyTo(f.Log, true)
	_ = f.sandbox.api.server.Close()
	_ = f.sandbox.output.file.Close()
	f.sandbox = nil
}
