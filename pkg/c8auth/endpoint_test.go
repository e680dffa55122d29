package c8auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
)

func credentialsFor(url string) Credentials {
	return Credentials{BaseURL: url, ClientID: "id", ClientSecret: NewSecret("MARK")}
}

// A token request is the one that Communic8 documents, to the letter.
func TestTokenRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	e := Endpoint{Client: inmem.Client(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		_, _ = w.Write([]byte(`{"access_token":"0123","token_type":"Bearer","expires_in":86400}`))
	}))}
	c := Credentials{BaseURL: acmeURL, ClientID: "id", ClientSecret: NewSecret("sécret:~~")}
	if _, err := e.RequestToken(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got.Method != http.MethodPost || got.URL.String() != acmeURL+"/int/v1/oauth/token" {
		t.Errorf("%s %s", got.Method, got.URL)
	}
	if h := got.Header.Get("Authorization"); h != "Bearer aWQ6c8OpY3JldDp+fg==" { // base64 of id:sécret:~~
		t.Errorf("Authorization: %s", h)
	}
	if h := got.Header.Get("Content-Type"); h != "application/json" || string(body) != `{"grant_type":"client_credentials"}` {
		t.Errorf("%s: %s", h, body)
	}
}

// serveTLS starts a server that speaks no newer TLS than version, and returns an Endpoint whose
// client trusts it, with its URL.
func serveTLS(t *testing.T, version uint16, handler http.HandlerFunc) (*Endpoint, string) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: version}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	client := NewHTTPClient()
	client.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots
	return &Endpoint{Client: client, ProbePath: "/probe"}, server.URL
}

// A probe resumes the TLS session of the token request on a connection of its own: a handshake
// is most of the cost of an exchange.
func TestSessionIsResumed(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var resumed []bool
		peers := make(map[string]bool)
		e, url := serveTLS(t, version, func(w http.ResponseWriter, r *http.Request) {
			resumed = append(resumed, r.TLS.DidResume)
			peers[r.RemoteAddr] = true
			_, _ = w.Write([]byte(`{"success":true,"access_token":"0123","token_type":"Bearer","expires_in":86400}`))
		})
		response, err := e.RequestToken(t.Context(), credentialsFor(url))
		if err != nil {
			t.Fatal(err)
		}
		if result, detail := e.Probe(t.Context(), Token{BaseURL: url, AccessToken: response.AccessToken}); result != ProbeGood {
			t.Fatal(result, detail)
		}
		if !slices.Equal(resumed, []bool{false, true}) || len(peers) != 2 {
			t.Errorf("%s: resumed sessions: %t, on %d connections", tls.VersionName(version), resumed, len(peers))
		}
	}
}

// The client does not speak TLS 1.1, and accepts no certificate that the system does not.
func TestTLS(t *testing.T) {
	old, oldURL := serveTLS(t, tls.VersionTLS11, http.NotFound)
	if _, err := old.RequestToken(t.Context(), credentialsFor(oldURL)); err == nil || err.Error() != "Communic8 and this machine do not agree on TLS" {
		t.Errorf("got %v", err)
	}
	_, url := serveTLS(t, tls.VersionTLS13, http.NotFound)
	untrusting := Endpoint{Client: NewHTTPClient()}
	if _, err := untrusting.RequestToken(t.Context(), credentialsFor(url)); err == nil || err.Error() != "Communic8 shows a certificate of an unknown authority" {
		t.Errorf("got %v", err)
	}
}

// Neither credentials nor token follow a redirect.
func TestRedirectsAreNotFollowed(t *testing.T) {
	followed := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
		e := Endpoint{Client: NewHTTPClient(), ProbePath: "/probe"}
		_, err := e.RequestToken(t.Context(), credentialsFor(server.URL))
		if kind(err, status) != "final" || strings.Contains(err.Error(), elsewhere.URL) {
			t.Errorf("HTTP %d: %v", status, err)
		}
		if result, detail := e.Probe(t.Context(), Token{BaseURL: server.URL, AccessToken: NewSecret("MARK")}); result != ProbeInconclusive {
			t.Errorf("HTTP %d: %s, %s", status, result, detail)
		}
		server.Close()
	}
	if followed {
		t.Error("a redirect was followed")
	}
}

// A failed exchange is temporary, is described in words of this package, and ends in time.
func TestFailedExchange(t *testing.T) {
	type test struct {
		fault c8test.Fault
		want  string
	}
	forEach(t, map[string]test{
		"no answer":       {c8test.Fault{Delay: time.Hour}, "Communic8 did not answer in time"},
		"a slow body":     {c8test.Fault{Body: strings.Repeat("MARK", 1000), Drip: time.Second}, "Communic8 did not answer in time"},
		"an endless body": {c8test.Fault{Body: strings.Repeat("MARK", 1000), Endless: true}, "Communic8 gives an answer that is not the documented JSON (HTTP 200)"},
		"a body too long": {c8test.Fault{Body: `{"access_token":"0123","token_type":"Bearer","x":"` + strings.Repeat("x", maxAnswer) + `"}`}, "Communic8 gives an answer that is not the documented JSON (HTTP 200)"},
		"no response":     {c8test.Fault{Break: true}, "Communic8 broke the connection off"},
		"a broken body":   {c8test.Fault{Body: "MARK", Break: true}, "Communic8 broke the connection off"},
	}, func(e *env, test test) {
		e.c8Faults(func(*http.Request, int) *c8test.Fault { return &test.fault })
		start := time.Now()
		_, err := e.rotator.Endpoint.RequestToken(e.Context(), credentialsFor(acmeURL))
		if !errors.Is(err, ErrUpstream) || !strings.HasPrefix(err.Error(), test.want) || time.Since(start) > requestTimeout {
			e.Errorf("got %v after %v, want %q", err, time.Since(start), test.want)
		}
		start = time.Now()
		result, detail := e.rotator.Endpoint.Probe(e.Context(), newToken("MARK", time.Hour))
		if result != ProbeInconclusive || strings.Contains(detail, "MARK") || time.Since(start) > probeTimeout {
			e.Errorf("a probe: got %s, %s after %v", result, detail, time.Since(start))
		}
	})
}
