package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

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

// answers expects the status, the body and the headers that every answer has. {now} in the body
// is the version by then.
func (f *fixture) answers(event events.APIGatewayProxyRequest, status int, body, retryAfter string) {
	f.Helper()
	sent, err := json.Marshal(event)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := f.fn.Invoke(f.Context(), sent)
	if err != nil {
		f.Fatal(err)
	}
	var got events.APIGatewayProxyResponse
	if err := json.Unmarshal(raw, &got); err != nil {
		f.Fatal(err)
	}
	want := events.APIGatewayProxyResponse{
		StatusCode: status, Body: strings.ReplaceAll(body, "{now}", f.version()),
		Headers: map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"},
	}
	if retryAfter != "" {
		want.Headers["Retry-After"] = retryAfter
	}
	if diff := cmp.Diff(want, got); diff != "" {
		f.Error(diff)
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
		time.Sleep(time.Second)
		posts("acme", old, 200, `{"tenant":"acme","outcome":"superseded","version":"{now}","expires_at":"2000-01-02T00:00:10Z","expires_in":86399}`, "")

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
		encoded := reports("acme", "%MARK")
		encoded.IsBase64Encoded = true
		refused(encoded, body)
		// By a custom domain, and in a body that API Gateway has encoded.
		encoded.Path, encoded.Body = "/auth/tokens/acme/rejections", base64.StdEncoding.EncodeToString([]byte(reporting(f.version())))
		f.answers(encoded, 200, `{"tenant":"acme","outcome":"kept","version":"{now}","expires_at":"2000-01-02T00:00:00Z","expires_in":86400}`, "")
	})
}
