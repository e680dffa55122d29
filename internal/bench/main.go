// Bench measures the functions as Lambda runs them: real binaries on a Runtime API,
// in front of a Secrets Manager that is reached by TLS and takes a while to answer.
// Beside them run what they are compared with: AWS's hello world, and what one would
// write in an hour. All take turns in one run, and what counts are ratios of medians:
// the machine may be slow or noisy, as it is so for all.
//
// Run it by `make bench`.
package main

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/c8auth/c8auth/internal/bench/measure"
	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/internal/harness"
)

// latency is about how long Secrets Manager and Communic8 take to answer.
var latency = 5 * time.Millisecond

func main() {
	colds := flag.Int("colds", 41, "cold starts of each function")
	warms := flag.Int("warms", 10000, "warm requests to each function")
	flag.DurationVar(&latency, "latency", latency, "of Secrets Manager and Communic8")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *colds, *warms)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// function is one that is measured.
type function struct {
	name      string
	bootstrap string
	env       []string
	event     []byte
	prepare   func() // before each start; may be nil

	init, cold, throttledCold []float64 // ms
	warm                      []float64 // ms
	cpu                       []float64 // µs for each request
	memory                    []float64 // MB
	calls                     int       // to Secrets Manager, by one sandbox
}

// environment is what surrounds the functions.
type environment struct {
	root, dir         string
	secrets           smtest.Server
	communic8         c8test.Server
	secretsTLS, c8TLS *httptest.Server
	bundle            string   // of certificates
	certificates      []string // directories of certificates
}

func run(ctx context.Context, out io.Writer, colds, warms int) (err error) {
	if err := measure.Supported(); err != nil {
		return err
	}
	w := new(environment)
	if w.dir, err = os.MkdirTemp("", "c8auth-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(w.dir) }()
	if err := w.open(); err != nil {
		return err
	}
	defer w.close()
	functions, err := w.functions(ctx)
	if err != nil {
		return err
	}
	shares := canShare()
	if !shares {
		_, _ = fmt.Fprint(out, "No control groups here: nothing is measured at the processor's share of 128 MB.\n\n")
	}
	for range colds {
		for _, f := range functions {
			if err := w.start(ctx, f, false); err != nil {
				return err
			}
			if shares {
				if err := w.start(ctx, f, true); err != nil {
					return err
				}
			}
		}
	}
	if err := w.warm(ctx, functions, warms); err != nil {
		return err
	}
	return w.report(ctx, out, functions)
}

// start measures a cold start, with all of a processor or, once it is initialized, the
// share of 128 MB.
func (w *environment) start(ctx context.Context, f *function, small bool) error {
	if f.prepare != nil {
		f.prepare()
	}
	s, err := start(ctx, f)
	if err != nil {
		return err
	}
	defer s.stop()
	took, err := s.init(small)
	if err != nil {
		return err
	}
	first, err := s.invoke(f.event, 1)
	if err != nil {
		return err
	}
	f.init = append(f.init, measure.Milliseconds(took))
	cold := &f.cold
	if small {
		cold = &f.throttledCold
	}
	*cold = append(*cold, f.init[len(f.init)-1]+first[0]) // what is between, to limit a process, is not its own time
	return nil
}

// warm measures requests after the first, of all functions in turns of a few.
func (w *environment) warm(ctx context.Context, functions []*function, requests int) error {
	const turn, settle = 50, 5 // settle: not measured, as the caches hold what the others have left
	functions = slices.DeleteFunc(slices.Clone(functions), func(f *function) bool { return f.prepare != nil })
	sandboxes := make([]*sandbox, len(functions))
	for i, f := range functions {
		before := w.secrets.Calls("GetSecretValue")
		s, err := start(ctx, f)
		if err != nil {
			return err
		}
		defer s.stop()
		if _, err := s.init(false); err != nil {
			return err
		}
		if _, err := s.invoke(f.event, 100); err != nil {
			return err
		}
		sandboxes[i], f.calls = s, w.secrets.Calls("GetSecretValue")-before
	}
	for range max(1, requests/turn) {
		for i, f := range functions {
			s := sandboxes[i]
			if _, err := s.invoke(f.event, settle); err != nil {
				return err
			}
			before := measure.CPU(s.cmd.Process.Pid)
			took, err := s.invoke(f.event, turn)
			if err != nil {
				return err
			}
			f.warm = append(f.warm, took...)
			f.cpu = append(f.cpu, measure.Milliseconds(measure.CPU(s.cmd.Process.Pid)-before)*1000/turn)
		}
	}
	for i, f := range functions {
		f.memory = append(f.memory, measure.Memory(sandboxes[i].cmd.Process.Pid, "VmRSS"))
	}
	return nil
}

// open starts the fakes, and lays certificates out as Amazon Linux 2023 does: one
// bundle, and the same twice again, in two formats, in both directories that Go looks into.
func (w *environment) open() error {
	serve := func(h http.Handler) *httptest.Server {
		return httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			time.Sleep(latency)
			h.ServeHTTP(rw, r)
		}))
	}
	w.secretsTLS, w.c8TLS = serve(&w.secrets), serve(&w.communic8)
	w.communic8.AddClient("id", "value")

	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.secretsTLS.Certificate().Raw})
	system := errors.New("no bundle of certificates in any usual place")
	for _, file := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"} {
		if text, err := os.ReadFile(file); err == nil {
			bundle, system = append(bundle, text...), nil
			break
		}
	}
	w.bundle = filepath.Join(w.dir, "bundle.crt")
	err := errors.Join(system, os.WriteFile(w.bundle, bundle, 0o600))
	for _, name := range []string{"ssl", "pki"} {
		dir := filepath.Join(w.dir, name)
		w.certificates = append(w.certificates, dir)
		err = errors.Join(err, os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "ca-bundle.crt"), bundle, 0o600),
			os.WriteFile(filepath.Join(dir, "ca-bundle.trust.crt"), bytes.ReplaceAll(bundle, []byte(" CERTIFICATE-"), []byte(" TRUSTED CERTIFICATE-")), 0o600))
	}
	return err
}

