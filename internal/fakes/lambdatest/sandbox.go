package lambdatest

// The process of a function: its environment, its start and its end.

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// sandbox is a process and the Runtime API that it talks to. Both are used
// once, so nothing of a process that ended can reach its successor.
type sandbox struct {
	api    *api
	output *output
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
}

// start starts a process. Its first invocation waits until it asks for an event.
func (f *Function) start() (*sandbox, error) {
	path, err := filepath.Abs(f.Bootstrap)
	if err != nil {
		return nil, err
	}
	output, err := newOutput()
	if err != nil {
		return nil, err
	}
	api, err := newAPI()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path)
	cmd.Dir = filepath.Dir(path)
	cmd.Env = f.environ(cmd.Dir, api.address)
	cmd.Stdout, cmd.Stderr = output.file, output.file
	// A process group of its own: Ctrl-C in a terminal is meant for us, not
	// for the function.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &sandbox{api, output, cmd, make(chan struct{})}
	go func() {
		_ = cmd.Wait() // ProcessState tells the same
		close(s.exited)
	}()
	return s, nil
}

// environ is what Lambda sets for an OS-only runtime (AWS_EXECUTION_ENV is not
// among it), and the function's own variables over it.
func (f *Function) environ(dir, api string) []string {
	return slices.Concat([]string{
		"AWS_DEFAULT_REGION=" + region,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
		"AWS_LAMBDA_FUNCTION_NAME=" + f.Name,
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/" + f.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME=" + time.Now().UTC().Format("2006/01/02/") + "[$LATEST]58419525dade4d17a495dceeeed44708",
		"AWS_REGION=" + region,
		"AWS_XRAY_CONTEXT_MISSING=LOG_ERROR",
		"LAMBDA_RUNTIME_DIR=/var/runtime",
		"LAMBDA_TASK_ROOT=" + dir,
		"LANG=en_US.UTF-8",
		"PATH=/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"TZ=:UTC",
		"_HANDLER=bootstrap",
	}, f.Env, []string{"AWS_LAMBDA_RUNTIME_API=" + api})
}

const region = "eu-central-1"

func (f *Function) arn() string {
	return "arn:aws:lambda:" + region + ":123456789012:function:" + f.Name
}

// invoke lasts until the process has answered e and asks for another event, or
// has ended. It kills a process that does neither in time.
func (s *sandbox) invoke(ctx context.Context, e *event) ([]byte, error) {
	events := s.api.events
	var late <-chan time.Time
	for {
		select {
		case events <- e:
			events = nil // it is handed over once
			late = time.After(e.limit)
		case <-s.api.polls:
			if o := s.api.take(); o != nil {
				return o.answer, o.err
			}
		case <-s.exited:
			if o := s.api.take(); o != nil {
				return o.answer, o.err
			}
			failed := newError("Runtime.ExitError", e.id, "Runtime exited with error: "+s.cmd.ProcessState.String())
			failed.Init = events != nil
			return nil, failed
		case <-late:
			s.end(syscall.SIGKILL)
			return nil, newError("Sandbox.Timedout", e.id, fmt.Sprintf("Task timed out after %.2f seconds", e.limit.Seconds()))
		case <-ctx.Done():
			s.end(syscall.SIGKILL)
			return nil, fmt.Errorf("lambdatest: invoke: %w", ctx.Err())
		}
	}
}

func (s *sandbox) ended() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// end ends the process by the signal, and waits for its end: after that, all its
// output is written.
func (s *sandbox) end(signal syscall.Signal) {
	_ = s.cmd.Process.Signal(signal) // fails only if it has ended
	<-s.exited
}
