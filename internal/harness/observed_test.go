package harness_test

// Both functions between stand-ins of their own, watched.

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/internal/harness"
	"github.com/c8auth/c8auth/internal/secretscan"
)

const probePath = "/int/v1/broadcast"

// build compiles both functions and returns the paths of their binaries by name.
func build(t *testing.T) map[string]string {
	t.Helper()
	root, err := lambdatest.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	bootstraps := make(map[string]string)
	for _, name := range []string{"rotate", "vend"} {
		if bootstraps[name], err = lambdatest.Build(t.Context(), root, filepath.Join(dir, name), name); err != nil {
			t.Fatal(err)
		}
	}
	return bootstraps
}

// world is both functions between stand-ins, with marks for secrets, and a record of
// all that a mark must not be in.
type world struct {
	t            *testing.T
	c8           *c8test.Server
	sm           *smtest.Server
	rotate, vend *lambdatest.Function
	seen         record

	c8URL, apiURL string

	mu      sync.Mutex
	raw     func(echo string) string                                    // answers for Communic8, on the wire
	fault   func(op string, r *http.Request, echo string) *smtest.Fault // of Secrets Manager
	now     *http.Request                                               // at Secrets Manager
	echo    string                                                      // of it
	written string                                                      // the latest PutSecretValue
}

