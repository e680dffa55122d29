package gwtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
)

const (
	secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	token  = "FwoGZXIvYXdzEXAMPLESESSIONTOKEN="
)

var (
	user    = aws.Credentials{AccessKeyID: "AKIAUSER", SecretAccessKey: secret}
	role    = aws.Credentials{AccessKeyID: "ASIAROLE", SecretAccessKey: secret, SessionToken: token}
	auditor = aws.Credentials{AccessKeyID: "AKIAAUDITOR", SecretAccessKey: secret}
)

// gateway knows the three callers, and has a function that answers "ok".
func gateway() *Gateway {
	return &Gateway{
		Keys: map[string]Key{
			user.AccessKeyID:    {SecretAccessKey: secret, ARN: "arn:aws:iam::210987654321:user/acme", Tenants: []string{"acme"}},
			role.AccessKeyID:    {SecretAccessKey: secret, SessionToken: token, ARN: "arn:aws:sts::123456789012:assumed-role/payroll/i-0123", Tenants: []string{"acme", "globex"}},
			auditor.AccessKeyID: {SecretAccessKey: secret, ARN: "arn:aws:iam::123456789012:user/auditor", Tenants: []string{"*"}},
		},
		Invoke: answers(`{"statusCode":200,"body":"ok"}`),
	}
}

func answers(answer string) func(context.Context, []byte) ([]byte, error) {
	return func(context.Context, []byte) ([]byte, error) { return []byte(answer), nil }
}

// It is meant for a Function.
var _ = Gateway{Invoke: new(lambdatest.Function).Invoke}

// request is as a server sees it, before it is signed.
func request(method, target string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.Host = "c8auth0api.execute-api.eu-central-1.amazonaws.com"
	return r
}

func sign4(t *testing.T, r *http.Request, who aws.Credentials, service, region string, at time.Time) *http.Request {
	t.Helper()
	empty := sha256.Sum256(nil)
	if err := v4.NewSigner().SignHTTP(t.Context(), who, r, hex.EncodeToString(empty[:]), service, region, at); err != nil {
		t.Fatal(err)
	}
	return r
}

// signed is a request that nothing is wrong with.
func signed(t *testing.T, who aws.Credentials, target string) *http.Request {
	t.Helper()
	return sign4(t, request(http.MethodGet, target), who, "execute-api", "eu-central-1", time.Now())
}

func serve(g *Gateway, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w
}

// want is an answer, or the start of one that ends in "…".
type want struct {
	status int
	kind   string // x-amzn-ErrorType
	body   string
}

func (want want) check(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	got, body := w.Body.String(), want.body
	if start, ok := strings.CutSuffix(body, "…"); ok && strings.HasPrefix(got, start) {
		body = got
	}
	if w.Code != want.status || w.Header().Get("x-amzn-ErrorType") != want.kind || got != body {
		t.Errorf("got  %d %s %s\nwant %d %s %s", w.Code, w.Header().Get("x-amzn-ErrorType"), got, want.status, want.kind, want.body)
	}
	if w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("Content-Type is %q", w.Header().Get("Content-Type"))
	}
	if h := w.Header(); want.kind != "" && (h.Get("Cache-Control") != "no-store" || h.Get("Pragma") != "no-cache") {
		t.Errorf("a cache may keep it: %v", h)
	}
	if w.Header().Get("x-amzn-RequestId") == "" {
		t.Error("no x-amzn-RequestId")
	}
}

var ok = want{http.StatusOK, "", "ok"}

