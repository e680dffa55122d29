package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
)

// read returns the text of a file of the source tree.
func read(t *testing.T, path string) string {
	t.Helper()
	root, err := lambdatest.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// An answer is shown without its token, and with what is wrong with its headers.
func TestAnswer(t *testing.T) {
	for _, test := range []struct {
		status       int
		cache, retry string
		body, want   string
	}{
		{200, "no-store", "", `{"access_token":"M4RK","version":"x"}`, "200 a token"},
		{200, "", "", `{"access_token":"M4RK"}`, "200 a token, which may be cached"},
		{200, "no-store", "", `{"outcome":"rotated","reason":"rejected"}`, "200 rotated rejected"},
		{200, "no-store", "", `{"outcome":"kept"}`, "200 kept"},
		{404, "no-store", "", `{"error":"unknown_tenant"}`, "404 unknown_tenant"},
		{503, "no-store", "5", `{"error":"temporarily_unavailable"}`, "503 temporarily_unavailable"},
		{503, "no-store", "", `{"error":"temporarily_unavailable"}`, "503 temporarily_unavailable, without Retry-After"},
		{403, "", "", `{"message":"Missing Authentication Token"}`, "403"},
		{502, "", "", "", "502"},
	} {
		a := answer{status: test.status, header: http.Header{"Cache-Control": {test.cache}, "Retry-After": {test.retry}}}
		_ = json.Unmarshal([]byte(test.body), &a.body)
		if got := a.String(); got != test.want {
			t.Errorf("%d %s: %q, want %q", test.status, test.body, got, test.want)
		}
	}
}

// Denied is what AWS denies, and nothing else that fails.
func TestMay(t *testing.T) {
	for text, want := range map[string]string{
		"exit status 254: An error occurred (AccessDeniedException) when calling the Invoke operation: denied":           "denied",
		"exit status 254: An error occurred (AccessDenied) when calling the AssumeRole operation: denied":                "denied",
		"exit status 254: An error occurred (ResourceNotFoundException) when calling the Invoke operation: AccessDenied": "",
		"the connection broke": "",
	} {
		if got, err := may(errors.New(text)); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	if got, err := may(nil); got != "allowed" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// The Sids of a policy are found, whether API Gateway quotes it or not.
func TestSids(t *testing.T) {
	const text = `{"Version":"2012-10-17","Statement":[{"Sid":"OnlyOverTLS","Effect":"Deny"},{"Sid": "OtherCallers"}]}`
	for _, text := range []string{text, strings.ReplaceAll(text, `"`, `\"`)} {
		if diff := cmp.Diff("OnlyOverTLS, OtherCallers", sids(text)); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// The documentation has the commands of a deletion, in their order, for any stack.
func TestDocumentedDeletion(t *testing.T) {
	got, err := documentedDeletion(read(t, "docs/deploying.md"), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if got.tenant != "sam delete --stack-name demo-acme" || got.stack != "sam delete --stack-name demo" ||
		!strings.Contains(got.key, "alias/demo ") || !strings.Contains(got.removeSecrets, "demo/token/default") || !strings.Contains(got.removeKey, `"$key"`) {
		t.Errorf("%+v", got)
	}
	if _, err := documentedDeletion("\n## Deleting\n$ rm -r /\n", "demo"); err == nil {
		t.Error("commands that are not known are run")
	}
}

// Every fault changes its file, in one place, and only there.
func TestFaults(t *testing.T) {
	if len(faults) < 10 {
		t.Errorf("%d faults", len(faults))
	}
	for _, f := range faults {
		text := read(t, f.file)
		changed, err := f.change(text)
		if err != nil {
			t.Error(err)
			continue
		}
		if changed == text {
			t.Errorf("%s: nothing is changed", f.name)
		}
		if before, after := strings.Count(text, "\n"), strings.Count(changed, "\n"); after < before-7 || after > before+1 {
			t.Errorf("%s: %d lines became %d", f.name, before, after)
		}
	}
	if got, err := (fault{"x", "x", `(b) c`, "$${Name} ${1}"}).change("a b c b c"); err != nil || got != "a ${Name} b b c" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := (fault{"x", "x", "no such text", ""}).change("text"); err == nil {
		t.Error("a fault that changes nothing is planted")
	}
}

// The step that failed is found in what a run printed.
func TestFailedStep(t *testing.T) {
	table, out := newTable()
	table.expect("good", "x")("x", nil)
	if got := failedStep(out.String()); got != "" {
		t.Errorf("%q", got)
	}
	table.expect("vend: read the credentials", "denied")("allowed", nil)
	if got, want := failedStep(out.String()), "vend: read the credentials | denied | allowed"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
