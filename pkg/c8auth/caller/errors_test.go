package caller_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

// hostile are the errors of exchanges with servers that choose what net/http quotes.
func hostile(t *testing.T) map[string]error {
	t.Helper()
	out := map[string]error{
		"a name in a certificate": x509.HostnameError{Host: "h", Certificate: &x509.Certificate{DNSNames: []string{"MARK\x1b[2J", strings.Repeat("MARK", 1000)}}},
		"an unknown error":        errors.New("MARK\x1b[2J" + strings.Repeat("MARK", 1000)),
	}
	for name, answer := range map[string]string{"a status line": "HTTP/1.1 MARK\x1b[2J MARK\r\n\r\n", "a header": "HTTP/1.1 200 OK\r\nMARK\x1b[2J\r\n\r\n", "a protocol": "MARK\x1b[2J MARK\r\n\r\n"} {
		_, err := (&http.Transport{DialContext: speak(answer)}).RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://a.example", nil))
		if err == nil {
			t.Fatal("no error")
		}
		out[name] = err
	}
	return out
}

// speak dials a server that reads a request and writes the answer.
func speak(answer string) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer func() { _ = server.Close() }()
			if _, err := http.ReadRequest(bufio.NewReader(server)); err == nil {
				_, _ = io.WriteString(server, answer)
			}
		}()
		return client, nil
	}
}

// An exchange that fails is described in own words, whether it is one with the API or
// with Communic8: net/http's may quote the other side. The cause is there for errors.As.
func TestFailedExchange(t *testing.T) {
	for name, cause := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				broken := roundTripper(func(*http.Request) (*http.Response, error) { return nil, cause })
				source := w.source()
				source.Base = broken
				_, err := source.Token()
				if !errors.Is(err, caller.ErrUnreachable) || !strings.Contains(err.Error(), apiHost) {
					t.Errorf("of the API: %v", err)
				}
				own(t, err)
				_, err = (&http.Client{Transport: &caller.Transport{Source: w.source(), Base: broken}}).Get(broadcast)
				if !errors.Is(err, cause) || !strings.Contains(err.Error(), "c8auth: acme.communic8.com ") {
					t.Errorf("of Communic8: %v", err)
				}
				own(t, err)
			})
		})
	}
}

// A timeout at Communic8 can still be recognized by http.Client and by programs.
func TestTimeout(t *testing.T) {
	inWorld(t, func(w *world) {
		client := w.client()
		w.host("acme.communic8.com", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, broadcast, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Do(req)
		if outer, ok := errors.AsType[*url.Error](err); !ok || !outer.Timeout() || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "did not answer in time") {
			t.Errorf("got %v", err)
		}
	})
}

// A proxy on the way to either side is named, without its user and password, and so is
// what it wants.
func TestProxy(t *testing.T) {
	const address = "http://user:MARK@proxy.example:3128"
	proxy, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errors.New("MARK"))}
	}
	long := &url.URL{Scheme: "http", Host: strings.Repeat("x\u202e", 500)}
	for name, test := range map[string]struct {
		proxy func(*http.Request) (*url.URL, error)
		dial  func(context.Context, string, string) (net.Conn, error)
		text  string
	}{
		"407":            {http.ProxyURL(proxy), speak("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"MARK\"\r\n\r\n"), "the proxy wants a user and a password (HTTP 407), or does not accept those that HTTPS_PROXY holds; the proxy is http://proxy.example:3128"},
		"403":            {http.ProxyURL(proxy), speak("HTTP/1.1 403 MARK\x1b[2J\r\n\r\n"), "; the proxy is http://proxy.example:3128"},
		"down":           {http.ProxyURL(proxy), refuse, "cannot be reached; the proxy is http://proxy.example:3128"},
		"of a long name": {http.ProxyURL(long), refuse, "cannot be reached; the proxy is http://x\ufffdx\ufffd"},
		"malformed":      {func(*http.Request) (*url.URL, error) { return nil, errors.New(address) }, refuse, "the proxy's address is malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				through := &http.Transport{Proxy: test.proxy, DialContext: test.dial}
				source := w.source()
				source.Base = through
				_, err := source.Token()
				if !errors.Is(err, caller.ErrUnreachable) || !strings.Contains(err.Error(), apiHost) || !strings.Contains(err.Error(), test.text) {
					t.Errorf("of the API: %v", err)
				}
				own(t, err)
				_, err = (&http.Client{Transport: &caller.Transport{Source: w.source(), Base: through}}).Get(broadcast)
				if err == nil || !strings.Contains(err.Error(), test.text) {
					t.Errorf("of Communic8: %v", err)
				}
				own(t, err)
			})
		})
	}
}

// What the program itself names is shown in errors, but in 500 printable characters.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("x\u202e", 3000)
	for name, source := range map[string]*caller.Source{
		"an unknown tenant":    {URL: apiURL, Tenant: long},
		"a tenant not granted": {URL: "https://c8auth0api.execute-api.eu-central-1.amazonaws.com/" + strings.Repeat("s", 3000), Tenant: "denied"},
		"a host":               {URL: "https://" + strings.Repeat("é\u202e", 3000) + ".example"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source.AWS = aws.Config{Credentials: credentials("AKIACALLER"), Region: "eu-central-1"}
				source.Base = roundTripper(func(req *http.Request) (*http.Response, error) {
					out := httptest.NewRecorder()
					switch {
					case !strings.HasPrefix(req.URL.Host, "c8auth0api"):
						return nil, io.EOF
					case source.Tenant == "denied":
						out.Header().Set("x-amzn-ErrorType", "AccessDeniedException")
						out.WriteHeader(http.StatusForbidden)
					default:
						out.WriteHeader(http.StatusNotFound)
						_, _ = io.WriteString(out, `{"error":"unknown_tenant"}`)
					}
					return out.Result(), nil
				})
				_, err := source.Token()
				if err == nil {
					t.Fatal("no error")
				}
				own(t, err)
			})
		})
	}
}
