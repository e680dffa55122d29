package proxy_test

// What goes wrong in reverse proxies that are written in an hour, a test each.

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/c8auth/c8auth/internal/proxy"
)

// protocols are those of Communic8's server.
var protocols = map[string]func(*httptest.Server){
	"HTTP/1.1": nil,
	"HTTP/2":   func(s *httptest.Server) { s.EnableHTTP2 = true },
}

// eachProtocol runs the test for each of them, in an environment of its own.
func eachProtocol(t *testing.T, communic8 http.HandlerFunc, test func(e *environment)) {
	t.Helper()
	for name, configure := range protocols {
		t.Run(name, func(t *testing.T) { test(start(t, communic8, configure)) })
	}
}

// As many connections to Communic8 are kept as programs use at once. net/http keeps two.
func TestConnectionsAreKept(t *testing.T) {
	const programs = 100
	var opened atomic.Int32
	var arrived sync.WaitGroup
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/together" {
			arrived.Done()
			arrived.Wait()
		}
		ok(w, r)
	}, func(s *httptest.Server) {
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened.Add(1)
			}
		}
	})
	e.do("GET", "/", nil) // the token
	for range 3 {
		arrived.Add(programs)
		var all sync.WaitGroup
		for range programs {
			all.Go(func() { e.do("GET", "/together", nil) })
		}
		all.Wait()
	}
	// A connection is idle some time after the answer that it carried has ended.
	if got := opened.Load(); got > programs+programs/2 {
		t.Errorf("%d connections for %d programs", got, programs)
	}
}

// Connections end before those of a load balancer do, 60 seconds and more.
func TestIdleConnectionsEnd(t *testing.T) {
	if got := proxy.NewTransport().IdleConnTimeout; got <= 0 || got >= time.Minute {
		t.Errorf("IdleConnTimeout is %v", got)
	}
}

// HTTP/2 is used where Communic8 has it, though the transport has a TLS configuration.
func TestHTTP2(t *testing.T) {
	e := start(t, ok, protocols["HTTP/2"])
	e.do("GET", "/", nil)
	if got := e.requests()[0].Proto; got != "HTTP/2.0" || e.transport.TLSClientConfig == nil {
		t.Errorf("Communic8 is called by %s", got)
	}
}

// Path and query arrive as the program wrote them.
func TestPathAndQuery(t *testing.T) {
	for _, path := range []string{
		"", "/", "/int/v1/broadcast?limit=1", "/?x=1;y=2", "/?a=%zz&b=1", "/?", "/?q=a+b%20c&&=", "/a%2Fb", "/a%2fb", "/%2e%2e/secret",
		"/a/%2E%2E%2Fb", "//evil.example/x", "///x", "/a//b", "/%41", "/caf%C3%A9", "/a:b@c", "/a;b=c", "/(a)'*!$&", "/%00",
	} {
		t.Run(path, func(t *testing.T) {
			eachProtocol(t, ok, func(e *environment) {
				resp, body := e.raw("GET /SEGMENT" + path + " HTTP/1.1\r\nHost: ADDRESS\r\n\r\n")
				if resp == nil || resp.StatusCode != http.StatusOK {
					e.Fatalf("got %v %s", resp, body)
				}
				if got := e.requests()[0].RequestURI; got != cmp.Or(path, "/") {
					e.Errorf("Communic8 is asked for %s", got)
				}
			})
		})
	}
}

// Status, header and what Communic8 has sent of the body arrive, though more of the answer is
// still to come, whether its length is known or not.
func TestSlowAnswer(t *testing.T) {
	for name, configure := range protocols {
		for _, first := range []string{"", "first"} {
			for _, length := range []string{"", fmt.Sprint(len(first + "last"))} {
				t.Run(fmt.Sprintf("%s, %q, Content-Length %s", name, first, length), func(t *testing.T) {
					read := make(chan struct{})
					e := start(t, func(w http.ResponseWriter, _ *http.Request) {
						if length != "" {
							w.Header().Set("Content-Length", length)
						}
						w.WriteHeader(http.StatusAccepted)
						_, _ = io.WriteString(w, first)
						_ = http.NewResponseController(w).Flush()
						select {
						case <-read:
							_, _ = io.WriteString(w, "last")
						case <-time.After(10 * time.Second):
						}
					}, configure)
					resp := e.send("GET", "/", nil)
					got := make([]byte, len(first))
					if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != first || resp.StatusCode != http.StatusAccepted {
						t.Errorf("got %s, %q, %v", resp.Status, got, err)
					}
					close(read)
					if last, err := io.ReadAll(resp.Body); err != nil || string(last) != "last" {
						t.Errorf("got %q, %v", last, err)
					}
				})
			}
		}
	}
}

