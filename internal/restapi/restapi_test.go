package restapi

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The tests of both functions send events of AWS's own type, and compare the answers to the letter.

// An event of the real service is read: members that nothing here needs, null where there is
// nothing, and header names in the letters that the caller wrote. Source: recorded by
// LocalStack's test suite against AWS, 2024-08-02, test_lambda_aws_proxy_integration. It is
// of a method without authorization, so that the caller is null.
func TestRecordedEvent(t *testing.T) {
	got, err := Read([]byte(`{
		"body": null,
		"headers": {"Accept": "*/*", "CloudFront-Forwarded-Proto": "https", "Host": "host", "User-Agent": "agent", "Via": "via",
			"X-Amzn-Trace-Id": "Root=1", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Port": "443", "X-Forwarded-Proto": "https", "cAcHe-COntrol": "no-cache"},
		"httpMethod": "GET",
		"isBase64Encoded": false,
		"multiValueHeaders": {"Accept": ["*/*"], "Host": ["host"], "cAcHe-COntrol": ["no-cache"]},
		"multiValueQueryStringParameters": null,
		"path": "/tokens/acme",
		"pathParameters": {"tenant": "acme"},
		"queryStringParameters": null,
		"requestContext": {
			"accountId": "123456789012", "apiId": "c8auth0api", "deploymentId": "d3pl0y", "domainName": "host", "domainPrefix": "c8auth0api", "extendedRequestId": "x",
			"httpMethod": "GET",
			"identity": {"accessKey": null, "accountId": null, "caller": null, "cognitoAuthenticationProvider": null, "cognitoAuthenticationType": null,
				"cognitoIdentityId": null, "cognitoIdentityPoolId": null, "principalOrgId": null, "sourceIp": "192.0.2.1", "user": null, "userAgent": "agent", "userArn": null},
			"path": "/v1/tokens/acme", "protocol": "HTTP/1.1", "requestId": "id", "requestTime": "01/Jan/2000:00:00:00 +0000", "requestTimeEpoch": 946684800000,
			"resourceId": "t0k3ns", "resourcePath": "/tokens/{tenant}", "stage": "v1"
		},
		"resource": "/tokens/{tenant}",
		"stageVariables": null
	}`))
	want := Request{Resource: "/tokens/{tenant}", Method: http.MethodGet, Path: "/tokens/acme", Tenant: "acme", NoCache: true}
	want.Context.Stage, want.Context.RequestID, want.Context.Identity.SourceIP = "v1", "id", "192.0.2.1"
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// What is not JSON, or is of another type than API Gateway sends, is no event.
func TestNoEvents(t *testing.T) {
	for _, event := range []string{
		``, `5`, `"x"`, `[]`, `{`, `{} {}`, `{"resource":"x"`, `{"other":"\x"}`,
		`{"pathParameters":{"tenant":["a"]}}`, `{"pathParameters":"a"}`, `{"headers":5}`, `{"headers":{"Cache-Control":5}}`, `{"multiValueHeaders":{"Cache-Control":["no-cache",5]}}`,
		`{"path":["/tokens/acme"]}`, `{"requestContext":{"stage":{}}}`, `{"requestContext":{"requestId":{}}}`, `{"requestContext":{"identity":{"userArn":true}}}`,
	} {
		if got, err := Read([]byte(event)); err != ErrEvent || !cmp.Equal(got, Request{}) { //nolint:errorlint // it is this one
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

// null is the same as missing, names may be escaped and repeated, and invalid UTF-8 is no
// reason to refuse the rest.
func TestReadLeniently(t *testing.T) {
	for event, want := range map[string]Request{
		`null`: {}, `{}`: {}, `{"tenant":"acme"}`: {}, `{"path":null,"requestContext":{"stage":null}}`: {},
		`{"p\u0061th":"/\u0061"}`:   {Path: "/a"},
		`{"path":"/a","path":"/b"}`: {Path: "/b"},
		`{"resource":null,"headers":null,"multiValueHeaders":null,"pathParameters":null,"requestContext":null,"body":null,"isBase64Encoded":null}`: {},
		`{"pathParameters":{"tenant":null},"requestContext":{"identity":null}}`:                                                                    {},
		`{"p\u0061thParameters":{"t\u0065nant":"\u0061cme"}}`:                                                                                      {Tenant: "acme"},
		`{"headers":{"Cache-Control":"no-cache"}}`:                                                                                                 {NoCache: true},
		`{"headers":{"Cache-Control":null},"multiValueHeaders":{"Cache-Control":[null,"no-cache"]}}`:                                               {NoCache: true},
		`{"multiValueHeaders":{"Cache-Control":["no-cache"],"cache-control":["no-store"]}}`:                                                        {NoCache: true},
		`{"body":"bm8=","isBase64Encoded":true}`:                                                                                                   {Body: []byte("no")},
		`{"isBase64Encoded":true,"body":"%"}`:                                                                                                      {},
		`{"pathParameters":{"tenant":"a","t\u0065nant":"b"}}`:                                                                                      {Tenant: "b"},
		`{"pathParameters":{"tenant":"a"},"headers":{"x":"\ud800","x":"` + "\xff" + `"},"pathParameters":{}}`:                                      {Tenant: "a"},
		`{"stageVariables":{"a":"","a":""},"pathParameters":{"tenant":"` + "a\xff" + `"},"resource":"\ud800\\"}`:                                   {Tenant: "a\ufffd", Resource: "\ufffd\\"},
	} {
		got, err := Read([]byte(event))
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%s: %v %s", event, err, diff)
		}
	}
}
