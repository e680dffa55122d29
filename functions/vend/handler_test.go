package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/pkg/c8auth"
)

const (
	acme   = "stack/token/acme"
	caller = "arn:aws:sts::123456789012:assumed-role/payroll/i-0123"
	token  = "MARK-access-token"
)

// world is the function and the Secrets Manager that it reads, in memory: the real
// SDK client on a stand-in.
type world struct {
	*testing.T
	sm    *smtest.Server
	fault atomic.Pointer[smtest.Fault] // what the store answers to everything, if it is set
	fn    handler
	lines *bytes.Buffer
}

// inWorld runs the test in a synctest bubble, at midnight of 2000-01-01, with the
// empty token secret of the tenant acme.
func inWorld(t *testing.T, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, sm: new(smtest.Server), lines: new(bytes.Buffer)}
		w.sm.Fault = func(string, string) *smtest.Fault { return w.fault.Load() }
		w.sm.Create(acme)
		w.fn = handler{log: c8auth.NewLogger(w.lines), cache: &c8auth.Cache{TTL: time.Minute, Store: &c8auth.Store{
			Stack: "stack",
			Client: secretsmanager.New(secretsmanager.Options{
				Region:       "eu-central-1",
				BaseEndpoint: aws.String("http://secretsmanager.test"),
				HTTPClient:   &http.Client{Transport: inmem.Transport{Handler: w.sm}, Timeout: 3 * time.Second},
				Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
					return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "example"}, nil
				}),
			}),
		}}}
		test(w)
	})
}

// put stores a token by hand that expires after life, in whole seconds, or never if
// that is 0.
func (w *world) put(secret, value string, life time.Duration) {
	expiry := ""
	if life != 0 {
		expiry = fmt.Sprintf(`, "expires_at": %q`, time.Now().UTC().Add(life).Format(time.RFC3339))
	}
	w.sm.Put(secret, fmt.Sprintf(`{"base_url": "https://acme.communic8.com", "access_token": %q, "token_type": "Bearer", "issued_at": %q%s, "credentials_version": "v1"}`,
		value, time.Now().UTC().Format(time.RFC3339), expiry))
}

var (
	throttled = &smtest.Fault{Status: 400, Type: "ThrottlingException", Message: "Rate exceeded"}
	denied    = &smtest.Fault{Status: 400, Type: "AccessDeniedException", Message: "no identity-based policy allows the action"}
	hanging   = &smtest.Fault{Hang: true}
	broken    = &smtest.Fault{Break: true}
)

// reads expects the store to have been read so often.
func (w *world) reads(want int) {
	w.Helper()
	if got := w.sm.Calls("GetSecretValue"); got != want {
		w.Errorf("%d reads of the store, want %d", got, want)
	}
}

// response is what the function answers a REST API.
type response struct {
	StatusCode        int                 `json:"statusCode"`
	Headers           map[string]string   `json:"headers"`
	MultiValueHeaders map[string][]string `json:"multiValueHeaders"`
	Body              string              `json:"body"`
	IsBase64Encoded   bool                `json:"isBase64Encoded"`
}

// invoke hands the function a payload, as Lambda would.
func (w *world) invoke(payload []byte) response {
	w.Helper()
	answer, err := w.fn.Invoke(w.Context(), payload)
	if err != nil {
		w.Fatalf("the invocation failed, which the caller sees as a 502: %v", err)
	}
	var out response
	decoder := json.NewDecoder(bytes.NewReader(answer))
	decoder.DisallowUnknownFields() // API Gateway refuses them
	if err := decoder.Decode(&out); err != nil {
		w.Fatalf("%v in %s", err, answer)
	}
	return out
}

// routed is the event of a request for the tenant's token by that path, of that stage.
func routed(tenant, path, stage string) []byte {
	var in map[string]any
	if err := json.Unmarshal(event(tenant), &in); err != nil {
		panic(err)
	}
	in["path"] = path
	in["requestContext"].(map[string]any)["stage"] = stage
	out, err := json.Marshal(in)
	if err != nil {
		panic(err)
	}
	return out
}

// get asks for the tenant's token. The headers come in pairs.
func (w *world) get(tenant string, headers ...string) response {
	w.Helper()
	return w.invoke(event(tenant, headers...))
}

