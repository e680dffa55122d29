package main

// A function's process, and the Runtime API that times it. That speaks HTTP by itself, as
// an HTTP server would take as long as the functions do: between the writing of an event
// and the reading of its answer there is nothing but the function.

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/c8auth/c8auth/internal/bench/measure"
)

// sandbox is a running function. It is not for concurrent use.
type sandbox struct {
	cmd     *exec.Cmd
	api     *net.TCPListener
	started time.Time
	conn    net.Conn // the function's only one
	reader  *bufio.Reader
	output  bytes.Buffer // what it printed; to be read once it has ended
	group   string       // that gives it a share of a processor; empty: all
}

// start starts the function.
func start(ctx context.Context, f *function) (*sandbox, error) {
	api, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	s := &sandbox{api: api, cmd: exec.CommandContext(ctx, f.bootstrap)}
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

// init waits until the function requests its first event, and returns how long it took. From
// then on a small function has the share of 128 MB; before, it has a whole processor, as on
// Lambda.
func (s *sandbox) init(small bool) (took time.Duration, err error) {
	_ = s.api.SetDeadline(time.Now().Add(time.Minute))
	if s.conn, err = s.api.Accept(); err != nil {
		return 0, s.failed(err)
	}
	s.reader = bufio.NewReader(s.conn)
	if err := s.receive("/next"); err != nil {
		return 0, err
	}
	took = time.Since(s.started)
	if small {
		s.group, err = admit(s.cmd.Process.Pid)
	}
	return took, err
}

// invoke hands over the event that many times, whenever the function requests one. It returns
// how long each answer took, in ms.
func (s *sandbox) invoke(event []byte, times int) (took []float64, err error) {
	for range times {
		message := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
			"Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n"+
			"Lambda-Runtime-Deadline-Ms: %d\r\n"+
			"Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:123456789012:function:f\r\n"+
			"Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0\r\n\r\n%s",
			len(event), time.Now().Add(time.Minute).UnixMilli(), event)
		began := time.Now()
		if _, err := s.conn.Write(message); err != nil {
			return nil, s.failed(err)
		}
		if err := s.receive("/response"); err != nil {
			return nil, err
		}
		took = append(took, measure.Milliseconds(time.Since(began)))
		if _, err := io.WriteString(s.conn, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"); err != nil {
			return nil, s.failed(err)
		}
		if err := s.receive("/next"); err != nil {
			return nil, err
		}
	}
	return took, nil
}

// receive reads the function's next request, which must be for a path with that end and report
// no failure.
func (s *sandbox) receive(path string) error {
	_ = s.conn.SetReadDeadline(time.Now().Add(time.Minute))
	req, err := http.ReadRequest(s.reader)
	if err != nil {
		return s.failed(err)
	}
	body, err := io.ReadAll(req.Body)
	if err == nil && (!strings.HasSuffix(req.URL.Path, path) || bytes.Contains(body, []byte(`"statusCode":5`))) {
		err = fmt.Errorf("it requests %s: %s", req.URL.Path, body)
	}
	if err != nil {
		return s.failed(err)
	}
	return nil
}

// failed ends the function and returns an error with what it printed.
func (s *sandbox) failed(err error) error {
	s.stop()
	return fmt.Errorf("%s: %w\n%s", s.cmd.Path, err, s.output.String())
}

func (s *sandbox) stop() {
	if s.cmd.Process != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
	_ = s.api.Close()
	if s.conn != nil {
		_ = s.conn.Close()
	}
	if s.group != "" {
		leave(s.group)
	}
}
