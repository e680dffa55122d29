package harness_test

// Both functions with marked secrets, and a record of all that must not hold any.

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/internal/harness"
	"github.com/c8auth/c8auth/internal/secretscan"
)

// The marked secrets hold what changes under escaping. Those that travel in a header can only
// be ASCII.
const (
	clientID        = "the-client"
	clientSecret    = `MARK+/ü&"x<cl13nt-s3cr3t>%41=\é;:tail`
	accessKey       = `MARK+/~&"x<4cc3ss-k3y>%42=\;:tail`
	accessToken     = `MARK+/~&"x<4cc3ss-t0k3n>%43=\;:tail` // stored by hand, or issued where a case says so
	functionSecret  = `MARK+/fUnCt10nS3cr3t4cc3ssK3yEXAMPLEKEY`
	functionSession = `MARK+/fUnCt10nS3ss10n//////////wEaCmV1LWNlbnRyYWwtMSJHMEUCIQ==`
	plainSecret     = `MARKSecretOfLettersException` // could be a key, or the name of an error
	callerSecret    = `MARK+/c4ll3rS3cr3t4cc3ssK3yEXAMPLEKEYxyz`
	callerSession   = `MARK+/c4ll3rS3ss10n//////////wEaCmV1LWNlbnRyYWwtMSJHMEUCIQ==`

	probePath = "/int/v1/broadcast"
)

var (
	marks           = []string{clientSecret, accessKey, accessToken, functionSecret, functionSession, plainSecret, callerSecret, callerSession}
	credentialsName = harness.CredentialsName("default")
	tokenName       = harness.TokenName("default")
)

// observed is a Stack whose functions reach the fakes through handlers that record requests.
type observed struct {
	t *testing.T
	*harness.Stack
	c8URL string
	seen  record

	mu      sync.Mutex
	raw     func(echo string) string                                    // answers for Communic8, on the wire
	fault   func(op string, r *http.Request, echo string) *smtest.Fault // of Secrets Manager
	now     *http.Request                                               // at Secrets Manager
	echo    string                                                      // of it
	written string                                                      // the latest PutSecretValue
}

func observe(t *testing.T) *observed {
	o := &observed{t: t, Stack: start(t)}
	o.Communic8.AddClient(clientID, clientSecret)
	o.Secrets.Fault = func(op, _ string) *smtest.Fault {
		o.mu.Lock()
		fault, r, echo := o.fault, o.now, o.echo
		o.mu.Unlock()
		if fault == nil {
			return nil
		}
		return fault(op, r, echo)
	}
	serve := func(h http.HandlerFunc) string {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		return server.URL
	}
	o.c8URL = serve(o.communic8)
	secretsURL := serve(o.secretsManager)
	for _, f := range []*lambdatest.Function{o.Rotate, o.Vend} {
		f.Timeout, f.Log = time.Minute, &o.seen
		f.Env = append(f.Env, "AWS_ENDPOINT_URL_SECRETS_MANAGER="+secretsURL, "AWS_SECRET_ACCESS_KEY="+functionSecret, "AWS_SESSION_TOKEN="+functionSession)
	}
	o.Key = aws.Credentials{AccessKeyID: harness.AccessKey, SecretAccessKey: callerSecret, SessionToken: callerSession}
	o.Gateway.Keys[harness.AccessKey] = gwtest.Key{SecretAccessKey: callerSecret, SessionToken: callerSession, ARN: harness.Caller, Tenants: []string{"*"}}
	return o
}

// communic8 is Communic8 as the functions reach it. What they send may hold marks in the
// Authorization header only.
func (o *observed) communic8(w http.ResponseWriter, r *http.Request) {
	echo := repeat(r)
	sent := r.Clone(r.Context())
	sent.Header.Del("Authorization")
	o.seen.add("to Communic8", dump(sent))
	r.Body = sent.Body // which can be read again
	o.mu.Lock()
	raw := o.raw
	o.mu.Unlock()
	if raw == nil {
		o.Communic8.ServeHTTP(w, r)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		o.t.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, raw(strings.Join(strings.Fields(echo), " ")))
	_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, _ = io.Copy(io.Discard, conn) // until the other side has closed it, or does not
}

