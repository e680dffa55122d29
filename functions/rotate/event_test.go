package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// Every kind of input, and the request that it makes.
func TestEvents(t *testing.T) {
	for event, want := range map[string]c8auth.Request{
		`{"tenant":"acme","scheduled_time":"2026-01-02T03:05:00Z"}`: {Tenant: "acme"},
		`{"tenant":"acme"}`:                                                                 {Tenant: "acme"},
		`{"tenant":"a234567890123456789012345678901"}`:                                      {Tenant: "a234567890123456789012345678901"},
		`{"tenant":"acme","force":true}`:                                                    {Tenant: "acme", Force: true},
		`{"tenant":"acme","force":false}`:                                                   {Tenant: "acme"},
		`{"scheduled_time":"x","force":true,"tenant":"acme"}`:                               {Tenant: "acme", Force: true},
		`{"version":"0","detail-type":"Scheduled Event","source":"aws.events","detail":{}}`: {Tenant: "default"},
		`{}`:     {Tenant: "default"},
		" {\n} ": {Tenant: "default"},
	} {
		if got, err := parseEvent([]byte(event)); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", event, got, err, want)
		}
	}
}

// Anything else is an error of the invocation, and one line, that say what was expected and repeat
// nothing of the input. Nothing is called.
func TestMalformedEvents(t *testing.T) {
	const (
		shape = `malformed input: expected {"tenant": "acme"}`
		name  = "tenant: not a tenant's name: expected a lower-case letter"
	)
	for _, test := range []struct{ name, event, expected string }{
		{"nothing at all", ``, shape},
		{"blanks", ` `, shape},
		{"no JSON", `MARK`, shape},
		{"JSON that is cut off", `{"tenant":"MARK`, shape},
		{"JSON and more", `{"tenant":"acme"}MARK`, shape},
		{"null", `null`, shape},
		{"a list", `["MARK"]`, shape},
		{"a string", `"MARK"`, shape},
		{"a number", `1`, shape},
		{"force alone", `{"force":true}`, shape},
		{"another case", `{"Tenant":"MARK"}`, shape},
		{"force in another case", `{"tenant":"acme","FORCE":true}`, shape},
		{"an unknown key", `{"tenant":"acme","MARK":"MARK"}`, shape},
		{"another type of event", `{"detail-type":"MARK","source":"aws.events","detail":{"tenant":"acme"}}`, shape},
		{"a type of event in a list", `{"detail-type":["Scheduled Event"],"detail":"MARK"}`, shape},
		{"force as a string", `{"tenant":"acme","force":"MARK"}`, shape},
		{"a time as a number", `{"tenant":"acme","scheduled_time":1767323100}`, shape},
		{"a tenant as a number", `{"tenant":1}`, shape},
		{"another route of the API", `{"resource":"/tokens/{tenant}","httpMethod":"POST"}`, shape},
		{"another method of the route", `{"resource":"/tokens/{tenant}/rejections","httpMethod":"GET"}`, shape},
		{"a tenant as an object", `{"tenant":{"tenant":"MARK"}}`, shape},

		{"a tenant that is null", `{"tenant":null}`, name},
		{"a tenant without a name", `{"tenant":""}`, name},
		{"another directory", `{"tenant":"../MARK"}`, name},
		{"another directory, escaped", `{"tenant":"\u002e\u002e\u002fMARK"}`, name},
		{"a tenant of 200 lower-case letters", `{"tenant":"` + strings.Repeat("mark", 50) + `"}`, name},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log bytes.Buffer
			// A Rotator without a store and an endpoint: to call either would panic.
			answer, err := handler{&c8auth.Rotator{Log: c8auth.NewLogger(&log)}}.Invoke(t.Context(), []byte(test.event))
			if answer != nil || err == nil || !strings.HasPrefix(err.Error(), test.expected) || strings.Contains(strings.ToUpper(err.Error()+log.String()), "MARK") {
				t.Errorf("got %s, %v, logged %s", answer, err, &log)
			}
			var line struct {
				Level, Error string
				Code         string `json:"error_code"`
			}
			if json.Unmarshal(log.Bytes(), &line) != nil || line.Level != "ERROR" || line.Error != err.Error() || line.Code != c8auth.Code(err) || line.Code == "internal" {
				t.Errorf("logged %s, want one line of JSON that says %v", &log, err)
			}
		})
	}
}

// Each of the sample events is what its name says. Those of the other function are refused.
func TestSampleEvents(t *testing.T) {
	refused := fmt.Sprint("{Tenant: Force:false}, ", errEvent)
	wants := map[string]string{
		"rotate-schedule.json":            "{Tenant:default Force:false}, <nil>",
		"rotate-eventbridge-rule.json":    "{Tenant:default Force:false}, <nil>",
		"rotate-forced.json":              "{Tenant:default Force:true}, <nil>",
		"rotate-unknown-shape.json":       refused,
		"rotate-rejection.json":           "a report of default, <nil>",
		"rotate-rejection-malformed.json": fmt.Sprint("a report of default, ", errBody),
	}
	paths, err := filepath.Glob("../../events/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		event, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if report, ok := parseReport(event); ok {
			_, err := reportedVersion(report.Body)
			got = fmt.Sprintf("a report of %s, %v", report.Tenant, err)
		} else {
			request, err := parseEvent(event)
			got = fmt.Sprintf("%+v, %v", request, err)
		}
		name := filepath.Base(path)
		want := wants[name]
		delete(wants, name)
		if strings.HasPrefix(name, "vend") {
			want = refused
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	for name := range wants {
		t.Errorf("%s is missing", name)
	}
}

// Any event is a request for a tenant's rotation, or is refused without repeating it.
func FuzzEvent(f *testing.F) {
	for _, parts := range [][2]string{
		{`{"tenant":"acme"}`, ``}, {`{"tenant":"`, `"}`}, {`{"tenant":"acme","force":true,"scheduled_time":"`, `"}`}, {`{"detail-type":"Scheduled Event","detail":"`, `"}`},
		{`{"Tenant":"`, `"}`}, {`{"tenant":"acme","tenant":"`, `"}`}, {`{}`, ``},
	} {
		f.Add(parts[0], parts[1])
	}
	const mark = "M4RK-7f3a"
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, payload := range []string{before + after, before + mark + after} {
			request, err := parseEvent([]byte(payload))
			if err != nil {
				if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, mark) || request != (c8auth.Request{}) {
					t.Errorf("got %+v, and %s", request, text)
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
			plain := fmt.Sprintf(`{"tenant":%q,"force":%t}`, request.Tenant, request.Force)
			if again, err := parseEvent([]byte(plain)); err != nil || again != request {
				t.Errorf("%+v, and said again %+v, %v", request, again, err)
			}
		}
	})
}
