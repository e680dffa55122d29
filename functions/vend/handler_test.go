package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/internal/harness"
	"github.com/c8auth/c8auth/pkg/c8auth"
)

const (
	caller  = "arn:aws:sts::123456789012:assumed-role/payroll/i-0123"
	token   = "MARK-<access>&token" // with characters that encoding/json escapes unless told not to
	baseURL = "https://acme.communic8.com"
)

// fixture is the function and the Secrets Manager that it reads, in memory.
type fixture struct {
	*testing.T
	*harness.Memory
	fn handler
}

// run runs the test in a synctest bubble, at midnight of 2000-01-01, with the empty secrets of
// the tenants acme and default.
func run(t *testing.T, test func(*fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{T: t, Memory: harness.InMemory("acme", "default")}
		f.fn = handler{log: c8auth.NewLogger(&f.Memory.Log), cache: &c8auth.Cache{TTL: time.Minute, Store: &c8auth.Store{Stack: harness.Name, Client: f.Client}}}
		test(f)
	})
}

// put stores a token of the tenant acme.
func (f *fixture) put(token string, lifetime time.Duration) {
	f.Secrets.Put(harness.TokenName("acme"), harness.Token(baseURL, token, "v1", time.Now(), lifetime))
}

var (
	throttled = &smtest.Fault{Status: 400, Type: "ThrottlingException", Message: "Rate exceeded"}
	hanging   = &smtest.Fault{Hang: true}
)

// invoke hands the function a payload, as Lambda does.
func (f *fixture) invoke(payload []byte) (got events.APIGatewayProxyResponse) {
	f.Helper()
	answer, err := f.fn.Invoke(f.Context(), payload)
	if err != nil {
		f.Fatalf("the invocation failed, which the caller sees as a 502: %v", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(answer))
	decoder.DisallowUnknownFields() // API Gateway refuses them
	if err := decoder.Decode(&got); err != nil {
		f.Fatalf("%v in %s", err, answer)
	}
	return got
}

// event is what the REST API sends: the sample event, for that tenant. All that a caller can fill
// is marked.
func (f *fixture) event(tenant string) (in events.APIGatewayProxyRequest) {
	f.Helper()
	text, err := os.ReadFile("../../events/vend.json")
	if err != nil {
		f.Fatal(err)
	}
	if err := json.Unmarshal(text, &in); err != nil {
		f.Fatal(err)
	}
	in.PathParameters["tenant"] = tenant
	in.Path = "/tokens/" + tenant
	in.RequestContext.Path = "/v1" + in.Path
	in.RequestContext.Identity.UserArn = caller
	in.RequestContext.Identity.UserAgent = "MARK-agent"
	in.Body = "MARK-body"
	in.QueryStringParameters = map[string]string{"access_token": "MARK-query"}
	for name, value := range map[string]string{"X-Amz-Security-Token": "MARK-session-token", "Authorization": "AWS4-HMAC-SHA256 Credential=MARK-credential", "Cookie": "MARK-cookie"} {
		in.Headers[name], in.MultiValueHeaders[name] = value, []string{value}
	}
	return in
}

// send sends the function an event.
func (f *fixture) send(event events.APIGatewayProxyRequest) events.APIGatewayProxyResponse {
	f.Helper()
	text, err := json.Marshal(event)
	if err != nil {
		f.Fatal(err)
	}
	return f.invoke(text)
}

// get requests the tenant's token.
func (f *fixture) get(tenant string) events.APIGatewayProxyResponse {
	f.Helper()
	return f.send(f.event(tenant))
}

// line returns what was logged since the last call, which must be one line of JSON, without any
// mark.
func (f *fixture) line() (line map[string]any) {
	f.Helper()
	text := f.Log.Take()
	if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
		f.Fatalf("want one line, got %q", text)
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(token))
	if strings.Contains(text, "MARK") || strings.Contains(text, strings.TrimRight(encoded, "=")) {
		f.Errorf("a secret or words of the caller in the log: %s", text)
	}
	if err := json.Unmarshal([]byte(text), &line); err != nil {
		f.Fatalf("%v in %s", err, text)
	}
	return line
}

