package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/internal/harness"
	"github.com/c8auth/c8auth/pkg/c8auth"
)

var (
	// CI runs the day with a thousand.
	tenantsFlag = flag.Int("tenants", 20, "how many tenants the simulated day has")
	update      = flag.Bool("update", false, "write the tables into the documentation, instead of comparing with them")
)

// The documentation has the tables as the program prints them.
func TestPages(t *testing.T) {
	for page, tables := range map[string]map[string]string{
		"scale.md": {"assumptions": assumptions(), "rates": rates(), "resources": resources(), "hits": hits(), "remedies": remedies()},
		"costs.md": {"idle month": idleMonth(), "million vends": millionVends()},
	} {
		file := "../../docs/" + page
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := string(text)
		for name, table := range tables {
			begin := "<!-- " + name + " -->\n"
			before, rest, ok := strings.Cut(want, begin)
			_, after, ended := strings.Cut(rest, "<!-- end -->")
			if !ok || !ended {
				t.Fatalf("%s has no place for the table %s", page, name)
			}
			want = before + begin + "\n" + table + "\n<!-- end -->" + after
		}
		if *update {
			err = os.WriteFile(file, []byte(want), 0o644)
		} else if want != string(text) {
			t.Errorf("%s has other tables than the program prints: make pictures writes them anew", page)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The templates have as many alarms, secrets and policies as the model says.
func TestResources(t *testing.T) {
	for _, test := range []struct {
		template, kind string
		want           int
	}{
		{"template.yaml", "AWS::CloudWatch::Alarm", alarms},
		{"tenant.yaml", "AWS::CloudWatch::Alarm", alarmsPerTenant},
		{"tenant.yaml", "AWS::SecretsManager::Secret", secretsPerTenant},
		{"tenant.yaml", "AWS::IAM::ManagedPolicy", policiesPerTenant},
		{"template.yaml", "AWS::CloudWatch::Dashboard", 1},
		{"template.yaml", "AWS::KMS::Key", 1},
	} {
		text, err := os.ReadFile("../../" + test.template)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(text), "Type: "+test.kind+"\n"); got != test.want {
			t.Errorf("%s has %d of %s, and the model %d", test.template, got, test.kind, test.want)
		}
	}
}

// The real rotate and vend send as many requests in a day, and write as much, as the model says.
func TestSimulatedDay(t *testing.T) {
	const (
		sandboxes = 3
		perTenant = 1.0 / 300 // vends a second
	)
	l := load{tenants: *tenantsFlag, vends: perTenant * float64(*tenantsFlag)}
	synctest.Test(t, func(t *testing.T) {
		names := make([]string, l.tenants)
		for i := range names {
			names[i] = fmt.Sprintf("tenant-%d", i)
		}
		fakes := harness.InMemory(names...)
		fakes.Communic8.AddClient("id", "secret")
		fakes.Communic8.Set(func(b *c8test.Behaviour) { b.Lifetime = lifetime })
		store := &c8auth.Store{Stack: harness.Name, Client: fakes.Client}
		var rotateLines, vendLines lines
		invocation := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"})
		rotator := &c8auth.Rotator{
			Store:    store,
			Endpoint: &c8auth.Endpoint{Client: inmem.Client(fakes.Communic8), ProbePath: "/int/v1/broadcast?limit=1"},
			Log:      c8auth.NewLogger(&rotateLines),
		}
		rotate := func(tenant string) {
			ctx, cancel := context.WithTimeout(invocation, time.Minute)
			defer cancel()
			if _, err := rotator.Rotate(ctx, c8auth.Request{Tenant: tenant}); err != nil {
				t.Error(err)
			}
		}
		for _, name := range names {
			fakes.Secrets.Put(harness.CredentialsName(name), harness.Credentials("https://acme.communic8.com", "id", "secret"))
			rotate(name)
		}
		before := counts(fakes)

		var running sync.WaitGroup
		dice := rand.New(rand.NewPCG(1, 2))
		for i, name := range names { // schedules begin when their stacks were made
			running.Go(func() {
				time.Sleep(heartbeat * time.Duration(i) / time.Duration(l.tenants))
				for range heartbeatsPerDay {
					time.Sleep(heartbeat)
					rotate(name)
				}
			})
		}
		caches := make([]c8auth.Cache, sandboxes)
		for i := range caches {
			caches[i].Store, caches[i].TTL = store, cacheTTL
		}
		var vended, read int
		log := c8auth.NewLogger(&vendLines)
		by := []slog.Attr{
			slog.String("caller", "arn:aws:sts::123456789012:assumed-role/payroll/i-0123456789abcdef0"), slog.String("account", "123456789012"),
			slog.String("source", "192.0.2.10"), slog.String("apiRequestId", "306a4d88-cec6-8b9b-b6b8-5825ad19c40b"),
		}
		for begin := time.Now(); ; {
			time.Sleep(time.Duration(dice.ExpFloat64() / l.vends * float64(time.Second)))
			if time.Since(begin) > day {
				break
			}
			name, cache := names[dice.IntN(len(names))], &caches[dice.IntN(sandboxes)]
			token, err := cache.Token(invocation, name, false)
			if err != nil {
				t.Error(err)
			}
			vended++
			read += token.Reads
			cache.LogVend(invocation, log, by, name, http.StatusOK, token, nil)
		}
		running.Wait()

		got := counts(fakes)
		for name, n := range before {
			got[name] -= n
		}
		got["GetSecretValue"] -= read
		for name, want := range map[string]int{
			"GetSecretValue": getsPerDay, "DescribeSecret": describesPerDay, "PutSecretValue": putsPerDay,
			"token requests": requestsPerDay, "probes": probesPerDay,
		} {
			if got[name] != want*l.tenants {
				t.Errorf("%d %s, want %d for each tenant", got[name], name, want)
			}
		}
		model := reads(l.vends, sandboxes*float64(l.tenants)) * day.Seconds()
		if ratio := float64(read) / model; ratio < 0.95 || ratio > 1.05 {
			t.Errorf("%d reads for %d vends, and the model says %.0f", read, vended, model)
		}
		t.Logf("%d tenants: %v; %d vends, %d reads, the model says %.0f", l.tenants, got, vended, read, model)
		rotateLines.compare(t, "rotate", rotateLine-26)
		vendLines.compare(t, "vend", vendLine-26)
	})
}

// counts are the requests until now.
func counts(fakes *harness.Memory) map[string]int {
	out := map[string]int{"token requests": fakes.Communic8.Requests(), "probes": fakes.Communic8.Probes()}
	for _, op := range []string{"GetSecretValue", "DescribeSecret", "PutSecretValue"} {
		out[op] = fakes.Secrets.Calls(op)
	}
	return out
}

// lines counts log lines and their bytes.
type lines struct{ n, bytes atomic.Int64 }

func (l *lines) Write(p []byte) (int, error) {
	l.n.Add(1)
	l.bytes.Add(int64(len(p)))
	return len(p), nil
}

// compare expects a line to have as many bytes as the model says, or a fifth less.
func (l *lines) compare(t *testing.T, function string, model int64) {
	t.Helper()
	average := l.bytes.Load() / l.n.Load()
	t.Logf("a line of %s has %d bytes", function, average)
	if average > model || average < model*8/10 {
		t.Errorf("a line of %s has %d bytes, and the model says %d", function, average, model)
	}
}
