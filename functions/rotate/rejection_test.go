package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/internal/harness"
	"github.com/c8auth/c8auth/pkg/c8auth"
)

// fixture is the function between Communic8 and Secrets Manager, in memory.
type fixture struct {
	*testing.T
	*harness.Memory
	fn handler
}

// run runs the test in a synctest bubble, where the tenant acme has a token.
func run(t *testing.T, test func(*fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{T: t, Memory: harness.InMemory("acme")}
		f.Communic8.AddClient("id", "MARK-secret")
		f.Secrets.Put(harness.CredentialsName("acme"), harness.Credentials("https://acme.communic8.com", "id", "MARK-secret"))
		f.fn = handler{&c8auth.Rotator{
			Store:    &c8auth.Store{Stack: harness.Name, Client: f.Client},
			Endpoint: &c8auth.Endpoint{Client: inmem.Client(f.Communic8), ProbePath: "/int/v1/broadcast?limit=1"},
			Log:      c8auth.NewLogger(&f.Memory.Log),
		}}
		if _, err := f.fn.Invoke(t.Context(), []byte(`{"tenant":"acme"}`)); err != nil {
			t.Fatal(err)
		}
		f.Memory.Log.Take()
		test(f)
	})
}

// version is that of the stored token.
func (f *fixture) version() string {
	_, version := f.Secrets.Value(harness.TokenName("acme"))
	return version
}

// revoke revokes the stored token, and returns its version.
func (f *fixture) revoke() string {
	issued := f.Communic8.Issued()
	f.Communic8.Revoke(issued[len(issued)-1])
	return f.version()
}

// reports is the event of a report.
func reports(tenant, body string) events.APIGatewayProxyRequest {
	return events.APIGatewayProxyRequest{
		Resource: rejectionsResource, HTTPMethod: http.MethodPost, Path: "/tokens/" + tenant + "/rejections",
		PathParameters: map[string]string{"tenant": tenant}, Body: body,
		RequestContext: events.APIGatewayProxyRequestContext{RequestID: "request", Stage: "v1", Identity: events.APIGatewayRequestIdentity{
			UserArn: "arn:aws:iam::123456789012:user/newcomer", AccountID: "123456789012", SourceIP: "192.0.2.1",
		}},
	}
}

// answer returns the answer to an event.
func (f *fixture) answer(event events.APIGatewayProxyRequest) (got events.APIGatewayProxyResponse) {
	f.Helper()
	sent, err := json.Marshal(event)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := f.fn.Invoke(f.Context(), sent)
	if err != nil {
		f.Fatal(err)
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		f.Fatal(err)
	}
	return got
}

// answers expects the status, the body and the headers that every answer has. {now} in the body
// is the version by then.
func (f *fixture) answers(event events.APIGatewayProxyRequest, status int, want, retryAfter string) {
	f.Helper()
	got := f.answer(event)
	want = strings.ReplaceAll(want, "{now}", f.version())
	if got.StatusCode != status || got.Body != want {
		f.Errorf("got  %d %s\nwant %d %s", got.StatusCode, got.Body, status, want)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache", "Retry-After": retryAfter} {
		if got.Headers[name] != want {
			f.Errorf("%s is %q, want %q", name, got.Headers[name], want)
		}
	}
}

func reporting(version string) string { return fmt.Sprintf(`{"version":%q}`, version) }