// secretsManager is Secrets Manager as the functions reach it. What they send may hold the
// token in PutSecretValue only, and the session's token where AWS has it.
func (o *observed) secretsManager(w http.ResponseWriter, r *http.Request) {
	echo := repeat(r) + strings.Join(o.secrets(), " ")
	sent := r.Clone(r.Context())
	sent.Header.Del("X-Amz-Security-Token")
	text := dump(sent)
	r.Body = sent.Body // which can be read again
	written := ""
	if r.Header.Get("X-Amz-Target") == "secretsmanager.PutSecretValue" {
		text, written, _ = strings.Cut(text, "\r\n\r\n")
	}
	o.seen.add("to Secrets Manager", text)
	o.mu.Lock()
	o.now, o.echo, o.written = r, echo, written
	o.mu.Unlock()
	for _, name := range []string{"X-Amzn-Requestid", "Date", "Server", "Location", "Retry-After"} {
		w.Header().Set(name, echo)
	}
	o.Secrets.ServeHTTP(w, r)
}

// at makes Communic8 answer for the path what fault makes of all that was sent.
func (o *observed) at(path string, fault func(echo string) *c8test.Fault) {
	o.Communic8.Set(func(b *c8test.Behaviour) {
		b.Fault = func(r *http.Request, _ int) *c8test.Fault {
			if r.URL.Path != path {
				return nil
			}
			return fault(repeat(r))
		}
	})
}

// onWire makes Communic8 answer with bytes.
func (o *observed) onWire(raw func(echo string) string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.raw = raw
}

// onStore makes Secrets Manager answer to the operation, empty for any, what fault makes of the
// request and of all secrets.
func (o *observed) onStore(op string, fault func(r *http.Request, echo string) *smtest.Fault) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fault = func(called string, r *http.Request, echo string) *smtest.Fault {
		if op != "" && op != called {
			return nil
		}
		return fault(r, echo)
	}
}

// store stores credentials, as a person does.
func (o *observed) store(text string) { o.Secrets.Put(credentialsName, text) }

// put stores a token, as nobody should.
func (o *observed) put(text string) { o.Secrets.Put(tokenName, text) }

// oauth and bearer are credentials that Communic8 accepts.
func (o *observed) oauth() string { return harness.Credentials(o.c8URL, clientID, clientSecret) }

func (o *observed) bearer() string {
	return fmt.Sprintf(`{"base_url":%q,"access_key":%s}`, o.c8URL, quote(accessKey))
}

// token is a valid token made from the current credentials, as it is stored.
func (o *observed) token(issued time.Time, lifetime time.Duration) string {
	_, version := o.Secrets.Value(credentialsName)
	return harness.Token(o.c8URL, accessToken, version, issued, lifetime)
}

// rotates invokes rotate and expects want in its answer or in its error.
func (o *observed) rotates(event, want string) {
	o.t.Helper()
	answer, err := o.Rotate.Invoke(o.t.Context(), []byte(event))
	got := string(answer)
	if err != nil {
		got = o.failure("rotate", err).Message
	}
	o.seen.add("answer of rotate", got)
	if !strings.Contains(got, want) {
		o.t.Errorf("rotate answers %s, want %s in it", got, want)
	}
}

// failure records all that there is of a failed invocation.
func (o *observed) failure(name string, err error) *lambdatest.Error {
	o.t.Helper()
	failure := new(lambdatest.Error)
	if !errors.As(err, &failure) {
		o.t.Errorf("%s was not invoked: %v", name, err)
	}
	o.seen.add("failure of "+name, failure.Type+" "+failure.Message+" "+string(failure.Payload))
	return failure
}

