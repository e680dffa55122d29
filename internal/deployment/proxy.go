package main

// AWS's own host names on this machine: nothing that is tried has an endpoint setting.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"time"
)

// startProxy starts an HTTPS proxy on loopback that leads every connection to the server at a URL,
// whatever host it is for; the server sees the host that the client meant. It returns the proxy's
// URL, and in PEM the certificate for all hosts of AWS, which is its own authority.
func startProxy(server string) (proxy string, authority []byte, _ error) {
	to, err := url.Parse(server)
	if err != nil {
		return "", nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "c8auth's emulator"},
		DNSNames: []string{
			"*.amazonaws.com", "*.us-east-1.amazonaws.com", "*." + region + ".amazonaws.com", "*.s3." + region + ".amazonaws.com",
			"*.execute-api." + region + ".amazonaws.com", "*.lambda-url." + region + ".on.aws",
		},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return "", nil, err
	}
	connections := make(tunnels)
	listener := tls.NewListener(connections, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	go func() {
		_ = http.Serve(listener, &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(to)
				r.Out.Host = r.In.Host
				r.Out.Header.Set("X-Forwarded-Proto", "https")
			},
			Transport: &http.Transport{DisableKeepAlives: true}, // a busy MiniStack ends an idle connection while it answers on it
		})
	}()
	return httptest.NewServer(connections).URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// tunnels are the connections of clients, and the listener that accepts them.
type tunnels chan net.Conn

// ServeHTTP answers CONNECT, after which the client begins TLS.
func (t tunnels) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_, _ = io.WriteString(connection, "HTTP/1.1 200 OK\r\n\r\n")
		t <- connection
	}
}

// Accept returns the next connection.
func (t tunnels) Accept() (net.Conn, error) { return <-t, nil }

// Close does nothing.
func (t tunnels) Close() error { return nil }

// Addr is none.
func (t tunnels) Addr() net.Addr { return &net.TCPAddr{} }
