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
	"sync/atomic"
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
)

var marks = []string{clientSecret, accessKey, accessToken, functionSecret, functionSession, plainSecret, callerSecret, callerSession}

// observed is a Stack whose functions reach the fakes through handlers that record requests.
type observed struct {
	*testing.T
	*harness.Stack
	c8URL string
	raw   atomic.Pointer[string] // what Communic8 answers on the wire, with the request in the place of %s

	mu    sync.Mutex
	seen  []string                            // all that must not hold a mark
	fault func(op, echo string) *smtest.Fault // of Secrets Manager
	echo  string                              // of the request at Secrets Manager
}

func observe(t *testing.T) *observed {
	o := &observed{T: t, Stack: start(t)}
	o.Communic8.AddClient(clientID, clientSecret)
	o.Secrets.Fault = func(op, _ string) *smtest.Fault {
		o.mu.Lock()
		fault, echo := o.fault, o.echo
		o.mu.Unlock()
		if fault == nil {
			return nil
		}
		return fault(op, echo)
	}
	serve := func(h http.HandlerFunc) string {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		return server.URL
	}
	o.c8URL = serve(o.communic8)
	secretsURL := serve(o.secretsManager)
	for _, f := range []*lambdatest.Function{o.Rotate, o.Vend} {
		f.Timeout, f.Log = time.Minute, o
		f.Env = append(f.Env, "AWS_ENDPOINT_URL_SECRETS_MANAGER="+secretsURL, "AWS_SECRET_ACCESS_KEY="+functionSecret, "AWS_SESSION_TOKEN="+functionSession)
	}
	o.Key = aws.Credentials{AccessKeyID: harness.AccessKey, SecretAccessKey: callerSecret, SessionToken: callerSession}
	o.Gateway.Keys[harness.AccessKey] = gwtest.Key{SecretAccessKey: callerSecret, SessionToken: callerSession, ARN: harness.Caller, Tenants: []string{"*"}}
	return o
}

// communic8 is Communic8 as the functions reach it. What they send may hold marks in the
// Authorization header, and nowhere else.
func (o *observed) communic8(w http.ResponseWriter, r *http.Request) {
	o.see("to Communic8", strings.Replace(dump(r), r.Header.Get("Authorization"), "", 1))
	raw := o.raw.Load()
	if raw == nil {
		o.Communic8.ServeHTTP(w, r)
		return
	}
	echo := repeat(r)
	_, _ = io.Copy(io.Discard, r.Body)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		o.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(conn, *raw, strings.Join(strings.Fields(echo), " "))
	_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, _ = io.Copy(io.Discard, conn) // until the other side has closed it, or does not
}

