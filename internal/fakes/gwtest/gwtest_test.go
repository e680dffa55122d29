package gwtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
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

// gateway knows the three callers, and has functions that answer "ok".
func gateway() *Gateway {
	return &Gateway{
		Keys: map[string]Key{
			user.AccessKeyID:    {SecretAccessKey: secret, ARN: "arn:aws:iam::210987654321:user/acme", Tenants: []string{"acme"}},
			role.AccessKeyID:    {SecretAccessKey: secret, SessionToken: token, ARN: "arn:aws:sts::123456789012:assumed-role/payroll/i-0123", Tenants: []string{"acme", "globex"}, Reports: []string{"acme"}},
			auditor.AccessKeyID: {SecretAccessKey: secret, ARN: "arn:aws:iam::123456789012:user/auditor", Tenants: []string{"*"}},
		},
		Invoke: answers(`{"statusCode":200,"body":"ok"}`),
		Report: answers(`{"statusCode":200,"body":"reported"}`),
	}
}

func answers(answer string) func(context.Context, []byte) ([]byte, error) {
	return func(context.Context, []byte) ([]byte, error) { return []byte(answer), nil }
}

// request is as a server sees it, before it is signed.
func request(method, target, body string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "c8auth0api.execute-api.eu-central-1.amazonaws.com"
	return r
}

// sign4 signs a request with that body.
func sign4(t *testing.T, r *http.Request, body string, who aws.Credentials, service, region string, at time.Time) *http.Request {
	t.Helper()
	digest := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(t.Context(), who, r, hex.EncodeToString(digest[:]), service, region, at); err != nil {
		t.Fatal(err)
	}
	return r
}

// signed is a request that nothing is wrong with.
func signed(t *testing.T, who aws.Credentials, method, target, body string) *http.Request {
	t.Helper()
	return sign4(t, request(method, target, body), body, who, service, "eu-central-1", time.Now())
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
}

var ok = want{http.StatusOK, "", "ok"}

// A request passes if it is signed as one of the signers does it: the Go SDK, or API Gateway's
// generated SDKs, which do not sign the session token.
func TestSigned(t *testing.T) {
	unsignedToken := signed(t, aws.Credentials{AccessKeyID: role.AccessKeyID, SecretAccessKey: secret}, http.MethodGet, "/v1/tokens/acme", "")
	unsignedToken.Header.Set("X-Amz-Security-Token", token)
	unsignedHeader := signed(t, user, http.MethodGet, "/v1/tokens/acme", "")
	unsignedHeader.Header.Set("Accept", "application/json")
	signedHeader := request(http.MethodGet, "/v1/tokens/acme", "")
	signedHeader.Header.Add("Cache-Control", "  no-cache,   no-store ")
	for name, r := range map[string]*http.Request{
		"a user":                    signed(t, user, http.MethodGet, "/v1/tokens/acme", ""),
		"a role":                    signed(t, role, http.MethodGet, "/v1/tokens/globex", ""),
		"a query":                   signed(t, user, http.MethodGet, "/v1/tokens/acme?b=2&a=1&a=0&c=x%20y", ""),
		"an escape":                 signed(t, auditor, http.MethodGet, "/v1/tokens/%2e%2e", ""),
		"an unsigned header":        unsignedHeader,
		"a signed header":           sign4(t, signedHeader, "", user, service, "eu-central-1", time.Now()),
		"an unsigned session token": unsignedToken,
	} {
		t.Run(name, func(t *testing.T) { ok.check(t, serve(gateway(), r)) })
	}
	want{200, "", "reported"}.check(t, serve(gateway(), signed(t, role, http.MethodPost, "/v1/tokens/acme/rejections", `{"version":"v"}`)))
}

