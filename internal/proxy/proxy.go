// Package proxy is the HTTP side of c8auth proxy: a reverse proxy to Communic8, for
// programs on the same machine, that adds the token to their requests.
//
// It lets in nobody but the programs that were told its base URL. Who reaches it in another
// way, such as a web page or a program behind another proxy, is refused:
//
//   - the first segment of the path is random, and compared in constant time;
//   - the Host must be this machine's loopback, whatever name led to it (DNS rebinding);
//   - what a browser or another proxy adds to a request (Origin, Forwarded, ...) must not
//     be there, and the request must not be for a forward proxy (CONNECT, absolute URLs).
//
// Everything else is httputil.ReverseProxy's work, and that of the package caller, which
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
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

// NewTransport returns a transport to Communic8. It is not for the API, which
// [caller.Source] has its own for.
func NewTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone() // has HTTP/2, and HTTPS_PROXY
	t.DisableCompression = true                          // or it would unpack what the program wants packed
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, 1024      // 2 by default: beyond that, a TLS handshake for each request
	// Load balancers close idle connections after 60 s and more. A POST that is sent at that
	// moment fails, as it must not be repeated, so connections end here before.
	t.IdleConnTimeout = 30 * time.Second
	t.HTTP2 = &http.HTTP2Config{
		SendPingTimeout:           15 * time.Second, // a connection that was lost without a word is found out
		MaxReceiveBufferPerStream: 1 << 20,          // 4 MiB by default, for each program that reads slowly
	}
	return t
}

// NewServer returns a server for h on loopback or a Unix socket, which a program that
// holds connections open without a word does not block for long.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          silent,
	}
}

// silent is for net/http, which logs what the other side sent.
var silent = log.New(io.Discard, "", 0)

// Handler is the proxy. Its fields must not be changed after the first request.
type Handler struct {
	Transport *caller.Transport // to Communic8
	// Base is the proxy's own URL: scheme, host, and the path segment that admits to it. Its
	// path is empty if there is something else that does, such as the mode of a Unix socket.
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
			// An answer of known length may be a slow one, too. -1, for at once, would cost a write
			// and a goroutine more for each answer, a fifth of the processor time.
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
		defer func() { // also if ReverseProxy ends the connection by a panic
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

// ping is the path that anybody on this machine may get, to see that the proxy is up.
const ping = "/ping"

// foreign are headers that a program does not send by itself: a browser does, or another
// proxy on the way.
var foreign = []string{"Origin", "Sec-Fetch-Site", "Forwarded", "Via", "X-Real-Ip"}

// admit decides whether the request is a program's. It returns the path without the
// segment, escaped.
func (h *Handler) admit(r *http.Request) (string, *failure) {
	switch {
	case !strings.HasPrefix(r.RequestURI, "/") || r.Method == http.MethodConnect:
		return "-", refuse(http.StatusBadRequest, "this is no forward proxy", "use it as a base URL, not as HTTP_PROXY")
	case r.Method == http.MethodTrace: // its answer shows the token
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

// loopback reports whether a Host is this machine's own.
func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// rewrite makes the program's request one to Communic8: a path, which the transport
// resolves against the base URL of the token. The transport replaces Host and Authorization.
func (h *Handler) rewrite(r *httputil.ProxyRequest) {
	out := r.Out
	out.URL.Path = strings.TrimPrefix(out.URL.Path, h.Base.Path)
	out.URL.RawPath = strings.TrimPrefix(out.URL.RawPath, h.Base.Path)
	out.URL.RawQuery = r.In.URL.RawQuery // ReverseProxy leaves out what net/url cannot parse
	if !strings.EqualFold(out.Header.Get("Upgrade"), "websocket") {
		// Java's client asks for h2c by itself: net/http refuses to send that by HTTP/2, and it
		// would make a tunnel in which the proxy sees nothing.
		out.Header.Del("Connection")
		out.Header.Del("Upgrade")
	}
	if out.Body != nil {
		out.Body, out.GetBody = replayable(out.Body, out.ContentLength)
	}
}

// modify changes what is not for the program in an answer of Communic8's: it grants no
// web page anything, and what it says about its own URL holds for the proxy's.
func (h *Handler) modify(resp *http.Response) error {
	for name := range resp.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			delete(resp.Header, name)
		}
	}
	at := resp.Request.URL
	target, err := at.Parse(resp.Header.Get("Location"))
	if resp.Header.Get("Location") == "" || err != nil || target.Scheme != at.Scheme || !strings.EqualFold(hostport(target), hostport(at)) {
		return nil //nolint:nilerr // it leads elsewhere, or nowhere: the program may follow, without a token
	}
	target.Scheme, target.Host, target.User = h.Base.Scheme, h.Base.Host, nil
	target.Path = h.Base.Path + target.Path
	if target.RawPath != "" {
		target.RawPath = h.Base.Path + target.RawPath
	}
	resp.Header.Set("Location", target.String())
	return nil
}

// hostport is the host without the scheme's own port.
func hostport(u *url.URL) string {
	return strings.TrimSuffix(u.Host, map[string]string{"http": ":80", "https": ":443"}[u.Scheme])
}

// fail answers for Communic8, if there is no token or no answer.
func (h *Handler) fail(w http.ResponseWriter, _ *http.Request, err error) {
	classify(err, h.Transport.Source.RetryAfter()).write(w)
}

// failure is an answer of the proxy itself.
type failure struct {
	status     int
	retryAfter time.Duration // not sent, if 0
	Code       string        `json:"error"` // for programs
	What       string        `json:"error_description"`
	Do         string        `json:"do,omitempty"` // for people
}

func refuse(status int, what, do string) *failure {
	return &failure{status: status, Code: "refused", What: what, Do: do}
}

// statusGone is logged for a program that did not wait for the answer. It has no name in
// RFC 9110.
const statusGone = 499

// sourceErrors are those that say that there is no valid token.
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

// classify says what to answer when an exchange has failed. retryAfter is when the Source
// will next try to get a token.
func classify(err error, retryAfter time.Duration) *failure {
	if errors.Is(err, context.Canceled) {
		return &failure{status: statusGone, Code: "cancelled", What: "the request was cancelled"}
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
	if own := err.Error(); strings.HasPrefix(own, "c8auth: ") { // the package caller's; others quote the other side
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

// recorder remembers the status for the log.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if status >= 200 { // others come before the answer
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

// Hijack is for a protocol switch, whose answer ReverseProxy writes to the connection.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.status = http.StatusSwitchingProtocols
	return http.NewResponseController(r.ResponseWriter).Hijack()
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// buffers are those that ReverseProxy copies answers by.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().(*[]byte); ok {
		return *buffer
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }
