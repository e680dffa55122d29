// Proxy measures c8auth proxy beside httputil.ReverseProxy with a static header: both are
// processes of their own, in front of the same server, and take turns of a second. What
// counts are the ratios of a turn of one to the next turn of the other; their median and
// quartiles are printed, as the machine may be noisy.
//
//	go run ./internal/bench/proxy -rounds 9
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/c8auth/c8auth/internal/bench/measure"
)

const (
	token = "Bearer token-of-the-benchmark"
	mega  = 1 << 20
)

var (
	rounds = flag.Int("rounds", 9, "turns of each proxy in each case")
	turn   = flag.Duration("turn", time.Second, "how long a turn is")
	tool   = flag.String("tool", "./cmd/c8auth-sidecar", "what has the command proxy: this, or ./cmd/c8auth")
	only   = flag.String("only", "", "measure only what has this in its name: start, uploads, idle, or a case")
)

// names are those of the proxies that are compared.
var names = [2]string{"c8auth proxy", "ReverseProxy"}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is the environment of both proxies.
type bench struct {
	dir, bundle    string
	one, two       *httptest.Server // Communic8 by HTTP/1.1 and by HTTP/2
	unauthorized   atomic.Int64     // requests to it without the token
	together       chan struct{}    // closed when all slow uploads have arrived
	slow           atomic.Int64     // uploads that have
	wantedTogether int64
}

