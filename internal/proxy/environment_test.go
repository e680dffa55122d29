package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/c8auth/c8auth/internal/proxy"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

// environment is a proxy between a program, which is the test, and fakes of Communic8 and
// the API, all on loopback.
type environment struct {
	*testing.T
	handler   *proxy.Handler
	transport *http.Transport // to Communic8
	base      string          // the proxy's URL, with the segment
	address   string          // host and port of it
	communic8 *httptest.Server
	log       syncBuffer

	mu      sync.Mutex
	sent    []*http.Request // to Communic8; their bodies are read by its handler alone
	reports int
	version int // of the token; it is "token-<version>"
	revoked map[int]bool
	refusal http.Handler // of the API, if not nil
}

// token is the newest one's.
func (e *environment) token() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return fmt.Sprintf("token-%d", e.version)
}

// revoke makes Communic8 answer 401 to the newest token.
func (e *environment) revoke() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.revoked[e.version] = true
}

func (e *environment) requests() []*http.Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]*http.Request(nil), e.sent...)
}

// start starts the proxy, with communic8 behind it, which tells rejected tokens by itself.
// configure, if not nil, changes Communic8's server before it starts.
func start(t *testing.T, communic8 http.HandlerFunc, configure func(*httptest.Server)) *environment {
	t.Helper()
	e := &environment{T: t, version: 1, revoked: make(map[int]bool), transport: proxy.NewTransport()}
	e.communic8 = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.sent = append(e.sent, r)
		version := 0
		_, _ = fmt.Sscanf(r.Header.Get("Authorization"), "Bearer token-%d", &version)
		rejected := version == 0 || e.revoked[version]
		e.mu.Unlock()
		if rejected {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		communic8(w, r)
	}))
	e.communic8.Config.ErrorLog = log.New(io.Discard, "", 0)
	if configure != nil {
		configure(e.communic8)
	}
	if e.communic8.EnableHTTP2 {
		e.communic8.StartTLS()
		e.transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		e.transport.TLSClientConfig.RootCAs.AddCert(e.communic8.Certificate())
	} else {
		e.communic8.Start()
	}
	api := httptest.NewServer(http.HandlerFunc(e.api))
	source := &caller.Source{URL: api.URL, AWS: aws.Config{
		Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "example", ""),
	}}
	listener, err := proxy.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.address = listener.Addr().String()
	segment, err := proxy.Segment("")
	if err != nil {
		t.Fatal(err)
	}
	e.base = "http://" + e.address + segment
	e.handler = &proxy.Handler{
		Transport: &caller.Transport{Source: source, Base: e.transport},
		Base:      url.URL{Scheme: "http", Host: e.address, Path: segment},
		Log:       log.New(&e.log, "", 0),
	}
	server := proxy.NewServer(e.handler)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		e.transport.CloseIdleConnections()
		e.communic8.CloseClientConnections()
		e.communic8.Close()
		api.Close()
	})
	return e
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }

// respond answers with the text, and then with what the client sends.
func respond(t *testing.T, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, stream, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, text)
		_, _ = io.Copy(conn, stream)
	}
}

// api gives out the newest token, and makes a new one when that is reported.
func (e *environment) api(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refusal != nil {
		e.refusal.ServeHTTP(w, r)
		return
	}
	if r.Method == http.MethodPost {
		e.reports++
		e.version++
		_, _ = io.WriteString(w, `{"outcome":"rotated"}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": fmt.Sprintf("token-%d", e.version), "token_type": "Bearer", "expires_in": 3600,
		"version": fmt.Sprint(e.version), "base_url": e.communic8.URL,
	})
}

// client follows no redirect and unpacks nothing, so that a test sees what came.
var client = &http.Client{
	Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 1000},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       time.Minute,
}

// send sends a program's request and returns the response, whose body is closed after the test.
func (e *environment) send(method, path string, body io.Reader, header ...string) *http.Response {
	e.Helper()
	req, err := http.NewRequestWithContext(e.Context(), method, e.base+path, body)
	if err != nil {
		e.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// do is send, and returns the body as well.
func (e *environment) do(method, path string, body io.Reader, header ...string) (*http.Response, string) {
	e.Helper()
	resp := e.send(method, path, body, header...)
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		e.Fatal(err)
	}
	return resp, string(text)
}

// dial opens a connection to the proxy and sends the request as it is, with SEGMENT and ADDRESS
// replaced. What happens on the connection has ten seconds.
func (e *environment) dial(request string) (net.Conn, *bufio.Reader) {
	e.Helper()
	conn, err := net.Dial("tcp", e.address)
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(10 * time.Second))
	}
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { _ = conn.Close() })
	request = strings.NewReplacer("SEGMENT", e.segment(), "ADDRESS", e.address).Replace(request)
	go func() { _, _ = io.WriteString(conn, request) }() // the proxy may not read all of it
	return conn, bufio.NewReader(conn)
}

// raw is dial, and returns the first response with its body; nil if there is none.
func (e *environment) raw(request string) (*http.Response, string) {
	e.Helper()
	conn, reader := e.dial(request)
	defer func() { _ = conn.Close() }()
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, ""
	}
	body, _ := io.ReadAll(resp.Body)
	return resp, string(body)
}

// segment is the segment of the base URL.
func (e *environment) segment() string { return e.base[strings.LastIndex(e.base, "/")+1:] }

// kept fails if a token, or the word "mine" of a program's own credentials, is in a text.
func (e *environment) kept(what, text string) {
	e.Helper()
	for _, secret := range []string{"token-", "mine", e.segment()} {
		if strings.Contains(text, secret) {
			e.Errorf("%s shows %q: %s", what, secret, text)
		}
	}
}

// syncBuffer is a bytes.Buffer for concurrent use.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
