// Bench measures the functions as Lambda runs them: real binaries on a Runtime API,
// in front of a Secrets Manager that is reached by TLS and takes a while to answer.
// Beside them run what they are compared with: AWS's hello world, and what one would
// write in an hour. All take turns in one run, and what counts are ratios of medians:
// the machine may be slow or noisy, as it is so for all.
//
// Run it by `make bench`.
package main

import (
	"archive/zip"
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

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
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

// world is what surrounds the functions.
type world struct {
	root, dir         string
	secrets           smtest.Server
	communic8         c8test.Server
	secretsTLS, c8TLS *httptest.Server
	bundle            string   // of certificates
	certificates      []string // directories of certificates
}

func run(ctx context.Context, out io.Writer, colds, warms int) (err error) {
	w := new(world)
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
func (w *world) start(ctx context.Context, f *function, small bool) error {
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
		return fmt.Errorf("%s: %w", f.name, err)
	}
	first, err := s.invoke(f.event)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	f.init = append(f.init, milliseconds(took))
	cold := &f.cold
	if small {
		cold = &f.throttledCold
	}
	*cold = append(*cold, milliseconds(took+first)) // what is between, to limit a process, is not its own time
	return nil
}

// warm measures requests after the first, of all functions in turns of a few.
func (w *world) warm(ctx context.Context, functions []*function, requests int) error {
	const turn, settle = 50, 5 // settle: not measured, as the caches hold what the others have left
	var sandboxes []*sandbox
	defer func() {
		for _, s := range sandboxes {
			s.stop()
		}
	}()
	functions = slices.DeleteFunc(slices.Clone(functions), func(f *function) bool { return f.prepare != nil })
	for _, f := range functions {
		before := w.secrets.Calls("GetSecretValue")
		s, err := start(ctx, f)
		if err != nil {
			return err
		}
		sandboxes = append(sandboxes, s)
		if _, err := s.init(false); err != nil {
			return err
		}
		for range 100 {
			if _, err := s.invoke(f.event); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
		f.calls = w.secrets.Calls("GetSecretValue") - before
	}
	for range max(1, requests/turn) {
		for i, f := range functions {
			s := sandboxes[i]
			for range settle {
				if _, err := s.invoke(f.event); err != nil {
					return fmt.Errorf("%s: %w", f.name, err)
				}
			}
			before, err := s.cpu()
			if err != nil {
				return err
			}
			for range turn {
				took, err := s.invoke(f.event)
				if err != nil {
					return fmt.Errorf("%s: %w", f.name, err)
				}
				f.warm = append(f.warm, milliseconds(took))
			}
			after, err := s.cpu()
			if err != nil {
				return err
			}
			f.cpu = append(f.cpu, milliseconds(after-before)*1000/turn)
		}
	}
	for i, f := range functions {
		memory, err := sandboxes[i].memory()
		if err != nil {
			return err
		}
		f.memory = append(f.memory, memory/(1<<20))
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// open starts the fakes, and lays certificates out as Amazon Linux 2023 does: one
// bundle, and the same twice again, in two formats, in both directories that Go looks into.
func (w *world) open() error {
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

func (w *world) close() {
	w.secretsTLS.Close()
	w.c8TLS.Close()
}

// functions builds what is measured.
func (w *world) functions(ctx context.Context) ([]*function, error) {
	root, err := lambdatest.Root()
	if err != nil {
		return nil, err
	}
	w.root = root
	get, err := readEvent(filepath.Join(root, "events", "vend.json"))
	if err != nil {
		return nil, err
	}
	vend, err := lambdatest.Build(ctx, root, filepath.Join(w.dir, "vend"), "vend")
	if err != nil {
		return nil, err
	}
	rotate, err := lambdatest.Build(ctx, root, filepath.Join(w.dir, "rotate"), "rotate")
	if err != nil {
		return nil, err
	}
	baseline := func(name string) string {
		bootstrap := filepath.Join(w.dir, name)
		build := exec.CommandContext(ctx, "go", "build", "-o", bootstrap, "./internal/bench/"+name) // as one would
		build.Dir = root
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, failed := build.CombinedOutput(); failed != nil {
			err = errors.Join(err, fmt.Errorf("build %s: %w\n%s", name, failed, text))
		}
		return bootstrap
	}
	hello, naiveVend, naiveRotate := baseline("hello"), baseline("naivevend"), baseline("naiverotate")
	if err != nil {
		return nil, err
	}

	common := []string{"C8AUTH_STACK=c8auth", "AWS_ENDPOINT_URL_SECRETS_MANAGER=" + w.secretsTLS.URL, "SSL_CERT_FILE=" + w.bundle}
	plain := append(slices.Clone(common), "SSL_CERT_DIR="+strings.Join(w.certificates, ":"))
	text, err := os.ReadFile(filepath.Join(root, "template.yaml"))
	if err != nil {
		return nil, err
	}
	ours := slices.Clone(common)
	for _, variable := range speed.FindAllSubmatch(text, -1) {
		ours = append(ours, fmt.Sprintf("%s=%s", variable[1], variable[2]))
	}
	if len(ours) != len(common)+1 {
		return nil, errors.New("template.yaml does not set what it sets for speed")
	}
	w.secrets.Create("c8auth/credentials/default")
	w.secrets.Put("c8auth/credentials/default", fmt.Sprintf(`{"base_url": %q, "client_id": "id", "client_secret": "value"}`, w.c8TLS.URL))
	w.secrets.Create("c8auth/token/default")
	w.secrets.Put("c8auth/token/default", fmt.Sprintf(`{"base_url": %q, "access_token": "0123456789abcdef0123456789abcdef", "token_type": "Bearer", "issued_at": %q, "expires_at": %q, "credentials_version": "1"}`,
		w.c8TLS.URL, time.Now().UTC().Format(time.RFC3339), time.Now().UTC().Add(24*time.Hour).Format(time.RFC3339)))
	w.secrets.Create("c8auth/credentials/new")
	w.secrets.Put("c8auth/credentials/new", fmt.Sprintf(`{"base_url": %q, "client_id": "id", "client_secret": "value"}`, w.c8TLS.URL))
	forget := func() {
		w.secrets.Destroy("c8auth/token/new")
		w.secrets.Create("c8auth/token/new")
	}
	due := []byte(`{"tenant":"new"}`)
	return []*function{
		{name: "hello world", bootstrap: hello, env: plain, event: get},
		{name: "vend", bootstrap: vend, env: append(slices.Clone(ours), "C8AUTH_PREFETCH=default"), event: get},
		{name: "naive vend", bootstrap: naiveVend, env: plain, event: get},
		{name: "rotate", bootstrap: rotate, env: ours, event: due, prepare: forget},
		{name: "naive rotate", bootstrap: naiveRotate, env: plain, event: due, prepare: forget},
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

// speed finds the variables that template.yaml sets for the sake of speed.
var speed = regexp.MustCompile(`\b(SSL_CERT_DIR): '?([^'\n]+)`)

const maxZip = 3.5 // MB

// report prints what was measured, and the ratios that are to be kept. Only what does not
// depend on the machine is an error if it is not.
func (w *world) report(ctx context.Context, out io.Writer, functions []*function) error {
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
		ratio := percentile(r.ours, 50) / percentile(r.than, 50)
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

func percentile(values []float64, p int) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

func show(values []float64, unit string) string {
	if len(values) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3g %s", percentile(values, 50), unit)
}

func noise(values []float64) string {
	return fmt.Sprintf("±%.0f %%", 50*(percentile(values, 75)-percentile(values, 25))/percentile(values, 50))
}

// packed returns the size of the function's deployment package for arm64, in MB.
func (w *world) packed(ctx context.Context, name string) (float64, error) {
	dir := filepath.Join(w.dir, "arm64", name)
	build := exec.CommandContext(ctx, "make", "-C", w.root, "build-"+map[string]string{"rotate": "RotateFunction", "vend": "VendFunction"}[name], "ARCH=arm64", "ARTIFACTS_DIR="+dir) // #nosec G204 -- ours
	if text, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build %s: %w\n%s", name, err, text)
	}
	bootstrap, err := os.ReadFile(filepath.Join(dir, "bootstrap"))
	if err != nil {
		return 0, err
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	file, err := z.Create("bootstrap")
	if err == nil {
		_, err = file.Write(bootstrap)
	}
	err = errors.Join(err, z.Close())
	return float64(b.Len()) / 1e6, err
}