func TestPasses(t *testing.T) {
	for name, r := range map[string]*http.Request{
		"a user":        signed(t, user, "/v1/tokens/acme"),
		"a role":        signed(t, role, "/v1/tokens/globex"),
		"all tenants":   signed(t, auditor, "/v1/tokens/anyone"),
		"a query":       signed(t, user, "/v1/tokens/acme?b=2&a=1&a=0&c=x%20y"),
		"an escape":     signed(t, auditor, "/v1/tokens/%2e%2e"),
		"no body field": func() *http.Request { r := signed(t, user, "/v1/tokens/acme"); r.Body = nil; return r }(),
		"an unsigned header": func() *http.Request {
			r := signed(t, user, "/v1/tokens/acme")
			r.Header.Set("Accept", "application/json")
			return r
		}(),
		"a signed header": func() *http.Request {
			r := request(http.MethodGet, "/v1/tokens/acme")
			r.Header.Add("Cache-Control", "  no-cache,   no-store ")
			return sign4(t, r, user, "execute-api", "eu-central-1", time.Now())
		}(),
		"an unsigned session token": func() *http.Request { // as the generated SDKs of API Gateway send it
			r := signed(t, aws.Credentials{AccessKeyID: role.AccessKeyID, SecretAccessKey: secret}, "/v1/tokens/acme")
			r.Header.Set("X-Amz-Security-Token", token)
			return r
		}(),
		"no space after commas": func() *http.Request {
			r := signed(t, user, "/v1/tokens/acme")
			r.Header.Set("Authorization", strings.ReplaceAll(r.Header.Get("Authorization"), ", ", ","))
			return r
		}(),
	} {
		t.Run(name, func(t *testing.T) { ok.check(t, serve(gateway(), r)) })
	}
}

func TestSettings(t *testing.T) {
	g := gateway()
	g.Region, g.Stage = "us-east-1", "live"
	ok.check(t, serve(g, sign4(t, request(http.MethodGet, "/live/tokens/acme"), user, "execute-api", "us-east-1", time.Now())))
}

func TestNoSuchRoute(t *testing.T) {
	for _, r := range []*http.Request{
		request(http.MethodGet, "/"),
		request(http.MethodGet, "/v1"),
		request(http.MethodGet, "/v1/tokens"),
		request(http.MethodGet, "/v1/tokens/"),
		request(http.MethodGet, "/v1/tokens//"),
		request(http.MethodGet, "/v1/tokens//acme"),
		request(http.MethodGet, "/v1/tokens/acme/more"),
		request(http.MethodGet, "/v1/tokens/../tokens/acme"),
		request(http.MethodGet, "/v2/tokens/acme"),
		request(http.MethodGet, "/v1/Tokens/acme"),
		request(http.MethodGet, "/v1%2Ftokens/acme"),
		request(http.MethodPost, "/v1/tokens/acme"),
		request(http.MethodHead, "/v1/tokens/acme"),
		request(http.MethodOptions, "/v1/tokens/acme"),
	} {
		t.Run(r.Method+" "+r.URL.String(), func(t *testing.T) {
			r := sign4(t, r, auditor, "execute-api", "eu-central-1", time.Now())
			want{403, "MissingAuthenticationTokenException", `{"message":"Missing Authentication Token"}`}.check(t, serve(gateway(), r))
		})
	}
}