// event is what the REST API sends: the sample event, for that tenant and with those
// headers besides. All that a caller can fill is marked.
func event(tenant string, headers ...string) []byte {
	text, err := os.ReadFile("../../events/vend.json")
	if err != nil {
		panic(err)
	}
	var in events.APIGatewayProxyRequest
	if err := json.Unmarshal(text, &in); err != nil {
		panic(err)
	}
	in.PathParameters["tenant"] = tenant
	in.Path = "/tokens/" + tenant
	in.RequestContext.Path = "/v1" + in.Path
	in.RequestContext.Identity.UserArn = caller
	in.RequestContext.Identity.UserAgent = "MARK-agent"
	in.Body = "MARK-body"
	in.QueryStringParameters = map[string]string{"access_token": "MARK-query"}
	headers = append(headers,
		"X-Amz-Security-Token", "MARK-session-token",
		"Authorization", "AWS4-HMAC-SHA256 Credential=MARK-credential",
		"Cookie", "MARK-cookie")
	for i := 0; i < len(headers); i += 2 {
		in.Headers[headers[i]] = headers[i+1]
		in.MultiValueHeaders[headers[i]] = []string{headers[i+1]}
	}
	out, err := json.Marshal(in)
	if err != nil {
		panic(err)
	}
	return out
}

// line returns what was logged since the last call, which must be one line of JSON,
// without any mark.
func (w *world) line() map[string]any {
	w.Helper()
	text := w.lines.String()
	w.lines.Reset()
	if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
		w.Fatalf("want one line, got %q", text)
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(token))
	if strings.Contains(text, "MARK") || strings.Contains(text, strings.TrimRight(encoded, "=")) {
		w.Errorf("a secret or words of the caller in the log: %s", text)
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(text), &line); err != nil {
		w.Fatalf("%v in %s", err, text)
	}
	return line
}

const (
	invalidRequest = `{"error":"invalid_request","error_description":"expected GET /tokens/{tenant} with a tenant's name: a lower-case letter followed by at most 30 lower-case letters, digits or hyphens"}`
	testInvocation = `{"error":"invalid_request","error_description":"a test invocation by API Gateway is not answered, as it takes no execute-api:Invoke: send a signed request to the API's URL"}`
	wrongPath      = `{"error":"invalid_request","error_description":"the path must end with the route's own, and name the tenant as it is: without escapes, and without a slash at the end"}`
	unknownTenant  = `{"error":"unknown_tenant","error_description":"there is no such tenant; check its name"}`
	noToken        = `{"error":"temporarily_unavailable","error_description":"no token has been stored yet; store the tenant's credentials, or wait for the next rotation"}`
	expired        = `{"error":"temporarily_unavailable","error_description":"the token has expired and has not been replaced yet"}`
	unreachable    = `{"error":"temporarily_unavailable","error_description":"the token store cannot be reached"}`
	unreadable     = `{"error":"server_error","error_description":"the stored value is not a token; the next rotation replaces it"}`
)

// situation is one row of the contract: what the store holds, what is asked, and
// what the caller gets.
type situation struct {
	name       string
	given      func(w *world)
	tenant     *string // nil: acme
	status     int
	retryAfter string
	body       string // $VERSION is the stored one
}

