// Package proxy is the HTTP side of c8auth proxy: a reverse proxy to Communic8 for programs on
// the same machine, which adds the token to their requests.
//
// Only programs that know the base URL can use the proxy. Requests that a web page or another
// proxy could send are refused:
//
//   - the first segment of the path is random, and compared in constant time;
//   - the Host must be a loopback address or localhost, against DNS rebinding;
//   - headers that a browser or another proxy adds (Origin, Forwarded, ...) are not allowed;
//   - requests for a forward proxy (CONNECT, absolute URLs) are not allowed.
//
// httputil.ReverseProxy does everything else, with the transport of the package caller, which
// holds the token.
package proxy

import (
	"bufio"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

// NewTransport returns a transport for requests to Communic8. It may be used concurrently.
func NewTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone() // with HTTP/2 and HTTPS_PROXY
	t.DisableCompression = true                          // otherwise the transport decompresses responses
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, 1024      // by default, all but two concurrent requests need a TLS handshake
	// Load balancers close idle connections after 60 seconds or more. A POST that is sent at that
	// moment fails, because it must not be repeated. So the transport closes them earlier.
	t.IdleConnTimeout = 30 * time.Second
	t.HTTP2 = &http.HTTP2Config{
		SendPingTimeout:           15 * time.Second, // detects connections that were lost without a FIN or RST
		MaxReceiveBufferPerStream: 1 << 20,          // the default of 4 MiB is used up by each slow reader
	}
	return t
}

// NewServer returns a server for h. Its timeouts close connections that send no header within ten
// seconds, or no request for two minutes. Bodies have no timeout.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          silent,
	}
}

// silent discards the log lines of net/http, which quote the other side.
var silent = log.New(io.Discard, "", 0)

// Handler is the proxy. It may be used concurrently. Its fields must not be changed after the
// first request.
type Handler struct {
	Transport *caller.Transport // to Communic8; must not be nil
	// Base is the proxy's own URL: scheme, host, and the path segment that requests must have.
	// An empty path means that requests need no segment, as for a Unix socket with mode 0600.
	Base url.URL
	// Log, if not nil, gets a line for each request: method, path without the segment and
	// the query, status, and milliseconds. The path of a refused request is "-".
	Log *log.Logger

	once  sync.Once
	proxy *httputil.ReverseProxy
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.once.Do(func() {
		h.proxy = &httputil.ReverseProxy{
			Rewrite:   h.rewrite,
			Transport: h.Transport,
			// Responses of known length can be slow streams as well. -1 flushes at once, and costs
			// another write for each response, a fifth of the processor time.
			FlushInterval:  5 * time.Millisecond,
			BufferPool:     new(buffers),
			ErrorLog:       silent,
			ModifyResponse: h.modify,
			ErrorHandler:   h.fail,
		}
	})
	path, refused := h.admit(r)
	if h.Log != nil {
		start, recorder := time.Now(), &recorder{ResponseWriter: w}
		w = recorder
		defer func() { // runs also if ReverseProxy panics to abort the connection
			h.Log.Printf("%.20s %.1000s %d %d", r.Method, path, recorder.status, time.Since(start).Milliseconds())
		}()
	}
	switch {
	case refused != nil:
		refused.write(w)
	case r.URL.Path == ping:
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "up\n")
	default:
		h.proxy.ServeHTTP(w, r)
	}
}

// ping is the path of the health check, which needs no segment.
const ping = "/ping"

// foreign are headers that browsers and other proxies send, and programs do not.
var foreign = []string{"Origin", "Sec-Fetch-Site", "Forwarded", "Via", "X-Real-Ip"}

// admit returns the escaped path without the segment, or why the request is refused.
func (h *Handler) admit(r *http.Request) (string, *failure) {
	switch {
	case !strings.HasPrefix(r.RequestURI, "/") || r.Method == http.MethodConnect:
		return "-", refuse(http.StatusBadRequest, "this is no forward proxy", "use it as a base URL, not as HTTP_PROXY")
	case r.Method == http.MethodTrace: // the response would contain the token
		return "-", refuse(http.StatusMethodNotAllowed, "TRACE is not passed on", "use another method")
	case !loopback(r.Host):
		return "-", refuse(http.StatusForbidden, "the Host is not loopback", "use the URL that the proxy gave, as it is")
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Forwarded-") {
			return "-", refuseForeign
		}
	}
	for _, name := range foreign {
		if _, ok := r.Header[name]; ok {
			return "-", refuseForeign
		}
	}
	path := r.URL.EscapedPath()
	if h.Base.Path == "" || r.URL.Path == ping {
		return path, nil
	}
	segment, rest, _ := strings.Cut(path[1:], "/")
	if subtle.ConstantTimeCompare([]byte(segment), []byte(h.Base.Path[1:])) != 1 {
		return "-", refuse(http.StatusForbidden, "the path does not begin with the proxy's own segment", "use the URL that the proxy gave (C8AUTH_BASE_URL), as it is, and add a path of Communic8's")
	}
	return "/" + rest, nil
}

var refuseForeign = refuse(http.StatusForbidden, "a browser or another proxy sent this", "call the proxy directly, from a program on this machine")