func TestUnauthenticated(t *testing.T) {
	missing := want{403, "MissingAuthenticationTokenException", `{"message":"Missing Authentication Token"}`}
	incomplete := want{403, "IncompleteSignatureException", `{"message":"Authorization header requires …`}
	invalid := want{403, "UnrecognizedClientException", `{"message":"The security token included in the request is invalid."}`}
	mismatch := want{403, "InvalidSignatureException", `{"message":"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}`}
	refused := func(message string) want {
		return want{403, "InvalidSignatureException", `{"message":"` + message + `"}`}
	}
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	edit := func(old, with string) func(*http.Request) {
		return func(r *http.Request) {
			header := r.Header.Get("Authorization")
			if !strings.Contains(header, old) {
				t.Errorf("%q is not in %q", old, header)
			}
			r.Header.Set("Authorization", strings.Replace(header, old, with, 1))
		}
	}
	scoped := func(service, region string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Del("Authorization")
			sign4(t, r, role, service, region, time.Now())
		}
	}

	for name, test := range map[string]struct {
		spoil func(*http.Request) // a good request of a role
		want  want
	}{
		"no signature":    {func(r *http.Request) { r.Header.Del("Authorization") }, missing},
		"another scheme":  {set("Authorization", "Bearer abc"), incomplete},
		"no credential":   {edit("Credential=", "Credentials="), incomplete},
		"short scope":     {edit("/aws4_request", ""), incomplete},
		"no list":         {edit("SignedHeaders=", "Headers="), incomplete},
		"no value":        {edit("Signature=", "="), incomplete},
		"no date":         {func(r *http.Request) { r.Header.Del("X-Amz-Date") }, incomplete},
		"malformed date":  {set("X-Amz-Date", "today"), incomplete},
		"unknown key":     {edit("ASIAROLE", "ASIANONE"), invalid},
		"another's key":   {edit("ASIAROLE", "AKIAUSER"), invalid},
		"no token":        {func(r *http.Request) { r.Header.Del("X-Amz-Security-Token") }, invalid},
		"another token":   {set("X-Amz-Security-Token", "stolen"), invalid},
		"region":          {scoped("execute-api", "us-east-1"), refused("Credential should be scoped to a valid region. ")},
		"service":         {scoped("s3", "eu-central-1"), refused("Credential should be scoped to correct service: 'execute-api'. ")},
		"both":            {scoped("s3", "us-east-1"), refused("Credential should be scoped to a valid region. Credential should be scoped to correct service: 'execute-api'. ")},
		"terminator":      {edit("aws4_request", "aws5_request"), refused("Credential should be scoped with a valid terminator: 'aws4_request'. ")},
		"scope's date":    {edit("ASIAROLE/2", "ASIAROLE/1"), refused("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP. ")},
		"host unsigned":   {edit("host;", ""), refused("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")},
		"date unsigned":   {edit("x-amz-date;", ""), refused("'X-Amz-Date' must be a 'SignedHeader' in the AWS Authorization.")},
		"token unsigned":  {edit(";x-amz-security-token", ""), mismatch},
		"header unsent":   {edit("=cache-control", "=accept;cache-control"), mismatch},
		"signature":       {edit("Signature=", "Signature=0"), mismatch},
		"path":            {func(r *http.Request) { r.URL.Path = "/v1/tokens/globex" }, mismatch},
		"escaped path":    {func(r *http.Request) { r.URL.RawPath = "/v1/tokens/%61cme" }, mismatch},
		"query":           {func(r *http.Request) { r.URL.RawQuery = "a=2" }, mismatch},
		"host":            {func(r *http.Request) { r.Host = "elsewhere.example" }, mismatch},
		"header":          {set("Cache-Control", "no-cache"), mismatch},
		"a second header": {func(r *http.Request) { r.Header.Add("Cache-Control", "no-cache") }, mismatch},
		"body":            {func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("x")) }, mismatch},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(http.MethodGet, "/v1/tokens/acme?a=1")
			r.Header.Set("Cache-Control", "max-age=0")
			sign4(t, r, role, "execute-api", "eu-central-1", time.Now())
			test.spoil(r)
			w := serve(gateway(), r)
			test.want.check(t, w)
			wantNoSecrets(t, w, r)
		})
	}

	t.Run("wrong secret", func(t *testing.T) {
		mismatch.check(t, serve(gateway(), signed(t, aws.Credentials{AccessKeyID: user.AccessKeyID, SecretAccessKey: "guessed"}, "/v1/tokens/acme")))
	})
	t.Run("token of a user", func(t *testing.T) {
		invalid.check(t, serve(gateway(), signed(t, aws.Credentials{AccessKeyID: user.AccessKeyID, SecretAccessKey: secret, SessionToken: token}, "/v1/tokens/acme")))
	})
}

// wantNoSecrets looks for them in all of an answer.
func wantNoSecrets(t *testing.T, w *httptest.ResponseRecorder, r *http.Request) {
	t.Helper()
	all := fmt.Sprint(w.Header(), w.Body)
	_, signature, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
	for _, s := range []string{secret, token, signature, r.Header.Get("Authorization"), r.Header.Get("X-Amz-Security-Token")} {
		if s != "" && strings.Contains(all, s) {
			t.Errorf("%q is in the answer %s", s, all)
		}
	}
}

func TestSignatureIsGoodForFiveMinutes(t *testing.T) {
	for offset, want := range map[time.Duration]want{
		-5*time.Minute - time.Second: {403, "InvalidSignatureException", `{"message":"Signature expired: 19991231T235459Z is now earlier than 19991231T235500Z (20000101T000000Z - 5 min.)"}`},
		-5 * time.Minute:             ok,
		5 * time.Minute:              ok,
		5*time.Minute + time.Second:  {403, "InvalidSignatureException", `{"message":"Signature not yet current: 20000101T000501Z is still later than 20000101T000500Z (20000101T000000Z + 5 min.)"}`},
	} {
		t.Run(offset.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // where it is midnight, 2000-01-01
				r := sign4(t, request(http.MethodGet, "/v1/tokens/acme"), user, "execute-api", "eu-central-1", time.Now().Add(offset))
				want.check(t, serve(gateway(), r))
			})
		})
	}
}