var situations = []situation{
	{name: "a living token", status: 200,
		given: func(w *world) { w.put(acme, token, 24*time.Hour) },
		body:  `{"access_token":"MARK-access-token","token_type":"Bearer","expires_in":86400,"expires_at":"2000-01-02T00:00:00Z","version":"$VERSION","base_url":"https://acme.communic8.com"}`},
	{name: "a token with what is left rounded down", status: 200,
		given: func(w *world) {
			w.put(acme, token, time.Hour)
			time.Sleep(time.Millisecond)
		},
		body: `{"access_token":"MARK-access-token","token_type":"Bearer","expires_in":3599,"expires_at":"2000-01-01T01:00:00Z","version":"$VERSION","base_url":"https://acme.communic8.com"}`},
	{name: "a token with just the margin left", status: 200,
		given: func(w *world) { w.put(acme, token, 30*time.Second) },
		body:  `{"access_token":"MARK-access-token","token_type":"Bearer","expires_in":30,"expires_at":"2000-01-01T00:00:30Z","version":"$VERSION","base_url":"https://acme.communic8.com"}`},
	{name: "an access key", status: 200,
		given: func(w *world) { w.put(acme, token, 0) },
		body:  `{"access_token":"MARK-access-token","token_type":"Bearer","version":"$VERSION","base_url":"https://acme.communic8.com"}`},
	{name: "a living token in memory, and a store that throttles", status: 200,
		given: func(w *world) {
			w.put(acme, token, 24*time.Hour)
			w.get("acme")
			w.lines.Reset()
			time.Sleep(time.Hour)
			w.fault.Store(throttled)
		},
		body: `{"access_token":"MARK-access-token","token_type":"Bearer","expires_in":$LEFT,"expires_at":"2000-01-02T00:00:00Z","version":"$VERSION","base_url":"https://acme.communic8.com"}`},

	{name: "nothing for a name", tenant: new(""), status: 400, body: invalidRequest},
	{name: "a name that climbs", tenant: new("../MARK"), status: 400, body: invalidRequest},
	{name: "a name that climbs, escaped", tenant: new("%2e%2e"), status: 400, body: invalidRequest},
	{name: "a name that climbs far, escaped", tenant: new("%2E%2E%2FMARK"), status: 400, body: invalidRequest},
	{name: "a name with a slash", tenant: new("acme/MARK"), status: 400, body: invalidRequest},
	{name: "a name of 200 letters", tenant: new(strings.Repeat("mark", 50)), status: 400, body: invalidRequest},
	{name: "a name of 32 letters", tenant: new(strings.Repeat("m", 32)), status: 400, body: invalidRequest},
	{name: "a name in capitals", tenant: new("MARK"), status: 400, body: invalidRequest},
	{name: "a name with an umlaut", tenant: new("märk"), status: 400, body: invalidRequest},
	{name: "a name in Cyrillic", tenant: new("асме"), status: 400, body: invalidRequest},
	{name: "a name with a line end", tenant: new("acme\nMARK"), status: 400, body: invalidRequest},
	{name: "a name with a blank", tenant: new("acme "), status: 400, body: invalidRequest},
	{name: "every tenant", tenant: new("*"), status: 400, body: invalidRequest},
	{name: "the ARN of another secret", tenant: new("arn:aws:secretsmanager:eu-central-1:123456789012:secret:stack/credentials/acme-MARK01"), status: 400, body: invalidRequest},

	{name: "no such secret", tenant: new("globex"), status: 404, body: unknownTenant},
	{name: "a secret that is being deleted", status: 404, body: unknownTenant,
		given: func(w *world) {
			w.put(acme, token, 24*time.Hour)
			w.sm.Delete(acme)
		}},

	{name: "no token stored yet", status: 503, retryAfter: "30", body: noToken},
	{name: "an expired token", status: 503, retryAfter: "30", body: expired,
		given: func(w *world) { w.put(acme, token, -time.Hour) }},
	{name: "a token that expires now", status: 503, retryAfter: "30", body: expired,
		given: func(w *world) { w.put(acme, token, time.Nanosecond) }},
	{name: "a token with under 30 seconds left", status: 503, retryAfter: "30", body: expired,
		given: func(w *world) {
			w.put(acme, token, 30*time.Second)
			time.Sleep(time.Millisecond)
		}},
	{name: "a token in memory that has expired since", status: 503, retryAfter: "30", body: expired,
		given: func(w *world) {
			w.put(acme, token, time.Hour)
			w.get("acme")
			w.lines.Reset()
			time.Sleep(time.Hour)
		}},
	{name: "a token in memory that has expired since, and a store that throttles", status: 503, retryAfter: "5", body: unreachable,
		given: func(w *world) {
			w.put(acme, token, time.Hour)
			w.get("acme")
			w.lines.Reset()
			time.Sleep(time.Hour)
			w.fault.Store(throttled)
		}},
	{name: "a store that throttles", status: 503, retryAfter: "5", body: unreachable,
		given: func(w *world) {
			w.put(acme, token, time.Hour)
			w.fault.Store(throttled)
		}},
	{name: "a store that denies", status: 503, retryAfter: "5", body: unreachable,
		given: func(w *world) { w.fault.Store(denied) }},
	{name: "a store that hangs", status: 503, retryAfter: "5", body: unreachable,
		given: func(w *world) { w.fault.Store(hanging) }},
	{name: "a store that breaks the connection", status: 503, retryAfter: "5", body: unreachable,
		given: func(w *world) { w.fault.Store(broken) }},
	{name: "a store that answers with something else", status: 503, retryAfter: "5", body: unreachable,
		given: func(w *world) { w.fault.Store(&smtest.Fault{Status: 502, Body: "<html>MARK"}) }},

	{name: "a value that is not JSON", status: 500, body: unreadable,
		given: func(w *world) { w.sm.Put(acme, "MARK") }},
	{name: "credentials in the token's place", status: 500, body: unreadable,
		given: func(w *world) {
			w.sm.Put(acme, `{"base_url": "https://acme.communic8.com", "access_key": "MARK"}`)
		}},
	{name: "a token cut off", status: 500, body: unreadable,
		given: func(w *world) {
			w.sm.Put(acme, `{"base_url": "https://acme.communic8.com", "access_token": "MARK`)
		}},
}

// ask creates the situation and asks for the token.
func (s situation) ask(w *world) response {
	w.Helper()
	if s.given != nil {
		s.given(w)
	}
	if s.tenant == nil {
		return w.get("acme")
	}
	return w.get(*s.tenant)
}

// Every row of the contract's table: status, headers and body to the letter.
func TestAnswers(t *testing.T) {
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				got := s.ask(w)
				_, version := w.sm.Value(acme)
				left := int(time.Until(time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC)).Seconds()) // of the one in memory
				want := response{
					StatusCode: s.status,
					Headers:    map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"},
					Body:       strings.NewReplacer("$VERSION", version, "$LEFT", strconv.Itoa(left)).Replace(s.body),
				}
				if s.retryAfter != "" {
					want.Headers["Retry-After"] = s.retryAfter
				}
				if diff := cmp.Diff(want, got); diff != "" {
					w.Error(diff)
				}
			})
		})
	}
}

// Whatever a vend comes to, there is one line about it: who asked, from where, for
// whose token, and what they got. Neither the token nor anything else that the caller
// wrote is in it, but for the name of a tenant.
func TestAudit(t *testing.T) {
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				answer := s.ask(w)
				line := w.line()

				_, version := w.sm.Value(acme)
				want := map[string]any{
					"message":      "vend",
					"status":       float64(s.status),
					"caller":       caller,
					"account":      "123456789012",
					"source":       "192.0.2.10",
					"apiRequestId": "7d3f2a10-5b8e-4c61-9a27-000000000001",
					"tenant":       "acme",
					"Stack":        "stack",
					"Tenant":       "acme",
					"StoreReads":   1.0,
				}
				switch s.status {
				case http.StatusBadRequest: // could be anything
					delete(want, "tenant")
					delete(want, "StoreReads")
					want["Tenant"] = "-"
				case http.StatusNotFound: // a name that anyone can make up
					if s.tenant != nil {
						want["tenant"] = *s.tenant
					}
					want["Tenant"] = "-"
				}
				if s.status == http.StatusServiceUnavailable && strings.Contains(answer.Body, "the token store cannot be reached") {
					want["Tenant"] = "-" // nor can it be said of this name that it is a tenant's
				}
				counts := "VendFailed"
				if s.status == http.StatusOK {
					counts = "Vended"
					want["version"] = version
					var body struct {
						ExpiresIn *float64 `json:"expires_in"`
					}
					if err := json.Unmarshal([]byte(answer.Body), &body); err != nil {
						w.Fatal(err)
					}
					if body.ExpiresIn != nil {
						want["expires_in"] = *body.ExpiresIn
					}
				}
				want[counts] = 1.0
				want["_aws"] = metrics(time.Now(), counts, want["StoreReads"] != nil)

				if failed := line["error"] != nil; failed != (s.status != http.StatusOK) {
					w.Errorf("error: %v", line["error"])
				}
				if code, _ := line["error_code"].(string); (code != "") != (line["error"] != nil) || code == "internal" {
					w.Errorf("error_code: %q", code)
				}
				for _, free := range []string{"timestamp", "level", "error", "error_code", "store_error"} {
					delete(line, free)
				}
				if diff := cmp.Diff(want, line); diff != "" {
					w.Error(diff)
				}
			})
		})
	}
}

// metrics is CloudWatch's embedded metric format.
func metrics(at time.Time, counts string, read bool) map[string]any {
	names := []any{map[string]any{"Name": counts, "Unit": "Count"}}
	if read {
		names = append(names, map[string]any{"Name": "StoreReads", "Unit": "Count"})
	}
	return map[string]any{
		"Timestamp": float64(at.UnixMilli()),
		"CloudWatchMetrics": []any{map[string]any{
			"Namespace":  "c8auth",
			"Dimensions": []any{[]any{"Stack", "Tenant"}},
			"Metrics":    names,
		}},
	}
}

// A token that was vended although the store fails is one that an operator hears of.
func TestAuditSaysThatTheStoreFails(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(acme, token, time.Hour)
		w.get("acme")
		if line := w.line(); line["level"] != "INFO" || line["store_error"] != nil {
			w.Errorf("logged %v", line)
		}
		time.Sleep(time.Minute)
		w.fault.Store(denied)
		w.get("acme")
		line := w.line()
		if why, _ := line["store_error"].(string); line["level"] != "WARN" || !strings.Contains(why, "AccessDeniedException") {
			w.Errorf("logged %v", line)
		}
	})
}

// Reads are counted once, by the vend that they were made for.
func TestAuditCountsReads(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(acme, token, time.Hour)
		for _, step := range []struct {
			after time.Duration
			want  any
		}{{0, 1.0}, {0, nil}, {59 * time.Second, nil}, {time.Second, 1.0}, {0, nil}} {
			time.Sleep(step.after)
			w.get("acme")
			if got := w.line()["StoreReads"]; got != step.want {
				w.Errorf("at %v: counted %v reads, want %v", time.Now(), got, step.want)
			}
		}
		w.reads(2)
	})
}

// What is left to live is counted from now, not from when the token was read.
func TestExpiresInIsOfNow(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(acme, token, time.Hour)
		w.get("acme")
		time.Sleep(50*time.Second + 500*time.Millisecond)
		if got := w.get("acme"); !strings.Contains(got.Body, `"expires_in":3549,`) {
			w.Errorf("got %s", got.Body)
		}
		w.reads(1)
	})
}

// A payload that is no proxy event asks for no tenant.
func TestPayloadsThatAreNoProxyEvent(t *testing.T) {
	for _, payload := range []string{
		``, ` `, `MARK`, `null`, `[]`, `"MARK"`, `1`, `{}`, `{"tenant":"acme"}`,
		`{"pathParameters":null}`, `{"pathParameters":{}}`, `{"pathParameters":"MARK"}`, `{"pathParameters":{"tenant":null}}`,
		`{"pathParameters":{"tenant":["acme"]}}`, `{"path":5,"pathParameters":{"tenant":"acme"}}`,
		`{"path":"/tokens/acme","pathParameters":{"tenant":"acme"},"requestContext":{"stage":{}}}`,
		`{"pathParameters":{"tenant":"acme"},"headers":"MARK"}`, `{"pathParameters":{"tenant":"acme"}`,
		`{"version":"0","detail-type":"Scheduled Event","source":"aws.events","detail":{}}`,
	} {
		t.Run(payload, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put(acme, token, time.Hour)
				got := w.invoke([]byte(payload))
				if got.StatusCode != http.StatusBadRequest || got.Body != invalidRequest {
					w.Errorf("got %d %s", got.StatusCode, got.Body)
				}
				if line := w.line(); line["status"] != 400.0 || line["Tenant"] != "-" {
					w.Errorf("logged %v", line)
				}
				w.reads(0)
			})
		})
	}
}

// The path of a request that is answered ends with the route's and the tenant's name, as
// IAM was asked about it; a custom domain may put a base path before it. Everything else is
// refused by one line that shows nothing of it, and nothing is read from the store.
func TestPaths(t *testing.T) {
	good := []string{"/tokens/default", "/auth/tokens/default", "/auth/v2/tokens/default", "/tokens/tokens/default"}
	bad := []string{
		"", "/", "default", "tokens/default", "/tokens", "/tokens/", "/MARKtokens/default", "/tokens/MARK", "/tokens/acme",
		"/tokens/%64efault", "/v1/tokens/%64efault", "/tokens/defaul%74", "/tokens/%64%65%66%61%75%6C%74", "/tokens%2fdefault", "/%74okens/default",
		"/tokens/default/", "/tokens/default//", "/auth/tokens/default/", "/tokens/default%2F", "/tokens/default%20", "/tokens/default ",
		"/tokens//default", "/tokens/./default", "/tokens/acme/../default", "/tokens/Default", "/tokens/xdefault", "/tokens/default.", "/tokens/default;a", "/tokens/default?a",
		"/tokens/default/rejections", "/tokens/default\n",
	}
	for _, path := range append(good, bad...) {
		t.Run(path, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("stack/token/default", token, time.Hour)
				got := w.invoke(routed("default", path, "v1"))
				if slices.Contains(good, path) {
					if got.StatusCode != http.StatusOK || !strings.Contains(got.Body, token) {
						w.Errorf("got %d %s", got.StatusCode, got.Body)
					}
					return
				}
				w.refused(got, wrongPath)
			})
		})
	}
	t.Run("none", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.refused(w.invoke([]byte(`{"pathParameters":{"tenant":"default"},"requestContext":{"stage":"v1","identity":{"userArn":"`+caller+`"}}}`)), wrongPath)
		})
	})
}

// A test invocation by API Gateway takes no right to invoke the API, and gets no token.
func TestTestInvocation(t *testing.T) {
	for _, path := range []string{"/tokens/default", "/auth/tokens/default", "/tokens/default/", ""} {
		t.Run(path, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("stack/token/default", token, time.Hour)
				w.refused(w.invoke(routed("default", path, "test-invoke-stage")), testInvocation)
			})
		})
	}
	inWorld(t, func(w *world) { // whoever calls their stage so
		w.put("stack/token/default", token, time.Hour)
		if got := w.invoke(routed("default", "/tokens/default", "test-invoke-stage-2")); got.StatusCode != http.StatusOK {
			w.Errorf("got %+v", got)
		}
	})
}

// refused expects that answer to a malformed request, the line that goes with it, and no
// read of the store.
func (w *world) refused(got response, body string) {
	w.Helper()
	if got.StatusCode != http.StatusBadRequest || got.Body != body {
		w.Errorf("got %d %s, want %s", got.StatusCode, got.Body, body)
	}
	line := w.line()
	if _, ok := line["tenant"]; ok || line["status"] != 400.0 || line["level"] != "WARN" || line["Tenant"] != "-" || line["VendFailed"] != 1.0 || line["caller"] != caller {
		w.Errorf("logged %v", line)
	}
	w.reads(0)
}

