package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/pkg/c8auth"
)

// world is the function between Communic8 and Secrets Manager, in memory.
type world struct {
	*testing.T
	c8    *c8test.Server
	sm    *smtest.Server
	fault atomic.Pointer[smtest.Fault] // what the store answers to everything, if it is set
	fn    handler
	lines *bytes.Buffer
}

// inWorld runs the test in a synctest bubble, where the tenant acme has a token.
func inWorld(t *testing.T, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, c8: new(c8test.Server), sm: new(smtest.Server), lines: new(bytes.Buffer)}
		w.sm.Fault = func(string, string) *smtest.Fault { return w.fault.Load() }
		w.c8.AddClient("id", "MARK-secret")
		w.sm.Create("stack/credentials/acme")
		w.sm.Create("stack/token/acme")
		w.sm.Put("stack/credentials/acme", `{"base_url":"https://acme.communic8.com","client_id":"id","client_secret":"MARK-secret"}`)
		w.fn = handler{&c8auth.Rotator{
			Store: &c8auth.Store{Stack: "stack", Client: secretsmanager.New(secretsmanager.Options{
				Region:       "eu-central-1",
				BaseEndpoint: aws.String("http://secretsmanager.test"),
				HTTPClient:   &http.Client{Transport: inmem.Transport{Handler: w.sm}},
				Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
					return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "example"}, nil
				}),
			})},
			Endpoint: &c8auth.Endpoint{Client: inmem.Client(w.c8), ProbePath: "/int/v1/broadcast?limit=1"},
			Log:      c8auth.NewLogger(w.lines),
		}}
		if _, err := w.fn.Invoke(t.Context(), []byte(`{"tenant":"acme"}`)); err != nil {
			t.Fatal(err)
		}
		test(w)
	})
}

func (w *world) version() string {
	_, version := w.sm.Value("stack/token/acme")
	return version
}

func (w *world) revoke() string {
	issued := w.c8.Issued()
	w.c8.Revoke(issued[len(issued)-1])
	return w.version()
}