const (
	invalidRequest = `{"error":"invalid_request","error_description":"not a tenant's name: expected a lower-case letter followed by at most 30 lower-case letters, digits or hyphens"}`
	noEvent        = `{"error":"invalid_request","error_description":"malformed input: not an event of a REST API's proxy integration"}`
	testInvocation = `{"error":"invalid_request","error_description":"malformed input: a test invocation by API Gateway is not answered, as it takes no execute-api:Invoke: send a signed request to the API's URL"}`
	wrongPath      = `{"error":"invalid_request","error_description":"malformed input: the path must end with the route's own, and name the tenant as it is: without escapes, and without a slash at the end"}`
	unknownTenant  = `{"error":"unknown_tenant","error_description":"there is no such tenant; check its name"}`
	noToken        = `{"error":"temporarily_unavailable","error_description":"no token has been stored yet; store the tenant's credentials, or wait for the next rotation"}`
	expired        = `{"error":"temporarily_unavailable","error_description":"the token has expired and has not been replaced yet"}`
	unreachable    = `{"error":"temporarily_unavailable","error_description":"the token store cannot be reached"}`
	unreadable     = `{"error":"server_error","error_description":"the stored value is not a token; the next rotation replaces it"}`
)

// Every row of the contract's table: status, headers and body to the letter, and one line about
// it: who made the request, from where, for whose token, and what they got. Neither the token
// nor anything else that the caller wrote is in the line, but for the name of a tenant.
func TestAnswers(t *testing.T) {
	const valid = `{"access_token":"` + token + `","token_type":"Bearer",$EXPIRY"version":"$VERSION","base_url":"https://acme.communic8.com"}`
	expiry := func(in, at string) string {
		return strings.Replace(valid, "$EXPIRY", `"expires_in":`+in+`,"expires_at":"`+at+`",`, 1)
	}
	storing := func(value string) func(*fixture) {
		return func(f *fixture) { f.Secrets.Put(harness.TokenName("acme"), value) }
	}
	lasting := func(lifetime, passed time.Duration) func(*fixture) {
		return func(f *fixture) { f.put(token, lifetime); time.Sleep(passed) }
	}
	cached := func(lifetime, passed time.Duration, fault *smtest.Fault) func(*fixture) {
		return func(f *fixture) {
			f.put(token, lifetime)
			f.get("acme")
			f.Log.Take()
			time.Sleep(passed)
			f.FailSecrets(fault)
		}
	}
	failing := func(fault *smtest.Fault) func(*fixture) {
		return func(f *fixture) { f.put(token, time.Hour); f.FailSecrets(fault) }
	}
	const (
		day    = 24 * time.Hour
		outage = "read an hour ago, from a store that throttles now" // and the token is vended nevertheless
	)
	for _, test := range []struct {
		name       string
		given      func(*fixture)
		tenant     string
		status     int
		retryAfter string
		body       string // $VERSION is the stored one
	}{
		{"a valid token", lasting(day, 0), "acme", 200, "", expiry("86400", "2000-01-02T00:00:00Z")},
		{"rounded down", lasting(time.Hour, time.Millisecond), "acme", 200, "", expiry("3599", "2000-01-01T01:00:00Z")},
		{"just the margin left", lasting(30*time.Second, 0), "acme", 200, "", expiry("30", "2000-01-01T00:00:30Z")},
		{"an access key", lasting(0, 0), "acme", 200, "", strings.Replace(valid, "$EXPIRY", "", 1)},
		{"read a while ago", cached(time.Hour, 50*time.Second+time.Second/2, nil), "acme", 200, "", expiry("3549", "2000-01-01T01:00:00Z")},
		{outage, cached(day, time.Hour, throttled), "acme", 200, "", expiry("82799", "2000-01-02T00:00:00Z")}, // after a second of retries

		{"no name", nil, "", 400, "", invalidRequest},
		{"another directory", nil, "../MARK", 400, "", invalidRequest},
		{"a name of 32 letters", nil, strings.Repeat("m", 32), 400, "", invalidRequest},
		{"the ARN of another secret", nil, "arn:aws:secretsmanager:eu-central-1:123456789012:secret:c8auth/credentials/acme-MARK01", 400, "", invalidRequest},

		{"no such secret", nil, "globex", 404, "", unknownTenant},
		{"a deleted secret", func(f *fixture) { f.put(token, day); f.Secrets.Delete(harness.TokenName("acme")) }, "acme", 404, "", unknownTenant},

		{"no token stored yet", nil, "acme", 503, "30", noToken},
		{"an expired token", lasting(-time.Hour, 0), "acme", 503, "30", expired},
		{"under 30 seconds left", lasting(30*time.Second, time.Millisecond), "acme", 503, "30", expired},
		{"expired since it was read", cached(time.Hour, time.Hour, nil), "acme", 503, "30", expired},
		{"expired since it was read, from a store that throttles now", cached(time.Hour, time.Hour, throttled), "acme", 503, "5", unreachable},
		{"a store that throttles", failing(throttled), "acme", 503, "5", unreachable},
		{"a store that hangs", failing(hanging), "acme", 503, "5", unreachable},
		{"a store that breaks the connection", failing(&smtest.Fault{Break: true}), "acme", 503, "5", unreachable},

		{"a value that is not JSON", storing("MARK"), "acme", 500, "", unreadable},
		{"credentials instead of a token", storing(`{"base_url": "https://acme.communic8.com", "access_key": "MARK"}`), "acme", 500, "", unreadable},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, func(f *fixture) {
				if test.given != nil {
					test.given(f)
				}
				before := f.Secrets.Calls("")
				got := f.get(test.tenant)
				_, version := f.Secrets.Value(harness.TokenName("acme"))
				want := events.APIGatewayProxyResponse{
					StatusCode: test.status, Body: strings.Replace(test.body, "$VERSION", version, 1),
					Headers: map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"},
				}
				if test.retryAfter != "" {
					want.Headers["Retry-After"] = test.retryAfter
				}
				if diff := cmp.Diff(want, got); diff != "" {
					f.Error(diff)
				}

				line := f.line()
				level := "INFO"
				switch {
				case test.status >= http.StatusInternalServerError:
					level = "ERROR"
				case test.status != http.StatusOK, test.name == outage:
					level = "WARN"
				}
				logged := map[string]any{
					"message": "vend", "level": level, "status": float64(test.status), "tenant": test.tenant,
					"caller": caller, "account": "123456789012", "source": "192.0.2.10", "apiRequestId": "7d3f2a10-5b8e-4c61-9a27-000000000001",
					"Stack": harness.Name, "Tenant": test.tenant,
				}
				counts := []any{}
				count := func(name string) {
					logged[name] = 1.0
					counts = append(counts, map[string]any{"Name": name, "Unit": "Count"})
				}
				switch {
				case test.status == http.StatusOK:
					var body map[string]any
					if err := json.Unmarshal([]byte(got.Body), &body); err != nil {
						f.Fatal(err)
					}
					logged["version"] = version
					if body["expires_in"] != nil {
						logged["expires_in"] = body["expires_in"]
					}
					count("Vended")
				case test.status == http.StatusBadRequest: // the name could be anything
					delete(logged, "tenant")
					fallthrough
				case test.status == http.StatusNotFound, test.body == unreachable: // nor is it known to be a tenant's
					logged["Tenant"] = "-"
					fallthrough
				default:
					count("VendFailed")
				}
				if f.Secrets.Calls("") > before {
					count("StoreReads")
				}
				logged["_aws"] = map[string]any{"Timestamp": float64(time.Now().UnixMilli()), "CloudWatchMetrics": []any{map[string]any{
					"Namespace": "c8auth", "Dimensions": []any{[]any{"Stack", "Tenant"}}, "Metrics": counts,
				}}}
				code, _ := line["error_code"].(string)
				if failed := test.status != http.StatusOK; failed != (line["error"] != nil) || failed != (code != "") || code == "internal" {
					f.Errorf("error: %v, error_code: %q", line["error"], code)
				}
				if why, _ := line["store_error"].(string); strings.Contains(why, "GetSecretValue") != (test.name == outage) {
					f.Errorf("store_error: %q", why)
				}
				for _, free := range []string{"timestamp", "error", "error_code", "store_error"} {
					delete(line, free)
				}
				if diff := cmp.Diff(logged, line); diff != "" {
					f.Error(diff)
				}
			})
		})
	}
}