// prefetch reads tokens as main does.
func prefetch(cache *c8auth.Cache, tenants []string) {
	ctx, cancel := context.WithTimeout(context.Background(), prefetchTimeout)
	defer cancel()
	cache.Prefetch(ctx, tenants)
}

// A request that is refused takes no read upon itself that was made for another.
func TestRefusalCountsNoReads(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(acme, token, time.Hour)
		prefetch(w.fn.cache, []string{"acme"})
		w.invoke(routed("acme", "/tokens/acme/", "v1"))
		if line := w.line(); line["StoreReads"] != nil {
			w.Errorf("logged %v", line)
		}
		w.get("acme")
		if line := w.line(); line["StoreReads"] != 1.0 {
			w.Errorf("logged %v", line)
		}
	})
}

// What a caller has put into an event besides does not keep the token from them, however
// odd it is, and the line says who they are.
func TestOddEvents(t *testing.T) {
	for _, odd := range []string{
		`"headers":{"x":"\ud800"}`, `"headers":{"x":"` + "\xff" + `"}`, `"headers":{"x":"","x":""}`, `"headers":{"\\\"}":"\u0000"}`,
		`"queryStringParameters":{"a":"","a":""}`, `"body":[{}]`, `"requestContext":{"identity":{"userArn":"` + caller + `","x":{"userArn":"x"}}}`,
	} {
		t.Run(odd, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put(acme, token, time.Hour)
				got := w.invoke([]byte(`{"path":"/tokens/acme","pathParameters":{"tenant":"acme"},"requestContext":{"identity":{"userArn":"` + caller + `"}},` + odd + `}`))
				if got.StatusCode != http.StatusOK || !strings.Contains(got.Body, token) {
					w.Errorf("got %d %s", got.StatusCode, got.Body)
				}
				if line := w.line(); line["caller"] != caller || line["tenant"] != "acme" {
					w.Errorf("logged %v", line)
				}
			})
		})
	}
}

// Cache-Control: no-cache, however it is written, gets what the store holds now.
// Nothing else does.
func TestNoCache(t *testing.T) {
	for _, test := range []struct {
		name, value string
		fresh       bool
	}{
		{"Cache-Control", "no-cache", true},
		{"cache-control", "no-cache", true},
		{"CACHE-CONTROL", "No-Cache", true},
		{"Cache-Control", "max-age=0, no-cache", true},
		{"Cache-Control", "no-store,no-cache,max-age=0", true},
		{"Cache-Control", "\tno-cache ", true},

		{"Accept", "*/*", false},
		{"Cache-Control", "", false},
		{"Cache-Control", "no-store", false},
		{"Cache-Control", "max-age=0", false},
		{"Cache-Control", "no-cached", false},
		{"Cache-Control", "x-no-cache", false},
		{"X-Cache-Control", "no-cache", false},
		{"Pragma", "no-cache", false},
	} {
		single := fmt.Sprintf(`{"path":"/tokens/acme","pathParameters":{"tenant":"acme"},"headers":{%q:%q},"multiValueHeaders":null}`, test.name, test.value)
		multi := fmt.Sprintf(`{"path":"/tokens/acme","pathParameters":{"tenant":"acme"},"headers":null,"multiValueHeaders":{%q:["max-stale",%q]}}`, test.name, test.value)
		overruled := fmt.Sprintf(`{"path":"/tokens/acme","pathParameters":{"tenant":"acme"},"headers":{%q:"max-stale"},"multiValueHeaders":{%[1]q:[%q,"max-stale"]}}`, test.name, test.value)
		for kind, payload := range map[string]string{"headers": single, "multiValueHeaders": multi, "a value before another": overruled} {
			t.Run(fmt.Sprintf("%s: %s, in %s", test.name, test.value, kind), func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.put(acme, "token-1", time.Hour)
					w.get("acme")
					time.Sleep(time.Second)
					w.put(acme, "token-2", time.Hour)
					want, reads := "token-1", 1
					if test.fresh {
						want, reads = "token-2", 2
					}
					if got := w.invoke([]byte(payload)); !strings.Contains(got.Body, want) {
						w.Errorf("got %s, want %s", got.Body, want)
					}
					w.reads(reads)
				})
			})
		}
	}
}

// Callers who ask for nothing but fresh tokens cause one read a second.
func TestNoCacheIsBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(acme, "token-1", time.Hour)
		for range 95 { // until 9.4 s
			if got := w.get("acme", "Cache-Control", "no-cache"); got.StatusCode != http.StatusOK {
				w.Fatalf("got %+v", got)
			}
			time.Sleep(100 * time.Millisecond)
		}
		w.reads(10)
	})
}