// posts sends a report as API Gateway does, and expects the status, the body and the
// headers that every answer has. {now} in the body is the version by then.
func (w *world) posts(tenant, body string, status int, want, retryAfter string) {
	w.Helper()
	w.answers(reports(tenant, body), status, want, retryAfter)
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

// answer is what comes of an event, and as it was sent.
func (w *world) answer(event events.APIGatewayProxyRequest) (got events.APIGatewayProxyResponse, raw []byte) {
	w.Helper()
	sent, err := json.Marshal(event)
	if err != nil {
		w.Fatal(err)
	}
	if raw, err = w.fn.Invoke(w.Context(), sent); err != nil {
		w.Fatal(err)
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		w.Fatal(err)
	}
	return got, raw
}

func (w *world) answers(event events.APIGatewayProxyRequest, status int, want, retryAfter string) {
	w.Helper()
	got, answer := w.answer(event)
	want = strings.ReplaceAll(want, "{now}", w.version())
	if got.StatusCode != status || got.Body != want {
		w.Errorf("got  %d %s\nwant %d %s", got.StatusCode, got.Body, status, want)
	}
	headers := map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache", "Retry-After": retryAfter}
	for name, want := range headers {
		if got.Headers[name] != want {
			w.Errorf("%s is %q, want %q", name, got.Headers[name], want)
		}
	}
	if len(got.MultiValueHeaders) > 0 || got.IsBase64Encoded {
		w.Errorf("got %s", answer)
	}
}

func reporting(version string) string { return fmt.Sprintf(`{"version":%q}`, version) }

// Every answer to a report.
func TestAnswers(t *testing.T) {
	inWorld(t, func(w *world) {
		const life = `"expires_at":"2000-01-02T00:00:00Z","expires_in":86400`
		old := w.version()
		w.posts("acme", reporting(old), 200, `{"tenant":"acme","outcome":"kept","version":"{now}",`+life+`}`, "")
		time.Sleep(10 * time.Second)
		w.posts("acme", reporting(w.revoke()), 200, `{"tenant":"acme","outcome":"rotated","reason":"rejected","version":"{now}","expires_at":"2000-01-02T00:00:10Z","expires_in":86400}`, "")
		w.posts("acme", reporting(old), 200, `{"tenant":"acme","outcome":"superseded","version":"{now}","expires_at":"2000-01-02T00:00:10Z","expires_in":86400}`, "")

		w.posts("nobody", reporting(old), 404, `{"error":"unknown_tenant","error_description":"there is no such tenant; check its name"}`, "")

		w.c8.Set(func(b *c8test.Behaviour) {
			b.Fault = func(r *http.Request, _ int) *c8test.Fault {
				if r.URL.Path != c8test.TokenPath {
					return nil
				}
				return &c8test.Fault{Status: 503}
			}
		})
		dead := w.revoke()
		w.posts("acme", reporting(dead), 503, `{"error":"temporarily_unavailable","error_description":"Communic8 rejects the token, and there is no new one yet"}`, "30")
		w.posts("acme", reporting(dead), 503, `{"error":"temporarily_unavailable","error_description":"another report is being followed, or too many were of late; ask for the token again"}`, "2")
		w.fault.Store(&smtest.Fault{})
		w.posts("acme", reporting(dead), 503, `{"error":"temporarily_unavailable","error_description":"the token store cannot be reached"}`, "5")
	})
}

// What is not a report is answered in words that repeat nothing of it, and touches nothing.
func TestMalformedReports(t *testing.T) {
	const (
		version = "306a4d88-cec6-8b9b-b6b8-5825ad19c40b"
		body    = `{"error":"invalid_request","error_description":"expected {\"version\": \"…\"} with the version that the token was vended with, and nothing else"}`
		tenant  = `{"error":"invalid_request","error_description":"expected POST /tokens/{tenant}/rejections with a tenant's name: a lower-case letter followed by at most 30 lower-case letters, digits or hyphens"}`
	)
	inWorld(t, func(w *world) {
		w.lines.Reset()
		w.fault.Store(&smtest.Fault{}) // to ask would not be 400
		for _, name := range []string{"", "MARK", "%2e%2e", "../MARK", "MARK/rejections", strings.Repeat("a", 32)} {
			w.posts(name, reporting(version), 400, tenant, "")
		}
		for _, text := range []string{
			``, `null`, `[]`, `""`, `1`, `"` + version + `"`, `{}`, `{"version":null}`, `{"version":1}`, `{"version":""}`,
			`{"version":"MARK"}`, `{"version":"` + strings.Repeat("MARK", 17) + `"}`, `{"version":"MARK MARK MARK MARK MARK MARK MARK"}`,
			`{"Version":"` + version + `"}`, `{"version":"` + version + `","access_token":"MARK"}`, `{"version":"` + version + `"}MARK`,
			`{"version":["` + version + `"]}`, `version=` + version,
		} {
			w.posts("acme", text, 400, body, "")
		}
		if strings.Contains(w.lines.String(), "MARK") {
			t.Errorf("the log repeats it: %s", w.lines)
		}
		for line := range strings.Lines(w.lines.String()) {
			if !strings.Contains(line, `"caller":"arn:aws:iam::123456789012:user/newcomer"`) {
				t.Errorf("%s does not name the caller", line)
			}
		}
	})
}

// A report by another path than the one that IAM was asked about, or by a test invocation,
// is refused by one line that shows nothing of the path, and touches nothing.
func TestRoute(t *testing.T) {
	const (
		wrongPath      = `{"error":"invalid_request","error_description":"the path must end with the route's own, and name the tenant as it is: without escapes, and without a slash at the end"}`
		testInvocation = `{"error":"invalid_request","error_description":"a test invocation by API Gateway is not answered, as it takes no execute-api:Invoke: send a signed request to the API's URL"}`
	)
	for _, test := range []struct{ path, stage, refusal string }{
		{"/tokens/acme/rejections", "v1", ""},
		{"/auth/tokens/acme/rejections", "v1", ""},
		{"", "v1", wrongPath},
		{"/tokens/acme", "v1", wrongPath},
		{"/tokens/%61cme/rejections", "v1", wrongPath},
		{"/v1/tokens/acme/%72ejections", "v1", wrongPath},
		{"/tokens/acme/rejections/", "v1", wrongPath},
		{"/tokens/acme//rejections", "v1", wrongPath},
		{"/tokens/MARK/rejections", "v1", wrongPath},
		{"/tokens/MARK/../acme/rejections", "v1", wrongPath},
		{"/tokens/acme/rejections", "test-invoke-stage", testInvocation},
		{"/tokens/MARK/rejections", "test-invoke-stage", testInvocation},
	} {
		t.Run(test.path+" "+test.stage, func(t *testing.T) {
			inWorld(t, func(w *world) {
				event := reports("acme", reporting(w.version()))
				event.Path, event.RequestContext.Stage = test.path, test.stage
				w.lines.Reset()
				if test.refusal == "" {
					w.answers(event, 200, `{"tenant":"acme","outcome":"kept","version":"{now}","expires_at":"2000-01-02T00:00:00Z","expires_in":86400}`, "")
					return
				}
				before := w.sm.Calls("")
				w.answers(event, 400, test.refusal, "")
				if n := w.sm.Calls("") - before; n != 0 {
					t.Errorf("%d calls of the store", n)
				}
				line := w.lines.String()
				if strings.Count(line, "\n") != 1 || !strings.Contains(line, `"level":"WARN","message":"rejection","caller":"arn:aws:iam::123456789012:user/newcomer"`) ||
					strings.Contains(line, "MARK") || strings.Contains(line, "acme") {
					t.Errorf("logged %s", line)
				}
			})
		})
	}
}

// A body that API Gateway has encoded is read all the same.
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

// The sample events of the route are told from all others.
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
		if _, err := reportedVersion(req.Body); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
		if req.Tenant != "default" {
			t.Errorf("%s is about %q", name, req.Tenant)
		}
	}
	if found != len(wants) {
		t.Errorf("%d samples, want %d", found, len(wants))
	}
}

