package sim_test

import (
	"flag"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/c8auth/c8auth/internal/sim"
)

var (
	seeds   = flag.Int("seeds", 6, "number of seeds")
	first   = flag.Uint64("first", 1, "the first seed")
	beats   = flag.Int("beats", 400, "heartbeats of each run")
	history = flag.String("history", "", "file for the history of the first seed")
)

// run runs one seed.
func run(t *testing.T, seed uint64, beats int, options secretsmanager.Options, out io.Writer) (report sim.Report) {
	t.Helper()
	synctest.Test(t, func(*testing.T) { report = sim.Run(seed, beats, options, out) })
	return report
}

// Whatever goes wrong, no invariant is violated.
func TestInvariants(t *testing.T) {
	options, err := sim.Options()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	reports := make([]sim.Report, *seeds)
	var ended, span atomic.Int64 // span in seconds: a time.Duration ends after 292 years
	years := func() float64 { return float64(span.Load()) / (365 * 24 * 60 * 60) }
	t.Run("seeds", func(t *testing.T) {
		for n := range reports {
			seed := *first + uint64(n)
			t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
				t.Parallel()
				var out io.Writer
				if *history != "" && n == 0 {
					file, err := os.Create(*history)
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = file.Close() }()
					out = file
				}
				reports[n] = run(t, seed, *beats, options, out)
				if err := reports[n].Violation; err != nil {
					fmt.Printf("seed %d violates an invariant\n", seed) // go test prints errors when all have ended
					t.Errorf("seed %d: %v\nagain: make simulate SEED=%d", seed, err, seed)
				}
				span.Add(int64(reports[n].TenantTime / time.Second))
				if n := ended.Add(1); n%100 == 0 {
					fmt.Printf("%d of %d seeds, %.1f tenant-years in %v\n", n, len(reports), years(), time.Since(start).Round(time.Second))
				}
			})
		}
	})
	total := make(map[string]int)
	for _, report := range reports {
		for event, n := range report.Counts {
			total[event] += n
		}
	}
	fmt.Printf("%d seeds, %.2f tenant-years in %v\n%v\n", len(reports), years(), time.Since(start).Round(time.Second), total)
}

// The same seed gives the same history, to the byte.
func TestSameSeedSameHistory(t *testing.T) {
	options, err := sim.Options()
	if err != nil {
		t.Fatal(err)
	}
	digests := make(map[string]bool)
	for seed := range uint64(4) {
		once, again := run(t, seed, 100, options, nil), run(t, seed, 100, options, nil)
		if once.Digest != again.Digest {
			t.Errorf("seed %d: %s and %s", seed, once.Digest, again.Digest)
		}
		digests[once.Digest] = true
	}
	if len(digests) != 4 {
		t.Errorf("4 seeds have %d histories", len(digests))
	}
}
