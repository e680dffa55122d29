package harness_test

// A program of a dozen lines, as its author wrote it from the README, on the whole stack.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/harness"
)

// program is testdata/program, which runs until a request of it fails. Each request that
// it sends to Communic8 waits for the test.
type program struct {
	*testing.T
	*harness.Stack
	requests chan string   // the tokens that it sends
	ended    chan struct{} // closed when it has ended
	said     bytes.Buffer  // then
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
	command.Stdout, command.Stderr = &p.said, &p.said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = command.Wait() // by a signal, or by its own will
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

// fault is asked about each request to Communic8, and lets the program's wait.
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

// goes lets the program send n requests, and returns the last one's Authorization.
func (p *program) goes(n int) (authorization string) {
	p.Helper()
	for range n {
		select {
		case authorization = <-p.requests:
		case <-p.ended:
			p.Fatalf("a request of the program failed: %s", &p.said)
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
	p.Secrets.Put(credentialsName, fmt.Sprintf(`{"base_url":%q,"client_id":"id","client_secret":"secret"}`, p.Communic8URL))
}

// TestProgram: the program goes on through a rotation, one that ends the life of its
// token, a revocation, a crash of vend in the middle of one, and an outage of the token
// endpoint, without one failed request.
func TestProgram(t *testing.T) {
	s := start(t)
	rotate(t, s, "rotated", "first_token")
	p := runProgram(t, s)
	p.goes(10)

	p.changed()
	rotate(t, s, "rotated", "credentials_changed")
	p.goes(10)

	s.Communic8.Set(func(b *c8test.Behaviour) { b.Exclusive = true })
	p.changed()
	rotate(t, s, "rotated", "credentials_changed")
	if got := p.goes(10); got != p.newest() {
		t.Errorf("after a rotation it sends %s", got)
	}

	revoke := func() {
		for _, token := range s.Communic8.Issued() {
			s.Communic8.Revoke(token)
		}
	}
	tokens := len(s.Communic8.Issued())
	revoke()
	if got := p.goes(10); got != p.newest() || len(s.Communic8.Issued()) != tokens+1 {
		t.Errorf("after a revocation it sends %s; %d tokens were issued", got, len(s.Communic8.Issued())-tokens)
	}

	s.Vend.Kill(syscall.SIGKILL)
	revoke()
	if got := p.goes(10); got != p.newest() {
		t.Errorf("after a crash it sends %s", got)
	}

	p.down(true)
	p.changed()
	if answer, err := s.Rotate.Invoke(t.Context(), []byte(heartbeat)); err == nil {
		t.Errorf("rotate answers %s while the token endpoint is down", answer)
	}
	p.goes(10)
	p.down(false)
	rotate(t, s, "rotated", "credentials_changed")
	if got := p.goes(10); got != p.newest() {
		t.Errorf("after the outage it sends %s", got)
	}
}

// TestAThousandReports: told of the same rejection a thousand times at once, eight
// sandboxes of rotate ask Communic8 for one token.
func TestAThousandReports(t *testing.T) {
	s := start(t)
	rotate(t, s, "rotated", "first_token")
	_, version := s.Secrets.Value(tokenName)
	sandboxes := []*lambdatest.Function{s.Rotate}
	for range 7 {
		f := &lambdatest.Function{Name: s.Rotate.Name, Bootstrap: s.Rotate.Bootstrap, Timeout: s.Rotate.Timeout, Env: s.Rotate.Env}
		t.Cleanup(f.Stop)
		if _, err := f.Invoke(t.Context(), []byte(heartbeat)); err != nil { // a cold start is not at once
			t.Fatal(err)
		}
		sandboxes = append(sandboxes, f)
	}
	free := make(chan *lambdatest.Function, len(sandboxes))
	for _, f := range sandboxes {
		free <- f
	}
	s.Gateway.Report = func(ctx context.Context, event []byte) ([]byte, error) {
		f := <-free
		defer func() { free <- f }()
		return f.Invoke(ctx, event)
	}
	asked, tried := s.Communic8.Requests(), s.Communic8.Probes()
	s.Communic8.Revoke(s.Communic8.Issued()[0])

	outcomes := make(map[string]int)
	var mu sync.Mutex
	var all sync.WaitGroup
	begin := make(chan struct{})
	for range 1000 {
		all.Go(func() {
			<-begin
			resp, body, err := s.Report(t.Context(), "default", version)
			if err != nil {
				t.Error(err)
				return
			}
			var out struct{ Outcome, Reason, Error string }
			if err := json.Unmarshal(body, &out); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			outcomes[fmt.Sprint(resp.StatusCode, out.Outcome, out.Error)]++
		})
	}
	close(begin)
	all.Wait()
	if got := s.Communic8.Requests() - asked; got != 1 {
		t.Errorf("Communic8 was asked for %d tokens, want one", got)
	}
	if outcomes["200rotated"] != 1 || outcomes["200rotated"]+outcomes["200superseded"]+outcomes["503temporarily_unavailable"] != 1000 {
		t.Errorf("the outcomes are %v", outcomes)
	}
	t.Logf("%v; %d trials", outcomes, s.Communic8.Probes()-tried)
}
