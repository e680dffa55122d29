package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// Any event is a request for a tenant's rotation, or is refused without repeating it.
func FuzzEvent(f *testing.F) {
	f.Add(`{"tenant":"acme"}`, ``)
	f.Add(`{"tenant":"`, `"}`)
	f.Add(`{"tenant":"acme","force":true,"scheduled_time":"`, `"}`)
	f.Add(`{"detail-type":"Scheduled Event","detail":"`, `"}`)
	f.Add(`{"Tenant":"`, `"}`)
	f.Add(`{"tenant":"acme","tenant":"`, `"}`)
	f.Add(`{}`, ``)
	const mark = "M4RK-7f3a"
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, payload := range []string{before + after, before + mark + after} {
			request, err := parseEvent([]byte(payload))
			if err != nil {
				if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, mark) {
					t.Errorf("the error shows the event: %s", text)
				}
				if request != (c8auth.Request{}) {
					t.Error("an error and a request")
				}
				continue
			}
			if err := c8auth.CheckTenant(request.Tenant); err != nil {
				t.Errorf("%q: %v", request.Tenant, err)
			}
			if request.Force && !strings.Contains(payload, "force") && !strings.Contains(payload, `\u`) {
				t.Errorf("%q forces", payload)
			}
			// The same request as an operator writes it.
			plain, err := json.Marshal(map[string]any{"tenant": request.Tenant, "force": request.Force})
			if err != nil {
				t.Fatal(err)
			}
			if again, err := parseEvent(plain); err != nil || again != request {
				t.Errorf("%+v, and said again %+v, %v", request, again, err)
			}
		}
	})
}