// The path of a request that is answered ends with the route's and the tenant's name, as IAM
// evaluated it; a custom domain may put a base path before it. Any other is refused by one line
// that shows nothing of it, and nothing is read from the store. So is a payload that is no
// proxy event.
func TestPaths(t *testing.T) {
	mustRefuse := func(f *fixture, got events.APIGatewayProxyResponse, body string) {
		f.Helper()
		if got.StatusCode != http.StatusBadRequest || got.Body != body || f.Secrets.Calls("") != 0 {
			f.Errorf("got %d %s after %d calls of the store, want %s", got.StatusCode, got.Body, f.Secrets.Calls(""), body)
		}
		line := f.line()
		if _, ok := line["tenant"]; ok || line["status"] != 400.0 || line["level"] != "WARN" || line["Tenant"] != "-" || line["VendFailed"] != 1.0 || line["StoreReads"] != nil {
			f.Errorf("logged %v", line)
		}
	}
	for _, test := range []struct{ path, stage, want string }{
		{"/tokens/acme", "v1", ""},
		{"/auth/v2/tokens/acme", "v1", ""},
		{"/tokens/acme", "test-invoke-stage-2", ""},
		{"", "v1", wrongPath},
		{"tokens/acme", "v1", wrongPath},
		{"/xtokens/acme", "v1", wrongPath},
		{"/tokens/MARK", "v1", wrongPath},
		{"/tokens/ACME", "v1", wrongPath},
		{"/tokens/%61cme", "v1", wrongPath},
		{"/tokens/acme/", "v1", wrongPath},
		{"/tokens//acme", "v1", wrongPath},
		{"/tokens/acme/rejections", "v1", wrongPath},
		{"/tokens/acme", "test-invoke-stage", testInvocation},
		{"/tokens/MARK", "test-invoke-stage", testInvocation},
	} {
		t.Run(test.path+" "+test.stage, func(t *testing.T) {
			run(t, func(f *fixture) {
				f.put(token, time.Hour)
				in := f.event("acme")
				in.Path, in.RequestContext.Stage = test.path, test.stage
				got := f.send(in)
				if test.want != "" {
					mustRefuse(f, got, test.want)
				} else if got.StatusCode != http.StatusOK || !strings.Contains(got.Body, token) {
					f.Errorf("got %d %s", got.StatusCode, got.Body)
				}
			})
		})
	}
	for payload, want := range map[string]string{
		``: noEvent, `MARK`: noEvent, `[]`: noEvent, `{"pathParameters":"MARK"}`: noEvent,
		`null`: invalidRequest, `{}`: invalidRequest, `{"tenant":"acme"}`: invalidRequest, `{"detail-type":"Scheduled Event","detail":{}}`: invalidRequest,
	} {
		t.Run(payload, func(t *testing.T) {
			run(t, func(f *fixture) { mustRefuse(f, f.invoke([]byte(payload)), want) })
		})
	}
}