// Every answer to a report.
func TestAnswers(t *testing.T) {
	run(t, func(f *fixture) {
		posts := func(tenant, version string, status int, want, retryAfter string) {
			f.Helper()
			f.answers(reports(tenant, reporting(version)), status, want, retryAfter)
		}
		old := f.version()
		posts("acme", old, 200, `{"tenant":"acme","outcome":"kept","version":"{now}","expires_at":"2000-01-02T00:00:00Z","expires_in":86400}`, "")
		time.Sleep(10 * time.Second)
		posts("acme", f.revoke(), 200, `{"tenant":"acme","outcome":"rotated","reason":"rejected","version":"{now}","expires_at":"2000-01-02T00:00:10Z","expires_in":86400}`, "")
		posts("acme", old, 200, `{"tenant":"acme","outcome":"superseded","version":"{now}","expires_at":"2000-01-02T00:00:10Z","expires_in":86400}`, "")

		posts("nobody", old, 404, `{"error":"unknown_tenant","error_description":"there is no such tenant; check its name"}`, "")

		f.Communic8.Set(func(b *c8test.Behaviour) {
			b.Fault = func(r *http.Request, _ int) *c8test.Fault {
				if r.URL.Path != c8test.TokenPath {
					return nil
				}
				return &c8test.Fault{Status: 503}
			}
		})
		revoked := f.revoke()
		posts("acme", revoked, 503, `{"error":"temporarily_unavailable","error_description":"Communic8 rejects the token, and there is no new one yet"}`, "30")
		posts("acme", revoked, 503, `{"error":"temporarily_unavailable","error_description":"another report is being handled, or there were too many; request the token again"}`, "2")
		f.FailSecrets(&smtest.Fault{})
		posts("acme", revoked, 503, `{"error":"temporarily_unavailable","error_description":"the token store cannot be reached"}`, "5")
	})
}

// What is not a report, or comes by another path than the one that IAM evaluated, is refused by
// an answer and one line that repeat nothing of it, and the store is not called.
func TestRoute(t *testing.T) {
	const (
		version = "306a4d88-cec6-8b9b-b6b8-5825ad19c40b"
		body    = `{"error":"invalid_request","error_description":"malformed input: expected a JSON object with one member, version, which is the one that the token was vended with"}`
		tenant  = `{"error":"invalid_request","error_description":"not a tenant's name: expected a lower-case letter followed by at most 30 lower-case letters, digits or hyphens"}`
		path    = `{"error":"invalid_request","error_description":"malformed input: the path must end with the route's own, and name the tenant as it is: without escapes, and without a slash at the end"}`
		test    = `{"error":"invalid_request","error_description":"malformed input: a test invocation by API Gateway is not answered, as it takes no execute-api:Invoke: send a signed request to the API's URL"}`
	)
	run(t, func(f *fixture) {
		refused := func(event events.APIGatewayProxyRequest, want string) {
			f.Helper()
			before := f.Secrets.Calls("")
			f.answers(event, 400, want, "")
			if n := f.Secrets.Calls("") - before; n != 0 {
				f.Errorf("%d calls of the store", n)
			}
			line := f.Memory.Log.Take()
			if strings.Count(line, "\n") != 1 || !strings.Contains(line, `"level":"WARN","message":"rejection","caller":"arn:aws:iam::123456789012:user/newcomer"`) ||
				strings.Contains(line, "MARK") || strings.Contains(line, "acme") {
				f.Errorf("logged %s", line)
			}
		}
		for _, name := range []string{"", "MARK", "%2e%2e", "../MARK", "MARK/rejections", strings.Repeat("a", 32)} {
			refused(reports(name, reporting(version)), tenant)
		}
		for _, text := range []string{
			``, `null`, `[]`, `""`, `1`, `{}`, `{"version":null}`, `{"version":1}`, `{"version":""}`,
			`{"version":"MARK"}`, `{"version":"` + strings.Repeat("MARK", 17) + `"}`, `{"version":"MARK MARK MARK MARK MARK MARK MARK"}`,
			`{"Version":"` + version + `"}`, `{"version":"` + version + `","access_token":"MARK"}`, `{"version":"` + version + `"}MARK`,
		} {
			refused(reports("acme", text), body)
		}
		for _, p := range []string{"", "/tokens/acme", "/tokens/%61cme/rejections", "/tokens/acme/rejections/", "/tokens/acme//rejections", "/tokens/MARK/rejections", "/tokens/MARK/../acme/rejections"} {
			event := reports("acme", reporting(version))
			event.Path = p
			refused(event, path)
		}
		for _, p := range []string{"/tokens/acme/rejections", "/tokens/MARK/rejections"} {
			event := reports("acme", reporting(version))
			event.Path, event.RequestContext.Stage = p, "test-invoke-stage"
			refused(event, test)
		}
		domain := reports("acme", reporting(f.version()))
		domain.Path = "/auth/tokens/acme/rejections"
		f.answers(domain, 200, `{"tenant":"acme","outcome":"kept","version":"{now}","expires_at":"2000-01-02T00:00:00Z","expires_in":86400}`, "")
	})
}

