//go:build proxy

package proxy_test

// The real c8auth proxy with programs that nobody here wrote. It takes the binary's path in
// C8AUTH; curl, http (HTTPie), java, php and ruby; and for some tests root or Docker.

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/harness"
)

const heartbeat = `{"tenant":"default"}`

// command is c8auth proxy with the environment that it needs to call an API.
func command(t *testing.T, api string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Getenv("C8AUTH"), append([]string{"proxy", "--url", api}, args...)...)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_REGION=" + harness.Region,
		"AWS_ACCESS_KEY_ID=" + harness.AccessKey, "AWS_SECRET_ACCESS_KEY=" + harness.SecretKey}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) } // which its COMMAND gets, too
	return c
}

// deployed is a stack with a token.
func deployed(t *testing.T, lifetime time.Duration) *harness.Stack {
	t.Helper()
	s, err := harness.Start(t.Context(), harness.Ports{}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	s.Communic8.AddClient("id", "secret")
	s.Communic8.Set(func(b *c8test.Behaviour) { b.Lifetime = lifetime })
	s.Secrets.Put(harness.CredentialsName("default"), harness.Credentials(s.Communic8URL, "id", "secret"))
	if _, err := s.Rotate.Invoke(t.Context(), []byte(heartbeat)); err != nil {
		t.Fatal(harness.Reason(err))
	}
	return s
}

// The snippets of docs/calling.md call Communic8, as they stand there.
func TestSnippets(t *testing.T) {
	t.Parallel()
	s := deployed(t, time.Hour)
	page, err := os.ReadFile("../../docs/calling.md")
	if err != nil {
		t.Fatal(err)
	}
	interpreters := map[string][]string{"sh": {"sh", "snippet.sh"}, "java": {"java", "Program.java"}, "php": {"php", "snippet.php"}, "ruby": {"ruby", "snippet.rb"}}
	ran := 0
	for _, snippet := range regexp.MustCompile("(?ms)^```(sh|java|php|ruby)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		if !strings.Contains(snippet[2], "C8AUTH_BASE_URL") {
			continue
		}
		ran++
		t.Run(snippet[1], func(t *testing.T) {
			t.Parallel()
			interpreter := interpreters[snippet[1]]
			c := command(t, s.APIURL, append([]string{"--"}, interpreter...)...)
			c.Dir = t.TempDir()
			if err := os.WriteFile(filepath.Join(c.Dir, interpreter[1]), []byte(snippet[2]), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), `"success":true`) {
				t.Errorf("%v\n%s\n%s", err, snippet[2], out)
			}
		})
	}
	if ran != len(interpreters) {
		t.Errorf("%d snippets, want %d", ran, len(interpreters))
	}
}

// curl and HTTPie, told a base URL and nothing else, go on while one token expires and the
// next is revoked, without one failed request.
func TestProgramsThroughExpiryAndRevocation(t *testing.T) {
	t.Parallel()
	const lifetime = 50 * time.Second
	s := deployed(t, lifetime)
	var mu sync.Mutex
	sent := make(map[string][]string) // Authorization by program
	s.Communic8.Set(func(b *c8test.Behaviour) {
		b.Fault = func(r *http.Request, _ int) *c8test.Fault {
			mu.Lock()
			defer mu.Unlock()
			name, _, _ := strings.Cut(r.UserAgent(), "/")
			sent[name] = append(sent[name], strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
			return nil
		}
	})
	counts := func() []int {
		mu.Lock()
		defer mu.Unlock()
		return []int{len(sent["curl"]), len(sent["HTTPie"])}
	}
	c := command(t, s.APIURL, "--", "bash", "-c", `
		while curl -fsS -o /dev/null "$C8AUTH_BASE_URL/int/v1/broadcast?limit=1"; do sleep 0.3; done &
		while http --check-status --ignore-stdin POST "$C8AUTH_BASE_URL/int/v1/broadcast" title=news >/dev/null; do sleep 1; done &
		wait -n`)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(ended)
	}()
	begin := time.Now()
	until := func(what string, done func() bool) {
		t.Helper()
		for !done() {
			select {
			case <-ended:
				t.Fatalf("%s: after %v, a program has ended: %s", what, time.Since(begin), said.String())
			case <-time.After(time.Second):
				if time.Since(begin) > 5*time.Minute {
					t.Fatalf("%s: nothing happens", what)
				}
				_, _ = s.Rotate.Invoke(t.Context(), []byte(heartbeat))
			}
		}
	}
	goOn := func(what string) {
		before := counts()
		until(what, func() bool { now := counts(); return now[0] >= before[0]+5 && now[1] >= before[1]+5 })
	}
	first := s.Communic8.Issued()[0]
	goOn("start")
	until("expiry", func() bool { return !s.Communic8.Valid(first) })
	goOn("after the expiry")
	for _, token := range s.Communic8.Issued() {
		s.Communic8.Revoke(token)
	}
	goOn("after the revocation")
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	<-ended // what is printed then is of a request that was cut off
	for _, name := range []string{"curl", "HTTPie"} {
		tokens := slices.Compact(slices.Clone(sent[name]))
		t.Logf("%s: %d requests with %d tokens in %v", name, len(sent[name]), len(tokens), time.Since(begin).Round(time.Second))
		if slices.Contains(sent[name], "") || len(tokens) < 3 {
			t.Errorf("%s sent %d tokens", name, len(tokens))
		}
	}
}