// A kept connection that Communic8 closes when it gets a request: a GET is sent again, a
// POST, which may have had its effect, is not.
func TestClosedConnection(t *testing.T) {
	for method, want := range map[string]struct{ status, sent int }{"GET": {200, 2}, "POST": {502, 1}} {
		t.Run(method, func(t *testing.T) {
			var n atomic.Int32
			e := start(t, func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) == 2 {
					_, _ = io.ReadAll(r.Body)
					panic(http.ErrAbortHandler)
				}
				ok(w, r)
			}, nil)
			e.do(method, "/", strings.NewReader("x"))
			resp, body := e.do(method, "/", strings.NewReader("x"))
			if resp.StatusCode != want.status || len(e.requests()) != 1+want.sent {
				t.Errorf("got %s %s after %d requests", resp.Status, body, len(e.requests()))
			}
		})
	}
}

// A program that waits for 100 Continue gets it when Communic8 wants the body, and never
// sends a body that Communic8 refuses.
func TestExpectContinue(t *testing.T) {
	// send returns the first status, and the response in the end.
	send := func(e *environment) (first int, _ string) {
		conn, reader := e.dial("POST /SEGMENT/ HTTP/1.1\r\nHost: ADDRESS\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
		resp, err := http.ReadResponse(reader, nil)
		if err == nil && resp.StatusCode == http.StatusContinue {
			first = resp.StatusCode
			if _, err = io.WriteString(conn, "body"); err == nil {
				resp, err = http.ReadResponse(reader, nil)
			}
		}
		if err != nil {
			e.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		return cmp.Or(first, resp.StatusCode), resp.Status + " " + string(body)
	}
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }, func(e *environment) {
		for range 2 { // the second time with a token that is rejected
			if first, got := send(e); first != 100 || got != "200 OK body" {
				e.Errorf("got %d, %s", first, got)
			}
			e.revoke()
		}
	})
	eachProtocol(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) }, func(e *environment) {
		if first, _ := send(e); first != http.StatusRequestEntityTooLarge {
			e.Errorf("got %d", first)
		}
	})
}

// Communic8 sees its own Host, no Authorization but the token, and nothing that holds for
// one connection alone; and the program sees nothing of that kind of Communic8's.
func TestHeaders(t *testing.T) {
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "X-Theirs")
			w.Header().Set("Keep-Alive", "timeout=5")
			w.Header().Set("X-Theirs", "1")
		}
		w.Header().Set("X-End", "1")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		ok(w, r)
	}, func(e *environment) {
		resp, _ := e.do("GET", "/", nil, "Authorization: Bearer mine", "authorization: Basic mine", "Proxy-Authorization: mine",
			"Connection: X-Mine, Authorization", "X-Mine: 1", "Keep-Alive: 1", "Te: gzip", "X-Kept: 1", "User-Agent: program/1")
		sent := e.requests()[0]
		if sent.Host != e.communic8.Listener.Addr().String() {
			e.Errorf("the Host is %s", sent.Host)
		}
		want := http.Header{"Authorization": {"Bearer " + e.token()}, "X-Kept": {"1"}, "User-Agent": {"program/1"}}
		if diff := gocmp.Diff(want, sent.Header); diff != "" {
			e.Errorf("Communic8 is sent (+)\n%s", diff)
		}
		for name, want := range map[string]string{"X-End": "1", "Keep-Alive": "", "X-Theirs": "", "Access-Control-Allow-Origin": ""} {
			if got := resp.Header.Get(name); got != want {
				e.Errorf("the program gets %s: %q", name, got)
			}
		}
	})
}

// A program that names no User-Agent is not given one.
func TestNoUserAgent(t *testing.T) {
	e := start(t, ok, nil)
	e.raw("GET /SEGMENT/ HTTP/1.1\r\nHost: ADDRESS\r\n\r\n")
	if got, there := e.requests()[0].Header["User-Agent"]; there {
		t.Errorf("Communic8 is sent %q", got)
	}
}

// What is packed stays packed, and nothing is packed that the program did not ask for.
func TestCompression(t *testing.T) {
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			_, _ = io.WriteString(w, "plain")
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, "packed")
	}, func(e *environment) {
		if _, body := e.do("GET", "/", nil); body != "plain" {
			e.Errorf("got %q", body)
		}
		if resp, body := e.do("GET", "/", nil, "Accept-Encoding: gzip"); body != "packed" || resp.Header.Get("Content-Encoding") != "gzip" {
			e.Errorf("got %q, %v", body, resp.Header)
		}
	})
}

// A protocol switch goes through, both ways, also where Communic8 speaks HTTP/2 besides.
func TestUpgrade(t *testing.T) {
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "websocket" {
			respond(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")(w, r)
		}
	}, func(e *environment) {
		e.do("GET", "/", nil) // over HTTP/2 if there is
		conn, reader := e.dial("GET /SEGMENT/socket HTTP/1.1\r\nHost: ADDRESS\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		resp, err := http.ReadResponse(reader, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			e.Fatalf("got %v, %v", resp, err)
		}
		if _, err := io.WriteString(conn, "echo"); err != nil {
			e.Fatal(err)
		}
		got := make([]byte, len("helloecho"))
		if _, err := io.ReadFull(reader, got); err != nil || string(got) != "helloecho" {
			e.Errorf("got %q, %v", got, err)
		}
		if sent := e.requests()[1]; sent.Header.Get("Authorization") != "Bearer "+e.token() {
			e.Errorf("Communic8 is sent %v", sent.Header)
		}
	})
}

