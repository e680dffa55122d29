package main

// A function's process, and the Runtime API that times it.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sandbox is a running function. It is not for concurrent use.
type sandbox struct {
	cmd     *exec.Cmd
	server  *http.Server
	started time.Time
	polls   chan time.Time // when it asked for an event
	events  chan []byte
	answers chan answer
	output  bytes.Buffer // what it printed; to be read once it has ended
	share   *share       // of a processor; nil: all
	done    <-chan struct{}
}

type answer struct {
	at     time.Time
	body   []byte
	failed bool
}

// start starts the function.
func start(ctx context.Context, f *function) (*sandbox, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sandbox{polls: make(chan time.Time, 1), events: make(chan []byte), answers: make(chan answer, 1), done: ctx.Done()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", s.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/{result}", s.result)
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.server.Serve(listener) }()

	s.cmd = exec.CommandContext(ctx, f.bootstrap)
	s.cmd.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + listener.Addr().String(),
		"AWS_LAMBDA_FUNCTION_NAME=" + f.name, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128", "AWS_LAMBDA_FUNCTION_VERSION=1",
		"AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret",
		"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=en_US.UTF-8", "TZ=:UTC",
	}, f.env...)
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	s.started = time.Now()
	if err := s.cmd.Start(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// init waits for the function's first poll and returns how long it took. From then on
// a small function has the share of 128 MB; before, it has a whole processor, as on
// Lambda.
func (s *sandbox) init(small bool) (took time.Duration, err error) {
	select {
	case at := <-s.polls:
		if small {
			s.share, err = admit(s.cmd.Process.Pid)
		}
		return at.Sub(s.started), err
	case <-s.done:
		return 0, context.Canceled
	case <-time.After(time.Minute):
		s.stop()
		return 0, errors.New("it did not ask for an event within a minute: " + s.output.String())
	}
}

// invoke hands over an event, which the function has asked for, waits for the answer and
// for the next poll, and returns how long the answer took.
func (s *sandbox) invoke(event []byte) (time.Duration, error) {
	began := time.Now()
	s.events <- event
	select {
	case a := <-s.answers:
		if a.failed || bytes.Contains(a.body, []byte(`"statusCode":5`)) {
			s.stop()
			return 0, fmt.Errorf("it failed: %s\n%s", a.body, s.output.String())
		}
		<-s.polls
		return a.at.Sub(began), nil
	case <-s.done:
		return 0, context.Canceled
	case <-time.After(time.Minute):
		s.stop()
		return 0, errors.New("it did not answer within a minute: " + s.output.String())
	}
}

func (s *sandbox) next(w http.ResponseWriter, r *http.Request) {
	s.polls <- time.Now()
	select {
	case event := <-s.events:
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(time.Minute).UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:123456789012:function:f")
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0")
		_, _ = w.Write(event)
	case <-r.Context().Done():
	}
}

func (s *sandbox) result(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.answers <- answer{time.Now(), body, r.PathValue("result") != "response"}
	w.WriteHeader(http.StatusAccepted)
}

func (s *sandbox) stop() {
	if s.cmd.Process != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
	_ = s.server.Close()
	if s.share != nil {
		s.share.remove()
	}
}

// cpu returns the time that the process has spent on processors.
func (s *sandbox) cpu() (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		return 0, errors.New("no /proc/PID/task/*/schedstat")
	}
	var sum time.Duration
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			return 0, err
		}
		spent, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(spent, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// memory returns the resident set in bytes.
func (s *sandbox) memory() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kilobytes, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			return float64(kilobytes) * 1024, err
		}
	}
	return 0, errors.New("no VmRSS")
}
