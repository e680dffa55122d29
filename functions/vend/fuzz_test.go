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

// Whatever the payload, the invocation succeeds with an answer that a caller can read
// and nobody may keep. What is not a tenant's name is in neither the answer nor the log.
func FuzzInvoke(f *testing.F) {
	f.Add([]byte(`{"pathParameters":{"tenant":"acme"}}`), "acme", "cache-control", "max-age=0, no-cache")
	f.Add([]byte(`{"pathParameters":{"tenant":1}}`), "unknown", "Cache-Control", "no-store")
	f.Add([]byte(`null`), "../M4RK-7f3a", "", "")
	f.Add([]byte{}, "Acme", "x", "y")
	const mark = "M4RK-7f3a"
	f.Fuzz(func(t *testing.T, raw []byte, tenant, header, value string) {
		tenant += mark // which makes it none
		event, err := json.Marshal(events.APIGatewayProxyRequest{
			PathParameters: map[string]string{"tenant": tenant},
			Headers:        map[string]string{header: value},
		})
		if err != nil {
			t.Fatal(err)
		}
		inWorld(t, func(w *world) {
			w.put(acme, token, time.Hour)
			for _, payload := range [][]byte{raw, event} {
				answer := w.invoke(payload)
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
			if answer := w.invoke(event); answer.StatusCode != http.StatusBadRequest || strings.Contains(answer.Body, mark) {
				t.Errorf("%q: HTTP %d %s", tenant, answer.StatusCode, answer.Body)
			}
			if strings.Contains(w.lines.String(), token) {
				t.Errorf("logged a token: %s", w.lines)
			}
			if !strings.Contains(string(raw), mark) && strings.Contains(w.lines.String(), mark) {
				t.Errorf("logged what is no tenant's name: %s", w.lines)
			}
		})
	})
}
