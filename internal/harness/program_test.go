package harness_test

// A program of a dozen lines, as its author wrote it from the documentation, with both functions.

import (
	"bytes"
	"context"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/harness"
)

// program is testdata/program, which runs until one of its requests fails. Each request that
// it sends to Communic8 waits for the test.
type program struct {
	*testing.T
	*harness.Stack
	requests chan string   // the tokens that it sends
	ended    chan struct{} // closed when it has ended
	output   bytes.Buffer  // to be read then
	mu       sync.Mutex
	outage   bool // of the token endpoint
}

func runProgram(t *testing.T, s *harness.Stack) *program {
	t.Helper()
	p := &program{T: t, Stack: s, requests: make(chan string), ended: make(chan struct{})}
	s.Communic8.Set(func(b *c8test.Behaviour) { b.Fault = p.fault })
	binary := filepath.Join(t.TempDir(), "program")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./testdata/program").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	command := exec.CommandContext(ctx, binary, s.APIURL)
	command.Env = []string{"AWS_REGION=" + harness.Region, "AWS_ACCESS_KEY_ID=" + harness.AccessKey, "AWS_SECRET_ACCESS_KEY=" + harness.SecretKey}
	command.Stdout, command.Stderr = &p.output, &p.output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = command.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		cancel()
		for running := true; running; {
			select {
			case <-p.requests:
			case <-p.ended:
				running = false
			}
		}
	})
	return p
}

// fault is called for each request to Communic8, and has the program's wait.
func (p *program) fault(r *http.Request, _ int) *c8test.Fault {
	p.mu.Lock()
	outage := p.outage
	p.mu.Unlock()
	switch {
	case r.Header.Get("User-Agent") != "c8auth":
		select {
		case p.requests <- r.Header.Get("Authorization"):
		case <-r.Context().Done():
		}
	case outage && r.URL.Path == c8test.TokenPath:
		return &c8test.Fault{Break: true}
	}
	return nil
}

// send lets the program send n requests, and returns the Authorization of the last.
func (p *program) send(n int) (authorization string) {
	p.Helper()
	for range n {
		select {
		case authorization = <-p.requests:
		case <-p.ended:
			p.Fatalf("a request of the program failed: %s", &p.output)
		}
	}
	return authorization
}

func (p *program) down(outage bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outage = outage
}

// newest is what the program should send.
func (p *program) newest() string {
	issued := p.Communic8.Issued()
	return "Bearer " + issued[len(issued)-1]
}

// changed stores the same credentials once more, which makes a new token due.
func (p *program) changed() {
	p.Secrets.Put(credentialsName, harness.Credentials(p.Communic8URL, "id", "secret"))
}

// TestProgram: the program runs on through a rotation, one that invalidates its token, a
// revocation, a crash of vend during one, and an outage of the token endpoint, without one
// failed request.
func TestProgram(t *testing.T) {
	s := started(t)
	p := runProgram(t, s)
	p.send(10)

	p.changed()
	rotate(t, s, "rotated", "credentials_changed")
	p.send(10)

	s.Communic8.Set(func(b *c8test.Behaviour) { b.Exclusive = true })
	p.changed()
	rotate(t, s, "rotated", "credentials_changed")
	if got := p.send(10); got != p.newest() {
		t.Errorf("after a rotation it sends %s", got)
	}

	revoke := func() {
		for _, token := range s.Communic8.Issued() {
			s.Communic8.Revoke(token)
		}
	}
	tokens := len(s.Communic8.Issued())
	revoke()
	if got := p.send(10); got != p.newest() || len(s.Communic8.Issued()) != tokens+1 {
		t.Errorf("after a revocation it sends %s; %d tokens were issued", got, len(s.Communic8.Issued())-tokens)
	}

	s.Vend.Kill(syscall.SIGKILL)
	revoke()
	if got := p.send(10); got != p.newest() {
		t.Errorf("after a crash it sends %s", got)
	}

	p.down(true)
	p.changed()
	if answer, err := s.Rotate.Invoke(t.Context(), []byte(heartbeat)); err == nil {
		t.Errorf("rotate answers %s while the token endpoint is down", answer)
	}
	p.send(10)
	p.down(false)
	rotate(t, s, "rotated", "credentials_changed")
	if got := p.send(10); got != p.newest() {
		t.Errorf("after the outage it sends %s", got)
	}
}