// secretsManager is Secrets Manager as the functions reach it. What they send may hold the
// token in PutSecretValue only, and the session's token where AWS has it.
func (o *observed) secretsManager(w http.ResponseWriter, r *http.Request) {
	text := strings.Replace(dump(r), r.Header.Get("X-Amz-Security-Token"), "", 1)
	if r.Header.Get("X-Amz-Target") == "secretsmanager.PutSecretValue" {
		text, _, _ = strings.Cut(text, "\r\n\r\n")
	}
	o.see("to Secrets Manager", text)
	echo := strings.Join(o.secrets(), " ") + " " + repeat(r)
	o.mu.Lock()
	o.echo = echo
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

// onStore makes Secrets Manager answer to the operation, empty for any, what fault makes of the
// request and of all secrets.
func (o *observed) onStore(op string, fault func(echo string) *smtest.Fault) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fault = func(called, echo string) *smtest.Fault {
		if op != "" && op != called {
			return nil
		}
		return fault(echo)
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

// token is a token made from the current credentials, as it is stored.
func (o *observed) token(issued time.Time, lifetime time.Duration) string {
	_, version := o.Secrets.Value(credentialsName)
	return harness.Token(o.c8URL, accessToken, version, issued, lifetime)
}

// valid is one that was issued now, for a day.
func (o *observed) valid() string { return o.token(time.Now(), 24*time.Hour) }

// rotates invokes rotate and expects want in its answer or in its error.
func (o *observed) rotates(event, want string) {
	o.Helper()
	answer, err := o.Rotate.Invoke(o.Context(), []byte(event))
	got := string(answer)
	if err != nil {
		got = o.failure(o.Rotate, err).Message
	}
	o.see("answer of rotate", got)
	if !strings.Contains(got, want) {
		o.Errorf("rotate answers %s, want %s in it", got, want)
	}
}

// failure records all that there is of a failed invocation.
func (o *observed) failure(f *lambdatest.Function, err error) *lambdatest.Error {
	o.Helper()
	failure, ok := errors.AsType[*lambdatest.Error](err)
	if !ok {
		o.Fatalf("%s was not invoked: %v", f.Name, err)
	}
	o.see("failure of "+f.Name, failure.Type+" "+failure.Message+" "+string(failure.Payload))
	return failure
}

// answers invokes a function as API Gateway does, and expects the status and want in the body.
func (o *observed) answers(f *lambdatest.Function, event string, status int, want string) {
	o.Helper()
	answer, err := f.Invoke(o.Context(), []byte(event))
	if err != nil {
		o.Errorf("%s fails: %v", f.Name, o.failure(f, err))
		return
	}
	var got struct {
		StatusCode int             `json:"statusCode"`
		Body       json.RawMessage `json:"body"`
	}
	var body string
	if err := json.Unmarshal(answer, &got); err != nil || got.StatusCode != status || json.Unmarshal(got.Body, &body) != nil || !strings.Contains(body, want) {
		o.Errorf("%s answers %d %s, want %d with %s", f.Name, got.StatusCode, body, status, want)
	}
	o.see("body of "+f.Name, withoutToken(got.StatusCode, body))
	o.see("answer of "+f.Name, strings.Replace(string(answer), string(got.Body), "", 1))
}

// reported sends a report, and expects the status and want in the body.
func (o *observed) reported(body string, status int, want string) {
	o.Helper()
	o.answers(o.Rotate, `{"resource":"/tokens/{tenant}/rejections","path":"/tokens/default/rejections","httpMethod":"POST",`+
		`"pathParameters":{"tenant":"default"},"body":`+quote(body)+`}`, status, want)
}

// vends sends a signed request for the token, and expects the status and want in the body.
func (o *observed) vends(tenant string, header http.Header, status int, want string) {
	o.Helper()
	resp, body, err := o.Get(o.Context(), tenant, header)
	if err != nil {
		o.Fatal(err)
	}
	o.see("answer of vend", resp.Status+fmt.Sprintf(" %q ", resp.Header)+withoutToken(resp.StatusCode, string(body)))
	if resp.StatusCode != status || !strings.Contains(string(body), want) {
		o.Errorf("GET /tokens/%s: %s %s, want %d with %s", tenant, resp.Status, body, status, want)
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

// see records what must not hold a mark.
func (o *observed) see(what, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = append(o.seen, what+": "+text)
}

// Write takes a line of a function's log.
func (o *observed) Write(line []byte) (int, error) {
	o.see("log", string(line))
	return len(line), nil
}

// shows expects the text in what was seen.
func (o *observed) shows(text string) {
	o.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.ContainsFunc(o.seen, func(entry string) bool { return strings.Contains(entry, text) }) {
		o.Errorf("%q was not seen", text)
	}
}

// check ends the functions, and fails if there is a mark in what was seen.
func (o *observed) check() {
	o.Helper()
	o.Rotate.Stop()
	o.Vend.Stop()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.seen) == 0 {
		o.Error("nothing was seen")
	}
	secrets, shown := o.secrets(), 0
	for _, entry := range o.seen {
		if found := secretscan.Find(entry, secrets...); found != nil && shown < 3 {
			o.Errorf("%q in %.1500s", found, entry)
			shown++
		}
	}
}

// repeat is what a request's Authorization header encodes, and all of the request: texts are cut
// at their end.
func repeat(r *http.Request) string {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	pair, _ := base64.StdEncoding.DecodeString(credential)
	return string(pair) + " " + dump(r)
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