// Another protocol than WebSocket, such as Java's client asks for with its first request,
// is not passed on, and the request is answered without.
func TestUpgradeToH2C(t *testing.T) {
	eachProtocol(t, ok, func(e *environment) {
		resp, body := e.do("GET", "/", nil, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
		if resp.StatusCode != http.StatusOK || e.requests()[0].Header.Get("Upgrade") != "" {
			e.Errorf("got %s %s, sent %v", resp.Status, body, e.requests())
		}
	})
}

// A program that leaves ends its request to Communic8.
func TestProgramLeaves(t *testing.T) {
	for name, configure := range protocols {
		t.Run(name, func(t *testing.T) {
			arrived, left := make(chan struct{}), make(chan struct{})
			e := start(t, func(_ http.ResponseWriter, r *http.Request) {
				close(arrived)
				<-r.Context().Done()
				close(left)
			}, configure)
			ctx, cancel := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.base+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				<-arrived
				cancel()
			}()
			if resp, err := client.Do(req); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, %v", resp, err)
			}
			select {
			case <-left:
			case <-time.After(10 * time.Second):
				t.Error("Communic8's answer is still waited for")
			}
		})
	}
}

// Trailers arrive.
func TestTrailer(t *testing.T) {
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		ok(w, r)
		_ = http.NewResponseController(w).Flush() // or the answer has a length, and HTTP/1.1 no place for trailers
		w.Header().Set("X-Sum", "17")
		w.Header().Set(http.TrailerPrefix+"X-More", "18")
	}, func(e *environment) {
		resp, body := e.do("GET", "/", nil)
		if body != "ok" || resp.Trailer.Get("X-Sum") != "17" || resp.Trailer.Get("X-More") != "18" {
			e.Errorf("got %q, %v", body, resp.Trailer)
		}
	})
}

// HEAD has the length of an answer, and no body.
func TestHead(t *testing.T) {
	e := start(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "12345") }, nil)
	if resp, body := e.do("HEAD", "/", nil); resp.ContentLength != 12345 || body != "" {
		t.Errorf("got %d, %q", resp.ContentLength, body)
	}
}

// Bodies of 64 MiB arrive whole, both ways, and pass through while they come in.
func TestLargeBodies(t *testing.T) {
	const size = 64 << 20
	random := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{7}), size) }
	sum := func(r io.Reader) string {
		h := sha256.New()
		_, err := io.Copy(h, r)
		if err != nil {
			return err.Error()
		}
		return string(h.Sum(nil))
	}
	want := sum(random())
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.Copy(w, random())
		} else if sum(r.Body) != want {
			w.WriteHeader(http.StatusBadRequest)
		}
	}, func(e *environment) {
		if resp, _ := e.do("PUT", "/", random()); resp.StatusCode != http.StatusOK {
			e.Error("the upload was changed")
		}
		if sum(e.send("GET", "/", nil).Body) != want {
			e.Error("the download was changed")
		}
	})
	t.Run("piece by piece", func(t *testing.T) {
		half := make(chan string, 1)
		e := start(t, func(w http.ResponseWriter, r *http.Request) {
			first := make([]byte, 4)
			_, _ = io.ReadFull(r.Body, first)
			half <- string(first)
			_, _ = io.Copy(w, r.Body)
		}, nil)
		conn, reader := e.dial("POST /SEGMENT/ HTTP/1.1\r\nHost: ADDRESS\r\nContent-Length: 8\r\n\r\nping")
		select {
		case got := <-half:
			if got != "ping" {
				t.Errorf("Communic8 got %q first", got)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("Communic8 gets nothing before the body is complete")
		}
		if _, err := io.WriteString(conn, "pong"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "pong" {
			t.Errorf("got %q, %v", body, err)
		}
	})
}

// An answer that breaks off at Communic8 breaks off here: it does not look complete.
func TestBrokenAnswer(t *testing.T) {
	eachProtocol(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}, func(e *environment) {
		if body, err := io.ReadAll(e.send("GET", "/", nil).Body); err == nil {
			e.Errorf("got %q as a whole answer", body)
		}
	})
}

// A program that breaks its request off is not taken for a failure of Communic8.
func TestBrokenRequest(t *testing.T) {
	begun := make(chan struct{})
	e := start(t, func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		_, _ = io.Copy(io.Discard, r.Body)
	}, nil)
	conn, reader := e.dial("POST /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\nContent-Length: 10000\r\n\r\n" + strings.Repeat("x", 9999))
	<-begun
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != 499 {
		t.Errorf("got %v, %v, want 499", resp, err)
	}
}