// loopback reports whether a Host is localhost or a loopback address.
func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// rewrite removes the segment from the URL of a request. The transport resolves the path that is
// left against the base URL of the token, and replaces Host and Authorization.
func (h *Handler) rewrite(r *httputil.ProxyRequest) {
	out := r.Out
	out.URL.Path = strings.TrimPrefix(out.URL.Path, h.Base.Path)
	out.URL.RawPath = strings.TrimPrefix(out.URL.RawPath, h.Base.Path)
	out.URL.RawQuery = r.In.URL.RawQuery // ReverseProxy removes parameters that net/url cannot parse
	if !strings.EqualFold(out.Header.Get("Upgrade"), "websocket") {
		// Java's HttpClient requests an upgrade to h2c by default. net/http cannot send that over
		// HTTP/2, and after an upgrade the proxy could not read the requests.
		out.Header.Del("Connection")
		out.Header.Del("Upgrade")
	}
	if out.Body != nil {
		out.Body, out.GetBody = replayable(out.Body, out.ContentLength)
	}
}

// modify changes a response of Communic8. It removes the CORS headers, so that no web page may
// read the response, and makes a Location at Communic8 one at the proxy.
func (h *Handler) modify(resp *http.Response) error {
	for name := range resp.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			delete(resp.Header, name)
		}
	}
	at := resp.Request.URL
	target, err := at.Parse(resp.Header.Get("Location"))
	if resp.Header.Get("Location") == "" || err != nil || target.Scheme != at.Scheme || !strings.EqualFold(hostport(target), hostport(at)) {
		return nil //nolint:nilerr // another host, or malformed: the program may follow without the token
	}
	target.Scheme, target.Host, target.User = h.Base.Scheme, h.Base.Host, nil
	target.Path = h.Base.Path + target.Path
	if target.RawPath != "" {
		target.RawPath = h.Base.Path + target.RawPath
	}
	resp.Header.Set("Location", target.String())
	return nil
}

// hostport returns the host and the port, without the default port of the scheme.
func hostport(u *url.URL) string {
	return strings.TrimSuffix(u.Host, map[string]string{"http": ":80", "https": ":443"}[u.Scheme])
}

// fail writes the response if there is no token, or no response of Communic8.
func (h *Handler) fail(w http.ResponseWriter, _ *http.Request, err error) {
	classify(err, h.Transport.Source.RetryAfter()).write(w)
}

// failure is a response of the proxy itself.
type failure struct {
	status     int
	retryAfter time.Duration // 0: no such header
	Code       string        `json:"error"` // for programs
	What       string        `json:"error_description"`
	Do         string        `json:"do,omitempty"` // for people
}

func refuse(status int, what, do string) *failure {
	return &failure{status: status, Code: "refused", What: what, Do: do}
}

// statusGone is logged if the program closed the connection before the response. The code is
// nginx's; RFC 9110 has none for that.
const statusGone = 499

// sourceErrors are the errors of [caller.Source], after which there is no valid token.
var sourceErrors = []struct {
	error
	code, do string
}{
	{caller.ErrCredentials, "credentials", "give the proxy AWS credentials, in one of the ways that the aws command knows"},
	{caller.ErrDenied, "denied", "c8auth grant prints the policies that let a role in"},
	{caller.ErrTenant, "tenant", "name another one by --tenant; c8auth status shows which there are"},
	{caller.ErrNoToken, "no_token", "wait; c8auth status shows why there is none"},
	{caller.ErrUnreachable, "unreachable", "wait; if it does not pass, is --url the stack's output Url, and this machine online?"},
}

// classify returns the response to a failed exchange. retryAfter is the time until the Source
// requests a token again.
func classify(err error, retryAfter time.Duration) *failure {
	program := errors.Is(err, errProgram)
	gone := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed)
	if errors.Is(err, context.Canceled) || program && gone {
		return &failure{status: statusGone, Code: "cancelled", What: "the request was cancelled"}
	}
	if program {
		return refuse(http.StatusBadRequest, "the encoding of the request's body is malformed", "see how the program encodes it")
	}
	for _, known := range sourceErrors {
		if errors.Is(err, known.error) {
			return &failure{http.StatusServiceUnavailable, max(retryAfter, time.Second), known.code, err.Error(), known.do}
		}
	}
	failed := &failure{status: http.StatusBadGateway, Code: "bad_gateway", What: "Communic8 gave no answer that can be passed on"}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		failed.status, failed.Code = http.StatusGatewayTimeout, "timeout"
	}
	if own := err.Error(); strings.HasPrefix(own, "c8auth: ") { // an error of the package caller; others could quote the other side
		failed.What = own
	}
	return failed
}

func (f *failure) write(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	if f.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.retryAfter.Seconds()))))
	}
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(f)
}

// recorder records the status for the log.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if status >= 200 { // 1xx are interim responses
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(p)
}

// Hijack implements http.Hijacker. After it, ReverseProxy writes 101 to the connection itself.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.status = http.StatusSwitchingProtocols
	return http.NewResponseController(r.ResponseWriter).Hijack()
}

// Unwrap returns the wrapped writer to http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// buffers implements httputil.BufferPool.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().(*[]byte); ok {
		return *buffer
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }
