package gwtest

// What the real service does, and the fake with it. Source: recorded by LocalStack's test
// suite against AWS, tests/aws/services/apigateway/test_apigateway_lambda.py unless another
// file is named. Each case names the recorded test and the day it was recorded. All of them
// are of methods without authorization: nothing is recorded of AWS_IAM.
//
// Nothing in c8auth relies on what these recorded, which is of integrations that are no
// proxies:
//
//	test_lambda_aws_integration
//	test_lambda_aws_integration_with_request_template
//	test_lambda_aws_integration_response_with_mapping_templates
//	test_lambda_selection_patterns
//
// What an integration must look like, by test_lambda_aws_proxy_integration_non_post_method,
// 2024-03-20, and test_put_integration_aws_proxy_uri, 2025-03-03, concerns template.yaml: see
// .ci/template.

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// eventOf is the event that a request becomes, whoever sends it.
func eventOf(t *testing.T, method, target, body string) object {
	t.Helper()
	g := gateway()
	r := request(method, target, body)
	if body != "" {
		r.Header.Set("Content-Length", "11") // as a server leaves it out, and a client in memory may not
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Connection", "keep-alive")
	r.Header.Set("Accept-Encoding", "gzip, deflate")
	route, ok := g.route(r)
	if !ok {
		t.Fatalf("%s %s leads nowhere", method, target)
	}
	text, err := json.Marshal(g.event(r, "id", role.AccessKeyID, route, []byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	var event object
	if err := json.Unmarshal(text, &event); err != nil {
		t.Fatal(err)
	}
	return event
}

// The event has these members, null where there is nothing, and no others. So have the sample
// events.
func TestRecordedEvent(t *testing.T) { // test_lambda_aws_proxy_integration, 2024-08-02; test_lambda_aws_proxy_integration_request_data_mapping, 2024-07-22
	members := map[string]string{
		"": "body headers httpMethod isBase64Encoded multiValueHeaders multiValueQueryStringParameters path pathParameters queryStringParameters requestContext resource stageVariables",
		"requestContext": "accountId apiId deploymentId domainName domainPrefix extendedRequestId httpMethod identity path protocol requestId requestTime requestTimeEpoch " +
			"resourceId resourcePath stage",
		"identity": "accessKey accountId caller cognitoAuthenticationProvider cognitoAuthenticationType cognitoIdentityId cognitoIdentityPoolId principalOrgId sourceIp user userAgent userArn",
	}
	get := eventOf(t, http.MethodGet, "/v1/tokens/acme", "")
	post := eventOf(t, http.MethodPost, "/v1/tokens/acme/rejections", `{"message": "hello world"}`)
	check := func(event object) {
		requestContext := event["requestContext"].(object)
		for name, of := range map[string]object{"": event, "requestContext": requestContext, "identity": requestContext["identity"].(object)} {
			if got := strings.Join(slices.Sorted(maps.Keys(of)), " "); got != members[name] {
				t.Errorf("%q has the members\n%s, want\n%s", name, got, members[name])
			}
		}
	}
	for _, name := range []string{"vend", "vend-no-cache", "vend-unknown-tenant", "vend-malformed-tenant", "rotate-rejection", "rotate-rejection-malformed"} {
		text, err := os.ReadFile("../../../events/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var sample object
		if err := json.Unmarshal(text, &sample); err != nil {
			t.Fatal(err)
		}
		check(sample)
	}
	for _, event := range []object{get, post} {
		check(event)
		for _, name := range []string{"queryStringParameters", "multiValueQueryStringParameters", "stageVariables"} {
			if event[name] != nil {
				t.Errorf("%s is %v, want null", name, event[name])
			}
		}
		headers, lists := event["headers"].(object), event["multiValueHeaders"].(object)
		for name, one := range headers {
			if list, ok := lists[name].([]any); !ok || len(list) != 1 || list[0] != one {
				t.Errorf("the header %s is %q, and %v in the list", name, one, lists[name])
			}
		}
		for _, name := range []string{"Content-Length", "Connection"} {
			if headers[name] != nil || lists[name] != nil {
				t.Errorf("the event has the header %s", name)
			}
		}
		for _, name := range []string{"Accept-Encoding", "Host", "X-Amzn-Trace-Id", "X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto"} {
			if headers[name] == nil {
				t.Errorf("the event lacks the header %s", name)
			}
		}
		if event["isBase64Encoded"] != false {
			t.Error("the event says isBase64Encoded")
		}
	}
	if get["body"] != nil || post["body"] != `{"message": "hello world"}` {
		t.Errorf("the bodies are %v and %v", get["body"], post["body"])
	}
}

// An extra slash before the stage, after it or at the end leads to the same route. path keeps
// the last of them, requestContext.path the last two, the path parameter none. What is
// encoded stays so in all three. (Recorded of a greedy parameter, {proxy+}, the slash after the
// stage also of a fixed path. That it is so of {tenant} is taken for granted.)
func TestRecordedPaths(t *testing.T) { // test_lambda_aws_proxy_integration, 2024-08-02
	for target, want := range map[string]struct{ path, full, tenant string }{
		"/v1/tokens/acme":                   {"/tokens/acme", "/v1/tokens/acme", "acme"},
		"/v1/tokens/acme/":                  {"/tokens/acme/", "/v1/tokens/acme/", "acme"},
		"//v1/tokens/acme":                  {"/tokens/acme", "/v1/tokens/acme", "acme"},
		"/v1//tokens/acme":                  {"/tokens/acme", "/v1//tokens/acme", "acme"},
		"/v1/tokens/test%2Balias@gmail.com": {"/tokens/test%2Balias@gmail.com", "/v1/tokens/test%2Balias@gmail.com", "test%2Balias@gmail.com"},
		"/v1/tokens/test+alias@gmail.com":   {"/tokens/test+alias@gmail.com", "/v1/tokens/test+alias@gmail.com", "test+alias@gmail.com"},
		"/v1/tokens/acme/?urlparam=test":    {"/tokens/acme/", "/v1/tokens/acme/", "acme"},
	} {
		event := eventOf(t, http.MethodGet, target, "")
		got := []any{event["path"], event["requestContext"].(object)["path"], event["pathParameters"].(object)["tenant"]}
		if diff := cmp.Diff([]any{want.path, want.full, want.tenant}, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", target, diff)
		}
		if resource := event["resource"]; resource != "/tokens/{tenant}" || event["requestContext"].(object)["resourcePath"] != resource {
			t.Errorf("%s leads to %v", target, resource)
		}
	}
}

// The query is decoded. Of several values of one name, the last counts.
func TestRecordedQuery(t *testing.T) { // test_lambda_aws_proxy_integration, 2024-08-02
	event := eventOf(t, http.MethodGet, "/v1/tokens/acme?email=test%2Balias@gmail.com&plus=test+alias@gmail.com&url=https://www.google.com/"+
		"&whitespace=foo%20bar&category=electronics&category=books&price=10&price=20&price=30", "")
	if diff := cmp.Diff(object{
		"email": "test+alias@gmail.com", "plus": "test alias@gmail.com", "url": "https://www.google.com/", "whitespace": "foo bar",
		"category": "books", "price": "30",
	}, event["queryStringParameters"]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	lists := event["multiValueQueryStringParameters"].(object)
	if diff := cmp.Diff([][]any{{"electronics", "books"}, {"10", "20", "30"}}, [][]any{lists["category"].([]any), lists["price"].([]any)}); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// What becomes of a function's answer. All but those that say otherwise are
// test_aws_proxy_response_payload_format_validation, 2024-11-15.
func TestRecordedAnswers(t *testing.T) {
	// 36 bytes: test_apigateway_header_remapping_aws[AWS_PROXY], 2024-12-11, of
	// test_apigateway_integrations.py.
	const refused = `{"message": "Internal server error"}`
	for name, test := range map[string]struct {
		answer string
		status int
		body   string
		header http.Header // besides Content-Type, application/json
	}{
		"no body":                   {`{"statusCode":200}`, 200, "", nil},
		"headers":                   {`{"statusCode":200,"headers":{"test-header":"value","header-bool":true}}`, 200, "", http.Header{"Test-Header": {"value"}, "Header-Bool": {"true"}}},
		"headers null":              {`{"statusCode":200,"headers":null}`, 200, "", nil},
		"wrong format":              {`{"statusCode":200,"wrongValue":"value"}`, 502, refused, nil},
		"a failure of the function": {`{"errorMessage":"the JSON object must be str","errorType":"TypeError","requestId":"id","stackTrace":[]}`, 502, refused, nil},
		// Not recorded, but asserted of AWS by test_lambda_aws_proxy_response_format.
		"empty object":      {`{}`, 200, "", nil},
		"base64, said so":   {`{"statusCode":200,"body":"dGVzdC1kYXRh","isBase64Encoded":true}`, 200, "dGVzdC1kYXRh", nil},
		"base64, unsaid":    {`{"statusCode":200,"body":"dGVzdC1kYXRh"}`, 200, "dGVzdC1kYXRh", nil},
		"header of values":  {`{"statusCode":200,"multiValueHeaders":{"test-multi":["value1","value2"]}}`, 200, "", http.Header{"Test-Multi": {"value1", "value2"}}},
		"header twice":      {`{"statusCode":200,"multiValueHeaders":{"test-multi":["value-multi"]},"headers":{"test-multi":"value-solo"}}`, 200, "", http.Header{"Test-Multi": {"value-multi", "value-solo"}}},
		"header twice, Abc": {`{"statusCode":200,"multiValueHeaders":{"tesT-Multi":["value-multi"]},"headers":{"test-multi":"value-solo"}}`, 200, "", http.Header{"Test-Multi": {"value-multi", "value-solo"}}},
		"no list of values": {`{"statusCode":200,"multiValueHeaders":{"test-multi-invalid":"value1"}}`, 502, refused, nil},
		"status a word":     {`{"statusCode":"test"}`, 502, refused, nil},
		"status a string":   {`{"statusCode":"201"}`, 201, "", nil},
		"a string":          {`"justAString"`, 502, refused, nil},
		"no status":         {`{"headers":{"test-header":"value"}}`, 200, "", http.Header{"Test-Header": {"value"}}},
	} {
		t.Run(name, func(t *testing.T) {
			g := gateway()
			g.Invoke = answers(test.answer)
			w := serve(g, signed(t, user, http.MethodGet, "/v1/tokens/acme", ""))
			if w.Code != test.status || w.Body.String() != test.body || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("got %d %s %q, want %d %q", w.Code, w.Header().Get("Content-Type"), w.Body, test.status, test.body)
			}
			if test.status == http.StatusBadGateway && w.Header().Get("x-amzn-ErrorType") != "InternalServerErrorException" {
				t.Errorf("x-amzn-ErrorType is %q", w.Header().Get("x-amzn-ErrorType"))
			}
			for name, values := range test.header {
				if diff := cmp.Diff(values, w.Header().Values(name)); diff != "" {
					t.Errorf("%s: (-want +got)\n%s", name, diff)
				}
			}
		})
	}
}

// A path that leads nowhere and a method that the path does not have are refused alike.
func TestRecordedNoRoute(t *testing.T) { // test_routing_not_found, 2024-07-23, of test_apigateway_common.py
	for _, r := range []*http.Request{
		request(http.MethodGet, "/v1/random-non-existing", ""), request(http.MethodPost, "/v1/tokens/acme", ""),
		request(http.MethodGet, "/v1/tokens/acme/rejections", ""), request(http.MethodPost, "/v1/tokens/acme//rejections", ""), // these two are not recorded
	} {
		want{403, "MissingAuthenticationTokenException", `{"message":"Missing Authentication Token"}`}.check(t, serve(gateway(), r))
	}
}
