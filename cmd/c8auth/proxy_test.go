package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
)

// proxied is a c8auth proxy that runs in this process.
type proxied struct {
	*session
	lines, errors *bufio.Reader      // its standard output and standard error, and those of its COMMAND
	stdin         *os.File           // the COMMAND reads what is written here
	end           context.CancelFunc // as Ctrl-C does
	ended         chan int
}

// proxy starts c8auth proxy.
func (s *session) proxy(args ...string) *proxied {
	s.Helper()
	pipe := func() (reads, writes *os.File) { // files, as of a shell
		reads, writes, err := os.Pipe()
		if err != nil {
			s.Fatal(err)
		}
		s.Cleanup(func() { _ = errors.Join(reads.Close(), writes.Close()) })
		return reads, writes
	}
	stdin, input := pipe()
	output, stdout := pipe()
	failures, stderr := pipe()
	ctx, cancel := context.WithCancel(s.Context())
	s.Cleanup(cancel)
	p := &proxied{s, bufio.NewReader(output), bufio.NewReader(failures), input, cancel, make(chan int, 1)}
	go func() {
		p.ended <- run(ctx, append([]string{"proxy"}, args...), stdin, stdout, stderr)
		_ = errors.Join(stdout.Close(), stderr.Close())
	}()
	return p
}

// line is the next line of the standard output.
func (p *proxied) line() string {
	p.Helper()
	line, err := p.lines.ReadString('\n')
	if err != nil {
		said, _ := io.ReadAll(p.errors)
		p.Fatalf("no line, and on the standard error: %s", said)
	}
	return strings.TrimSpace(line)
}

// ends waits for the end, compares the status, and returns what is left of the standard error.
func (p *proxied) ends(status int) string {
	p.Helper()
	got := <-p.ended
	said, err := io.ReadAll(p.errors)
	if got != status || err != nil {
		p.Errorf("the status is %d, want %d: %s (%v)", got, status, said, err)
	}
	for _, token := range append(p.Communic8.Issued(), "client_secret") {
		if strings.Contains(string(said), token) {
			p.Errorf("the standard error shows %s", token)
		}
	}
	return string(said)
}

// serves expects that programs and --ping reach the proxy, and ends it.
func (p *proxied) serves(client *http.Client, base, address string) {
	p.Helper()
	if status, _ := fetch(p.T, client, base); status != http.StatusOK {
		p.Errorf("got %d", status)
	}
	if p.c8auth("proxy", "--ping", "--listen", address); p.status != 0 {
		p.Error(p.seen.String())
	}
	client.CloseIdleConnections()
	p.end()
	p.ends(0)
}

// deployed begins a session with a stack that has a token.
func deployed(t *testing.T) *session {
	t.Helper()
	s := operate(t)
	s.store("default", s.oauth(clientSecret))
	s.rotates("default")
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
	if got := p.ends(7); !strings.HasPrefix(got, "GET /int/v1/broadcast 200 ") || strings.Count(got, "\n") != 1 {
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
	s.proxy("--", "sh", "-c", "kill -KILL $$").ends(128 + 9)
	s.proxy("--", "true").ends(0)
	s.proxy("no-such-command").ends(127)
	s.proxy("--", t.TempDir()).ends(126)
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
		p.serves(http.DefaultClient, base+strings.TrimSpace(string(path)), strings.TrimPrefix(base, "http://"))
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
	p.serves(client, "http://localhost", "unix:"+socket)
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// Trouble shows at once on the standard error, and a program is told it, too.
func TestProxyWithoutToken(t *testing.T) {
	s := operate(t)
	p := s.proxy("--url", s.APIURL, "--tenant", "nobody")
	base := p.line()
	for _, want := range []string{"not allowed by IAM", "c8auth grant nobody"} {
		if said, err := p.errors.ReadString('\n'); err != nil || !strings.Contains(said, want) {
			t.Errorf("got %s (%v)", said, err)
		}
	}
	status, body := fetch(t, http.DefaultClient, base)
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "a policy must grant execute-api:Invoke") {
		t.Errorf("got %d %s", status, body)
	}
	p.end()
	p.ends(0)
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
