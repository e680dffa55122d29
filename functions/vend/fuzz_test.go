package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

// Whatever the payload, the invocation succeeds with an answer that a caller can read and
// nobody may cache. What is not a tenant's name is in neither the answer nor the log.
func FuzzInvoke(f *testing.F) {
	f.Add([]byte(`{"path":"/tokens/acme","pathParameters":{"tenant":"acme"}}`), "acme", "cache-control", "max-age=0, no-cache")
	f.Add([]byte(`{"pathParameters":{"tenant":1}}`), "unknown", "Cache-Control", "no-store")
	f.Add([]byte(`null`), "../M4RK-7f3a", "", "")
	f.Add([]byte{}, "Acme", "x", "y")
	const mark = "M4RK-7f3a"
	f.Fuzz(func(t *testing.T, raw []byte, tenant, header, value string) {
		tenant += mark // which makes it none
		event, err := json.Marshal(events.APIGatewayProxyRequest{
			Path:           "/tokens/" + tenant,
			PathParameters: map[string]string{"tenant": tenant},
			Headers:        map[string]string{header: value},
		})
		if err != nil {
			t.Fatal(err)
		}
		run(t, func(f *fixture) {
			f.put(token, time.Hour)
			for _, payload := range [][]byte{raw, event} {
				answer := f.invoke(payload)
				if !slices.Contains([]int{http.StatusOK, http.StatusBadRequest, http.StatusNotFound, http.StatusServiceUnavailable}, answer.StatusCode) {
					t.Errorf("HTTP %d", answer.StatusCode)
				}
				if answer.Headers["Cache-Control"] != "no-store" || answer.Headers["Content-Type"] != "application/json" || !json.Valid([]byte(answer.Body)) {
					t.Errorf("answered %+v", answer)
				}
				if (answer.StatusCode == http.StatusOK) != strings.Contains(answer.Body, token) {
					t.Errorf("HTTP %d with %s", answer.StatusCode, answer.Body)
				}
			}
			if answer := f.invoke(event); answer.StatusCode != http.StatusBadRequest || strings.Contains(answer.Body, mark) {
				t.Errorf("%q: HTTP %d %s", tenant, answer.StatusCode, answer.Body)
			}
			logged := f.Log.Take()
			if strings.Contains(logged, token) {
				t.Errorf("logged a token: %s", logged)
			}
			if !strings.Contains(string(raw), mark) && strings.Contains(logged, mark) {
				t.Errorf("logged what is no tenant's name: %s", logged)
			}
		})
	})
}

// Whatever the path and the stage, only the API's own lead to a token, and nothing of a path
// that is refused is logged or answered.
func FuzzPath(f *testing.F) {
	f.Add("/tokens/acme", "v1")
	f.Add("/auth/tokens/acme", "test-invoke-stage")
	f.Add("/v1/tokens/%61cme", "v1")
	f.Add("/tokens/acme/", "v1")
	f.Add("/tokens/M4RK-7f3a/../acme", "")
	const mark = "M4RK-7f3a"
	f.Fuzz(func(t *testing.T, path, stage string) {
		run(t, func(f *fixture) {
			f.put(token, time.Hour)
			for _, path := range []string{path, mark + path, path + mark} {
				in := event("acme")
				in.Path, in.RequestContext.Stage = strings.ToValidUTF8(path, "\ufffd"), strings.ToValidUTF8(stage, "\ufffd") // as JSON has it
				answer := f.send(in)
				good := strings.HasSuffix(in.Path, "/tokens/acme") && in.RequestContext.Stage != "test-invoke-stage"
				if want := map[bool]int{true: http.StatusOK, false: http.StatusBadRequest}[good]; answer.StatusCode != want {
					t.Errorf("%q of %q: HTTP %d, want %d", path, stage, answer.StatusCode, want)
				}
				if logged := f.Log.Take(); strings.Contains(answer.Body, mark) || strings.Contains(logged, mark) {
					t.Errorf("%q is shown by %s or %s", path, answer.Body, logged)
				}
			}
		})
	})
}