// A store that fails does not take the token from those who ask for a fresh one.
func TestNoCacheWhileTheStoreFails(t *testing.T) {
	for name, fault := range map[string]*smtest.Fault{"throttled": throttled, "denied": denied, "hanging": hanging, "broken": broken} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put(acme, "token-1", time.Hour)
				w.get("acme")
				time.Sleep(time.Second)
				w.fault.Store(fault)
				if got := w.get("acme", "Cache-Control", "no-cache"); got.StatusCode != http.StatusOK || !strings.Contains(got.Body, "token-1") {
					w.Errorf("got %+v", got)
				}
			})
		})
	}
}

// Each of the sample events is what its name says.
func TestSampleEvents(t *testing.T) {
	wants := map[string]struct {
		status int
		body   string // some of it
		reads  int    // a second after another read of the tenant default
		tenant any    // in the log
		source string
	}{
		"vend.json":                  {200, `"access_token":"MARK-1"`, 0, "default", "192.0.2.10"},
		"vend-no-cache.json":         {200, `"access_token":"MARK-2"`, 1, "default", "192.0.2.10"},
		"vend-unknown-tenant.json":   {404, unknownTenant, 1, "nobody", "192.0.2.10"},
		"vend-malformed-tenant.json": {400, invalidRequest, 0, nil, "192.0.2.10"},
		"vend-test-invocation.json":  {400, testInvocation, 0, nil, "test-invoke-source-ip"},
	}
	for name, event := range samples(t) {
		want, known := wants[name]
		if !known {
			t.Errorf("no test knows %s", name)
			continue
		}
		delete(wants, name)
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.put("stack/token/default", "MARK-1", time.Hour)
				w.get("default")
				w.line()
				time.Sleep(time.Second)
				w.put("stack/token/default", "MARK-2", time.Hour)

				if got := w.invoke(event); got.StatusCode != want.status || !strings.Contains(got.Body, want.body) {
					w.Errorf("got %+v", got)
				}
				w.reads(1 + want.reads)
				if bytes.Contains(w.lines.Bytes(), []byte("made-up-session-token")) || bytes.Contains(w.lines.Bytes(), []byte("%2e%2e")) {
					w.Errorf("words of the caller in the log: %s", w.lines)
				}
				line := w.line()
				got := []any{line["tenant"], line["status"], line["caller"], line["account"], line["source"]}
				if diff := cmp.Diff([]any{want.tenant, float64(want.status), "arn:aws:sts::123456789012:assumed-role/payroll/i-0123456789abcdef0", "123456789012", want.source}, got); diff != "" {
					w.Error(diff)
				}
			})
		})
	}
	for name := range wants {
		t.Errorf("%s is missing", name)
	}
}