func newWorld(t *testing.T, bootstraps map[string]string) *world {
	w := &world{t: t, c8: new(c8test.Server), sm: &smtest.Server{Region: harness.Region}}
	w.c8.AddClient(clientID, clientSecret)
	w.sm.Create(credentialsName)
	w.sm.Create(tokenName)
	w.sm.Fault = func(op, _ string) *smtest.Fault {
		w.mu.Lock()
		fault, r, echo := w.fault, w.now, w.echo
		w.mu.Unlock()
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
	w.c8URL = serve(w.communic8)
	secretsURL := serve(w.secretsManager)
	function := func(name string) *lambdatest.Function {
		f := &lambdatest.Function{
			Name:      harness.Name + "-" + name,
			Bootstrap: bootstraps[name],
			Timeout:   time.Minute,
			Log:       &w.seen,
			Env: []string{
				"C8AUTH_STACK=" + harness.Name,
				"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + secretsURL,
				"AWS_REGION=" + harness.Region,
				"AWS_ACCESS_KEY_ID=AKIAI44QH8DHBEXAMPLE",
				"AWS_SECRET_ACCESS_KEY=" + functionSecret,
				"AWS_SESSION_TOKEN=" + functionSession,
			},
		}
		t.Cleanup(f.Stop)
		return f
	}
	w.rotate, w.vend = function("rotate"), function("vend")
	gateway := &gwtest.Gateway{Region: harness.Region, Invoke: w.vend.Invoke, Keys: map[string]gwtest.Key{
		harness.AccessKey: {SecretAccessKey: callerSecret, SessionToken: callerSession, ARN: harness.Caller, Tenants: []string{"*"}},
	}}
	w.apiURL = serve(gateway.ServeHTTP)
	return w
}

// communic8 is Communic8 as the functions reach it. What they send must hold marks in
// the Authorization header only.
func (w *world) communic8(rw http.ResponseWriter, r *http.Request) {
	echo := repeat(r)
	sent := r.Clone(r.Context())
	sent.Header.Del("Authorization")
	w.seen.add("to Communic8", dump(sent))
	r.Body = sent.Body // which can be read again
	w.mu.Lock()
	raw := w.raw
	w.mu.Unlock()
	if raw == nil {
		w.c8.ServeHTTP(rw, r)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	conn, _, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		w.t.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, raw(strings.Join(strings.Fields(echo), " ")))
	_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, _ = io.Copy(io.Discard, conn) // until the other side has closed it, or does not mean to
}

// secretsManager is Secrets Manager as the functions reach it. What they send must
// hold the token in PutSecretValue only, and the session's token where AWS has it.
func (w *world) secretsManager(rw http.ResponseWriter, r *http.Request) {
	echo := repeat(r) + strings.Join(w.secrets(), " ")
	sent := r.Clone(r.Context())
	sent.Header.Del("X-Amz-Security-Token")
	text := dump(sent)
	r.Body = sent.Body // which can be read again
	written := ""
	if r.Header.Get("X-Amz-Target") == "secretsmanager.PutSecretValue" {
		text, written, _ = strings.Cut(text, "\r\n\r\n")
	}
	w.seen.add("to Secrets Manager", text)
	w.mu.Lock()
	w.now, w.echo, w.written = r, echo, written
	w.mu.Unlock()
	w.sm.ServeHTTP(rw, r)
}

// at makes Communic8 answer for the path what fault makes of all that was sent.
func (w *world) at(path string, fault func(echo string) *c8test.Fault) {
	w.c8.Set(func(b *c8test.Behaviour) {
		b.Fault = func(r *http.Request, _ int) *c8test.Fault {
			if r.URL.Path != path {
				return nil
			}
			return fault(repeat(r))
		}
	})
}

// onWire makes Communic8 answer with bytes.
func (w *world) onWire(raw func(echo string) string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.raw = raw
}

// onStore makes Secrets Manager answer to the operation, empty for any, what fault
// makes of the request and of all secrets.
func (w *world) onStore(op string, fault func(r *http.Request, echo string) *smtest.Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = func(called string, r *http.Request, echo string) *smtest.Fault {
		if op != "" && op != called {
			return nil
		}
		return fault(r, echo)
	}
}

// store stores credentials, as a person does.
func (w *world) store(text string) { w.sm.Put(credentialsName, text) }

// put stores a token, as nobody should.
func (w *world) put(text string) { w.sm.Put(tokenName, text) }

// oauth and bearer are good credentials.
func (w *world) oauth() string {
	return fmt.Sprintf(`{"base_url":%q,"client_id":%q,"client_secret":%s}`, w.c8URL, clientID, quote(clientSecret))
}

func (w *world) bearer() string {
	return fmt.Sprintf(`{"base_url":%q,"access_key":%s}`, w.c8URL, quote(accessKey))
}

// token is a good token made from the current credentials, as it is stored.
func (w *world) token(issued time.Time, life time.Duration) string {
	_, version := w.sm.Value(credentialsName)
	return fmt.Sprintf(`{"base_url":%q,"access_token":%s,"token_type":"Bearer","issued_at":%q,"expires_at":%q,"credentials_version":%q}`,
		w.c8URL, quote(accessToken), issued.UTC().Format(time.RFC3339), issued.Add(life).UTC().Format(time.RFC3339), version)
}

// rotates invokes rotate and expects want in its answer or in its error.
func (w *world) rotates(event, want string) {
	w.t.Helper()
	answer, err := w.rotate.Invoke(w.t.Context(), []byte(event))
	got := string(answer)
	if err != nil {
		got = w.failure("rotate", err).Message
	}
	w.seen.add("answer of rotate", got)
	if !strings.Contains(got, want) {
		w.t.Errorf("rotate answers %s, want %s in it", got, want)
	}
}

// failure records all that there is of a failed invocation.
func (w *world) failure(name string, err error) *lambdatest.Error {
	w.t.Helper()
	failure := new(lambdatest.Error)
	if !errors.As(err, &failure) {
		w.t.Errorf("%s was not invoked: %v", name, err)
	}
	w.seen.add("failure of "+name, failure.Type+" "+failure.Message+" "+string(failure.Payload))
	return failure
}

// answers invokes vend and expects the status in its answer.
func (w *world) answers(event string, status int) {
	w.t.Helper()
	answer, err := w.vend.Invoke(w.t.Context(), []byte(event))
	if err != nil {
		w.t.Errorf("vend fails: %v", w.failure("vend", err))
		return
	}
	var got struct {
		StatusCode int             `json:"statusCode"`
		Body       json.RawMessage `json:"body"`
	}
	var body string
	if err := json.Unmarshal(answer, &got); err != nil || got.StatusCode != status || json.Unmarshal(got.Body, &body) != nil {
		w.t.Errorf("vend answers %d, want %d", got.StatusCode, status)
	}
	w.seen.add("body of vend", withoutToken(got.StatusCode, body))
	w.seen.add("answer of vend", strings.Replace(string(answer), string(got.Body), "", 1))
}

// vends sends a signed request for the token and expects the status, and want in the
// body.
func (w *world) vends(tenant string, header http.Header, status int, want string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.apiURL+"/v1/tokens/"+tenant, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	caller := aws.Credentials{AccessKeyID: harness.AccessKey, SecretAccessKey: callerSecret, SessionToken: callerSession}
	const emptyPayload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // SHA-256
	if err := v4.NewSigner().SignHTTP(req.Context(), caller, req, emptyPayload, "execute-api", harness.Region, time.Now()); err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	w.seen.add("answer of vend", resp.Status+fmt.Sprintf(" %q ", resp.Header)+withoutToken(resp.StatusCode, string(body)))
	if resp.StatusCode != status || !strings.Contains(string(body), want) {
		w.t.Errorf("GET /tokens/%s: %s %s, want %d with %s", tenant, resp.Status, body, status, want)
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
func (w *world) secrets() []string { return append(slices.Clone(marks), w.c8.Issued()...) }

// check ends the functions and fails if there is a mark in what was seen.
func (w *world) check() {
	w.t.Helper()
	w.rotate.Stop()
	w.vend.Stop()
	secrets := w.secrets()
	if w.seen.String() == "" {
		w.t.Error("nothing was seen")
	}
	shown := 0
	for _, entry := range w.seen.all() {
		found := secretscan.Find(entry, secrets...)
		if found == nil {
			continue
		}
		if shown++; shown == 3 { // they are all alike
			w.t.Error("and so on")
			return
		}
		w.t.Errorf("%q in %.1500s", found, entry)
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

func (r *record) String() string { return strings.Join(r.all(), "\n") }

// repeat is all that a request says, and what is in its Authorization header.
func repeat(r *http.Request) string {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	pair, _ := base64.StdEncoding.DecodeString(credential)
	return dump(r) + string(pair)
}

// dump is a request in words; it can be read again.
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

// processes are those that run the binary.
func processes(t *testing.T, binary string) (pids []int) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || strings.TrimSuffix(target, " (deleted)") != binary {
			continue // another's, or it has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}