func (w *environment) close() {
	w.secretsTLS.Close()
	w.c8TLS.Close()
}

// functions builds what is measured.
func (w *environment) functions(ctx context.Context) (_ []*function, err error) {
	if w.root, err = lambdatest.Root(); err != nil {
		return nil, err
	}
	get, err := readEvent(filepath.Join(w.root, "events", "vend.json"))
	if err != nil {
		return nil, err
	}
	if err := harness.Build(ctx, w.dir); err != nil {
		return nil, err
	}
	built := func(name string) string { return filepath.Join(w.dir, name, "bootstrap") }
	for _, name := range []string{"hello", "naivevend", "naiverotate"} {
		build := exec.CommandContext(ctx, "go", "build", "-o", built(name), "./internal/bench/"+name) // as one would
		build.Dir = w.root
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w\n%s", name, err, text)
		}
	}

	common := []string{"C8AUTH_STACK=" + harness.Name, "AWS_ENDPOINT_URL_SECRETS_MANAGER=" + w.secretsTLS.URL, "SSL_CERT_FILE=" + w.bundle}
	plain := append(slices.Clone(common), "SSL_CERT_DIR="+strings.Join(w.certificates, ":"))
	text, err := os.ReadFile(filepath.Join(w.root, "template.yaml"))
	if err != nil {
		return nil, err
	}
	fast := speed.FindAllSubmatch(text, -1)
	if len(fast) != 1 {
		return nil, errors.New("template.yaml does not set what it sets for speed")
	}
	ours := append(slices.Clone(common), fmt.Sprintf("%s=%s", fast[0][1], fast[0][2]))

	credentials := harness.Credentials(w.c8TLS.URL, "id", "value")
	for name, text := range map[string]string{
		harness.CredentialsName("default"): credentials,
		harness.CredentialsName("new"):     credentials,
		harness.TokenName("default"):       harness.Token(w.c8TLS.URL, "0123456789abcdef0123456789abcdef", "1", time.Now(), 24*time.Hour),
	} {
		w.secrets.Create(name)
		w.secrets.Put(name, text)
	}
	forget := func() {
		w.secrets.Destroy(harness.TokenName("new"))
		w.secrets.Create(harness.TokenName("new"))
	}
	due := []byte(`{"tenant":"new"}`)
	return []*function{
		{name: "hello world", bootstrap: built("hello"), env: plain, event: get},
		{name: "vend", bootstrap: built("vend"), env: append(slices.Clone(ours), "C8AUTH_PREFETCH=default"), event: get},
		{name: "naive vend", bootstrap: built("naivevend"), env: plain, event: get},
		{name: "rotate", bootstrap: built("rotate"), env: ours, event: due, prepare: forget},
		{name: "naive rotate", bootstrap: built("naiverotate"), env: plain, event: due, prepare: forget},
	}, nil
}

