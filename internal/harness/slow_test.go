//go:build slow

package harness_test

import (
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
)

// TestProgramThroughExpiry: in real time, with heartbeats every second and tokens that are
// valid for 80 seconds, the program runs on until two of them have expired, though none is
// issued for half the lifetime of one, from its issue on.
func TestProgramThroughExpiry(t *testing.T) {
	const lifetime = 80 * time.Second
	s := start(t)
	s.Communic8.Set(func(b *c8test.Behaviour) { b.Lifetime = lifetime })
	store(s)
	rotate(t, s, "rotated", "first_token")
	p := runProgram(t, s)
	begin, requests, sent := time.Now(), 0, make(map[string]bool)
	var outage time.Time // when it began
	heartbeats := time.NewTicker(time.Second)
	defer heartbeats.Stop()
	idle := make(chan struct{}, 1)
	for issued := s.Communic8.Issued(); len(issued) < 3 || s.Communic8.Valid(issued[1]); issued = s.Communic8.Issued() {
		if outage.IsZero() && len(issued) == 2 {
			outage = time.Now()
		}
		p.outage.Store(time.Since(outage) < lifetime/2)
		select {
		case <-heartbeats.C:
			select {
			case idle <- struct{}{}: // an outage makes one last for several beats
				go func() {
					_, _ = s.Rotate.Invoke(t.Context(), []byte(heartbeat))
					<-idle
				}()
			default:
			}
		case authorization := <-p.requests:
			requests++
			sent[authorization] = true
		case <-p.ended:
			t.Fatalf("after %v, a request of the program failed: %s", time.Since(begin), &p.output)
		}
	}
	t.Logf("%d requests with %d tokens in %v", requests, len(sent), time.Since(begin))
	if len(sent) < 3 {
		t.Errorf("it sent %d tokens", len(sent))
	}
}
