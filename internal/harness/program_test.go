package harness_test

// A program of a dozen lines, as its author wrote it from the documentation, with both functions.

import (
	"bytes"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/harness"
)

// program is testdata/program, which runs until one of its requests fails. Each request that
// it sends to Communic8 waits for the test.
type program struct {
	*testing.T
	requests chan string   // the tokens that it sends
	ended    chan struct{} // closed when it has ended
	output   bytes.Buffer  // to be read then
	outage   atomic.Bool   // of the token endpoint
}

func runProgram(t *testing.T, s *harness.Stack) *program {
	t.Helper()
	p := &program{T: t, requests: make(chan string), ended: make(chan struct{})}
	s.Communic8.Set(func(b *c8test.Behaviour) { b.Fault = p.fault })
	binary := filepath.Join(t.TempDir(), "program")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./testdata/program").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	command := exec.CommandContext(t.Context(), binary, s.APIURL)
	command.Env = s.Environ()
	command.Stdout, command.Stderr = &p.output, &p.output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = command.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() { <-p.ended }) // the test's context has ended it
	return p
}

// fault is called for each request to Communic8, and has the program's wait.
func (p *program) fault(r *http.Request, _ int) *c8test.Fault {
	switch {
	case r.Header.Get("User-Agent") != "c8auth":
		select {
		case p.requests <- r.Header.Get("Authorization"):
		case <-r.Context().Done():
		}
	case p.outage.Load() && r.URL.Path == c8test.TokenPath:
		return &c8test.Fault{Break: true}
	}
	return nil
}

// sends lets the program send ten requests, and expects the token in the last; any if it is empty.
func (p *program) sends(token string) {
	p.Helper()
	var got string
	for range 10 {
		select {
		case got = <-p.requests:
		case <-p.ended:
			p.Fatalf("a request of the program failed: %s", &p.output)
		}
	}
	if token != "" && got != "Bearer "+token {
		p.Errorf("it sends %s, and not the token %s", got, token)
	}
}

// TestProgram: the program runs on through a rotation, one that invalidates its token, a
// revocation, a crash of vend during one, and an outage of the token endpoint, without one
// failed request.
func TestProgram(t *testing.T) {
	s := started(t)
	p := runProgram(t, s)
	p.sends(newest(s))

	store(s)
	rotate(t, s, "rotated", "credentials_changed")
	p.sends("")

	s.Communic8.Set(func(b *c8test.Behaviour) { b.Exclusive = true })
	store(s)
	rotate(t, s, "rotated", "credentials_changed")
	p.sends(newest(s))

	tokens := len(s.Communic8.Issued())
	revoke(s)
	p.sends("")
	if n := len(s.Communic8.Issued()) - tokens; n != 1 {
		t.Errorf("%d tokens were issued after a revocation", n)
	}
	p.sends(newest(s))

	s.Vend.Kill(syscall.SIGKILL)
	revoke(s)
	p.sends("")
	p.sends(newest(s))

	p.outage.Store(true)
	store(s)
	if answer, err := s.Rotate.Invoke(t.Context(), []byte(heartbeat)); err == nil {
		t.Errorf("rotate answers %s while the token endpoint is down", answer)
	}
	p.sends("")
	p.outage.Store(false)
	rotate(t, s, "rotated", "credentials_changed")
	p.sends(newest(s))
}
