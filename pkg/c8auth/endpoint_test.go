package c8auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
)

var markedCredentials = Credentials{BaseURL: "https://acme.communic8.com", ClientID: "id", ClientSecret: NewSecret("MARK")}

// The request is the one that Communic8 documents, to the letter.
func TestAskSendsTheDocumentedRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	e := Endpoint{Client: inmem.Client(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		_, _ = w.Write([]byte(`{"access_token":"0123","token_type":"Bearer","expires_in":86400}`))
	}))}
	c := Credentials{BaseURL: "https://acme.communic8.com", ClientID: "id", ClientSecret: NewSecret("sécret:x")}
	if _, err := e.RequestToken(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got.Method != http.MethodPost || got.URL.String() != "https://acme.communic8.com/int/v1/oauth/token" {
		t.Errorf("%s %s", got.Method, got.URL)
	}
	if h := got.Header.Get("Authorization"); h != "Bearer aWQ6c8OpY3JldDp4" { // base64 of id:sécret:x
		t.Errorf("Authorization: %s", h)
	}
	if h := got.Header.Get("Content-Type"); h != "application/json" || string(body) != `{"grant_type":"client_credentials"}` {
		t.Errorf("%s: %s", h, body)
	}
}

// To try a token, the TLS session of asking for it is taken up, on a connection of its own:
// a handshake is most of what an exchange costs.
func TestSessionIsTakenUp(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var resumed []bool
		peers := make(map[string]bool)
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			resumed = append(resumed, r.TLS.DidResume)
			peers[r.RemoteAddr] = true
			_, _ = w.Write([]byte(`{"success":true,"access_token":"0123","token_type":"Bearer","expires_in":86400}`))
		}))
		server.TLS = &tls.Config{MaxVersion: version} // #nosec G402 -- to see both
		server.StartTLS()
		client := NewHTTPClient()
		client.Transport.(*http.Transport).TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		e := Endpoint{Client: client, ProbePath: "/probe"}
		grant, err := e.RequestToken(t.Context(), Credentials{BaseURL: server.URL, ClientID: "id", ClientSecret: NewSecret("MARK")})
		if err != nil {
			t.Fatal(err)
		}
		if trial, detail := e.Probe(t.Context(), Token{BaseURL: server.URL, AccessToken: grant.AccessToken}); trial != ProbeGood {
			t.Fatal(trial, detail)
		}
		server.Close()
		if !slices.Equal(resumed, []bool{false, true}) || len(peers) != 2 {
			t.Errorf("%s: sessions taken up: %t, on %d connections", tls.VersionName(version), resumed, len(peers))
		}
	}
}

// Neither credentials nor token follow a redirect, to whatever host.
func TestRedirectsAreNotFollowed(t *testing.T) {
	followed := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
		e := Endpoint{Client: NewHTTPClient(), ProbePath: "/probe"}
		_, err := e.RequestToken(t.Context(), Credentials{BaseURL: server.URL, ClientID: "id", ClientSecret: NewSecret("MARK")})
		var upstream *UpstreamError
		if !errors.As(err, &upstream) || upstream.Status != status || upstream.Temporary || strings.Contains(err.Error(), elsewhere.URL) {
			t.Errorf("HTTP %d: %v", status, err)
		}
		if trial, detail := e.Probe(t.Context(), Token{BaseURL: server.URL, AccessToken: NewSecret("MARK")}); trial != ProbeInconclusive {
			t.Errorf("HTTP %d: %s, %s", status, trial, detail)
		}
		server.Close()
	}
	if followed {
		t.Error("a redirect was followed")
	}
}