// Nothing makes the function crash, and no answer repeats what was sent.
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

// Whatever the path and the stage, only the API's own lead to a report, and nothing of a
// path that is refused is logged or answered.
func FuzzRoute(f *testing.F) {
	f.Add("/tokens/acme/rejections", "v1")
	f.Add("/auth/tokens/acme/rejections", "test-invoke-stage")
	f.Add("/v1/tokens/%61cme/rejections", "v1")
	f.Add("/tokens/acme/rejections/", "")
	const mark = "M4RK-7f3a"
	f.Fuzz(func(t *testing.T, path, stage string) {
		inWorld(t, func(w *world) {
			for _, path := range []string{path, mark + path, path + mark} {
				event := reports("acme", reporting(w.version()))
				event.Path, event.RequestContext.Stage = strings.ToValidUTF8(path, "\ufffd"), strings.ToValidUTF8(stage, "\ufffd") // as JSON has it
				got, _ := w.answer(event)
				good := strings.HasSuffix(event.Path, "/tokens/acme/rejections") && event.RequestContext.Stage != "test-invoke-stage"
				if want := map[bool]int{true: http.StatusOK, false: http.StatusBadRequest}[good]; got.StatusCode != want {
					t.Errorf("%q of %q: HTTP %d, want %d", path, stage, got.StatusCode, want)
				}
				if strings.Contains(got.Body, mark) || strings.Contains(w.lines.String(), mark) {
					t.Errorf("%q is shown by %s or %s", path, got.Body, w.lines)
				}
			}
		})
	})
}
