package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
)

// proxied is a c8auth proxy that runs in this process.
type proxied struct {
	*session
	lines  *bufio.Reader // its standard output, and that of its COMMAND
	stdin  *os.File      // the COMMAND reads what is written here
	stderr lockedBuffer
	end    context.CancelFunc // as Ctrl-C does
	status chan int
}

// proxy starts c8auth proxy.
func (s *session) proxy(args ...string) *proxied {
	s.Helper()
	stdin, input, err := os.Pipe() // files, as of a shell
	if err != nil {
		s.Fatal(err)
	}
	output, stdout, err := os.Pipe()
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	p := &proxied{session: s, lines: bufio.NewReader(output), stdin: input, end: cancel, status: make(chan int, 1)}
	go func() {
		p.status <- run(ctx, append([]string{"proxy"}, args...), stdin, stdout, &p.stderr)
		_ = stdout.Close()
	}()
	s.Cleanup(func() {
		cancel()
		for _, file := range []*os.File{stdin, input, output} {
			_ = file.Close()
		}
	})
	return p
}

// line is the next line of the standard output.
func (p *proxied) line() string {
	p.Helper()
	line, err := p.lines.ReadString('\n')
	if err != nil {
		p.Fatalf("no line, and on the standard error: %s", p.stderr.String())
	}
	return strings.TrimSpace(line)
}