func TestAllowList(t *testing.T) {
	denied := func(arn, tenant string) want {
		return want{403, "AccessDeniedException", `{"Message":"User: ` + arn + ` is not authorized to perform: execute-api:Invoke on resource: ` +
			`arn:aws:execute-api:eu-central-1:********9012:c8auth0api/v1/GET/tokens/` + tenant + ` because no identity-based policy allows the execute-api:Invoke action"}`}
	}
	const acme, payroll = "arn:aws:iam::210987654321:user/acme", "arn:aws:sts::123456789012:assumed-role/payroll/i-0123"
	for _, test := range []struct {
		who    aws.Credentials
		tenant string
		want   want
	}{
		{user, "acme", ok},
		{user, "globex", denied(acme, "globex")},
		{user, "acm", denied(acme, "acm")},
		{user, "ACME", denied(acme, "ACME")},
		{user, "%61cme", denied(acme, "%61cme")}, // acme, in disguise
		{user, "*", denied(acme, "*")},
		{user, "acme/", denied(acme, "acme/")}, // the same route
		{role, "acme", ok},
		{role, "globex", ok},
		{role, "initech", denied(payroll, "initech")},
		{auditor, "initech", ok},
	} {
		t.Run(test.who.AccessKeyID+" "+test.tenant, func(t *testing.T) {
			test.want.check(t, serve(gateway(), signed(t, test.who, "/v1/tokens/"+test.tenant)))
		})
	}
}

// A caller of another account whom its own side admits may yet be barred by this one.
func TestBarred(t *testing.T) {
	g := gateway()
	key := g.Keys[user.AccessKeyID]
	key.Barred = true
	g.Keys[user.AccessKeyID] = key
	want{403, "AccessDeniedException", `{"Message":"User: arn:aws:iam::210987654321:user/acme is not authorized to perform: execute-api:Invoke on resource: ` +
		`arn:aws:execute-api:eu-central-1:********9012:c8auth0api/v1/GET/tokens/acme because no resource-based policy allows the execute-api:Invoke action"}`,
	}.check(t, serve(g, signed(t, user, "/v1/tokens/acme")))
}

func TestReplayOnAnotherTenantsPath(t *testing.T) {
	good := signed(t, role, "/v1/tokens/acme")
	replay := request(http.MethodGet, "/v1/tokens/globex") // which the role may have, too
	replay.Header = good.Header
	want{403, "InvalidSignatureException", `{"message":"The request signature we calculated does not match …`}.check(t, serve(gateway(), replay))
}

