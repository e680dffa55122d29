package restapi

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"
)

// decoded is a request without what it is decoded from.
type decoded struct {
	Resource, Method, Path, Stage, Tenant, RequestID, Caller, Account, SourceIP, Body string
	NoCache                                                                           bool
}

func read(event []byte) (decoded, error) {
	r, err := Read(event)
	identity := r.Context.Identity
	return decoded{r.Resource, r.Method, r.Path, r.Context.Stage, r.Tenant, r.Context.RequestID, identity.Caller, identity.Account, identity.SourceIP, string(r.Body), r.NoCache}, err
}

// want is what AWS's own type makes of an event.
func want(event events.APIGatewayProxyRequest) decoded {
	body := event.Body
	if event.IsBase64Encoded {
		plain, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			plain = nil
		}
		body = string(plain)
	}
	identity := event.RequestContext.Identity
	noCache := false
	for name, value := range event.Headers {
		noCache = noCache || isNoCache(name, value)
	}
	for name, values := range event.MultiValueHeaders {
		for _, value := range values {
			noCache = noCache || isNoCache(name, value)
		}
	}
	return decoded{event.Resource, event.HTTPMethod, event.Path, event.RequestContext.Stage, event.PathParameters["tenant"], event.RequestContext.RequestID,
		identity.UserArn, identity.AccountID, identity.SourceIP, body, noCache}
}

// The sample events are read as AWS's own type reads them.
func TestSampleEvents(t *testing.T) {
	found := 0
	for _, event := range samples(t) {
		var aws events.APIGatewayProxyRequest
		if err := json.Unmarshal(event, &aws); err != nil {
			t.Fatal(err)
		}
		got, err := read(event)
		if err != nil {
			t.Errorf("%v: %s", err, event)
		}
		if diff := cmp.Diff(want(aws), got); diff != "" {
			t.Error(diff)
		}
		if got.Resource != "" {
			found++
		}
	}
	if found < 6 {
		t.Errorf("%d events of the API among the samples", found)
	}
}

func samples(tb testing.TB) (events [][]byte) {
	tb.Helper()
	paths, err := filepath.Glob("../../events/*.json")
	if err != nil {
		tb.Fatal(err)
	}
	for _, path := range paths {
		event, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		events = append(events, event)
	}
	return events
}

// What is not JSON, or is of another type than API Gateway sends, is no event.
func TestNoEvents(t *testing.T) {
	for _, event := range []string{
		``, `5`, `"x"`, `[]`, `{`, `{} {}`, `{"resource":"x"`, `{"other":"\x"}`,
		`{"pathParameters":{"tenant":["a"]}}`, `{"pathParameters":"a"}`, `{"headers":5}`, `{"headers":{"Cache-Control":5}}`, `{"multiValueHeaders":{"Cache-Control":["no-cache",5]}}`,
		`{"path":["/tokens/acme"]}`, `{"requestContext":{"stage":{}}}`, `{"requestContext":{"requestId":{}}}`, `{"requestContext":{"identity":{"userArn":true}}}`,
	} {
		if got, err := read([]byte(event)); err != ErrEvent || got != (decoded{}) { //nolint:errorlint // it is this one
			t.Errorf("%s: %v %+v", event, err, got)
		}
	}
}

// no-cache is a directive of Cache-Control, in any case and among others.
func TestNoCache(t *testing.T) {
	for value, want := range map[string]bool{
		"no-cache": true, "No-Cache": true, "max-age=0, no-cache": true, "no-store,no-cache,max-age=0": true, "\tno-cache ": true,
		"": false, "no-store": false, "max-age=0": false, "no-cached": false, "x-no-cache": false,
	} {
		if isNoCache("cache-CONTROL", value) != want {
			t.Errorf("Cache-Control: %s: want %t", value, want)
		}
		if isNoCache("X-Cache-Control", value) || isNoCache("Pragma", value) {
			t.Errorf("%s counts in another header", value)
		}
	}
}

// A request came by the route if its path ends with that, and it is no test invocation.
func TestCheck(t *testing.T) {
	for _, test := range []struct {
		path, stage string
		want        error
	}{
		{"/tokens/acme", "v1", nil},
		{"/tokens/acme", "", nil},
		{"/base/path/tokens/acme", "v1", nil},
		{"/tokens/acme", "test-invoke-stage", ErrTestInvocation},
		{"/tokens/%61cme", "test-invoke-stage", ErrTestInvocation},
		{"", "v1", ErrPath},
		{"tokens/acme", "v1", ErrPath},
		{"/tokens/acme/", "v1", ErrPath},
		{"/tokens/%61cme", "v1", ErrPath},
		{"/tokens/ACME", "v1", ErrPath},
		{"/xtokens/acme", "v1", ErrPath},
	} {
		for _, suffix := range []string{"", "/rejections"} {
			req := Request{Tenant: "acme", Path: test.path + suffix}
			req.Context.Stage = test.stage
			if got := req.Check(suffix); got != test.want { //nolint:errorlint // it is this one
				t.Errorf("%s of %s: %v, want %v", req.Path, test.stage, got, test.want)
			}
		}
	}
}

