//go:build soak

package proxy_test

// The real c8auth proxy under mixed requests, while tokens expire and are revoked.
//
//	go test -tags soak -run TestSoak -timeout 0 -v ./internal/proxy -for 4h

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/harness"
)

var soakTime = flag.Duration("for", 2*time.Minute, "how long TestSoak takes")

const (
	soakLife   = 40 * time.Second // of a token
	soakRevoke = 31 * time.Second // between revocations
	programs   = 16
)

// rotation is an API that has a new token when half the life of one is over, or when it is
// reported.
type rotation struct {
	*environment
	issued time.Time
}

// renew makes the next token, and Communic8 refuse the one before when that expires; e.mu
// is held.
func (r *rotation) renew() {
	old := r.version
	time.AfterFunc(time.Until(r.issued.Add(soakLife)), func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.revoked[old] = true
	})
	r.version++
	r.issued = time.Now()
}

func (r *rotation) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodPost {
		r.reports++
		r.renew()
		_, _ = io.WriteString(w, `{"outcome":"rotated"}`)
		return
	}
	if time.Since(r.issued) > soakLife/2 {
		r.renew()
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": fmt.Sprintf("token-%d", r.version), "token_type": "Bearer",
		"expires_in": int(time.Until(r.issued.Add(soakLife)).Seconds()), "version": fmt.Sprint(r.version), "base_url": r.communic8.URL,
	})
}

// usage is what a process holds.
type usage struct{ kilobytes, files, threads int }

func usageOf(pid int) (u usage) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &u.kilobytes)
		_, _ = fmt.Sscanf(line, "Threads: %d", &u.threads)
	}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	u.files = len(files)
	return u
}

// For as long as one wants: no request fails that Communic8 does not fail itself, no expired
// token is sent, nothing grows.
func TestSoak(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "c8auth")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/c8auth-sidecar").CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	megabyte := strings.Repeat("x", 1<<20)
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Upgrade") != "":
			conn, stream, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = stream.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_ = stream.Flush()
			_, _ = io.Copy(conn, stream)
		case r.URL.Path == "/download":
			_, _ = io.WriteString(w, megabyte)
		default:
			text, err := io.ReadAll(r.Body)
			if err == nil {
				_, _ = w.Write(text)
			}
		}
	}, nil)
	r := &rotation{environment: e, issued: time.Now()}
	e.refusal = r
	handler := e.communic8.Config.Handler
	e.communic8.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		e.mu.Lock()
		e.sent = nil // it would grow
		e.mu.Unlock()
		handler.ServeHTTP(w, req)
	})

	c := exec.CommandContext(t.Context(), binary, "proxy", "--url", e.handler.Transport.Source.URL)
	c.Env = []string{"HOME=" + t.TempDir(), "AWS_REGION=" + harness.Region, "AWS_ACCESS_KEY_ID=" + harness.AccessKey, "AWS_SECRET_ACCESS_KEY=" + harness.SecretKey}
	c.Stderr = &e.log
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err, e.log.String())
	}
	base := strings.TrimSpace(line)
	at, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), *soakTime)
	defer cancel()
	var requests, rejected, abandoned atomic.Int64
	exchange := func(ctx context.Context, method, path, body, want string) error {
		req, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		got, err := io.ReadAll(resp.Body)
		switch {
		case err != nil:
			return err
		case resp.StatusCode == http.StatusUnauthorized && len(body) > 64<<10: // it is not at hand any more
			rejected.Add(1)
		case resp.StatusCode != http.StatusOK || string(got) != want:
			return fmt.Errorf("%s %s: %s %.200s", method, path, resp.Status, got)
		}
		return nil
	}
	socket := func() error {
		conn, err := net.Dial("tcp", at.Host)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, err = fmt.Fprintf(conn, "GET %s/socket HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", at.Path, at.Host)
		if err != nil {
			return err
		}
		reader := bufio.NewReader(conn)
		resp, err := http.ReadResponse(reader, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			return fmt.Errorf("upgrade: %v, %w", resp, err)
		}
		if _, err := io.WriteString(conn, "echo\n"); err != nil {
			return err
		}
		if line, err := reader.ReadString('\n'); line != "echo\n" {
			return fmt.Errorf("upgrade: %q, %w", line, err)
		}
		return nil
	}
	var all sync.WaitGroup
	for range programs {
		all.Go(func() {
			for ctx.Err() == nil {
				requests.Add(1)
				var err error
				switch n := rand.IntN(100); {
				case n < 50:
					err = exchange(t.Context(), "GET", "/int/v1/broadcast", "", "")
				case n < 80:
					body := megabyte[:rand.IntN(64<<10)]
					err = exchange(t.Context(), "POST", "/int/v1/broadcast", body, body)
				case n < 85:
					err = exchange(t.Context(), "PUT", "/upload", megabyte, megabyte)
				case n < 90:
					err = exchange(t.Context(), "GET", "/download", "", megabyte)
				case n < 95:
					short, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(3000))*time.Microsecond)
					if err = exchange(short, "PUT", "/upload", megabyte, megabyte); errors.Is(err, context.DeadlineExceeded) {
						err = nil
						abandoned.Add(1)
					}
					cancel()
				default:
					err = socket()
				}
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			}
		})
	}
	var samples []usage
	revocations := 0
	sample, revocation := time.NewTicker(max(time.Second, *soakTime/120)), time.NewTicker(soakRevoke)
	for ctx.Err() == nil {
		select {
		case <-revocation.C:
			e.revoke()
			revocations++
		case <-sample.C:
			samples = append(samples, usageOf(c.Process.Pid))
		case <-ctx.Done():
		}
	}
	all.Wait()
	if err := errors.Join(c.Process.Signal(syscall.SIGTERM), c.Wait()); err != nil {
		t.Error(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t.Logf("%v: %d requests, %d of them given up, %d large ones with a revoked token; %d tokens, %d revocations, %d reports",
		*soakTime, requests.Load(), abandoned.Load(), rejected.Load(), e.version, revocations, e.reports)
	if e.reports > revocations { // Communic8 refuses expired tokens, too
		t.Error("expired tokens were sent")
	}
	quarter := len(samples) / 4
	largest := func(part []usage, of func(usage) int) int {
		values := make([]int, len(part))
		for i, u := range part {
			values[i] = of(u)
		}
		slices.Sort(values)
		return values[len(values)*9/10]
	}
	for name, of := range map[string]func(usage) int{
		"KB": func(u usage) int { return u.kilobytes }, "files": func(u usage) int { return u.files }, "threads": func(u usage) int { return u.threads },
	} {
		early, late := largest(samples[quarter:2*quarter], of), largest(samples[3*quarter:], of)
		t.Logf("%s: %d in the second quarter, %d in the last", name, early, late)
		if late > early+early/5+10 {
			t.Errorf("%s have grown", name)
		}
	}
	e.kept("the standard error", e.log.String())
}
