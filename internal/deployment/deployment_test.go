package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
)

func root(t *testing.T) string {
	t.Helper()
	root, err := lambdatest.Root()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// What rotate answered is outcome and reason, or its error, whatever is printed after it.
func TestResult(t *testing.T) {
	for printed, want := range map[string]string{
		`{"tenant":"default","outcome":"rotated","reason":"first_token","version":"x"}`: "rotated first_token",
		`{"outcome":"waiting"}{` + "\n" + `"StatusCode": 200}`:                          "waiting",
		`{"errorMessage":"refused","errorType":"x"}`:                                    "refused",
		"":         "",
		"nonsense": "",
	} {
		if got := result(printed); got != want {
			t.Errorf("%s: %q, want %q", printed, got, want)
		}
	}
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
		a := answer{status: test.status, header: http.Header{}}
		a.header.Set("Cache-Control", test.cache)
		if test.retry != "" {
			a.header.Set("Retry-After", test.retry)
		}
		_ = json.Unmarshal([]byte(test.body), &a.body)
		if got := a.String(); got != test.want {
			t.Errorf("%d %s: %q, want %q", test.status, test.body, got, test.want)
		}
	}
}

// Denied is what AWS denies, and nothing else that fails.
func TestMay(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
		ok   bool
	}{
		{nil, "allowed", true},
		{&smithy.GenericAPIError{Code: "AccessDeniedException"}, "denied", true},
		{&smithy.OperationError{Err: &smithy.GenericAPIError{Code: "AccessDenied"}}, "denied", true},
		{&smithy.GenericAPIError{Code: "ResourceNotFoundException"}, "", false},
		{errors.New("the connection broke"), "", false},
	} {
		if got, err := may(test.err); got != test.want || (err == nil) != test.ok {
			t.Errorf("%v: %q, %v", test.err, got, err)
		}
	}
}

// The Sids of a policy are found, whether API Gateway quotes it or not.
func TestSids(t *testing.T) {
	for _, text := range []string{
		`{"Version":"2012-10-17","Statement":[{"Sid":"OnlyOverTLS","Effect":"Deny"},{"Sid": "OtherCallers"}]}`,
		`{\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"OnlyOverTLS\",\"Effect\":\"Deny\"},{\"Sid\":\"OtherCallers\"}]}`,
	} {
		var found []string
		for _, match := range sid.FindAllStringSubmatch(text, -1) {
			found = append(found, match[1])
		}
		if diff := cmp.Diff([]string{"OnlyOverTLS", "OtherCallers"}, found); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// The documentation has the commands of a deletion, in their order, for any stack.
func TestDocumentedDeletion(t *testing.T) {
	got, err := documentedDeletion(root(t), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if got.tenant != "sam delete --stack-name demo-acme" || got.stack != "sam delete --stack-name demo" ||
		!strings.Contains(got.key, "alias/demo ") || !strings.Contains(got.removeSecrets, "demo/token/default") || !strings.Contains(got.removeKey, `"$key"`) {
		t.Errorf("%+v", got)
	}
	other := t.TempDir()
	if err := os.Mkdir(filepath.Join(other, "docs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, "docs", "deploying.md"), []byte("\n## Deleting\n$ rm -r /\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := documentedDeletion(other, "demo"); err == nil {
		t.Error("commands that are not known are run")
	}
}

// Every fault changes its file, in one place, and only there.
func TestFaults(t *testing.T) {
	if len(faults) < 10 {
		t.Errorf("%d faults", len(faults))
	}
	for _, f := range faults {
		text, err := os.ReadFile(filepath.Join(root(t), f.file))
		if err != nil {
			t.Fatal(err)
		}
		changed, err := f.change(string(text))
		if err != nil {
			t.Error(err)
			continue
		}
		if changed == string(text) {
			t.Errorf("%s: nothing is changed", f.name)
		}
		if before, after := strings.Count(string(text), "\n"), strings.Count(changed, "\n"); after < before-7 || after > before+1 {
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
	table.expect("vend: read the credentials", "denied")("allowed", nil)
	if got, want := failedStep(out.String()), "vend: read the credentials | denied | allowed"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := failedStep("ok      good\n"); got != "" {
		t.Errorf("%q", got)
	}
}

// Whatever host a client means, the server gets the request, with that host and as one over
// TLS; and only a client that trusts the proxy's authority does so.
func TestProxy(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, strings.Join([]string{r.Method, r.Host, r.URL.String(), r.Header.Get("X-Forwarded-Proto"), string(body)}, " "))
	}))
	defer server.Close()
	p, err := startProxy(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	through, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(p.CA)
	for host, path := range map[string]string{"kms.eu-central-1.amazonaws.com": "/", "a.lambda-url.eu-central-1.on.aws": "/x?y=%2F"} {
		transport := &http.Transport{Proxy: http.ProxyURL(through), TLSClientConfig: &tls.Config{RootCAs: trusted}}
		response, err := (&http.Client{Transport: transport}).Post("https://"+host+path, "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if want := "POST " + host + " " + path + " https body"; err != nil || string(got) != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
		transport.CloseIdleConnections()
	}
	untrusting := &http.Transport{Proxy: http.ProxyURL(through)}
	if _, err := (&http.Client{Transport: untrusting}).Get("https://sts.amazonaws.com/"); err == nil {
		t.Error("a client that does not trust the proxy is served")
	}
}