// Whatever the payload, the invocation succeeds with an answer that a caller can read and nobody
// may cache. A token is in no other answer than a 200, and never in the log.
func FuzzInvoke(f *testing.F) {
	for _, payload := range []string{
		`{"path":"/tokens/acme","pathParameters":{"tenant":"acme"}}`, `{"path":"/tokens/acme","pathParAmeters":{"tenant":"acme"}}`,
		`{"path":"/tokens/unknown","pathParameters":{"tenant":"unknown"}}`, `{"pathParameters":{"tenant":1}}`, `null`, ``, "\xe8",
	} {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		run(t, func(f *fixture) {
			f.put(token, time.Hour)
			got := f.invoke(payload)
			if !slices.Contains([]int{http.StatusOK, http.StatusBadRequest, http.StatusNotFound}, got.StatusCode) || got.Headers["Cache-Control"] != "no-store" ||
				!json.Valid([]byte(got.Body)) || strings.Contains(got.Body, token) != (got.StatusCode == http.StatusOK) {
				f.Errorf("answered %+v", got)
			}
			if logged := f.Log.Take(); strings.Contains(logged, token) {
				f.Errorf("logged a token: %s", logged)
			}
		})
	})
}

// Each of the sample events is what its name says, a second after the token was read and replaced.
func TestSampleEvents(t *testing.T) {
	wants := map[string]struct {
		status int
		body   string // some of it
		tenant any    // in the log
		source string
	}{
		"vend.json":                  {200, `"access_token":"MARK-1"`, "default", "192.0.2.10"},
		"vend-no-cache.json":         {200, `"access_token":"MARK-2"`, "default", "192.0.2.10"},
		"vend-unknown-tenant.json":   {404, unknownTenant, "nobody", "192.0.2.10"},
		"vend-malformed-tenant.json": {400, invalidRequest, nil, "192.0.2.10"},
		"vend-test-invocation.json":  {400, testInvocation, nil, "test-invoke-source-ip"},
	}
	paths, err := filepath.Glob("../../events/vend*.json")
	if err != nil || len(paths) != len(wants) {
		t.Errorf("there are %q (%v)", paths, err)
	}
	for _, path := range paths {
		want := wants[filepath.Base(path)]
		t.Run(filepath.Base(path), func(t *testing.T) {
			event, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			run(t, func(f *fixture) {
				store := func(token string) {
					f.Secrets.Put(harness.TokenName("default"), harness.Token(baseURL, token, "v1", time.Now(), time.Hour))
				}
				store("MARK-1")
				f.get("default")
				f.line()
				time.Sleep(time.Second)
				store("MARK-2")
				if got := f.invoke(event); got.StatusCode != want.status || !strings.Contains(got.Body, want.body) {
					f.Errorf("got %+v", got)
				}
				line := f.line()
				if text := fmt.Sprint(line); line["tenant"] != want.tenant || line["source"] != want.source || strings.Contains(text, "made-up-session-token") || strings.Contains(text, "%2e%2e") {
					f.Errorf("logged %s, want %+v", text, want)
				}
			})
		})
	}
}

