package oauth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

// mark is a text of the other side that no description shows. It clears a terminal.
const mark = "MARK\x1b[2J"

// A failed exchange is described by what happened, in words of this package.
func TestDescribeError(t *testing.T) {
	raw := func(answer string) string { return listen(t, func(c net.Conn) { _, _ = io.WriteString(c, answer) }) }
	trusted := func(change func(*x509.Certificate)) (string, *x509.CertPool) {
		certificate := issue(t, change)
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshakes that fail
		server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
		server.StartTLS()
		t.Cleanup(server.Close)
		pool := x509.NewCertPool()
		pool.AddCert(certificate.Leaf)
		return server.URL, pool
	}
	noChange, _ := trusted(func(*x509.Certificate) {})
	expired, expiredPool := trusted(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
	otherName, otherPool := trusted(func(c *x509.Certificate) { c.IPAddresses = nil; c.DNSNames = []string{mark} })
	otherUse, usePool := trusted(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} })
	old, oldPool := trusted(func(*x509.Certificate) {})
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
		{"unknown authority", noChange, &http.Transport{}, "shows a certificate of an unknown authority"},
		{"expired", expired, trusting(expiredPool), "shows a certificate that has expired or is not valid yet; or the clock of this machine is wrong"},
		// For an address crypto/x509 would not quote the names of the certificate.
		{"another name", strings.Replace(otherName, "127.0.0.1", "localhost", 1), trusting(otherPool), "shows a certificate for another name"},
		{"not for servers", otherUse, trusting(usePool), "shows a certificate that is not valid"},
		{"no common version", old, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: oldPool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}}, "and this machine do not agree on TLS"},
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
		"cannot be reached":                                  &net.OpError{Op: "proxyconnect", Err: errors.New(mark)},
		"broke the connection off, or did not speak HTTP":    errors.New(mark),
		"shows a certificate for another name":               &net.OpError{Op: "proxyconnect", Err: x509.HostnameError{Certificate: new(x509.Certificate), Host: mark}},
	} {
		if got := oauth.DescribeError(err); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func trusting(pool *x509.CertPool) *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
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

// issue returns a self-signed certificate for 127.0.0.1, with names that are not to be shown.
func issue(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: mark, Organization: []string{mark}},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
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
		"": 0, "30": 30 * time.Second, "-1": 0, "1.5": 0, "soon": 0,
		"86401": 24 * time.Hour, "99999999999999999999": 24 * time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:03:05 GMT": 0, "Fri, 02 Jan 2099 03:03:05 GMT": 24 * time.Hour,
	} {
		if got := oauth.RetryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
}