func TestBodyIsBounded(t *testing.T) {
	r := signed(t, user, "/v1/tokens/acme")
	r.Body = io.NopCloser(io.LimitReader(zeros{}, maxBody+1))
	want{413, "RequestEntityTooLargeException", `{"message":"HTTP content length exceeded 10485760 bytes."}`}.check(t, serve(gateway(), r))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where it is midnight, 2000-01-01
		g := gateway()
		var got []byte
		g.Invoke = func(_ context.Context, event []byte) ([]byte, error) {
			got = event
			return []byte(`{"statusCode":200}`), nil
		}
		r := request(http.MethodGet, "/v1/tokens/acme?b=2&a=1&a=x%20y")
		r.Header.Set("User-Agent", "curl/8.0")
		r.Header.Add("Accept", "application/json")
		r.Header.Add("Accept", "*/*")
		r.Header.Add("X-Forwarded-For", "10.0.0.1")
		w := serve(g, sign4(t, r, role, "execute-api", "eu-central-1", time.Now()))
		if w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}

		id := w.Header().Get("x-amzn-RequestId")
		for random, name := range map[string]string{
			id:                                "(request id)",
			`Root=1-386d4380-[0-9a-f]{24}`:    "(trace id)",
			`"extendedRequestId":"[^"]{15}="`: `"extendedRequestId":"(extended request id)"`,
		} {
			if !regexp.MustCompile(random).Match(got) {
				t.Errorf("%s is not in the event", random)
			}
			got = regexp.MustCompile(random).ReplaceAll(got, []byte(name))
		}
		wantJSON(t, got, `{
			"resource": "/tokens/{tenant}",
			"path": "/tokens/acme",
			"httpMethod": "GET",
			"headers": {
				"Accept": "*/*",
				"Host": "c8auth0api.execute-api.eu-central-1.amazonaws.com",
				"User-Agent": "curl/8.0",
				"X-Amz-Date": "20000101T000000Z",
				"X-Amz-Security-Token": "FwoGZXIvYXdzEXAMPLESESSIONTOKEN=",
				"X-Amzn-Trace-Id": "(trace id)",
				"X-Forwarded-For": "10.0.0.1, 192.0.2.1",
				"X-Forwarded-Port": "443",
				"X-Forwarded-Proto": "https"
			},
			"multiValueHeaders": {
				"Accept": ["application/json", "*/*"],
				"Host": ["c8auth0api.execute-api.eu-central-1.amazonaws.com"],
				"User-Agent": ["curl/8.0"],
				"X-Amz-Date": ["20000101T000000Z"],
				"X-Amz-Security-Token": ["FwoGZXIvYXdzEXAMPLESESSIONTOKEN="],
				"X-Amzn-Trace-Id": ["(trace id)"],
				"X-Forwarded-For": ["10.0.0.1, 192.0.2.1"],
				"X-Forwarded-Port": ["443"],
				"X-Forwarded-Proto": ["https"]
			},
			"queryStringParameters": {"a": "x y", "b": "2"},
			"multiValueQueryStringParameters": {"a": ["1", "x y"], "b": ["2"]},
			"pathParameters": {"tenant": "acme"},
			"stageVariables": null,
			"requestContext": {
				"accountId": "123456789012",
				"apiId": "c8auth0api",
				"deploymentId": "d3pl0y",
				"domainName": "c8auth0api.execute-api.eu-central-1.amazonaws.com",
				"domainPrefix": "c8auth0api",
				"extendedRequestId": "(extended request id)",
				"httpMethod": "GET",
				"identity": {
					"accessKey": "ASIAROLE",
					"accountId": "123456789012",
					"caller": "AROAEXAMPLE0123456789:i-0123",
					"cognitoAuthenticationProvider": null,
					"cognitoAuthenticationType": null,
					"cognitoIdentityId": null,
					"cognitoIdentityPoolId": null,
					"principalOrgId": null,
					"sourceIp": "192.0.2.1",
					"user": "AROAEXAMPLE0123456789:i-0123",
					"userAgent": "curl/8.0",
					"userArn": "arn:aws:sts::123456789012:assumed-role/payroll/i-0123"
				},
				"path": "/v1/tokens/acme",
				"protocol": "HTTP/1.1",
				"requestId": "(request id)",
				"requestTime": "01/Jan/2000:00:00:00 +0000",
				"requestTimeEpoch": 946684800000,
				"resourceId": "t0k3ns",
				"resourcePath": "/tokens/{tenant}",
				"stage": "v1"
			},
			"body": null,
			"isBase64Encoded": false
		}`)
	})
}

