package caller

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/c8auth/c8auth/internal/fakes/inmem"
)

// The time between attempts for one version doubles, up to two minutes. It is short again for
// another version.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backoff
		for _, want := range []time.Duration{10, 20, 40, 80, 120, 120} {
			if !b.allows("a") {
				t.Fatal("it does not allow the next attempt")
			}
			b.fail("a", 10*time.Second)
			start := time.Now()
			for !b.allows("a") {
				if !b.allows("b") {
					t.Fatal("it does not allow another version")
				}
				time.Sleep(time.Second)
			}
			if got := time.Since(start); got != want*time.Second {
				t.Errorf("it waits %v, want %v s", got, want)
			}
		}
		b.fail("b", time.Second)
		if time.Sleep(time.Second); !b.allows("b") {
			t.Error("another version waits longer than the first time")
		}
	})
}

// A time further ahead than maxBackoff was set by a wrong clock, and counts as past.
func TestPending(t *testing.T) {
	for ahead, want := range map[time.Duration]bool{-time.Hour: false, -time.Second: false, time.Minute: true, maxBackoff - time.Second: true, maxBackoff + time.Second: false, time.Hour: false} {
		if pending(now().Add(ahead)) != want {
			t.Errorf("%v ahead: want %t", ahead, want)
		}
	}
	if pending(time.Time{}) {
		t.Error("the zero time is pending")
	}
}

// A call that begins just after the failed fetch of another one does not fetch again.
func TestFetchAfterAFailedOne(t *testing.T) {
	s := &Source{URL: "http://127.0.0.1", AWS: aws.Config{Credentials: aws.AnonymousCredentials{}}} // no region: no request
	_, first := s.fetch()
	retryAt := s.retryAt
	_, second := s.fetch()
	if first == nil || !errors.Is(second, first) || s.retryAt != retryAt {
		t.Errorf("got %v, then %v", first, second)
	}
}

// No time that a Source keeps has a monotonic reading, which stands still while the machine is
// frozen. In a synctest bubble none has one, so this test uses real time.
func TestWallClock(t *testing.T) {
	responding := func(handler http.HandlerFunc) *Source {
		return &Source{URL: "https://localhost", AWS: aws.Config{Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("AKIACALLER", "example", "")}, Base: inmem.Transport{Handler: handler}}
	}
	failing := responding(http.NotFound)
	keeping := responding(func(w http.ResponseWriter, _ *http.Request) { // to a fetch and to a report
		_, _ = io.WriteString(w, `{"outcome":"kept","access_token":"a","token_type":"Bearer","expires_in":3600,"version":"v","base_url":"https://acme.communic8.com"}`)
	})
	if _, err := failing.Token(); !errors.Is(err, ErrUnreachable) {
		t.Fatal(err)
	}
	token, err := keeping.Token()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeping.Reject(t.Context(), token); !errors.Is(err, ErrKept) {
		t.Fatal(err)
	}
	for name, kept := range map[string]time.Time{
		"retryAt": failing.retryAt, "expiry": keeping.held.expiry, "refresh": keeping.held.refresh, "lookups": keeping.lookups.until, "reports": keeping.reports.until,
	} {
		if kept.IsZero() || kept != kept.Round(0) { // which removes the reading
			t.Errorf("%s is %v", name, kept)
		}
	}
}