// ends waits for the end, and compares the status.
func (p *proxied) ends(status int) {
	p.Helper()
	select {
	case got := <-p.status:
		if got != status {
			p.Errorf("the status is %d, want %d: %s", got, status, p.stderr.String())
		}
	case <-time.After(time.Minute):
		p.Fatal("it does not end")
	}
	for _, token := range append(p.Communic8.Issued(), "client_secret") {
		if strings.Contains(p.stderr.String(), token) {
			p.Errorf("the standard error shows %s", token)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// deployed begins a session with a stack that has a token.
func deployed(t *testing.T) *session {
	t.Helper()
	s := operate(t)
	s.Secrets.Put("c8auth/credentials/default", s.oauth(clientSecret))
	if _, err := s.Rotate.Invoke(t.Context(), []byte(`{"tenant":"default"}`)); err != nil {
		t.Fatal(err)
	}
	return s
}

// fetch gets the newest broadcast as a program does, which knows the base URL and nothing
// else.
func fetch(t *testing.T, client *http.Client, base string) (int, string) {
	t.Helper()
	resp, err := client.Get(base + "/int/v1/broadcast?limit=1")
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(body)
}

// A COMMAND gets the URL, by which it reaches Communic8, and nothing else that is secret;
// the proxy ends with it, with its status.
func TestProxyCommand(t *testing.T) {
	s := deployed(t)
	t.Setenv("no_proxy", "internal.example")
	p := s.proxy("--log", "--", "sh", "-c", `echo "$C8AUTH_BASE_URL"; echo "$NO_PROXY $no_proxy"; env | grep -c "$1"; read line; exit "$line"`, "sh", s.Communic8.Issued()[0])
	base := p.line()
	if got, want := p.line(), "internal.example,127.0.0.1,::1,localhost internal.example,127.0.0.1,::1,localhost"; got != want {
		t.Errorf("NO_PROXY is %s", got)
	}
	if got := p.line(); got != "0" {
		t.Errorf("the token is in the environment %s times", got)
	}
	if status, body := fetch(t, http.DefaultClient, base); status != http.StatusOK || !strings.Contains(body, `"success":true`) {
		t.Errorf("got %d %s", status, body)
	}
	_, _ = io.WriteString(p.stdin, "7\n")
	p.ends(7)
	if got := p.stderr.String(); !strings.HasPrefix(got, "GET /int/v1/broadcast 200 ") || strings.Count(got, "\n") != 1 {
		t.Errorf("the log is %q", got)
	}
	if _, err := http.Get(base); err == nil {
		t.Error("it still serves")
	}
}

// Signals reach the COMMAND, and the proxy serves until that has ended.
func TestProxyPassesSignals(t *testing.T) {
	s := deployed(t)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1} {
		p := s.proxy("--", "sh", "-c", `trap 'echo got; read line; exit 9' TERM INT HUP USR1; echo "$C8AUTH_BASE_URL"; while :; do sleep 0.05; done`)
		base := p.line()
		if err := syscall.Kill(os.Getpid(), signal); err != nil {
			t.Fatal(err)
		}
		if signal == syscall.SIGTERM || signal == syscall.SIGINT {
			p.end() // as main does then
		}
		if got := p.line(); got != "got" {
			t.Errorf("%v: %s", signal, got)
		}
		if status, _ := fetch(t, http.DefaultClient, base); status != http.StatusOK {
			t.Errorf("%v: %d", signal, status)
		}
		_, _ = io.WriteString(p.stdin, "\n")
		p.ends(9)
	}
	p := s.proxy("--", "sh", "-c", "kill -KILL $$")
	p.ends(128 + 9)
	p = s.proxy("--", "true")
	p.ends(0)
	p = s.proxy("no-such-command")
	p.ends(127)
	p = s.proxy("--", t.TempDir())
	p.ends(126)
}

// Without a COMMAND, the proxy prints the URL and serves until Ctrl-C; a request that is
// under way is answered before it ends.
func TestProxyServes(t *testing.T) {
	s := deployed(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	s.Communic8.Set(func(b *c8test.Behaviour) {
		b.Fault = func(r *http.Request, _ int) *c8test.Fault {
			if r.URL.RawQuery == "slow" {
				close(arrived)
				<-release
			}
			return nil
		}
	})
	p := s.proxy()
	base := p.line()
	done := make(chan int)
	go func() {
		resp, err := http.Get(base + "/int/v1/broadcast?slow")
		if err != nil {
			t.Error(err)
			done <- 0
			return
		}
		_ = resp.Body.Close()
		done <- resp.StatusCode
	}()
	<-arrived
	p.end()
	for { // until it takes no more
		conn, err := net.Dial("tcp", strings.Split(base, "/")[2])
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	close(release)
	if status := <-done; status != http.StatusOK {
		t.Errorf("the request under way got %d", status)
	}
	p.ends(0)
}

// With a path file, the segment stays the same and out of the standard output.
func TestProxyPathFile(t *testing.T) {
	s := deployed(t)
	file := filepath.Join(t.TempDir(), "path")
	var first []byte
	for range 2 {
		p := s.proxy("--path-file", file)
		base := p.line()
		path, err := os.ReadFile(file)
		if err != nil || first != nil && !bytes.Equal(path, first) {
			t.Fatalf("got %s, %v, before %s", path, err, first)
		}
		first = path
		if strings.Count(base, "/") != 2 {
			t.Errorf("it prints %s", base)
		}
		if status, _ := fetch(t, http.DefaultClient, base+strings.TrimSpace(string(path))); status != http.StatusOK {
			t.Errorf("got %d", status)
		}
		if s.c8auth("proxy", "--ping", "--listen", strings.TrimPrefix(base, "http://")); strings.Contains(s.seen.String(), "[status") {
			t.Error(s.seen.String())
		}
		p.end()
		p.ends(0)
	}
}

// A Unix socket needs no segment.
func TestProxyUnixSocket(t *testing.T) {
	s := deployed(t)
	socket := filepath.Join(t.TempDir(), "socket")
	p := s.proxy("--listen", "unix:"+socket)
	if got := p.line(); got != "unix:"+socket {
		t.Errorf("it prints %s", got)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	if status, _ := fetch(t, client, "http://localhost"); status != http.StatusOK {
		t.Errorf("got %d", status)
	}
	if s.c8auth("proxy", "--ping", "--listen", "unix:"+socket); strings.Contains(s.seen.String(), "[status") {
		t.Error(s.seen.String())
	}
	client.CloseIdleConnections()
	p.end()
	p.ends(0)
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// Trouble shows at once on the standard error, and a program is told it, too.
func TestProxyWithoutToken(t *testing.T) {
	s := operate(t)
	p := s.proxy("--url", s.APIURL, "--tenant", "nobody")
	base := p.line()
	status, body := fetch(t, http.DefaultClient, base)
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "a policy must grant execute-api:Invoke") {
		t.Errorf("got %d %s", status, body)
	}
	for deadline := time.Now().Add(10 * time.Second); p.stderr.String() == "" && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	p.end()
	p.ends(0)
	if got := p.stderr.String(); !strings.Contains(got, "not allowed by IAM") || !strings.Contains(got, "c8auth grant nobody") {
		t.Errorf("got %s", got)
	}
}

// Command lines that are refused.
func TestProxyUsage(t *testing.T) {
	s := sit(t)
	s.c8auth("proxy", "--listen", "0.0.0.0:8918")
	s.c8auth("proxy", "--listen", ":8918")
	s.c8auth("proxy", "--listen", "unix:socket", "--", "true")
	s.c8auth("proxy", "--listen", "unix:socket", "--path-file", "path")
	s.c8auth("proxy", "--ping", "--listen", "127.0.0.1:1")
	s.golden("proxy-usage")
}
