package c8auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// Secrets Manager is not asked more often than is said of storePause, by any process and
// whatever it answers, so that a thousand processes cannot keep it throttled for ever.
// Writes come as they do when a thousand schedules were made at once.
func TestStorms(t *testing.T) {
	const many, perSecond = 1000, 50
	faults := map[string]smtest.Fault{
		"throttles": {Status: 400, Type: "ThrottlingException"},
		"fails":     {Status: 503, Type: "ServiceUnavailable"},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				second, taken, most, total := int64(0), 0, 0, 0 // of the latest second
				var mu sync.Mutex
				w.smFaults(func(string, string) *smtest.Fault {
					mu.Lock()
					defer mu.Unlock()
					total++
					if now := time.Now().Unix(); now != second {
						second, taken = now, 0
					}
					if taken++; taken > perSecond {
						return &fault
					}
					return nil
				})
				var storing sync.WaitGroup
				failed := 0
				start := time.Now()
				for i := range many {
					tenant := fmt.Sprintf("t%d", i)
					w.sm.Create("stack/token/" + tenant)
					requests := make(map[int64]int)
					store := w.clone(func(h http.Handler) http.Handler {
						return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
							mu.Lock()
							requests[time.Now().Unix()]++
							if n := requests[time.Now().Unix()]; time.Since(start) > 2*time.Second {
								most = max(most, n)
							} else if n > 6 {
								t.Errorf("%d requests of one process in its first seconds", n)
							}
							mu.Unlock()
							h.ServeHTTP(rw, r)
						})
					}).Store
					storing.Go(func() {
						time.Sleep(time.Duration(i) * time.Microsecond)
						ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
						defer cancel()
						token := Token{BaseURL: acmeBase, AccessToken: NewSecret("x"), TokenType: bearer, IssuedAt: time.Now().UTC()}
						if _, err := store.PutToken(ctx, tenant, token, ""); err != nil {
							mu.Lock()
							failed++
							mu.Unlock()
						}
					})
				}
				storing.Wait()
				t.Logf("%d processes, %d requests in %v, at most %d a process and second, %d failed", many, total, time.Since(start), most, failed)
				if most > 2 || failed > 0 {
					t.Errorf("at most %d requests of a process in a second, %d processes failed", most, failed)
				}
			})
		})
	}
}

// The quota of versions is not a reason to repeat a write: it stays reached for hours.
func TestQuotaIsNotRetried(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.smFault("PutSecretValue", smtest.Fault{Status: 400, Type: "LimitExceededException", Message: "MARK"})
		_, err := w.rotate(false)
		if !errors.Is(err, ErrQuota) || errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "MARK") || w.sm.Calls("PutSecretValue") != 1 {
			t.Errorf("got %v after %d writes", err, w.sm.Calls("PutSecretValue"))
		}
		if line := w.line(); line["error_code"] != "version_quota" {
			t.Errorf("logged %v", line)
		}
		// The same token is stored later, and nothing but a token ever is the first version.
		if _, err := w.rotate(false); !errors.Is(err, ErrQuota) || w.c8.Requests() != 1 {
			t.Errorf("got %v after %d token requests", err, w.c8.Requests())
		}
		time.Sleep(24 * time.Hour)
		w.smFaults(nil)
		w.must(Rotated, FirstToken)
		w.living()
	})
}

// An empty string in either secret counts as none stored.
func TestEmptyValues(t *testing.T) {
	empty := func(w *world, secret string) {
		w.smFaults(func(op, name string) *smtest.Fault {
			if op == "GetSecretValue" && name == secret {
				return &smtest.Fault{Status: 200, Body: `{"SecretString":"","VersionId":"306a4d88-cec6-8b9b-b6b8-5825ad19c40b"}`}
			}
			return nil
		})
	}
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		empty(w, acmeToken)
		if _, err := w.vend(false); !errors.Is(err, ErrNoToken) {
			t.Errorf("vend: %v", err)
		}
		w.must(Rotated, FirstToken)
		w.living()
	})
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		empty(w, acmeCreds)
		w.must(Waiting, "")
		w.smFaults(nil)
		w.must(Rotated, FirstToken)
		empty(w, acmeCreds)
		w.must(Fresh, "")
		time.Sleep(12 * time.Hour)
		w.must(Waiting, "")
		w.living()
	})
}

// What is wrong with the AWS configuration is said without quoting it.
func TestOpenStoreRefuses(t *testing.T) {
	malformed := filepath.Join(t.TempDir(), "MARK")
	if err := os.WriteFile(malformed, []byte("[default]\nmax_attempts = MARK\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": malformed, "AWS_PROFILE": "MARK", "AWS_CA_BUNDLE": malformed, "AWS_MAX_ATTEMPTS": "MARK", "AWS_RETRY_MODE": "MARK",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_CONFIG_FILE", os.DevNull)
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
			t.Setenv(name, value)
			if _, err := OpenStore(t.Context(), "stack"); !errors.Is(err, ErrSettings) || strings.Contains(err.Error(), "MARK") {
				t.Errorf("got %v", err)
			}
		})
	}
}