// answers invokes a function as API Gateway does, and expects the status and want in the body.
func (o *observed) answers(f *lambdatest.Function, event string, status int, want string) {
	o.t.Helper()
	answer, err := f.Invoke(o.t.Context(), []byte(event))
	if err != nil {
		o.t.Errorf("%s fails: %v", f.Name, o.failure(f.Name, err))
		return
	}
	var got struct {
		StatusCode int             `json:"statusCode"`
		Body       json.RawMessage `json:"body"`
	}
	var body string
	if err := json.Unmarshal(answer, &got); err != nil || got.StatusCode != status || json.Unmarshal(got.Body, &body) != nil || !strings.Contains(body, want) {
		o.t.Errorf("%s answers %d %s, want %d with %s", f.Name, got.StatusCode, body, status, want)
	}
	o.seen.add("body of "+f.Name, withoutToken(got.StatusCode, body))
	o.seen.add("answer of "+f.Name, strings.Replace(string(answer), string(got.Body), "", 1))
}

// reported sends a report, and expects the status and want in the body.
func (o *observed) reported(body string, status int, want string) {
	o.t.Helper()
	event, err := json.Marshal(map[string]any{
		"resource": "/tokens/{tenant}/rejections", "path": "/tokens/default/rejections", "httpMethod": http.MethodPost,
		"pathParameters": map[string]string{"tenant": "default"}, "body": body,
	})
	if err != nil {
		o.t.Fatal(err)
	}
	o.answers(o.Rotate, string(event), status, want)
}

// vends sends a signed request for the token, and expects the status and want in the body.
func (o *observed) vends(tenant string, header http.Header, status int, want string) {
	o.t.Helper()
	resp, body, err := o.Get(o.t.Context(), tenant, header)
	if err != nil {
		o.t.Fatal(err)
	}
	o.seen.add("answer of vend", resp.Status+fmt.Sprintf(" %q ", resp.Header)+withoutToken(resp.StatusCode, string(body)))
	if resp.StatusCode != status || !strings.Contains(string(body), want) {
		o.t.Errorf("GET /tokens/%s: %s %s, want %d with %s", tenant, resp.Status, body, status, want)
	}
}

// withoutToken takes the access_token out of a 200's body, once.
func withoutToken(status int, body string) string {
	var in struct {
		AccessToken json.RawMessage `json:"access_token"`
	}
	if status != http.StatusOK || json.Unmarshal([]byte(body), &in) != nil || in.AccessToken == nil {
		return body
	}
	return strings.Replace(body, `"access_token":`+string(in.AccessToken), "", 1)
}

// secrets are all marks, and the tokens that Communic8 has issued.
func (o *observed) secrets() []string { return append(slices.Clone(marks), o.Communic8.Issued()...) }

// check ends the functions, and fails if there is a mark in what was seen.
func (o *observed) check() {
	o.t.Helper()
	o.Rotate.Stop()
	o.Vend.Stop()
	secrets, entries := o.secrets(), o.seen.all()
	if len(entries) == 0 {
		o.t.Error("nothing was seen")
	}
	shown := 0
	for _, entry := range entries {
		found := secretscan.Find(entry, secrets...)
		if found == nil {
			continue
		}
		if shown++; shown == 3 {
			o.t.Error("and so on")
			return
		}
		o.t.Errorf("%q in %.1500s", found, entry)
	}
}

// record is what was seen.
type record struct {
	mu      sync.Mutex
	entries []string
}

// Write takes a line of a function's log.
func (r *record) Write(line []byte) (int, error) {
	r.add("log", string(line))
	return len(line), nil
}

func (r *record) add(what, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, what+": "+text)
}

func (r *record) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.entries)
}

// has reports whether an entry contains the text.
func (r *record) has(text string) bool {
	return slices.ContainsFunc(r.all(), func(entry string) bool { return strings.Contains(entry, text) })
}

// repeat is all of a request, and what its Authorization header encodes.
func repeat(r *http.Request) string {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	pair, _ := base64.StdEncoding.DecodeString(credential)
	return dump(r) + string(pair)
}

// dump is a request as text; it can be read again.
func dump(r *http.Request) string {
	text, _ := httputil.DumpRequest(r, true) // what could be read of it
	return string(text)
}

// quote is s in JSON.
func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // of a string: cannot be
	}
	return string(text)
}
