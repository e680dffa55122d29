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
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"
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

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is the surroundings of both proxies.
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
	done  measurement // of the last turn
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

// status reads a line of /proc/<pid>/status, in MB.
func (p *process) status(line string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(l, line+":"); ok {
			kilobytes, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kilobytes / 1024
		}
	}
	return 0
}

// cpu is the processor time that the process has used.
func (p *process) cpu() time.Duration {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.Process.Pid))
	var sum time.Duration
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			nanoseconds, _ := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
			sum += time.Duration(nanoseconds)
		}
	}
	return sum
}

// connection is a program's, which sends one request after the other.
type connection struct {
	net.Conn
	reader    *bufio.Reader
	latencies []time.Duration
	failed    error
}

func (p *process) dial() (*connection, error) {
	conn, err := net.Dial("tcp", p.base.Host)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, reader: bufio.NewReaderSize(conn, 64<<10)}, nil
}

// exchange sends a request and reads the answer.
func (c *connection) exchange(request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	length, status := -1, ""
	for first := true; ; first = false {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first {
			status = string(bytes.TrimSpace(line))
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
		}
		if len(line) == 2 {
			break
		}
	}
	if _, err := c.reader.Discard(length); err != nil {
		return err
	}
	if status != "HTTP/1.1 200 OK" {
		return errors.New(status)
	}
	return nil
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

// measurement is what one turn has shown.
type measurement struct {
	p50, p99, rate, cpu, memory float64 // ms, ms, requests a second, µs a request, MB
}

// measure is a turn: all connections send as fast as they get answers.
func (p *process) measure(path string) error {
	request := p.request(path)
	warm := time.Now().Add(*turn / 10)
	end := warm.Add(*turn)
	var before, after time.Duration
	var all sync.WaitGroup
	all.Go(func() { time.Sleep(time.Until(warm)); before = p.cpu(); time.Sleep(time.Until(end)); after = p.cpu() })
	for _, c := range p.conns {
		all.Go(func() {
			c.latencies = c.latencies[:0]
			for begin := time.Now(); begin.Before(end) && c.failed == nil; {
				c.failed = c.exchange(request)
				now := time.Now()
				if now.After(warm) {
					c.latencies = append(c.latencies, now.Sub(begin))
				}
				begin = now
			}
		})
	}
	all.Wait()
	var latencies []time.Duration
	for _, c := range p.conns {
		if c.failed != nil {
			return c.failed
		}
		latencies = append(latencies, c.latencies...)
	}
	if len(latencies) == 0 {
		return errors.New("a turn is too short for a request")
	}
	slices.Sort(latencies)
	at := func(q float64) float64 {
		return float64(latencies[int(q*float64(len(latencies)-1))]) / float64(time.Millisecond)
	}
	n := float64(len(latencies))
	p.done = measurement{at(0.5), at(0.99), n / turn.Seconds(), float64(after-before) / n / 1000, p.status("VmRSS")}
	return nil
}

// warm lets every connection have one answer: by HTTP/2, as many handshakes may come before
// the first one as there are connections.
func (p *process) warm(path string) error {
	request := p.request(path)
	var all sync.WaitGroup
	for _, c := range p.conns {
		all.Go(func() { c.failed = c.exchange(request) })
	}
	all.Wait()
	for _, c := range p.conns {
		if c.failed != nil {
			return c.failed
		}
	}
	return nil
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
		for range connections {
			c, err := p.dial()
			if err != nil {
				return err
			}
			p.conns = append(p.conns, c)
		}
		if err := p.warm(path); err != nil {
			return err
		}
		pair[i] = p
	}
	var ratios, ours [5][]float64
	for round := range *rounds {
		for _, i := range []int{round % 2, 1 - round%2} {
			if err := pair[i].measure(path); err != nil {
				return fmt.Errorf("%s: %w", []string{"c8auth", "ReverseProxy"}[i], err)
			}
		}
		a, b := pair[0].done, pair[1].done
		for i, figures := range [][2]float64{{a.p50, b.p50}, {a.p99, b.p99}, {a.rate, b.rate}, {a.cpu, b.cpu}, {a.memory, b.memory}} {
			ratios[i] = append(ratios[i], figures[0]/figures[1])
			ours[i] = append(ours[i], figures[0])
		}
	}
	fmt.Fprint(out, name, "\t")
	for _, r := range ratios {
		slices.Sort(r)
		n := len(r)
		fmt.Fprintf(out, "%.2f (%.2f–%.2f)\t", r[n/2], r[n/4], r[n-1-n/4])
	}
	for _, f := range ours {
		slices.Sort(f)
		fmt.Fprintf(out, "%.3g\t", f[len(f)/2])
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
			ready[i] = append(ready[i], float64(p.ready)/float64(time.Millisecond))
			c, err := p.dial()
			if err == nil {
				err = c.exchange(p.request("/small"))
			}
			if err != nil {
				p.stop()
				return err
			}
			_ = c.Close()
			rest[i] = max(rest[i], p.status("VmRSS"))
			p.stop()
		}
	}
	for i, name := range []string{"c8auth proxy", "ReverseProxy"} {
		slices.Sort(ready[i])
		fmt.Printf("%s: answers after %.1f ms (slowest %.1f), holds %.1f MB at rest\n", name, ready[i][len(ready[i])/2], ready[i][len(ready[i])-1], rest[i])
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
		var all sync.WaitGroup
		var failed atomic.Value
		for range count {
			c, err := p.dial()
			if err != nil {
				return err
			}
			p.conns = append(p.conns, c)
			all.Go(func() {
				if err := c.exchange(request); err != nil {
					failed.Store(err)
				}
			})
		}
		all.Wait()
		if err, ok := failed.Load().(error); ok {
			return err
		}
		fmt.Printf("HTTP/%d: %d uploads of 1 MiB at once take up to %.0f MB\n", i+1, count, p.status("VmHWM"))
	}
	return nil
}

// idle opens 10,000 connections that say nothing, and sees what they cost and whether a
// program is still served.
func (b *bench) idle() error {
	const count = 10_000
	p, err := b.proxy(true, b.one)
	if err != nil {
		return err
	}
	defer p.stop()
	begin := time.Now()
	for range count {
		c, err := net.Dial("tcp", p.base.Host)
		if err != nil {
			return fmt.Errorf("after %d connections: %w", len(p.conns), err)
		}
		p.conns = append(p.conns, &connection{Conn: c})
	}
	opened := time.Since(begin)
	begin = time.Now()
	c, err := p.dial()
	if err == nil {
		err = c.exchange(p.request("/small"))
	}
	if err != nil {
		return err
	}
	took := time.Since(begin)
	memory := p.status("VmRSS")
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
