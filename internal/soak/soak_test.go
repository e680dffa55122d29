//go:build soak

// Package soak is `make soak`: the real vend under load, while the real rotate rotates
// and the store fails by turns.
//
// Hundreds of thousands of requests go to several sandboxes at once, first straight by
// their Runtime APIs, then by the API gateway, from callers who sign. Each answer is held
// to the contract (contract_test.go) and to what that sandbox can know (memory_test.go),
// so that there is one right answer to each; each read of the store must have a reason.
// At the end no sandbox may have grown (process_test.go), and no secret be in any log
// (leaks_test.go). What befalls the world, and when, goes by the number of the request
// (world_test.go, tenants_test.go).
package soak

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/harness"
)

var requests = flag.Int64("requests", 20_000, "how many go straight to the sandboxes; a tenth as many go by the gateway")

const (
	sandboxes = 4
	callers   = 16
	heartbeat = 500 // requests
)

func TestSoak(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	log := bufio.NewWriter(file)
	w := newWorld(t, log, sandboxes+1)
	w.firstTokens()
	straight, begin := w.straight(), time.Now()

	// One more sandbox warms up with the others and tells how many goroutines that takes.
	w.stage("to warm up", *requests/10, sandboxes+1, straight)
	before, control := w.measure(), <-w.idle
	before.goroutines = control.end()
	own := itself(t)

	w.stage("straight to the sandboxes", *requests, sandboxes, straight)
	w.stage("by the gateway", *requests/10, callers, w.signed())
	took, after := time.Since(begin), w.measure()
	for _, s := range w.sandboxes {
		if s == control {
			continue
		}
		if n := s.vend.Starts(); n != 1 {
			w.violation("a sandbox was started %d times", n)
		}
		after.goroutines = max(after.goroutines, s.end())
	}
	w.Rotate.Stop()

	w.checkVariety()
	w.checkReads(took)
	w.checkGrowth(before, after)
	w.checkItself(own)
	if err := log.Flush(); err != nil {
		t.Fatal(err)
	}
	w.checkLog(file)
}

// driver asks on until there are no more requests.
type driver func(next func() (n int64, more bool))

// stage lets drivers ask n requests, while rotate rotates, and then calms the world.
func (w *world) stage(name string, n int64, drivers int, drive driver) {
	start, last := time.Now(), w.asked.Load()+n
	w.calm.Store(false)
	beats := make(chan struct{}, 1) // a heartbeat may come late, or not at all
	next := func() (int64, bool) {
		n := w.asked.Add(1)
		if n%heartbeat == 0 {
			select {
			case beats <- struct{}{}:
			default:
			}
		}
		return n, n <= last && w.broken.Load() < 10
	}
	var driving, rotating sync.WaitGroup
	rotating.Go(func() {
		for range beats {
			w.rotate(w.beats)
			w.beats++
		}
	})
	for range drivers {
		driving.Go(func() { drive(next) })
	}
	driving.Wait()
	w.calm.Store(true)
	close(beats)
	rotating.Wait()
	w.asked.Store(last)
	took := time.Since(start)
	fmt.Printf("%-11d requests %s in %.1f s, %.0f a second\n", n, name, took.Seconds(), float64(n)/took.Seconds())
}

// straight drives a sandbox with events as the API gateway makes them, and some that are
// none.
func (w *world) straight() driver {
	root, err := lambdatest.Root()
	if err != nil {
		w.t.Fatal(err)
	}
	samples := make(map[bool]string)
	for fresh, name := range map[bool]string{false: "vend.json", true: "vend-no-cache.json"} {
		sample, err := os.ReadFile(filepath.Join(root, "events", name))
		if err != nil {
			w.t.Fatal(err)
		}
		samples[fresh] = strings.Replace(string(sample), "made-up-session-token", callerSession, 1)
	}
	none := []string{"null", "{}", "[]", `{"pathParameters":null}`, `"` + unreadable + `"`, "{"}
	return func(next func() (int64, bool)) {
		s := <-w.idle
		defer func() { w.idle <- s }()
		for n, more := next(); more; n, more = next() {
			q := plan(n)
			event := strings.NewReplacer(`"tenant": "default"`, fmt.Sprintf(`"tenant": %q`, q.tenant), "/tokens/default", "/tokens/"+q.tenant).Replace(samples[q.fresh])
			if q.wrong != nothing {
				q, event = request{}, none[n%int64(len(none))]
			}
			_, _ = s.ask(w.t.Context(), q, []byte(event)) // which reports what is wrong
		}
	}
}

// signed drives the gateway as callers do.
func (w *world) signed() driver {
	transport := &http.Transport{MaxIdleConnsPerHost: callers}
	return func(next func() (int64, bool)) {
		defer transport.CloseIdleConnections()
		for n, more := next(); more; n, more = next() {
			q := plan(n)
			q.tenant = url.PathEscape(q.tenant)
			start := now()
			a, err := w.get(transport, q)
			end := now()
			switch {
			case err != nil:
			case q.wrong == nothing:
				_, err = w.lawful(q, a, start, end)
			case a.status != http.StatusForbidden || a.header.Get("X-Amzn-Errortype") == "":
				err = fmt.Errorf("want 403 by the gateway itself")
			default:
				w.count(func(c *counts) { c.statuses[a.status]++ })
			}
			if err != nil {
				w.violation("a caller who asks for %q gets %d: %v", q.tenant, a.status, err)
			}
		}
	}
}

// get sends a request to the gateway.
func (w *world) get(transport *http.Transport, q request) (answer, error) {
	ctx := w.t.Context()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.APIURL+"/tokens/"+q.tenant, nil)
	if err != nil {
		return answer{}, err
	}
	if q.fresh {
		req.Header.Set("Cache-Control", "no-cache")
	}
	key := aws.Credentials{AccessKeyID: anyKey, SecretAccessKey: callerSecret, SessionToken: callerSession}
	switch q.wrong {
	case forged:
		key.SecretAccessKey = functionSecret
	case foreign:
		key.AccessKeyID, key.SessionToken = defaultKey, ""
	}
	digest := sha256.Sum256(nil)
	if err := v4.NewSigner().SignHTTP(ctx, key, req, hex.EncodeToString(digest[:]), "execute-api", harness.Region, time.Now()); err != nil {
		return answer{}, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, body}, err
}