// Another user of this machine gets nowhere: not by the socket, the file, the process, or
// the port. It takes root to be another user.
func TestOtherUser(t *testing.T) {
	e := start(t, ok, nil)
	dir := t.TempDir()
	for at := dir; at != "/"; at = filepath.Dir(at) { // which others may enter
		info, err := os.Stat(at)
		if err == nil && info.Mode().Perm()&0o001 == 0 {
			err = os.Chmod(at, info.Mode().Perm()|0o011)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	socket, file := filepath.Join(dir, "socket"), filepath.Join(dir, "path")
	run := func(args ...string) (*exec.Cmd, string) {
		c := command(t, e.handler.Transport.Source.URL, args...)
		out, err := c.StdoutPipe()
		if err == nil {
			err = c.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return c, strings.TrimSpace(line)
	}
	run("--listen", "unix:"+socket)
	served, base := run("--path-file", file)
	child, secret := run("--", "sh", "-c", `echo "$$ $C8AUTH_BASE_URL"; exec sleep 60`)
	pid, secret, _ := strings.Cut(secret, " ")
	attempts := map[string]string{ // what must be in the answer, by command
		"curl -sS --unix-socket " + socket + " http://localhost/ping": "",
		"cat " + file:                                          "Permission denied",
		"curl -sS " + base + "/int/v1/broadcast":               "proxy's own segment",
		fmt.Sprintf("cat /proc/%d/environ", child.Process.Pid): "Permission denied",
		"cat /proc/" + pid + "/environ":                        "Permission denied",
		fmt.Sprintf("cat /proc/%d/cmdline /proc/%d/cmdline", served.Process.Pid, child.Process.Pid): "proxy",
		fmt.Sprintf("kill %d", served.Process.Pid):                                                  "not permitted",
		"rm -f " + socket: "Permission denied",
	}
	for line, want := range attempts {
		c := exec.CommandContext(t.Context(), "sh", "-c", line)
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := c.CombinedOutput()
		text := strings.ToLower(string(out))
		t.Logf("%s\n%v %q", line, err, out)
		if !strings.Contains(text, strings.ToLower(want)) || strings.Contains(text, "up\n") || strings.Contains(text, "success") {
			t.Errorf("%s: %s", line, out)
		}
		for _, kept := range []string{secret[strings.LastIndex(secret, "/")+1:], "token-", harness.SecretKey} {
			if strings.Contains(string(out), kept) {
				t.Errorf("%s shows %s", line, kept)
			}
		}
	}
	if len(e.requests()) > 0 {
		t.Errorf("Communic8 is sent %v", e.requests())
	}
}

// The example for docker compose runs as it stands, with fakes on this machine: a program in
// a container of its own reaches Communic8 with the path alone. COMPOSE is the command;
// the images c8auth and program are there.
func TestCompose(t *testing.T) {
	t.Parallel()
	s := deployed(t, time.Hour)
	listen := func(h http.Handler) string { // where containers get to
		listener, err := net.Listen("tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: h}
		t.Cleanup(func() { _ = server.Close() })
		go func() { _ = server.Serve(listener) }()
		return fmt.Sprintf("http://%s:%d", harness.Host, listener.Addr().(*net.TCPAddr).Port)
	}
	token := s.Communic8.Issued()[0]
	s.Secrets.Put(harness.TokenName("default"), harness.Token(listen(s.Communic8), token, "v", time.Now(), time.Hour))
	override := filepath.Join(t.TempDir(), "override.yaml")
	if err := os.WriteFile(override, []byte("services: {c8auth: {extra_hosts: ['"+harness.Host+":host-gateway']}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	api := listen(s.Gateway) + "/v1"
	compose := func(args ...string) string {
		words := append(strings.Fields(os.Getenv("COMPOSE")), "-p", "c8auth-test", "-f", "../../docs/examples/compose.yaml", "-f", override)
		words = append(words, args...)
		c := exec.Command(words[0], words[1:]...)
		c.Env = append(os.Environ(), "PROGRAM=program", "C8AUTH_URL="+api, "AWS_REGION="+harness.Region,
			"AWS_ACCESS_KEY_ID="+harness.AccessKey, "AWS_SECRET_ACCESS_KEY="+harness.SecretKey)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	t.Cleanup(func() { compose("down", "-v") })
	compose("up", "--exit-code-from", "program")
	logs := compose("logs")
	if !strings.Contains(logs, `"success":true`) || strings.Contains(logs, token) {
		t.Errorf("got\n%s", logs)
	}
	if regexp.MustCompile(`127\.0\.0\.1:8918/\w`).MatchString(logs) {
		t.Errorf("the log shows the path\n%s", logs)
	}
}