// A body that API Gateway has encoded is decoded.
func TestEncodedReport(t *testing.T) {
	const version = "306a4d88-cec6-8b9b-b6b8-5825ad19c40b"
	sent := events.APIGatewayProxyRequest{Resource: rejectionsResource, HTTPMethod: http.MethodPost, IsBase64Encoded: true}
	for body, want := range map[string]string{base64.StdEncoding.EncodeToString([]byte(reporting(version))): version, "%": ""} {
		sent.Body = body
		event, err := json.Marshal(sent)
		if err != nil {
			t.Fatal(err)
		}
		req, ok := parseReport(event)
		if got, err := reportedVersion(req.Body); !ok || got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v", body, got, err)
		}
	}
}

// The sample events of the route are distinguished from all others.
func TestSampleReports(t *testing.T) {
	wants := map[string]error{"rotate-rejection.json": nil, "rotate-rejection-malformed.json": errBody}
	found := 0
	for name, event := range samples(t, "") {
		req, ok := parseReport(event)
		want, known := wants[name]
		if ok != known {
			t.Errorf("%s: taken for a report: %t", name, ok)
		}
		if !known {
			continue
		}
		found++
		if _, err := reportedVersion(req.Body); !errors.Is(err, want) || req.Tenant != "default" {
			t.Errorf("%s: tenant %q, %v, want %v", name, req.Tenant, err, want)
		}
	}
	if found != len(wants) {
		t.Errorf("%d samples, want %d", found, len(wants))
	}
}

// Nothing makes the function panic.
func FuzzReport(f *testing.F) {
	for _, event := range samples(f, "") {
		f.Add(event)
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		req, ok := parseReport(event)
		if !ok {
			return
		}
		if version, err := reportedVersion(req.Body); (err == nil) != versionID.MatchString(version) {
			t.Errorf("got %q, %v", version, err)
		}
	})
}

// Whatever the path and the stage, only the API's own lead to a report, and nothing of a path
// that is refused is logged or answered.
func FuzzRoute(f *testing.F) {
	f.Add("/tokens/acme/rejections", "v1")
	f.Add("/auth/tokens/acme/rejections", "test-invoke-stage")
	f.Add("/v1/tokens/%61cme/rejections", "v1")
	f.Add("/tokens/acme/rejections/", "")
	const mark = "M4RK-7f3a"
	f.Fuzz(func(t *testing.T, path, stage string) {
		run(t, func(f *fixture) {
			for _, path := range []string{path, mark + path, path + mark} {
				event := reports("acme", reporting(f.version()))
				event.Path, event.RequestContext.Stage = strings.ToValidUTF8(path, "\ufffd"), strings.ToValidUTF8(stage, "\ufffd") // as JSON has it
				got := f.answer(event)
				good := strings.HasSuffix(event.Path, "/tokens/acme/rejections") && event.RequestContext.Stage != "test-invoke-stage"
				if want := map[bool]int{true: http.StatusOK, false: http.StatusBadRequest}[good]; got.StatusCode != want {
					t.Errorf("%q of %q: HTTP %d, want %d", path, stage, got.StatusCode, want)
				}
				if logged := f.Memory.Log.Take(); strings.Contains(got.Body, mark) || strings.Contains(logged, mark) {
					t.Errorf("%q is shown by %s or %s", path, got.Body, logged)
				}
			}
		})
	})
}