// A request whose signature is wrong is refused, by an answer that shows none of it.
func TestUnauthenticated(t *testing.T) {
	missing := want{403, "MissingAuthenticationTokenException", `{"message":"Missing Authentication Token"}`}
	incomplete := want{403, "IncompleteSignatureException", `{"message":"Authorization header requires …`}
	invalid := want{403, "UnrecognizedClientException", `{"message":"The security token included in the request is invalid."}`}
	mismatch := want{403, "InvalidSignatureException", `{"message":"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}`}
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
			sign4(t, r, `{"version":"v"}`, role, service, region, time.Now())
		}
	}
	for name, test := range map[string]struct {
		spoil func(*http.Request) // a good report of a role
		want  want
	}{
		"no signature":   {func(r *http.Request) { r.Header.Del("Authorization") }, missing},
		"no credential":  {edit("Credential=", "Credentials="), incomplete},
		"no date":        {func(r *http.Request) { r.Header.Del("X-Amz-Date") }, incomplete},
		"unknown key":    {edit("ASIAROLE", "ASIANONE"), invalid},
		"another's key":  {edit("ASIAROLE", "AKIAUSER"), invalid},
		"no token":       {func(r *http.Request) { r.Header.Del("X-Amz-Security-Token") }, invalid},
		"another token":  {func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "stolen") }, invalid},
		"region":         {scoped("execute-api", "us-east-1"), mismatch},
		"service":        {scoped("s3", "eu-central-1"), mismatch},
		"scope's date":   {edit("ASIAROLE/2", "ASIAROLE/1"), mismatch},
		"host unsigned":  {edit("host;", ""), mismatch},
		"token unsigned": {edit(";x-amz-security-token", ""), mismatch},
		"signature":      {edit("Signature=", "Signature=0"), mismatch},
		"path":           {func(r *http.Request) { r.URL.RawPath = "/v1/tokens/%61cme/rejections" }, mismatch},
		"query":          {func(r *http.Request) { r.URL.RawQuery = "a=2" }, mismatch},
		"host":           {func(r *http.Request) { r.Host = "elsewhere.example" }, mismatch},
		"header":         {func(r *http.Request) { r.Header.Set("Cache-Control", "no-cache") }, mismatch},
		"body":           {func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(`{"version":"w"}`)) }, mismatch},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(http.MethodPost, "/v1/tokens/acme/rejections?a=1", `{"version":"v"}`)
			r.Header.Set("Cache-Control", "max-age=0")
			sign4(t, r, `{"version":"v"}`, role, service, "eu-central-1", time.Now())
			test.spoil(r)
			w := serve(gateway(), r)
			test.want.check(t, w)
			all := fmt.Sprint(w.Header(), w.Body)
			for _, s := range []string{secret, token, r.Header.Get("Authorization")} {
				if s != "" && strings.Contains(all, s) {
					t.Errorf("%q is in the answer %s", s, all)
				}
			}
			if h := w.Header(); h.Get("Cache-Control") != "no-store" || h.Get("Pragma") != "no-cache" {
				t.Errorf("a cache may keep it: %v", h)
			}
		})
	}
	t.Run("wrong secret", func(t *testing.T) {
		mismatch.check(t, serve(gateway(), signed(t, aws.Credentials{AccessKeyID: user.AccessKeyID, SecretAccessKey: "guessed"}, http.MethodGet, "/v1/tokens/acme", "")))
	})
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
				r := sign4(t, request(http.MethodGet, "/v1/tokens/acme", ""), "", user, service, "eu-central-1", time.Now().Add(offset))
				want.check(t, serve(gateway(), r))
			})
		})
	}
}

// A caller gets the tenants that it is granted by the path as it was sent, for each method
// apart; and none if the API's own policy does not admit it.
func TestGrants(t *testing.T) {
	const acme, payroll = "arn:aws:iam::210987654321:user/acme", "arn:aws:sts::123456789012:assumed-role/payroll/i-0123"
	denied := func(arn, resource, policy string) want {
		return want{403, "AccessDeniedException", `{"Message":"User: ` + arn + ` is not authorized to perform: execute-api:Invoke on resource: ` +
			`arn:aws:execute-api:eu-central-1:********9012:c8auth0api/v1/` + resource + ` because no ` + policy + `-based policy allows the execute-api:Invoke action"}`}
	}
	for _, test := range []struct {
		who            aws.Credentials
		method, target string
		want           want
	}{
		{user, "GET", "/tokens/acme", ok},
		{user, "GET", "/tokens/globex", denied(acme, "GET/tokens/globex", "identity")},
		{user, "GET", "/tokens/ACME", denied(acme, "GET/tokens/ACME", "identity")},
		{user, "GET", "/tokens/%61cme", denied(acme, "GET/tokens/%61cme", "identity")}, // acme, encoded
		{user, "GET", "/tokens/acme/", denied(acme, "GET/tokens/acme/", "identity")},   // the same route
		{user, "POST", "/tokens/acme/rejections", denied(acme, "POST/tokens/acme/rejections", "identity")},
		{role, "GET", "/tokens/globex", ok},
		{role, "POST", "/tokens/globex/rejections", denied(payroll, "POST/tokens/globex/rejections", "identity")},
		{auditor, "GET", "/tokens/initech", ok},
	} {
		t.Run(test.who.AccessKeyID+" "+test.method+" "+test.target, func(t *testing.T) {
			test.want.check(t, serve(gateway(), signed(t, test.who, test.method, "/v1"+test.target, "")))
		})
	}
	barred := gateway()
	key := barred.Keys[user.AccessKeyID]
	key.Barred = true
	barred.Keys[user.AccessKeyID] = key
	denied(acme, "GET/tokens/acme", "resource").check(t, serve(barred, signed(t, user, http.MethodGet, "/v1/tokens/acme", "")))
}

// A function has 29 seconds, and is not told that the caller has hung up.
func TestIntegrationTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gateway()
		g.Invoke = func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("invoke: %w", ctx.Err())
		}
		ctx, hangUp := context.WithTimeout(t.Context(), time.Second)
		defer hangUp()
		start := time.Now()
		w := serve(g, signed(t, user, http.MethodGet, "/v1/tokens/acme", "").WithContext(ctx))
		want{504, "InternalServerErrorException", `{"message": "Endpoint request timed out"}`}.check(t, w)
		if took := time.Since(start); took != 29*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