// null is the same as missing, names may be escaped and repeated, and invalid UTF-8 is no
// reason to refuse the rest.
func TestReadLeniently(t *testing.T) {
	for event, want := range map[string]decoded{
		`null`: {}, `{}`: {}, `{"tenant":"acme"}`: {},
		`{"path":null,"requestContext":{"stage":null}}`:                {},
		`{"p\u0061th":"/\u0061","requestContext":{"st\u0061ge":"v1"}}`: {Path: "/a", Stage: "v1"},
		`{"path":"/a","path":"/b"}`:                                    {Path: "/b"},
		`{"resource":null,"headers":null,"multiValueHeaders":null,"pathParameters":null,"requestContext":null,"body":null,"isBase64Encoded":null}`: {},
		`{"pathParameters":{"tenant":null},"requestContext":{"identity":null}}`:                                                                    {},
		`{"p\u0061thParameters":{"t\u0065nant":"\u0061cme"}}`:                                                                                      {Tenant: "acme"},
		`{"headers":{"Cache-Control":null},"multiValueHeaders":{"Cache-Control":[null,"no-cache"]}}`:                                               {NoCache: true},
		`{"multiValueHeaders":{"Cache-Control":["no-cache"],"cache-control":["no-store"]}}`:                                                        {NoCache: true},
		`{"body":"bm8=","isBase64Encoded":true}`:                                                                                                   {Body: "no"},
		`{"isBase64Encoded":true,"body":"%"}`:                                                                                                      {},
		`{"pathParameters":{"tenant":"a","t\u0065nant":"b"}}`:                                                                                      {Tenant: "b"},
		`{"pathParameters":{"tenant":"a"},"headers":{"x":"\ud800","x":"` + "\xff" + `"},"pathParameters":{}}`:                                      {Tenant: "a"},
		`{"stageVariables":{"a":"","a":""},"pathParameters":{"tenant":"` + "a\xff" + `"},"resource":"\ud800\\"}`:                                   {Tenant: "a\ufffd", Resource: "\ufffd\\"},
	} {
		got, err := read([]byte(event))
		if err != nil {
			t.Errorf("%s: %v", event, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", event, diff)
		}
	}
}

// Whatever API Gateway puts into an event is read, as AWS's own type would read it.
func FuzzEvent(f *testing.F) {
	f.Add("acme", "arn:aws:iam::123456789012:user/newcomer", "Cache-Control", "no-cache", `{"version":"x"}`, false)
	f.Add("../\"\\\u0000\u2028😀", "\xff", "x\":\"", "max-age=0, no-cache", "bm8=", true)
	f.Fuzz(func(t *testing.T, tenant, caller, header, value, body string, encoded bool) {
		text, err := json.Marshal(events.APIGatewayProxyRequest{
			Resource: "/tokens/{tenant}", HTTPMethod: http.MethodGet, Path: "/tokens/" + tenant,
			Headers:           map[string]string{header: value, "X-Amz-Security-Token": "token"},
			MultiValueHeaders: map[string][]string{header: {"max-age=0", value}},
			PathParameters:    map[string]string{"tenant": tenant, header: value},
			RequestContext: events.APIGatewayProxyRequestContext{RequestID: caller + tenant, Stage: value, Identity: events.APIGatewayRequestIdentity{
				UserArn: caller, AccountID: value, SourceIP: header,
			}},
			Body: body, IsBase64Encoded: encoded,
		})
		if err != nil {
			t.Fatal(err)
		}
		var aws events.APIGatewayProxyRequest
		if err := json.Unmarshal(text, &aws); err != nil {
			t.Fatal(err)
		}
		got, err := read(text)
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if diff := cmp.Diff(want(aws), got); diff != "" {
			t.Error(diff)
		}
	})
}

// A header counts the same whether it comes once or in a list.
func FuzzNoCache(f *testing.F) {
	f.Add("Cache-Control", "no-cache")
	f.Add("CACHE-CONTROL", "max-age=0 , No-Cache")
	f.Add("cache-control", "no-cache-at-all")
	f.Add("pragma", "no-cache")
	f.Fuzz(func(t *testing.T, name, value string) {
		noCache := func(event events.APIGatewayProxyRequest) bool {
			text, err := json.Marshal(event)
			if err != nil {
				t.Fatal(err)
			}
			got, err := read(text)
			if err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			return got.NoCache
		}
		one := noCache(events.APIGatewayProxyRequest{Headers: map[string]string{name: value}})
		many := noCache(events.APIGatewayProxyRequest{MultiValueHeaders: map[string][]string{name: {"max-age=0", value}}})
		if one != many {
			t.Errorf("%q: %q: %t once, %t among others", name, value, one, many)
		}
		if one && !(strings.EqualFold(name, "cache-control") && strings.Contains(strings.ToLower(value), "no-cache")) {
			t.Errorf("%q: %q", name, value)
		}
	})
}

// An answer is what AWS's own type would be encoded to, but for members that are empty.
func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		answer Answer
		want   events.APIGatewayProxyResponse
	}{
		{Answer{Status: 200, Body: map[string]string{"a": "\"<&\u2028"}}, events.APIGatewayProxyResponse{StatusCode: 200, Body: `{"a":"\"<&\u2028"}`}},
		{Error(503, "temporarily_unavailable", `later "or" never`, 90*time.Second), events.APIGatewayProxyResponse{
			StatusCode: 503, Headers: map[string]string{"Retry-After": "90"}, Body: `{"error":"temporarily_unavailable","error_description":"later \"or\" never"}`,
		}},
		{Error(404, "unknown_tenant", "…", 0), events.APIGatewayProxyResponse{StatusCode: 404, Body: `{"error":"unknown_tenant","error_description":"…"}`}},
	} {
		if test.want.Headers == nil {
			test.want.Headers = make(map[string]string)
		}
		maps.Copy(test.want.Headers, map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"})
		var got events.APIGatewayProxyResponse
		if err := json.Unmarshal(test.answer.Encode(), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Error(diff)
		}
	}
}
