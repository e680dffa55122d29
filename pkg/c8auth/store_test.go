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

// However Secrets Manager refuses requests, a process makes no more of them than the comment of
// storePause says, and no more than two in any second if they are throttled, so that a thousand
// processes that write at once all succeed.
func TestThousandWriters(t *testing.T) {
	const many, perSecond = 1000, 50
	type test struct {
		fault smtest.Fault
		first int // requests of a process in its first seconds, at most
	}
	forEach(t, map[string]test{
		"throttles": {smtest.Fault{Status: 400, Type: "ThrottlingException"}, 2},
		"fails":     {smtest.Fault{Status: 503, Type: "ServiceUnavailable"}, 6},
	}, func(e *env, test test) {
		var mu sync.Mutex
		accepted := make(map[int64]int) // by second
		e.storeFaults(func(string, string) *smtest.Fault {
			mu.Lock()
			defer mu.Unlock()
			second := time.Now().Unix()
			if accepted[second]++; accepted[second] > perSecond {
				return &test.fault
			}
			return nil
		})
		start := time.Now()
		var writing sync.WaitGroup
		for i := range many {
			tenant := fmt.Sprintf("t%d", i)
			e.sm.Create("stack/token/" + tenant)
			requests := make(map[int64]int) // of this process, by second
			store := e.process(func(*http.Request) {
				mu.Lock()
				defer mu.Unlock()
				second := time.Now().Unix()
				requests[second]++
				if n := requests[second]; n > test.first || n > 2 && time.Since(start) > 2*time.Second {
					e.Errorf("%d requests of a process in a second, %v after the start", n, time.Since(start))
				}
			}).Store
			writing.Go(func() {
				time.Sleep(time.Duration(i) * time.Microsecond)
				ctx, cancel := context.WithTimeout(e.Context(), time.Minute)
				defer cancel()
				if _, err := store.PutToken(ctx, tenant, newToken("x", time.Hour), ""); err != nil {
					e.Error(err)
				}
			})
		}
		writing.Wait()
	})
}

// An error says which call on which secret failed and why, and shows nothing of the response.
func TestStoreErrors(t *testing.T) {
	type test struct {
		fault smtest.Fault
		want  string
	}
	forEach(t, map[string]test{
		"denied":                    {smtest.Fault{Status: 400, Type: "AccessDeniedException", Message: "MARK"}, "the secret store is unavailable: access denied: GetSecretValue of stack/token/acme: AccessDeniedException: the function's role needs secretsmanager:GetSecretValue on it, and the use of its KMS key if it has one of its own"},
		"throttled":                 {smtest.Fault{Status: 400, Type: "ThrottlingException", Message: "MARK"}, "the secret store is unavailable: GetSecretValue of stack/token/acme: Secrets Manager kept failing or throttling until the deadline"},
		"an unknown code":           {smtest.Fault{Status: 400, Type: "MARKException", Message: "MARK"}, "the secret store is unavailable: GetSecretValue of stack/token/acme: an error without a known name"},
		"an invalid request":        {smtest.Fault{Status: 400, Type: "InvalidRequestException", Message: "MARK"}, "the secret store is unavailable: GetSecretValue of stack/token/acme: InvalidRequestException"},
		"no AWS error":              {smtest.Fault{Status: 500, Body: "MARK"}, "the secret store is unavailable: GetSecretValue of stack/token/acme: "},
		"an answer that is no JSON": {smtest.Fault{Status: 200, Body: "MARK"}, "the secret store is unavailable: GetSecretValue of stack/token/acme: Secrets Manager gives an unreadable answer (HTTP 200)"},
		"broken off":                {smtest.Fault{Break: true}, "the secret store is unavailable: GetSecretValue of stack/token/acme: Secrets Manager kept failing or throttling until the deadline"},
		"no answer":                 {smtest.Fault{Hang: true}, "the secret store is unavailable: GetSecretValue of stack/token/acme: Secrets Manager kept failing or throttling until the deadline"},
	}, func(e *env, test test) {
		e.storeFault("GetSecretValue", "", test.fault)
		_, err := e.vend(false)
		if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrDenied) != strings.Contains(test.want, "denied") || !strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), "MARK") {
			e.Errorf("got  %v\nwant %s", err, test.want)
		}
	})
	withEnv(t, func(e *env) {
		e.storeFault("", "", smtest.Fault{Break: true})
		_, _, err := e.rotator.Store.Token(e.Context(), "acme") // whose attempts end, as there is no deadline
		if want := "the secret store is unavailable: GetSecretValue of stack/token/acme: Secrets Manager broke the connection off"; !strings.HasPrefix(fmt.Sprint(err), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}

// An empty string in a secret counts as none, and so does, before the first value, the empty
// version under AWSPENDING that aws secretsmanager rotate-secret leaves when its function fails. A
// binary value does not: it is none that can be read.
func TestEmptyValues(t *testing.T) {
	withEnv(t, func(e *env) {
		e.storeFault("GetSecretValue", "", smtest.Fault{Status: 200, Body: `{"SecretBinary":"e30=","VersionId":"306a4d88-cec6-8b9b-b6b8-5825ad19c40b"}`})
		if _, err := e.vend(false); !errors.Is(err, ErrUnreadable) {
			t.Errorf("got %v", err)
		}
		if _, err := e.rotate(false); !errors.Is(err, ErrCredentials) {
			t.Errorf("got %v", err)
		}
	})
	empty := smtest.Fault{Status: 200, Body: `{"SecretString":"","VersionId":"306a4d88-cec6-8b9b-b6b8-5825ad19c40b"}`}
	withEnv(t, func(e *env) {
		e.sm.Put(acmeCredentials, client)
		e.storeFault("GetSecretValue", acmeToken, empty)
		if _, err := e.vend(false); !errors.Is(err, ErrNoToken) {
			t.Errorf("got %v", err)
		}
		e.mustRotate(Rotated, FirstToken)
		e.mustBeValid()
	})
	withEnv(t, func(e *env) {
		e.start(client)
		e.storeFault("GetSecretValue", acmeCredentials, empty)
		e.mustRotate(Fresh, "")
		time.Sleep(12 * time.Hour)
		e.mustRotate(Waiting, "")
		e.mustBeValid()
	})
	for _, before := range []bool{true, false} {
		withEnv(t, func(e *env) {
			if !before {
				e.start(client)
			}
			e.sm.Rotate(acmeCredentials)
			e.sm.Rotate(acmeToken)
			if before {
				e.mustRotate(Waiting, "")
				e.start(client)
			}
			e.mustRotate(Fresh, "")
			token, _ := e.stored()
			e.mustVend(true, token.AccessToken.Reveal())
			time.Sleep(12 * time.Hour)
			e.mustRotate(Rotated, HalfLife)
			e.mustReport(e.revoke(), Rotated)
			e.sm.Put(acmeCredentials, client)
			e.mustRotate(Rotated, CredentialsChanged)
			e.mustBeValid()
		})
	}
}

// A malformed AWS configuration is an error that does not quote it.
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