func wantJSON(t *testing.T, got []byte, want string) {
	t.Helper()
	var g, w any
	if err := errors.Join(json.Unmarshal(got, &g), json.Unmarshal([]byte(want), &w)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestEventOfOthers(t *testing.T) {
	g := gateway()
	var got events.APIGatewayProxyRequest
	g.Invoke = func(_ context.Context, event []byte) ([]byte, error) {
		return []byte(`{"statusCode":200}`), json.Unmarshal(event, &got)
	}

	serve(g, signed(t, user, "/v1/tokens/acme")) // of another account, without a query
	if id := got.RequestContext.Identity; id.Caller != "AIDAEXAMPLE0123456789" || id.User != id.Caller || id.AccountID != "210987654321" {
		t.Errorf("identity %+v", id)
	}
	if got.QueryStringParameters != nil || got.MultiValueQueryStringParameters != nil {
		t.Errorf("query %v, %v", got.QueryStringParameters, got.MultiValueQueryStringParameters)
	}

	for _, tenant := range []string{"%2e%2e", "..", "a%2Fb", "%00", "%c3%a9", "%41cme", "a+b", "*"} { // as they were sent
		w := serve(g, signed(t, auditor, "/v1/tokens/"+tenant))
		if w.Code != http.StatusOK || got.PathParameters["tenant"] != tenant || got.Path != "/tokens/"+tenant {
			t.Errorf("%s: %d %s, path parameters %v, path %s", tenant, w.Code, w.Body, got.PathParameters, got.Path)
		}
	}
}

func TestAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		status int
		header http.Header
		body   string
	}{
		"status, headers, body": {
			answer: `{"statusCode":404,"headers":{"content-type":"text/plain","Cache-Control":"no-store"},"multiValueHeaders":null,"body":"{}","isBase64Encoded":false}`,
			status: 404,
			header: http.Header{"Content-Type": {"text/plain"}, "Cache-Control": {"no-store"}},
			body:   "{}",
		},
		"both kinds of headers are merged": {
			answer: `{"statusCode":200,"headers":{"A":"1","B":"2"},"multiValueHeaders":{"A":["1","3"],"B":["4"]}}`,
			status: 200,
			header: http.Header{"Content-Type": {"application/json"}, "A": {"1", "3"}, "B": {"4", "2"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := gateway()
			g.Invoke = answers(test.answer)
			w := serve(g, signed(t, user, "/v1/tokens/acme"))
			header := w.Header()
			header.Del("x-amzn-RequestId")
			if w.Code != test.status || w.Body.String() != test.body {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, test.status, test.body)
			}
			if diff := cmp.Diff(test.header, header); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestBadGateway(t *testing.T) {
	bad := want{502, "InternalServerErrorException", `{"message": "Internal server error"}`}
	for _, answer := range []string{
		``, `null`, `"ok"`, `garbage`, `[]`,
		`{"statusCode":"abc"}`, `{"statusCode":99}`, `{"statusCode":200}{}`,
		`{"statusCode":200,"body":{}}`, `{"statusCode":200,"surprise":1}`,
		`{"statusCode":200,"headers":{"A":1}}`, `{"statusCode":200,"isBase64Encoded":"no"}`,
		`{"errorType":"errorString","errorMessage":"refused"}`,
	} {
		t.Run(answer, func(t *testing.T) {
			g := gateway()
			g.Invoke = answers(answer)
			bad.check(t, serve(g, signed(t, user, "/v1/tokens/acme")))
		})
	}
	for _, kind := range []lambdatest.Kind{lambdatest.FunctionError, lambdatest.InitError, lambdatest.Crash, lambdatest.Timeout} {
		t.Run(string(kind), func(t *testing.T) {
			g := gateway()
			g.Invoke = func(context.Context, []byte) ([]byte, error) {
				return nil, &lambdatest.Error{Kind: kind, Message: "not for the caller's eyes"}
			}
			bad.check(t, serve(g, signed(t, user, "/v1/tokens/acme")))
		})
	}
}

func TestIntegrationTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gateway()
		g.Invoke = func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("invoke: %w", ctx.Err())
		}
		ctx, hangUp := context.WithTimeout(t.Context(), time.Second)
		defer hangUp() // which changes nothing
		start := time.Now()
		w := serve(g, signed(t, user, "/v1/tokens/acme").WithContext(ctx))
		want{504, "InternalServerErrorException", `{"message": "Endpoint request timed out"}`}.check(t, w)
		if took := time.Since(start); took != 29*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestOverTheWire is for what a request in memory does not show.
func TestOverTheWire(t *testing.T) {
	server := httptest.NewServer(gateway())
	defer server.Close()
	for target, status := range map[string]int{
		"/v1/tokens/acme":           http.StatusOK,
		"/v1/tokens/acme?b=2&a=%2F": http.StatusOK,
		"/v1/tokens/a%2Fb":          http.StatusOK,
		"/v1/tokens/%2e%2e":         http.StatusOK,
		"/v1/tokens/..":             http.StatusOK,
		"/v1/tokens/a/../acme":      http.StatusForbidden,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+target, bytes.NewReader(nil))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(sign4(t, r, auditor, "execute-api", "eu-central-1", time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("%s: %d, want %d", target, resp.StatusCode, status)
		}
	}
}
