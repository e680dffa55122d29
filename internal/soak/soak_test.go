//go:build soak

// Package soak is `make soak`: the real vend under load, while the real rotate replaces the
// tokens and Secrets Manager fails by turns.
//
// It shows what no shorter test can: that neither process grows, and that under load no caller
// is refused a token that vend holds, no token is invalid, and no secret is logged.
package soak

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/internal/harness"
	"github.com/c8auth/c8auth/internal/secretscan"
)

var requests = flag.Int64("requests", 20_000, "how many, after a tenth as many to warm up")

const (
	callers   = 16
	sandboxes = 4
	beats     = 40   // rotations are invoked in all: well below what a secret has versions for
	phase     = 1500 // requests in which Secrets Manager behaves in one way

	clientSecret = "M4rk3dS3cr3tOfTh3Cl13nt0123456789"
	unreadable   = "M4rk3dV4lu3Th4tIsN0T0k3n0123456789"
)

// failures are how Secrets Manager fails, by turns, for the secrets of acme; before each, it
// works. For a tenant whose token vend does not hold, each request would take seconds.
var failures = []*smtest.Fault{
	{Message: unreadable},
	{Status: http.StatusBadRequest, Type: "ThrottlingException", Message: unreadable},
	{Hang: true},
	{Status: http.StatusOK, Body: "<p>" + unreadable + "</p>"},
	{Break: true},
}

// tenants are the names that are requested, with the statuses that are right for each. The
// first two have a valid token at all times.
var tenants = []struct {
	name     string // followed by the request's number if it ends with a hyphen
	statuses []int
}{
	{"default", []int{http.StatusOK}},
	{"acme", []int{http.StatusOK}},
	{"empty", []int{http.StatusServiceUnavailable}},
	{"broken", []int{http.StatusInternalServerError, http.StatusServiceUnavailable}},
	{"unknown-", []int{http.StatusNotFound, http.StatusServiceUnavailable}},
	{"Malformed-", []int{http.StatusBadRequest}},
}

func TestSoak(t *testing.T) {
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = callers
	var log harness.Log
	s, err := harness.Start(t.Context(), harness.Ports{}, &log)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	s.Gateway.Keys[harness.AccessKey] = gwtest.Key{SecretAccessKey: harness.SecretKey, ARN: harness.Caller, Tenants: []string{"*"}}
	s.Communic8.AddClient("client", clientSecret)
	s.Communic8.Set(func(b *c8test.Behaviour) { b.Lifetime = time.Hour })
	for _, tenant := range []string{"acme", "empty", "broken"} {
		s.Secrets.Create(harness.TokenName(tenant))
	}
	s.Secrets.Put(harness.TokenName("broken"), `{"access_token":"`+unreadable+`"`)
	for _, tenant := range []string{"default", "acme"} {
		s.Secrets.Put(harness.CredentialsName(tenant), harness.Credentials(s.Communic8URL, "client", clientSecret))
		if _, err := s.Rotate.Invoke(t.Context(), fmt.Appendf(nil, `{"tenant":%q}`, tenant)); err != nil {
			t.Fatal(err)
		}
	}

	// Lambda starts a sandbox for each request that runs at the same time.
	idle := make(chan *lambdatest.Function, sandboxes)
	processes := []*lambdatest.Function{s.Rotate}
	for range sandboxes {
		vend := harness.Sandbox(s.Vend, "C8AUTH_CACHE_TTL=2s")
		defer vend.Stop()
		processes = append(processes, vend)
		idle <- vend
	}
	s.Gateway.Invoke = func(ctx context.Context, event []byte) ([]byte, error) {
		vend := <-idle
		defer func() { idle <- vend }()
		return vend.Invoke(ctx, event)
	}

	run := &run{T: t, stack: s, statuses: make(map[int]int)}
	s.Secrets.Fault = func(_, secret string) *smtest.Fault {
		turn := run.sent.Load() / phase
		if turn%2 == 0 || run.calm.Load() || !strings.HasSuffix(secret, "/acme") {
			return nil
		}
		run.faults.Add(1)
		return failures[turn/2%int64(len(failures))]
	}
	run.send(*requests / 10)
	before := measure(t, processes)
	start := time.Now()
	run.send(*requests)
	fmt.Printf("%d requests, %.0f a second; answers %v; rotations %d, of which failed %d; faults of Secrets Manager %d\n",
		*requests, float64(*requests)/time.Since(start).Seconds(), run.statuses, run.rotations, run.failed, run.faults.Load())
	if len(run.statuses) < 5 || run.rotations < beats/2 || run.faults.Load() < 10 {
		t.Error("not everything has happened: send more requests")
	}
	checkGrowth(t, before, measure(t, processes))

	lines := log.Take()
	for _, secret := range append(s.Communic8.Issued(), clientSecret, unreadable, harness.SecretKey) {
		if len(secretscan.Find(lines, secret)) > 0 {
			t.Errorf("a secret of %d characters is in the log", len(secret))
		}
	}
}

