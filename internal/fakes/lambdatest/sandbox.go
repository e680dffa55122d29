package lambdatest

// The process of a function: its environment, its start and its end.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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

func (f *Function) newSandbox() (*sandbox, error) {
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
		return nil, errors.Join(err, output.file.Close())
	}
	cmd := exec.Command(path)
	cmd.Dir = filepath.Dir(path)
	cmd.Env = f.environ(cmd.Dir, api.address)
	cmd.Stdout, cmd.Stderr = output.file, output.file
	// A process group of its own: Ctrl-C in a terminal is meant for us, not
	// for the function.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return &sandbox{api, output, cmd, make(chan struct{})}, nil
}

// environ is what Lambda sets for an OS-only runtime (AWS_EXECUTION_ENV is not
// among it), and the function's own variables over it.
func (f *Function) environ(dir, api string) []string {
	return slices.Concat([]string{
		"AWS_DEFAULT_REGION=" + f.region(),
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
		"AWS_LAMBDA_FUNCTION_NAME=" + f.name(),
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/" + f.name(),
		"AWS_LAMBDA_LOG_STREAM_NAME=" + time.Now().UTC().Format("2006/01/02/") + "[$LATEST]" + strings.ReplaceAll(newID(), "-", ""),
		"AWS_REGION=" + f.region(),
		"AWS_XRAY_CONTEXT_MISSING=LOG_ERROR",
		"LAMBDA_RUNTIME_DIR=/var/runtime",
		"LAMBDA_TASK_ROOT=" + dir,
		"LANG=en_US.UTF-8",
		"PATH=/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"TZ=:UTC",
		"_HANDLER=bootstrap",
	}, f.Env, []string{"AWS_LAMBDA_RUNTIME_API=" + api})
}

func (f *Function) region() string {
	own := make(map[string]string)
	for _, v := range f.Env {
		name, value, _ := strings.Cut(v, "=")
		own[name] = value
	}
	return cmp.Or(own["AWS_REGION"], own["AWS_DEFAULT_REGION"], "eu-central-1")
}

func (f *Function) arn() string {
	return "arn:aws:lambda:" + f.region() + ":123456789012:function:" + f.name()
}

// boot starts the process, and waits until it asks for its first event.
func (s *sandbox) boot(ctx context.Context, id string, limit time.Duration) error {
	if err := s.cmd.Start(); err != nil {
		close(s.exited)
		return newError(InitError, "Runtime.InvalidEntrypoint", id, err.Error())
	}
	go func() {
		_ = s.cmd.Wait() // ProcessState tells the same
		close(s.exited)
	}()
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-s.api.polls:
		return nil
	case <-s.exited:
		select {
		case err := <-s.api.failed: // it said why before it ended
			return err
		default:
			return newError(InitError, "Runtime.ExitError", id, s.exit())
		}
	case err := <-s.api.failed:
		return err
	case <-late.C:
		return timedOut(id, limit)
	case <-ctx.Done():
		return cancelled(ctx)
	}
}

// invoke lasts until the process has answered e and asks for another event, or
// has ended. It kills a process that does neither in time.
func (s *sandbox) invoke(ctx context.Context, e *event, limit time.Duration) ([]byte, error) {
	e.deadline = time.Now().Add(limit)
	late := time.NewTimer(limit)
	defer late.Stop()
	events := s.api.events
	for {
		select {
		case events <- e:
			events = nil // it is handed over once
		case <-s.api.polls:
			if o := s.api.take(); o != nil {
				return o.answer, o.err
			}
		case <-s.exited:
			if o := s.api.take(); o != nil {
				return o.answer, o.err
			}
			return nil, newError(Crash, "Runtime.ExitError", e.id, s.exit())
		case <-late.C:
			s.terminate(0)
			return nil, timedOut(e.id, limit)
		case <-ctx.Done():
			s.terminate(0)
			return nil, cancelled(ctx)
		}
	}
}

func timedOut(id string, limit time.Duration) *Error {
	return newError(Timeout, "Sandbox.Timedout", id, fmt.Sprintf("Task timed out after %.2f seconds", limit.Seconds()))
}

// exit says why the process ended, in Lambda's words.
func (s *sandbox) exit() string {
	if s.cmd.ProcessState.Success() {
		return "Runtime exited without providing a reason"
	}
	return "Runtime exited with error: " + s.cmd.ProcessState.String()
}

func (s *sandbox) ended() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// terminate ends the process, by SIGTERM if there is any grace, and waits for
// its end: after that, all its output is written.
func (s *sandbox) terminate(grace time.Duration) {
	if s.ended() {
		return
	}
	if grace > 0 {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
		select {
		case <-s.exited:
			return
		case <-time.After(grace):
		}
	}
	_ = s.cmd.Process.Kill()
	<-s.exited
}

func (s *sandbox) close() {
	_ = s.api.server.Close()
	_ = s.output.file.Close()
}
