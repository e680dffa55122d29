package restapi

import (
	"net/http"
	"testing"
)

// An event of the real service is read: members that nothing here needs, null where there is
// nothing, and header names in the letters that the caller wrote. Source: recorded by
// LocalStack's test suite against AWS, 2024-08-02, test_lambda_aws_proxy_integration. It is
// of a method without authorization, so that the caller is null.
func TestRecordedEvent(t *testing.T) {
	got, err := read([]byte(`{
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
	if err != nil {
		t.Fatal(err)
	}
	if got.Resource != "/tokens/{tenant}" || got.Method != http.MethodGet || got.Path != "/tokens/acme" || got.Stage != "v1" || got.Tenant != "acme" || got.RequestID != "id" || got.SourceIP != "192.0.2.1" || !got.NoCache || got.Caller+got.Account+got.Body != "" {
		t.Errorf("read %+v", got)
	}
}