// run is the load.
type run struct {
	*testing.T
	stack  *harness.Stack
	sent   atomic.Int64
	calm   atomic.Bool // Secrets Manager does not fail
	faults atomic.Int64

	mu                sync.Mutex
	statuses          map[int]int
	rotations, failed int
}

// send lets the callers send n requests, while rotate rotates.
func (r *run) send(n int64) {
	r.calm.Store(false)
	last, heartbeat := r.sent.Load()+n, n/beats
	due := make(chan int64, 1) // what comes while rotate runs is left out
	var sending, rotating sync.WaitGroup
	rotating.Go(func() {
		for beat := range due {
			r.rotate(tenants[beat%2].name)
		}
	})
	for range callers {
		sending.Go(func() {
			for n := r.sent.Add(1); n <= last && !r.Failed(); n = r.sent.Add(1) {
				r.get(n)
				if n%heartbeat == 0 {
					select {
					case due <- n / heartbeat:
					default:
					}
				}
			}
		})
	}
	sending.Wait()
	r.calm.Store(true)
	close(due)
	rotating.Wait()
	r.sent.Store(last)
}

// get requests a token. Four of five requests are for a tenant that has one.
func (r *run) get(n int64) {
	tenant := tenants[n%2]
	if n%5 == 0 {
		tenant = tenants[2+n/5%int64(len(tenants)-2)]
	}
	name := tenant.name
	if strings.HasSuffix(name, "-") {
		name += fmt.Sprint(n)
	}
	var header http.Header
	if n%7 == 0 {
		header = http.Header{"Cache-Control": {"no-cache"}}
	}
	resp, body, err := r.stack.Get(r.Context(), name, header)
	if err != nil {
		r.Errorf("request %d: %v", n, err)
		return
	}
	r.mu.Lock()
	r.statuses[resp.StatusCode]++
	r.mu.Unlock()
	if !slices.Contains(tenant.statuses, resp.StatusCode) {
		r.Errorf("request %d for %s: %d, want one of %v", n, tenant.name, resp.StatusCode, tenant.statuses)
	}
	var out struct {
		AccessToken string `json:"access_token"`
	}
	if resp.StatusCode == http.StatusOK && (json.Unmarshal(body, &out) != nil || !r.stack.Communic8.Valid(out.AccessToken)) {
		r.Errorf("request %d for %s: Communic8 would reject the token", n, tenant.name)
	}
}

// rotate replaces a tenant's token, as its credentials were stored anew. Whatever happens, the
// stored token is valid.
func (r *run) rotate(tenant string) {
	r.stack.Secrets.Put(harness.CredentialsName(tenant), harness.Credentials(r.stack.Communic8URL, "client", clientSecret))
	_, err := r.stack.Rotate.Invoke(r.Context(), fmt.Appendf(nil, `{"tenant":%q}`, tenant))
	r.mu.Lock()
	r.rotations++
	if err != nil {
		r.failed++
	}
	r.mu.Unlock()
	var stored struct {
		AccessToken string `json:"access_token"`
	}
	text, _ := r.stack.Secrets.Value(harness.TokenName(tenant))
	if json.Unmarshal([]byte(text), &stored) != nil || !r.stack.Communic8.Valid(stored.AccessToken) {
		r.Errorf("after a rotation the stored token of %s is not valid", tenant)
	}
}

// usage is what a process takes: KiB in memory, open files, threads.
type usage [3]int

// growth is how much more a process may take after all requests than after the first tenth.
var growth = usage{2048, 4, 4}

func checkGrowth(t *testing.T, before, after []usage) {
	fmt.Println("KiB, files and threads of each process, before:", before, "after:", after)
	for i := range before {
		for j := range growth {
			if after[i][j] > before[i][j]+growth[j] {
				t.Errorf("process %d has grown: %v, before: %v; at most %v more", i, after[i], before[i], growth)
			}
		}
	}
}

// measure returns what each process takes, from /proc; zero on systems other than Linux.
func measure(t *testing.T, processes []*lambdatest.Function) []usage {
	all := make([]usage, len(processes))
	if runtime.GOOS != "linux" {
		return all
	}
	for i, p := range processes {
		if n := p.Starts(); n != 1 {
			t.Errorf("process %d was started %d times", i, n)
		}
		dir := fmt.Sprintf("/proc/%d", p.PID())
		text, err := os.ReadFile(filepath.Join(dir, "statm"))
		if err != nil {
			t.Fatal(err)
		}
		var size, resident int
		if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
			t.Fatal(err)
		}
		all[i][0] = resident * os.Getpagesize() / 1024
		for j, name := range []string{"fd", "task"} {
			entries, err := os.ReadDir(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			all[i][1+j] = len(entries)
		}
	}
	return all
}