// The sample events have the shape that the stand-in of API Gateway gives to events,
// so that what is true of the ones is true of the others. It makes no test invocations.
func TestSampleEventsAreThoseOfTheGateway(t *testing.T) {
	credentials := aws.Credentials{AccessKeyID: "ASIAEXAMPLE012345678", SecretAccessKey: "example", SessionToken: "made-up-session-token"}
	for name, text := range samples(t) {
		if name == "vend-test-invocation.json" {
			continue
		}
		var sample struct {
			Path           string
			Headers        map[string]string
			RequestContext struct{ DomainName, Path string }
		}
		if err := json.Unmarshal(text, &sample); err != nil {
			t.Fatal(err)
		}
		var sent []byte
		gateway := &gwtest.Gateway{
			Keys: map[string]gwtest.Key{credentials.AccessKeyID: {
				SecretAccessKey: credentials.SecretAccessKey, SessionToken: credentials.SessionToken, ARN: caller, Tenants: []string{"*"},
			}},
			Invoke: func(_ context.Context, event []byte) ([]byte, error) {
				sent = event
				return []byte(`{"statusCode":200}`), nil
			},
		}
		r := httptest.NewRequest(http.MethodGet, sample.RequestContext.Path, nil)
		r.Host = sample.RequestContext.DomainName
		for header, value := range sample.Headers {
			if header == "Accept" || header == "Cache-Control" || header == "User-Agent" {
				r.Header.Set(header, value)
			}
		}
		empty := sha256.Sum256(nil)
		if err := v4.NewSigner().SignHTTP(t.Context(), credentials, r, hex.EncodeToString(empty[:]), "execute-api", "eu-central-1", time.Now()); err != nil {
			t.Fatal(err)
		}
		answer := httptest.NewRecorder()
		gateway.ServeHTTP(answer, r)
		if answer.Code != http.StatusOK {
			t.Fatalf("%s: the gateway answers %d %s", name, answer.Code, answer.Body)
		}
		if diff := cmp.Diff(shape(t, sent), shape(t, text)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// shape is the JSON with its strings and numbers replaced by what they are.
func shape(t *testing.T, text []byte) any {
	t.Helper()
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	var reduce func(any) any
	reduce = func(value any) any {
		switch value := value.(type) {
		case map[string]any:
			for key := range value {
				value[key] = reduce(value[key])
			}
			return value
		case []any:
			for i := range value {
				value[i] = reduce(value[i])
			}
			return value
		case nil:
			return nil
		default:
			return reflect.TypeOf(value).String()
		}
	}
	return reduce(value)
}

// samples returns the function's sample events by the names of their files.
func samples(t *testing.T) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("../../events/vend*.json")
	if err != nil {
		t.Fatal(err)
	}
	events := make(map[string][]byte)
	for _, path := range paths {
		if events[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	return events
}

// Many may ask at once: one read, one answer and one line for each.
func TestManyAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(acme, token, time.Hour)
		var asking sync.WaitGroup
		for range 100 {
			asking.Go(func() {
				if got, err := w.fn.Invoke(w.Context(), event("acme")); err != nil || !strings.Contains(string(got), `"statusCode":200`) {
					w.Errorf("got %s, %v", got, err)
				}
			})
		}
		asking.Wait()
		w.reads(1)
		total := map[string]float64{}
		for line := range strings.Lines(w.lines.String()) {
			var counts struct{ Vended, VendFailed, StoreReads float64 }
			if err := json.Unmarshal([]byte(line), &counts); err != nil {
				w.Fatal(err)
			}
			total["Vended"] += counts.Vended
			total["VendFailed"] += counts.VendFailed
			total["StoreReads"] += counts.StoreReads
		}
		if want := map[string]float64{"Vended": 100, "VendFailed": 0, "StoreReads": 1}; !maps.Equal(total, want) {
			w.Errorf("counted %v, want %v", total, want)
		}
	})
}

// What was read before the first request need not be read for it.
func TestPrefetch(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(acme, "token-1", time.Hour)
		w.put("stack/token/globex", "token-2", time.Hour)
		prefetch(w.fn.cache, []string{"acme", "globex"})
		w.reads(2)
		w.fault.Store(hanging)
		for tenant, want := range map[string]string{"acme": "token-1", "globex": "token-2"} {
			if got := w.get(tenant); got.StatusCode != http.StatusOK || !strings.Contains(got.Body, want) {
				w.Errorf("%s: got %+v", tenant, got)
			}
			if line := w.line(); line["StoreReads"] != 1.0 {
				w.Errorf("%s: the read is not counted: %v", tenant, line)
			}
		}
		w.reads(2)
	})
}

// Nothing to prefetch is nothing to wait for.
func TestPrefetchNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		prefetch(w.fn.cache, nil)
		w.reads(0)
	})
}

// Whatever the store does, initialization ends in time and without a word, also with
// many tenants; and the first request, however soon, reads again.
func TestPrefetchThatFails(t *testing.T) {
	for name, fault := range map[string]*smtest.Fault{"throttled": throttled, "denied": denied, "hanging": hanging, "broken": broken} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				tenants := []string{"acme", "b", "c", "d", "e"}
				for _, tenant := range tenants[1:] {
					w.put("stack/token/"+tenant, "token-1", time.Hour)
				}
				w.put(acme, "token-1", time.Hour)
				w.fault.Store(fault)
				start := time.Now()
				prefetch(w.fn.cache, tenants)
				if took := time.Since(start); took > prefetchTimeout {
					w.Errorf("prefetching took %v", took)
				}
				if w.lines.Len() != 0 {
					w.Errorf("logged %s", w.lines)
				}

				w.fault.Store(nil)
				for _, tenant := range slices.Backward(tenants) {
					if got := w.get(tenant); got.StatusCode != http.StatusOK {
						w.Errorf("%s: got %+v", tenant, got)
					}
				}
			})
		})
	}
}

// A tenant whose read hangs keeps nobody from the others.
func TestPrefetchReadsAllAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Fault = func(_, name string) *smtest.Fault {
			if name == acme {
				return hanging
			}
			return nil
		}
		w.put("stack/token/globex", token, time.Hour)
		prefetch(w.fn.cache, []string{"acme", "globex"})
		w.reads(2)
		if got := w.get("globex"); got.StatusCode != http.StatusOK {
			w.Errorf("got %+v", got)
		}
		w.reads(2)
	})
}

// A tenant that does not exist, or has no token yet, keeps nobody from the others.
func TestPrefetchOfUnknownTenants(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put("stack/token/globex", "token-1", time.Hour)
		prefetch(w.fn.cache, []string{"nobody", "acme", "globex"})
		reads := w.sm.Calls("")
		if got := w.get("globex"); got.StatusCode != http.StatusOK {
			w.Errorf("got %+v", got)
		}
		w.reads(reads)
	})
}
