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

	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

// responding dials a server that reads a request and writes the response.
func responding(response string) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer func() { _ = server.Close() }()
			if _, err := http.ReadRequest(bufio.NewReader(server)); err == nil {
				_, _ = io.WriteString(server, response)
			}
		}()
		return client, nil
	}
}

// failing is a transport whose exchanges fail.
func failing(err error) http.RoundTripper {
	return roundTripper(func(*http.Request) (*http.Response, error) { return nil, err })
}

// A failed exchange, with the API or with Communic8, is described in words of this package, because
// the text of its cause may quote the other side. A proxy is named, without its user and password.
func TestFailedExchange(t *testing.T) {
	const address = "http://user:MARK@proxy.example:3128"
	proxy, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	through := func(proxy *url.URL, err error, response string) http.RoundTripper {
		base := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return proxy, err }, DialContext: responding(response)}
		if response == "" {
			base.DialContext = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errors.New("MARK"))}
			}
		}
		return base
	}
	type test struct {
		base http.RoundTripper
		text string
	}
	forEach(t, map[string]test{
		"a name in a certificate": {failing(x509.HostnameError{Host: "h", Certificate: &x509.Certificate{DNSNames: []string{"MARK\x1b[2J", strings.Repeat("MARK", 1000)}}}), "another name"},
		"an unknown error":        {failing(errors.New("MARK\x1b[2J" + strings.Repeat("MARK", 1000))), "broke the connection off"},
		"a status line":           {&http.Transport{DialTLSContext: responding("HTTP/1.1 MARK\x1b[2J MARK\r\n\r\n")}, "broke the connection off"},
		"a header":                {&http.Transport{DialTLSContext: responding("HTTP/1.1 200 OK\r\nMARK\x1b[2J\r\n\r\n")}, "broke the connection off"},
		"a protocol":              {&http.Transport{DialTLSContext: responding("MARK\x1b[2J MARK\r\n\r\n")}, "broke the connection off"},
		"a proxy's 407":           {through(proxy, nil, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"MARK\"\r\n\r\n"), "the proxy wants a user and a password (HTTP 407), or does not accept those that HTTPS_PROXY holds; the proxy is http://proxy.example:3128"},
		"a proxy's 403":           {through(proxy, nil, "HTTP/1.1 403 MARK\x1b[2J\r\n\r\n"), "; the proxy is http://proxy.example:3128"},
		"a proxy that is down":    {through(proxy, nil, ""), "cannot be reached; the proxy is http://proxy.example:3128"},
		"a proxy's long name":     {through(&url.URL{Scheme: "http", Host: strings.Repeat("x\u202e", 500)}, nil, ""), "cannot be reached; the proxy is http://x\ufffdx\ufffd"},
		"a malformed proxy":       {through(nil, errors.New(address), ""), "the proxy's address is malformed"},
	}, func(e *env, test test) {
		source := e.source()
		source.Base = test.base
		_, err := source.Token()
		mustBe(e.T, err, caller.ErrUnreachable, test.text)
		mustBe(e.T, err, caller.ErrUnreachable, apiHost)
		_, cause := test.base.RoundTrip(httptest.NewRequestWithContext(e.Context(), http.MethodGet, acme, nil))
		_, err = (&http.Client{Transport: &caller.Transport{Source: e.source(), Base: test.base}}).Get(broadcast)
		mustBe(e.T, err, err, test.text)
		mustBe(e.T, err, err, "c8auth: "+acmeHost+" ")
		if _, wrapped := errors.AsType[x509.HostnameError](err); wrapped != (cause != nil && strings.HasPrefix(cause.Error(), "x509")) {
			e.Errorf("%v does not wrap its cause", err)
		}
	})
}

// http.Client and programs recognize a timeout of Communic8.
func TestTimeout(t *testing.T) {
	withEnv(t, func(e *env) {
		e.setHost(acmeHost, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		ctx, cancel := context.WithTimeout(e.Context(), time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, broadcast, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.client().Do(req)
		if outer, ok := errors.AsType[*url.Error](err); !ok || !outer.Timeout() || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "did not answer in time") {
			t.Errorf("got %v", err)
		}
	})
}

// Names that the program chose are shown in errors, in 500 printable characters.
func TestLongNames(t *testing.T) {
	responding := func(status int, body string, header ...string) http.RoundTripper {
		return inmem.Transport{Handler: responds(status, body, header...)}
	}
	for name, source := range map[string]*caller.Source{
		"an unknown tenant":    {URL: apiURL, Tenant: strings.Repeat("x\u202e", 3000), Base: responding(404, `{"error":"unknown_tenant"}`)},
		"a tenant not granted": {URL: "https://" + apiHost + "/" + strings.Repeat("s", 3000), Base: responding(403, "", "X-Amzn-Errortype: AccessDeniedException")},
		"a host":               {URL: "https://" + strings.Repeat("é\u202e", 3000) + ".example", Base: failing(io.EOF)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source.AWS = aws.Config{Credentials: credentials("AKIACALLER"), Region: "eu-central-1"}
				_, err := source.Token()
				mustBe(t, err, err, "")
			})
		})
	}
}
