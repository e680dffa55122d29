package gwtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// reporting is the gateway with the route for reports, which the role may use for acme.
func reporting(report func(context.Context, []byte) ([]byte, error)) *Gateway {
	g := gateway()
	g.Report = report
	key := g.Keys[role.AccessKeyID]
	key.Reports = []string{"acme"}
	g.Keys[role.AccessKeyID] = key
	return g
}

// post is a signed report.
func post(t *testing.T, target, body string) *http.Request {
	t.Helper()
	r := request(http.MethodPost, target)
	r.Body = io.NopCloser(strings.NewReader(body))
	digest := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(t.Context(), role, r, hex.EncodeToString(digest[:]), "execute-api", "eu-central-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	return r
}

// A report goes to its own function, with its body, and is granted apart from the token.
func TestReports(t *testing.T) {
	var got struct {
		Resource       string            `json:"resource"`
		Path           string            `json:"path"`
		HTTPMethod     string            `json:"httpMethod"`
		PathParameters map[string]string `json:"pathParameters"`
		Body           string            `json:"body"`
		RequestContext struct {
			Path         string `json:"path"`
			ResourcePath string `json:"resourcePath"`
		} `json:"requestContext"`
	}
	g := reporting(func(_ context.Context, event []byte) ([]byte, error) {
		if err := json.Unmarshal(event, &got); err != nil {
			t.Error(err)
		}
		return []byte(`{"statusCode":200,"body":"reported"}`), nil
	})
	want{200, "", "reported"}.check(t, serve(g, post(t, "/v1/tokens/acme/rejections", `{"version":"v"}`)))
	if got.Resource != "/tokens/{tenant}/rejections" || got.Path != "/tokens/acme/rejections" || got.HTTPMethod != "POST" ||
		got.PathParameters["tenant"] != "acme" || got.Body != `{"version":"v"}` ||
		got.RequestContext.ResourcePath != got.Resource || got.RequestContext.Path != "/v1"+got.Path {
		t.Errorf("the event is %+v", got)
	}
	want{403, "AccessDeniedException", `{"Message":"User: arn:aws:sts::123456789012:assumed-role/payroll/i-0123 is not authorized to perform: execute-api:Invoke on resource: ` +
		`arn:aws:execute-api:eu-central-1:********9012:c8auth0api/v1/POST/tokens/globex/rejections because no identity-based policy allows the execute-api:Invoke action"}`}.
		check(t, serve(g, post(t, "/v1/tokens/globex/rejections", `{"version":"v"}`)))
	spoilt := post(t, "/v1/tokens/acme/rejections", `{"version":"v"}`)
	spoilt.Body = io.NopCloser(strings.NewReader(`{"version":"w"}`))
	want{403, "InvalidSignatureException", `{"message":"The request signature we calculated does not match …`}.check(t, serve(g, spoilt))
}

// There is no other route beside it, and none at all without a function.
func TestNoSuchReport(t *testing.T) {
	none := want{403, "MissingAuthenticationTokenException", `{"message":"Missing Authentication Token"}`}
	g := reporting(answers(`{"statusCode":200}`))
	none.check(t, serve(gateway(), post(t, "/v1/tokens/acme/rejections", "")))
	for _, target := range []string{"/v1/tokens/acme", "/v1/tokens/acme/", "/v1/tokens//rejections", "/v1/tokens/rejections", "/v1/tokens/acme//rejections", "/v1/tokens/acme%2Frejections"} {
		none.check(t, serve(g, post(t, target, "")))
	}
	none.check(t, serve(g, signed(t, role, "/v1/tokens/acme/rejections")))
}
