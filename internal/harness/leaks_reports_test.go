package harness_test

// Reports of rejections through the real binaries.

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// reports are the paths of rotate that begin at the API, with marks for what callers
// should not send and for what Communic8 and the store repeat.
func reports() []leakCase {
	return []leakCase{
		{"reports of all kinds", func(w *world) {
			w.store(w.oauth())
			w.rotates(heartbeat, `"first_token"`)
			_, first := w.sm.Value(tokenName)
			w.c8.Revoke(w.c8.Issued()[0])
			w.reported(reporting(first), http.StatusOK, `"rotated"`)
			_, second := w.sm.Value(tokenName)
			w.reported(reporting(second), http.StatusOK, `"kept"`)
			w.reported(reporting(first), http.StatusOK, `"superseded"`)
			w.reported(reporting(accessToken), http.StatusOK, `"superseded"`)
			w.reported(`{"access_token":`+quote(accessToken)+`}`, http.StatusBadRequest, "invalid_request")
			w.reported(quote(accessToken), http.StatusBadRequest, "invalid_request")
			w.reported(accessToken, http.StatusBadRequest, "invalid_request")
		}},
		{"a report while Communic8 repeats all that it is sent", func(w *world) {
			w.store(w.oauth())
			w.rotates(heartbeat, `"first_token"`)
			_, first := w.sm.Value(tokenName)
			w.c8.Revoke(w.c8.Issued()[0])
			w.at(c8test.TokenPath, func(echo string) *c8test.Fault {
				return &c8test.Fault{Status: http.StatusUnauthorized, Body: echo}
			})
			w.reported(reporting(first), http.StatusServiceUnavailable, "no new one yet")
			w.reported(reporting(first), http.StatusServiceUnavailable, "another report")
		}},
		{"a report while the store repeats all that it is sent", func(w *world) {
			w.store(w.oauth())
			w.rotates(heartbeat, `"first_token"`)
			_, first := w.sm.Value(tokenName)
			w.c8.Revoke(w.c8.Issued()[0])
			w.onStore("PutSecretValue", func(_ *http.Request, echo string) *smtest.Fault {
				return &smtest.Fault{Status: http.StatusBadRequest, Type: "EncryptionFailure", Message: echo}
			})
			w.reported(reporting(first), http.StatusServiceUnavailable, "cannot be reached")
		}},
	}
}

func reporting(version string) string { return `{"version":` + quote(version) + `}` }

// reported sends a report as API Gateway does, and expects the status and want in the
// answer.
func (w *world) reported(body string, status int, want string) {
	w.t.Helper()
	event, err := json.Marshal(map[string]any{
		"resource": "/tokens/{tenant}/rejections", "path": "/tokens/default/rejections", "httpMethod": http.MethodPost,
		"pathParameters": map[string]string{"tenant": "default"}, "body": body,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	answer, err := w.rotate.Invoke(w.t.Context(), event)
	if err != nil {
		w.t.Errorf("rotate fails: %v", w.failure("rotate", err))
		return
	}
	w.seen.add("answer of rotate", string(answer))
	var got struct {
		StatusCode int    `json:"statusCode"`
		Body       string `json:"body"`
	}
	if err := json.Unmarshal(answer, &got); err != nil || got.StatusCode != status || !strings.Contains(got.Body, want) {
		w.t.Errorf("rotate answers %s, want %d with %s", answer, status, want)
	}
}