// readEvent returns the sample event as it would come: in one line, and with a session
// token twice in it that is as long as those of roles are.
func readEvent(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	const sample, length = "made-up-session-token", 900
	if bytes.Count(text, []byte(sample)) != 2 {
		return nil, fmt.Errorf("%s: expected the session token %s, twice", path, sample)
	}
	var event bytes.Buffer
	err = json.Compact(&event, bytes.ReplaceAll(text, []byte(sample), bytes.Repeat([]byte("a"), length)))
	return event.Bytes(), err
}

// speed finds the variable that template.yaml sets for the sake of speed.
var speed = regexp.MustCompile(`\b(SSL_CERT_DIR): '?([^'\n]+)`)

const maxZip = 3.5 // MB

// report prints what was measured, and the ratios that are to be kept. Only what does not
// depend on the machine is an error if it is not.
func (w *environment) report(ctx context.Context, out io.Writer, functions []*function) error {
	var missed error
	named := make(map[string]*function)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintf(t, "medians\tinit\tcold\tcold, 128 MB\twarm\tCPU\tmemory\treads\tnoise\t\n")
	for _, f := range functions {
		named[f.name] = f
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t\n", f.name,
			show(f.init, "ms"), show(f.cold, "ms"), show(f.throttledCold, "ms"),
			show(f.warm, "ms"), show(f.cpu, "µs"), show(f.memory, "MB"), f.calls, noise(f.cold))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "\nreads: of Secrets Manager, which takes %v, by one sandbox for 100 requests. noise: of cold, half the distance between quartiles.\n\n", latency)

	vend, rotate, hello, naive := named["vend"], named["rotate"], named["hello world"], named["naive vend"]
	for _, r := range []struct {
		what       string
		ours, than []float64
		limit      float64
	}{
		{"vend, cold, 128 MB, of the naive vend's", vend.throttledCold, naive.throttledCold, 0.08},
		{"vend, cold, of the naive vend's", vend.cold, naive.cold, 0.65},
		{"vend, warm, of hello world's", vend.warm, hello.warm, 1},
		{"vend, CPU per request, of hello world's", vend.cpu, hello.cpu, 0.85},
		{"vend, memory, of hello world's", vend.memory, hello.memory, 1.3},
		{"rotate, cold, 128 MB, of the naive rotate's", rotate.throttledCold, named["naive rotate"].throttledCold, 0.4},
	} {
		if len(r.ours) == 0 {
			continue
		}
		ratio := measure.Percentile(r.ours, 50) / measure.Percentile(r.than, 50)
		mark := ""
		if ratio > r.limit {
			mark = "  <- more"
		}
		_, _ = fmt.Fprintf(t, "%s\t%.2f\t at most %.2f%s\n", r.what, ratio, r.limit, mark)
	}
	for _, name := range []string{"vend", "rotate"} {
		size, err := w.packed(ctx, name)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(t, "%s, zip for arm64\t%.2f MB\t at most %.2f MB\n", name, size, maxZip)
		if size > maxZip {
			missed = errors.Join(missed, fmt.Errorf("%s's zip is too large", name))
		}
	}
	if vend.calls != 1 {
		missed = errors.Join(missed, errors.New("vend does not read once for many requests"))
	}
	return errors.Join(t.Flush(), missed)
}

func show(values []float64, unit string) string {
	if len(values) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3g %s", measure.Percentile(values, 50), unit)
}

func noise(values []float64) string {
	return fmt.Sprintf("±%.0f %%", 50*(measure.Percentile(values, 75)-measure.Percentile(values, 25))/measure.Percentile(values, 50))
}

// packed returns the size of the function's deployment package for arm64, in MB.
func (w *environment) packed(ctx context.Context, name string) (float64, error) {
	dir := filepath.Join(w.dir, "arm64", name)
	build := exec.CommandContext(ctx, "make", "-C", w.root, "build-"+map[string]string{"rotate": "RotateFunction", "vend": "VendFunction"}[name], "ARCH=arm64", "ARTIFACTS_DIR="+dir) // #nosec G204 -- ours
	if text, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build %s: %w\n%s", name, err, text)
	}
	bootstrap, err := os.ReadFile(filepath.Join(dir, "bootstrap"))
	if err != nil {
		return 0, err
	}
	var zip bytes.Buffer // but for its directory
	compressor, err := flate.NewWriter(&zip, flate.BestCompression)
	if err == nil {
		_, err = compressor.Write(bootstrap)
	}
	if err == nil {
		err = compressor.Close()
	}
	return float64(zip.Len()) / 1e6, err
}
