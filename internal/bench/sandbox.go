package main

// A function's process, and the Runtime API that times it. That speaks HTTP by itself, as
// an HTTP server would take as long as the functions do: between the writing of an event
// and the reading of its answer there is nothing but the function.

import (
	"bufio"
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
	api     net.Listener
	started time.Time
	polls   chan poll
	polled  net.Conn // the last poll's
	answers chan answer
	output  bytes.Buffer // what it printed; to be read once it has ended
	share   *share       // of a processor; nil: all
	done    <-chan struct{}
}

// poll is a request for an event, which waits on conn.
type poll struct {
	at   time.Time
	conn net.Conn
}

type answer struct {
	at     time.Time
	body   []byte
	failed bool
}

// start starts the function.
func start(ctx context.Context, f *function) (*sandbox, error) {
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sandbox{api: api, polls: make(chan poll, 1), answers: make(chan answer, 1), done: ctx.Done()}
	go s.serve()

	s.cmd = exec.CommandContext(ctx, f.bootstrap)
	s.cmd.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + api.Addr().String(),
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
	p, err := await(s, s.polls)
	if err != nil {
		return 0, err
	}
	s.polled = p.conn
	if small {
		s.share, err = admit(s.cmd.Process.Pid)
	}
	return p.at.Sub(s.started), err
}

// invoke hands over an event, which the function has asked for, waits for the answer and
// for the next poll, and returns how long the answer took.
func (s *sandbox) invoke(event []byte) (time.Duration, error) {
	message := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
		"Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n"+
		"Lambda-Runtime-Deadline-Ms: %d\r\n"+
		"Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:123456789012:function:f\r\n"+
		"Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0\r\n\r\n%s",
		len(event), time.Now().Add(time.Minute).UnixMilli(), event)
	began := time.Now()
	if _, err := s.polled.Write(message); err != nil {
		return 0, err
	}
	a, err := await(s, s.answers)
	if err != nil {
		return 0, err
	}
	if a.failed || bytes.Contains(a.body, []byte(`"statusCode":5`)) {
		s.stop()
		return 0, fmt.Errorf("it failed: %s\n%s", a.body, s.output.String())
	}
	p, err := await(s, s.polls)
	s.polled = p.conn
	return a.at.Sub(began), err
}

// await waits for what the function does next.
func await[T any](s *sandbox, next <-chan T) (what T, err error) {
	select {
	case what = <-next:
		return what, nil
	case <-s.done:
		return what, context.Canceled
	case <-time.After(time.Minute):
		s.stop()
		return what, errors.New("nothing happened for a minute: " + s.output.String())
	}
}

// serve takes the function's connections, until stop.
func (s *sandbox) serve() {
	for {
		conn, err := s.api.Accept()
		if err != nil {
			return
		}
		go s.attend(&clocked{Conn: conn})
	}
}

// attend takes the requests of one connection, and answers those that bring something.
func (s *sandbox) attend(conn *clocked) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		if req.Method == http.MethodGet {
			s.polls <- poll{conn.read, conn}
			continue
		}
		s.answers <- answer{conn.read, body, !strings.HasSuffix(req.URL.Path, "/response")}
		if _, err := io.WriteString(conn, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"); err != nil {
			return
		}
	}
}

// clocked is a connection that knows when it was last read from.
type clocked struct {
	net.Conn
	read time.Time
}

func (c *clocked) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read = time.Now()
	return n, err
}

func (s *sandbox) stop() {
	if s.cmd.Process != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
	_ = s.api.Close()
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
