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

// proxy is an HTTPS proxy that leads every connection to one server, whatever host it is
// for. The server sees the host that the client meant.
type proxy struct {
	URL string // for HTTPS_PROXY
	CA  []byte // PEM: who trusts it trusts the certificates that the proxy shows

	outer, inner *httptest.Server
}

// startProxy starts a proxy on loopback that leads to the server at a URL.
func startProxy(server string) (*proxy, error) {
	to, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	ca, certificate, err := newCA()
	if err != nil {
		return nil, err
	}
	p := &proxy{CA: ca}
	p.inner = httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
			r.Out.Header.Set("X-Forwarded-Proto", "https")
		},
		Transport: &http.Transport{DisableKeepAlives: true}, // a busy MiniStack ends an idle connection while it answers on it
	})
	p.inner.TLS = &tls.Config{GetCertificate: certificate}
	p.inner.StartTLS()
	p.outer = httptest.NewServer(http.HandlerFunc(p.connect))
	p.URL = p.outer.URL
	return p, nil
}

// connect answers CONNECT and copies what both sides send.
func (p *proxy) connect(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "only CONNECT is served here", http.StatusMethodNotAllowed)
		return
	}
	to, err := net.Dial("tcp", p.inner.Listener.Addr().String())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	from, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = to.Close()
		return
	}
	_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		_, _ = io.Copy(to, buffered)
		_ = to.Close()
	}()
	_, _ = io.Copy(from, to)
	_ = from.Close()
}

func (p *proxy) stop() {
	p.outer.Close()
	p.inner.Close()
}

// newCA returns a certificate authority in PEM and what issues its certificates.
func newCA() (authority []byte, issue func(*tls.ClientHelloInfo) (*tls.Certificate, error), _ error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "c8auth's emulator"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	if ca, err = x509.ParseCertificate(der); err != nil { // with the key's identifier, by which certificates name it
		return nil, nil, err
	}
	issue = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{hello.ServerName},
			NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, key)
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), issue, nil
}