// A token that was prefetched need not be read for the first request, which counts the read.
// Whatever the store does, prefetching ends in time and without a line; the first request after
// a failure reads again, and no tenant waits for another.
func TestPrefetch(t *testing.T) {
	for name, test := range map[string]struct {
		during  *smtest.Fault
		secrets []string      // that it is of; none: all
		then    *smtest.Fault // of all
	}{
		"stored":    {nil, nil, hanging},
		"one hangs": {hanging, []string{harness.TokenName("default")}, hanging},
		"throttled": {throttled, nil, nil},
		"hanging":   {hanging, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(f *fixture) {
				f.put(token, time.Hour)
				f.FailSecrets(test.during, test.secrets...)
				start := time.Now()
				ctx, cancel := context.WithTimeout(f.Context(), prefetchTimeout)
				defer cancel()
				f.fn.cache.Prefetch(ctx, []string{"default", "nobody", "acme"})
				if text := f.Log.Take(); text != "" || time.Since(start) > prefetchTimeout {
					f.Errorf("logged %q after %v", text, time.Since(start))
				}
				f.FailSecrets(test.then)
				for _, reads := range []any{1.0, nil} {
					if got, line := f.get("acme"), f.line(); got.StatusCode != http.StatusOK || line["StoreReads"] != reads {
						f.Errorf("got %+v, logged %v", got, line)
					}
				}
			})
		})
	}
}
