package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// Every kind of input, and the request that it makes.
func TestEvents(t *testing.T) {
	for _, test := range []struct {
		name  string
		event string
		want  c8auth.Request
	}{
		{"the schedule's", `{"tenant":"acme","scheduled_time":"2026-01-02T03:05:00Z"}`, c8auth.Request{Tenant: "acme"}},
		{"a tenant alone", `{"tenant":"acme"}`, c8auth.Request{Tenant: "acme"}},
		{"a tenant with the longest name", `{"tenant":"a234567890123456789012345678901"}`, c8auth.Request{Tenant: "a234567890123456789012345678901"}},
		{"an operator's request", `{"tenant":"acme","force":true}`, c8auth.Request{Tenant: "acme", Force: true}},
		{"not forced", `{"tenant":"acme","force":false}`, c8auth.Request{Tenant: "acme"}},
		{"all members", `{"scheduled_time":"x","force":true,"tenant":"acme"}`, c8auth.Request{Tenant: "acme", Force: true}},
		{"an EventBridge rule's", `{"version":"0","detail-type":"Scheduled Event","source":"aws.events","detail":{}}`, c8auth.Request{Tenant: "default"}},
		{"an empty object", `{}`, c8auth.Request{Tenant: "default"}},
		{"one with blanks", " {\n} ", c8auth.Request{Tenant: "default"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseEvent([]byte(test.event))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Anything else is refused by an error that says what was expected and repeats nothing of the
// input.
func TestMalformedEvents(t *testing.T) {
	const (
		shape = `expected {"tenant": "acme"}`
		name  = "expected a lower-case letter followed by at most 30"
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
		{"a tenant as an object", `{"tenant":{"tenant":"MARK"}}`, shape},

		{"a tenant that is null", `{"tenant":null}`, name},
		{"a tenant without a name", `{"tenant":""}`, name},
		{"another directory", `{"tenant":"../MARK"}`, name},
		{"another directory, escaped", `{"tenant":"\u002e\u002e\u002fMARK"}`, name},
		{"a tenant with a slash", `{"tenant":"a/MARK"}`, name},
		{"a tenant of 200 lower-case letters", `{"tenant":"` + strings.Repeat("a", 200) + `"}`, name},
		{"a tenant in Cyrillic", `{"tenant":"асме-MARK"}`, name},
		{"a tenant with a line end", `{"tenant":"acme\n"}`, name},
		{"every tenant", `{"tenant":"*"}`, name},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseEvent([]byte(test.event))
			if err == nil || got != (c8auth.Request{}) {
				t.Fatalf("got %+v, %v", got, err)
			}
			if !strings.Contains(err.Error(), test.expected) {
				t.Errorf("the error does not say what was expected: %v", err)
			}
			if strings.Contains(err.Error(), "MARK") || strings.Contains(err.Error(), strings.Repeat("a", 32)) {
				t.Errorf("the error repeats the input: %v", err)
			}
		})
	}
}

// A refused event is an error of the invocation and one line that repeats nothing of it. Nothing
// is called.
func TestRefusalIsLogged(t *testing.T) {
	var lines bytes.Buffer
	// A Rotator without a store and an endpoint: to call either would panic.
	h := handler{&c8auth.Rotator{Log: c8auth.NewLogger(&lines)}}
	answer, err := h.Invoke(t.Context(), []byte(`{"tenant":"acme","MARK":"MARK"}`))
	if err == nil || answer != nil {
		t.Fatalf("got %s, %v", answer, err)
	}
	var line struct {
		Level, Error string
		Code         string `json:"error_code"`
	}
	if json.Unmarshal(lines.Bytes(), &line) != nil || line.Level != "ERROR" || line.Error != err.Error() || line.Code != "invalid_input" {
		t.Errorf("logged %q, want one line of JSON that says %v", lines.String(), err)
	}
	if strings.Contains(lines.String()+err.Error(), "MARK") {
		t.Errorf("the input is repeated: %s, %v", lines.String(), err)
	}
}

// Each of the sample events is what its name says.
func TestSampleEvents(t *testing.T) {
	wants := map[string]struct {
		request c8auth.Request
		refused bool
	}{
		"rotate-schedule.json":         {request: c8auth.Request{Tenant: "default"}},
		"rotate-eventbridge-rule.json": {request: c8auth.Request{Tenant: "default"}},
		"rotate-forced.json":           {request: c8auth.Request{Tenant: "default", Force: true}},
		"rotate-unknown-shape.json":    {refused: true},
	}
	for name, event := range samples(t, "rotate") {
		if _, ok := parseReport(event); ok { // see TestSampleReports
			continue
		}
		want, known := wants[name]
		if !known {
			t.Errorf("no test knows %s", name)
			continue
		}
		delete(wants, name)
		got, err := parseEvent(event)
		if got != want.request || (err != nil) != want.refused {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
	}
	for name := range wants {
		t.Errorf("%s is missing", name)
	}
}

// samples returns the sample events of a function by the names of their files.
func samples(tb testing.TB, function string) map[string][]byte {
	tb.Helper()
	paths, err := filepath.Glob("../../events/" + function + "*.json")
	if err != nil {
		tb.Fatal(err)
	}
	events := make(map[string][]byte)
	for _, path := range paths {
		if events[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			tb.Fatal(err)
		}
	}
	return events
}