func run() error {
	b := &bench{together: make(chan struct{})}
	var err error
	if b.dir, err = os.MkdirTemp("", "c8auth-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	for name, source := range map[string]string{"c8auth": *tool, "reverseproxy": "./internal/bench/reverseproxy"} {
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(b.dir, name), source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	b.one = httptest.NewServer(http.HandlerFunc(b.communic8))
	defer b.one.Close()
	b.two = httptest.NewUnstartedServer(http.HandlerFunc(b.communic8))
	b.two.EnableHTTP2 = true
	b.two.Config.HTTP2 = &http.HTTP2Config{MaxReadFrameSize: 16 << 10} // the protocol's default, which load balancers have
	b.two.StartTLS()
	defer b.two.Close()
	b.bundle = filepath.Join(b.dir, "bundle.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.two.Certificate().Raw})
	if err := os.WriteFile(b.bundle, certificate, 0o600); err != nil {
		return err
	}
	for _, part := range []struct {
		name    string
		measure func() error
	}{{"start", b.start}, {"uploads", b.uploads}, {"idle", b.idle}} {
		if strings.Contains(part.name, *only) {
			if err := part.measure(); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	if err := b.compare(); err != nil {
		return err
	}
	fmt.Printf("requests without the token: %d\n", b.unauthorized.Load())
	return nil
}

var megabyte = bytes.Repeat([]byte("x"), mega)

func (b *bench) communic8(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != token {
		b.unauthorized.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch r.URL.Path {
	case "/download":
		w.Header().Set("Content-Length", strconv.Itoa(mega))
		_, _ = w.Write(megabyte)
		return
	case "/slow":
		if b.slow.Add(1) == b.wantedTogether {
			close(b.together)
		}
		<-b.together
	}
	if n, _ := io.Copy(io.Discard, r.Body); r.Method == http.MethodPost && n != mega {
		w.WriteHeader(http.StatusBadRequest)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"success":true,"data":[{"title":"a broadcast","author":"a person"}]}`)
}

// process is a proxy that runs.
type process struct {
	*exec.Cmd
	base  *url.URL
	stop  func()
	ready time.Duration // until it answered
	conns []*connection
}

// proxy starts c8auth proxy, or else what it is compared with, in front of a server.
func (b *bench) proxy(ours bool, communic8 *httptest.Server) (*process, error) {
	ctx, cancel := context.WithCancel(context.Background())
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": strings.TrimPrefix(token, "Bearer "), "token_type": "Bearer", "expires_in": 86400, "version": "1", "base_url": communic8.URL,
		})
	}))
	p := &process{}
	p.stop = func() {
		for _, c := range p.conns {
			_ = c.Close()
		}
		cancel()
		_ = p.Wait() // killed
		api.Close()
	}
	if ours {
		p.Cmd = exec.CommandContext(ctx, filepath.Join(b.dir, "c8auth"), "proxy", "--url", api.URL)
	} else {
		p.Cmd = exec.CommandContext(ctx, filepath.Join(b.dir, "reverseproxy"), communic8.URL, token)
	}
	p.Env = []string{"HOME=" + b.dir, "SSL_CERT_FILE=" + b.bundle, "SSL_CERT_DIR=" + b.dir,
		"AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=example"}
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := p.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		p.base, err = url.Parse(strings.TrimSpace(line))
	}
	if err == nil {
		var resp *http.Response
		if resp, err = http.Get("http://" + p.base.Host + "/ping"); err == nil { // of the other one, a 401
			p.ready = time.Since(begin)
			err = resp.Body.Close()
		}
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// connection is a program's, which sends one request after the other.
type connection struct {
	net.Conn
	reader    *bufio.Reader // from the first request on
	latencies []float64     // ms
}

// dial opens that many connections.
func (p *process) dial(count int) error {
	for range count {
		conn, err := net.Dial("tcp", p.base.Host)
		if err != nil {
			return fmt.Errorf("after %d connections: %w", len(p.conns), err)
		}
		p.conns = append(p.conns, &connection{Conn: conn})
	}
	return nil
}

// exchange sends a request and reads the answer.
func (c *connection) exchange(request []byte) error {
	if c.reader == nil {
		c.reader = bufio.NewReaderSize(c, 64<<10)
	}
	if _, err := c.Write(request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return err
	}
	if _, err := c.reader.Discard(int(resp.ContentLength)); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// exchange lets every connection have one answer.
func (p *process) exchange(path string) error {
	request := p.request(path)
	var all errgroup.Group
	for _, c := range p.conns {
		all.Go(func() error { return c.exchange(request) })
	}
	return all.Wait()
}

// request is what a program sends.
func (p *process) request(path string) []byte {
	method, body := "GET", []byte(nil)
	if path != "/small" && path != "/download" {
		method, body = "POST", megabyte
	}
	header := fmt.Sprintf("%s %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: program/1.0\r\nAccept: application/json\r\n", method, p.base.Path, path, p.base.Host)
	if body != nil {
		header += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return append([]byte(header+"\r\n"), body...)
}

// measure is a turn: all connections send as fast as they get answers. It returns p50 and p99
// in ms, requests a second, µs of the processor a request, and MB of memory.
func (p *process) measure(path string) (figures [5]float64, err error) {
	request := p.request(path)
	warm := time.Now().Add(*turn / 10)
	end := warm.Add(*turn)
	var before, after time.Duration
	var all errgroup.Group
	all.Go(func() error {
		time.Sleep(time.Until(warm))
		before = measure.CPU(p.Process.Pid)
		time.Sleep(time.Until(end))
		after = measure.CPU(p.Process.Pid)
		return nil
	})
	for _, c := range p.conns {
		all.Go(func() error {
			c.latencies = c.latencies[:0]
			for begin := time.Now(); begin.Before(end); {
				if err := c.exchange(request); err != nil {
					return err
				}
				now := time.Now()
				if now.After(warm) {
					c.latencies = append(c.latencies, measure.Milliseconds(now.Sub(begin)))
				}
				begin = now
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return figures, err
	}
	var latencies []float64
	for _, c := range p.conns {
		latencies = append(latencies, c.latencies...)
	}
	if len(latencies) == 0 {
		return figures, errors.New("a turn is too short for a request")
	}
	n := float64(len(latencies))
	return [5]float64{
		measure.Percentile(latencies, 50), measure.Percentile(latencies, 99), n / turn.Seconds(),
		measure.Milliseconds(after-before) * 1000 / n, measure.Memory(p.Process.Pid, "VmRSS"),
	}, nil
}

// compare lets both proxies take turns in every case.
func (b *bench) compare() error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer func() { _ = table.Flush() }()
	fmt.Fprintln(table, "case\tp50\tp99\trequests/s\tCPU\tmemory\tp50 ms\tp99 ms\trequests/s\tCPU µs\tMB\t")
	for _, communic8 := range []*httptest.Server{b.one, b.two} {
		protocol := "HTTP/1.1"
		if communic8 == b.two {
			protocol = "HTTP/2"
		}
		for _, path := range []string{"/small", "/download", "/upload"} {
			for _, connections := range []int{1, 16, 256, 1000} {
				name := fmt.Sprintf("%s %s %d", protocol, path[1:], connections)
				if !strings.Contains(name, *only) {
					continue
				}
				if err := b.cell(table, name, communic8, path, connections); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				_ = table.Flush()
			}
		}
	}
	return nil
}

// cell prints a case's line: ratios to the other proxy, and figures of c8auth's.
func (b *bench) cell(out io.Writer, name string, communic8 *httptest.Server, path string, connections int) error {
	var pair [2]*process
	for i := range pair {
		p, err := b.proxy(i == 0, communic8)
		if err != nil {
			return err
		}
		defer p.stop()
		if err := p.dial(connections); err != nil {
			return err
		}
		// By HTTP/2, as many handshakes may come before the first answer as there are connections.
		if err := p.exchange(path); err != nil {
			return err
		}
		pair[i] = p
	}
	var ratios, ours [5][]float64
	for round := range *rounds {
		var figures [2][5]float64
		for _, i := range []int{round % 2, 1 - round%2} {
			var err error
			if figures[i], err = pair[i].measure(path); err != nil {
				return fmt.Errorf("%s: %w", names[i], err)
			}
		}
		for i := range ours {
			ratios[i] = append(ratios[i], figures[0][i]/figures[1][i])
			ours[i] = append(ours[i], figures[0][i])
		}
	}
	fmt.Fprint(out, name, "\t")
	for _, r := range ratios {
		fmt.Fprintf(out, "%.2f (%.2f–%.2f)\t", measure.Percentile(r, 50), measure.Percentile(r, 25), measure.Percentile(r, 75))
	}
	for _, f := range ours {
		fmt.Fprintf(out, "%.3g\t", measure.Percentile(f, 50))
	}
	fmt.Fprintln(out)
	return nil
}

// start measures how long both take until they answer, and what memory they hold at rest,
// after a request.
func (b *bench) start() error {
	var ready [2][]float64
	var rest [2]float64
	for range *rounds {
		for i := range ready {
			p, err := b.proxy(i == 0, b.one)
			if err != nil {
				return err
			}
			err = errors.Join(p.dial(1), p.exchange("/small"))
			ready[i] = append(ready[i], measure.Milliseconds(p.ready))
			rest[i] = max(rest[i], measure.Memory(p.Process.Pid, "VmRSS"))
			p.stop()
			if err != nil {
				return err
			}
		}
	}
	for i, name := range names {
		fmt.Printf("%s: answers after %.1f ms (slowest %.1f), holds %.1f MB at rest\n",
			name, measure.Percentile(ready[i], 50), slices.Max(ready[i]), rest[i])
	}
	return nil
}

// uploads measures the memory that 256 uploads of 1 MiB take, none of which Communic8
// reads before all have arrived.
func (b *bench) uploads() error {
	const count = 256
	for i, communic8 := range []*httptest.Server{b.one, b.two} {
		b.together, b.wantedTogether = make(chan struct{}), count
		b.slow.Store(0)
		if communic8 == b.two {
			b.wantedTogether = 200 // streams of a connection; the rest follows
		}
		p, err := b.proxy(true, communic8)
		if err != nil {
			return err
		}
		defer p.stop()
		request := p.request("/slow")
		var all errgroup.Group
		for i := range count { // not all at once, as by HTTP/2 each would make a connection
			if err := p.dial(1); err != nil {
				return err
			}
			c := p.conns[i]
			all.Go(func() error { return c.exchange(request) })
		}
		if err := all.Wait(); err != nil {
			return err
		}
		fmt.Printf("HTTP/%d: %d uploads of 1 MiB at once take up to %.0f MB\n", i+1, count, measure.Memory(p.Process.Pid, "VmHWM"))
	}
	return nil
}

// idle opens 10,000 connections that say nothing, and sees what they cost and whether a
// program is still served.
func (b *bench) idle() error {
	p, err := b.proxy(true, b.one)
	if err != nil {
		return err
	}
	defer p.stop()
	begin := time.Now()
	if err := p.dial(10_000); err != nil {
		return err
	}
	opened := time.Since(begin)
	begin = time.Now()
	if err := p.dial(1); err != nil {
		return err
	}
	if err := p.conns[len(p.conns)-1].exchange(p.request("/small")); err != nil {
		return err
	}
	took := time.Since(begin)
	memory := measure.Memory(p.Process.Pid, "VmRSS")
	open := 0
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.Process.Pid))
		if open = len(files); open < 100 {
			break
		}
	}
	fmt.Printf("10,000 idle connections, opened in %v: %.0f MB, and a request takes %v; %v later %d files are open\n",
		opened.Round(time.Millisecond), memory, took.Round(time.Microsecond), time.Since(begin).Round(time.Second), open)
	return nil
}