// The client speaks TLS 1.2 and 1.3 and nothing older, and believes no certificate
// that the system does not.
func TestTLS(t *testing.T) {
	for _, test := range []struct {
		name    string
		version uint16
		trusted bool
		want    string
	}{
		{"1.3", tls.VersionTLS13, true, ""},
		{"1.2", tls.VersionTLS12, true, ""},
		{"1.1", tls.VersionTLS11, true, "Communic8 and this machine do not agree on TLS"},
		{"an unknown authority", tls.VersionTLS13, false, "Communic8 shows a certificate of an unknown authority"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c8 := new(c8test.Server)
			c8.AddClient("id", "MARK")
			server := httptest.NewUnstartedServer(c8)
			server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: test.version}
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.StartTLS()
			defer server.Close()
			client := NewHTTPClient()
			if test.trusted {
				roots := x509.NewCertPool()
				roots.AddCert(server.Certificate())
				client.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots
			}
			defer client.CloseIdleConnections()
			e := Endpoint{Client: client}
			_, err := e.RequestToken(t.Context(), Credentials{BaseURL: server.URL, ClientID: "id", ClientSecret: NewSecret("MARK")})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// Whatever goes wrong on the wire is worth another try, is described in our words,
// and ends within the time that is set for it.
func TestBrokenAnswers(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault c8test.Fault
		want  string
	}{
		{"no answer", c8test.Fault{Delay: time.Hour}, "Communic8 did not answer in time"},
		{"a slow body", c8test.Fault{Body: strings.Repeat("MARK", 1000), Drip: time.Second}, "Communic8 did not answer in time"},
		{"an endless body", c8test.Fault{Body: strings.Repeat("MARK", 1000), Endless: true}, "Communic8 gives an answer that is not the documented JSON (HTTP 200)"},
		{"a body too long", c8test.Fault{Body: `{"access_token":"0123","token_type":"Bearer","x":"` + strings.Repeat("x", maxAnswer) + `"}`}, "Communic8 gives an answer that is not the documented JSON (HTTP 200)"},
		{"broken off at once", c8test.Fault{Break: true}, "Communic8 broke the connection off"},
		{"broken off in the middle", c8test.Fault{Body: "MARK", Break: true}, "Communic8 broke the connection off"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c8 := new(c8test.Server)
				c8.Set(func(b *c8test.Behaviour) { b.Fault = func(*http.Request, int) *c8test.Fault { return &test.fault } })
				e := Endpoint{Client: inmem.Client(c8), ProbePath: "/probe"}

				start := time.Now()
				_, err := e.RequestToken(t.Context(), markedCredentials)
				var upstream *UpstreamError
				if !errors.As(err, &upstream) || !upstream.Temporary || !strings.HasPrefix(err.Error(), test.want) {
					t.Errorf("got %v, want %q, temporary", err, test.want)
				}
				if took := time.Since(start); took > requestTimeout {
					t.Errorf("took %v", took)
				}

				start = time.Now()
				trial, detail := e.Probe(t.Context(), Token{BaseURL: markedCredentials.BaseURL, AccessToken: NewSecret("MARK")})
				if trial != ProbeInconclusive || strings.Contains(detail, "MARK") {
					t.Errorf("trial: %s, %s", trial, detail)
				}
				if took := time.Since(start); took > probeTimeout {
					t.Errorf("the trial took %v", took)
				}
			})
		})
	}
}

// net/http quotes what it cannot parse; none of that may pass.
func TestErrorsDoNotQuoteThePeer(t *testing.T) {
	for _, raw := range []string{
		"MARK\r\n\r\n",
		"HTTP/1.1 MARK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nMARK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: MARK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nMARK\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: MARK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nMARK",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("MARK", 64<<10) + "\r\n\r\n",
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = conn.Write([]byte(raw))
				_ = conn.Close()
			}
		}()
		base := "http://" + listener.Addr().String()
		e := Endpoint{Client: NewHTTPClient(), ProbePath: "/probe"}
		_, err = e.RequestToken(t.Context(), Credentials{BaseURL: base, ClientID: "id", ClientSecret: NewSecret("MARK")})
		if err == nil || strings.Contains(err.Error(), "MARK") {
			t.Errorf("%.30q: %v", raw, err)
		}
		if trial, detail := e.Probe(t.Context(), Token{BaseURL: base, AccessToken: NewSecret("MARK")}); trial != ProbeInconclusive || strings.Contains(detail, "MARK") {
			t.Errorf("%.30q: %s, %s", raw, trial, detail)
		}
		_ = listener.Close()
	}
}

// What an operator reads when Communic8 cannot be reached says how.
func TestUnreachable(t *testing.T) {
	const closed = "http://127.0.0.1:1" // another one that is closed now might not stay so
	e := Endpoint{Client: NewHTTPClient()}
	_, err := e.RequestToken(t.Context(), Credentials{BaseURL: closed, ClientID: "id", ClientSecret: NewSecret("MARK")})
	if err == nil || !strings.Contains(err.Error(), "Communic8 cannot be reached: the connection is refused") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = e.RequestToken(ctx, Credentials{BaseURL: closed, ClientID: "id", ClientSecret: NewSecret("MARK")})
	if err == nil || err.Error() != "Communic8 was not waited for: the request was cancelled" {
		t.Errorf("got %v", err)
	}
}
