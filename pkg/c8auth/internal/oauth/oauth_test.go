package oauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

// mark is a text of the other side that no description shows. It clears a terminal.
const mark = "MARK\x1b[2J"

// A failed exchange is described by what happened, in words of this package.
func TestDescribeError(t *testing.T) {
	raw := func(answer string) string { return listen(t, func(c net.Conn) { _, _ = io.WriteString(c, answer) }) }
	secure := func(config *tls.Config) (string, *http.Transport) {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshakes that fail
		server.StartTLS()
		t.Cleanup(server.Close)
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AddCert(server.Certificate())
		return server.URL, &http.Transport{TLSClientConfig: config}
	}
	untrusted, _ := secure(&tls.Config{})
	expired, late := secure(&tls.Config{Time: func() time.Time { return time.Now().AddDate(1000, 0, 0) }})
	otherName, otherClient := secure(&tls.Config{ServerName: "MARK.example"}) // which crypto/x509 quotes
	old, oldClient := secure(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()

	for _, test := range []struct {
		name, url string
		client    *http.Transport
		want      string
	}{
		{"no listener", closed.URL, &http.Transport{}, "cannot be reached: the connection is refused"},
		{"no such host", "http://" + strings.Repeat("MARK", 20) + ".invalid", &http.Transport{}, "cannot be reached: "},
		{"no answer", listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), &http.Transport{ResponseHeaderTimeout: 50 * time.Millisecond}, "did not answer in time"},
		{"no TLS handshake", "https" + listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })[4:], &http.Transport{TLSHandshakeTimeout: 50 * time.Millisecond}, "did not answer in time"},
		{"a broken connection", raw(""), &http.Transport{}, "broke the connection off"},
		{"broken header", raw("HTTP/1.1 200 " + mark + "\r\n" + mark), &http.Transport{}, "broke the connection off"},
		{"no HTTP", raw(mark + " " + mark + "\r\n\r\n"), &http.Transport{}, "broke the connection off, or did not speak HTTP"},
		{"no TLS", "https" + raw("HTTP/1.1 400 " + mark + "\r\n\r\n")[4:], &http.Transport{}, "does not speak TLS"},
		{"no status", raw("HTTP/1.1 " + mark + "\r\n\r\n"), &http.Transport{}, "broke the connection off, or did not speak HTTP"},
		{"no transfer encoding", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: " + mark + "\r\n\r\n"), &http.Transport{}, "broke the connection off, or did not speak HTTP"},
		{"no length", raw("HTTP/1.1 200 OK\r\nContent-Length: MARK\r\n\r\n"), &http.Transport{}, "broke the connection off, or did not speak HTTP"},
		{"a long header", raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("MARK", 1000) + "\r\n\r\n"), &http.Transport{MaxResponseHeaderBytes: 1000}, "broke the connection off, or did not speak HTTP"},
		{"broken body", raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + mark), &http.Transport{}, "broke the connection off"},
		{"broken chunk", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + mark + "\r\n"), &http.Transport{}, "broke the connection off, or did not speak HTTP"},
		{"no gzip", raw("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + mark + strings.Repeat("x", 20)), &http.Transport{}, "broke the connection off, or did not speak HTTP"},
		{"unknown authority", untrusted, &http.Transport{}, "shows a certificate of an unknown authority"},
		{"expired", expired, late, "shows a certificate that has expired or is not valid yet; or the clock of this machine is wrong"},
		{"another name", otherName, otherClient, "shows a certificate for another name"},
		{"no common version", old, oldClient, "and this machine do not agree on TLS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, test.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := test.client.RoundTrip(req)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			if err == nil {
				t.Fatal("no error")
			}
			if got := oauth.DescribeError(err); !strings.HasPrefix(got, test.want) || strings.Contains(got, "MARK") || strings.ContainsRune(got, '\x1b') {
				t.Errorf("got  %s\nwant %s\nfor  %q", got, test.want, err)
			}
		})
	}
	for want, err := range map[string]error{
		"was not waited for: the request was cancelled":      fmt.Errorf("a: %w", context.Canceled),
		"did not answer in time":                             fmt.Errorf("a: %w", context.DeadlineExceeded),
		"cannot be reached: there is no host of that name":   &net.DNSError{Name: mark, IsNotFound: true},
		"cannot be reached: its name cannot be resolved now": &net.DNSError{Name: mark, IsTimeout: true},
		"cannot be reached: too many open files":             &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)},
		"cannot be reached":                                  &net.OpError{Op: "proxyconnect", Err: errors.New(mark)},
		"broke the connection off":                           &net.OpError{Op: "write", Err: net.ErrClosed}, // net/http has closed it after a failed read
		"broke the connection off, or did not speak HTTP":    errors.New(mark),
		"shows a certificate that is not valid":              fmt.Errorf("a: %w", &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.IncompatibleUsage, Detail: mark}}),
		"shows a certificate for another name":               &net.OpError{Op: "proxyconnect", Err: x509.HostnameError{Certificate: new(x509.Certificate), Host: mark}},
	} {
		if got := oauth.DescribeError(err); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// listen returns the URL of a server that calls serve for each connection.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = c.Read(make([]byte, 4096))
				serve(c)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

func TestValidBearer(t *testing.T) {
	for s, want := range map[string]bool{"a": true, "!~": true, "a.b-c_d~e+f/g==": true, "": false, "a b": false, "a\n": false, "\x7f": false, "é": false, "\ufeffa": false} {
		if oauth.ValidBearer(s) != want {
			t.Errorf("%q: want %t", s, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "30": 30 * time.Second, "-1": 0, "1.5": 0, "soon": 0,
		"86401": 24 * time.Hour, "4294967296": 24 * time.Hour, "99999999999999999999": 24 * time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:03:05 GMT": 0, "Fri, 02 Jan 9999 03:03:05 GMT": 24 * time.Hour,
	} {
		if got := oauth.RetryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
}

func TestBaseURL(t *testing.T) {
	const valid, insecure, malformed = "valid", "insecure", "malformed"
	for want, urls := range map[string][]string{
		valid: {
			"https://acme.communic8.com", "https://ACME.communic8.com:8443", "https://a-b.c1", "https://[2001:db8::1]:443", "https://10.0.0.1",
			"http://127.0.0.1:9701", "http://[::1]:9701", "http://[::ffff:127.0.0.1]", "http://localhost", "http://host.docker.internal:65535",
			"https://" + strings.Repeat("a", 253),
		},
		insecure: {"http://acme.communic8.com", "http://10.0.0.1", "http://localhost.evil.example", "http://[::2]"},
		malformed: {
			"", "https://", "https:///", "https://:443", "acme.communic8.com", "//a.b", "ftp://a.b", "file:///x", "HTTPS://a.b", "mailto:a@a.b",
			"https://a.b/", "https://a.b/x", "https://a.b?", "https://a.b?x", "https://a.b#", "https://a.b#x", "https://u@a.b", "https://u:p@a.b",
			"https://a.b:", "https://a.b:0", "https://a.b:65536", "https://a.b:x", "https://a b", "https://ä.example", "https://a_b.example",
			"https://-a.b", "https://a-.b", "https://a..b", "https://a.b.", "https://a.b\u202e", "http://[::1%25lo]", "https://" + strings.Repeat("a", 254),
		},
	} {
		for _, s := range urls {
			u, ok := oauth.ParseBaseURL(s)
			got := malformed
			switch {
			case ok && oauth.Confidential(u):
				got = valid
			case ok:
				got = insecure
			}
			if got != want || ok && u.String() != s || oauth.ValidBaseURL(s) != (want == valid) {
				t.Errorf("%q is %s, want %s", s, got, want)
			}
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"as it is: ä…":            "as it is: ä…",
		"\x1b[2Jclear\r\nforge\t": "\ufffd[2Jclear\ufffd\ufffdforge\ufffd",
		"\u202ebidi\u200b":        "\ufffdbidi\ufffd",
		"\xff":                    "\ufffd",
		strings.Repeat("ä", 20):   strings.Repeat("ä", 20),
		strings.Repeat("ä", 21):   strings.Repeat("ä", 19) + "…",
	} {
		if got := oauth.Printable(text, 20); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
