package proxy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A token that Communic8 rejects is reported and replaced, and the request repeated with
// its body: the program sees nothing of it.
func TestRejection(t *testing.T) {
	eachProtocol(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	}, func(e *environment) {
		e.do("GET", "/", nil)
		for _, want := range []string{"", "a body", strings.Repeat("x", 64<<10)} {
			for _, body := range []io.Reader{strings.NewReader(want), io.MultiReader(strings.NewReader(want))} { // the second is chunked
				e.revoke()
				if resp, got := e.do("POST", "/", body); resp.StatusCode != http.StatusOK || got != want {
					e.Errorf("got %s with %d bytes, want %d", resp.Status, len(got), len(want))
				}
			}
		}
		if e.reports != 6 {
			e.Errorf("%d reports", e.reports)
		}
	})
}

// A body that is longer than what is kept is not sent again: the program gets the 401, and
// the next request has the new token.
func TestRejectionOfALargeBody(t *testing.T) {
	text := strings.Repeat("x", 1<<20)
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	}, nil)
	answer := e.communic8.Config.Handler
	e.communic8.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body) // before anything else
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer.ServeHTTP(w, r)
	})
	e.do("GET", "/", nil)
	for _, body := range []func(string) io.Reader{
		func(text string) io.Reader { return strings.NewReader(text) },
		func(text string) io.Reader { return io.MultiReader(strings.NewReader(text)) }, // chunked
	} {
		e.revoke()
		before := len(e.requests())
		if resp, got := e.do("POST", "/", body(text)); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(got, "unauthorized") {
			t.Errorf("got %s %s", resp.Status, got)
		}
		if resp, got := e.do("POST", "/", body(text)); resp.StatusCode != http.StatusOK || got != "1048576" {
			t.Errorf("got %s %s", resp.Status, got)
		}
		if got := len(e.requests()) - before; got != 2 {
			t.Errorf("%d requests, want 2", got)
		}
	}
}

// A hundred programs at once whose token is rejected: one report, and no error.
func TestManyRejections(t *testing.T) {
	e := start(t, ok, nil)
	e.do("GET", "/", nil)
	e.revoke()
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if resp, body := e.do("POST", "/", strings.NewReader("x")); resp.StatusCode != http.StatusOK {
				t.Errorf("got %s %s", resp.Status, body)
			}
		})
	}
	all.Wait()
	if e.reports != 1 {
		t.Errorf("%d reports", e.reports)
	}
}

// Without a valid token, nothing is sent to Communic8. The program is told to come back,
// when, and what a person can do; the log and the answer show nothing secret.
func TestNoToken(t *testing.T) {
	for code, test := range map[string]struct {
		status     int // of the API; 0: the request cannot be signed
		kind, body string
		retryAfter string
	}{
		"denied":      {403, "AccessDeniedException", "{}", "10"},
		"tenant":      {404, "", `{"error":"unknown_tenant"}`, "10"},
		"unreachable": {403, "ForbiddenException", "{}", "10"},
		"no_token":    {503, "", `{"error":"temporarily_unavailable"}`, "40"},
		"credentials": {0, "", "", "10"},
	} {
		t.Run(code, func(t *testing.T) {
			e := start(t, ok, nil)
			if test.status == 0 {
				e.handler.Transport.Source.AWS.Region = "" // which the URL of the fake does not name
			}
			e.refusal = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Amzn-Errortype", test.kind)
				w.Header().Set("Retry-After", test.retryAfter)
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			for range 2 { // the second is answered at once, from what is known
				resp, body := e.do("POST", "/", strings.NewReader("x"), "Authorization: mine")
				var answer struct{ Error, Error_description, Do string }
				if err := json.Unmarshal([]byte(body), &answer); err != nil {
					t.Fatal(err, body)
				}
				if resp.StatusCode != http.StatusServiceUnavailable || answer.Error != code || answer.Do == "" || !strings.HasPrefix(answer.Error_description, "c8auth: ") {
					t.Errorf("got %s %s", resp.Status, body)
				}
				if got := resp.Header.Get("Retry-After"); got != test.retryAfter || resp.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("got %v, want Retry-After %s", resp.Header, test.retryAfter)
				}
				e.kept("the answer", body)
			}
			e.kept("the log", e.log.String())
			if len(e.requests()) > 0 {
				t.Errorf("sent %v", e.requests())
			}
		})
	}
}

// Communic8 that is not there, or breaks the connection off, is a 502 in own words.
func TestUnreachable(t *testing.T) {
	for name, test := range map[string]struct {
		communic8 http.HandlerFunc
		header    []string // of the program's request
		status    int
		text      string
	}{
		"refused": {nil, nil, http.StatusBadGateway, "cannot be reached: the connection is refused"},
		"no HTTP": {respond(t, "HTTP/1.1 MARK MARK\r\n\r\n"), nil, http.StatusBadGateway, "did not speak HTTP"},
		"another protocol than was asked for": {respond(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: MARK\r\n\r\n"),
			[]string{"Connection: Upgrade", "Upgrade: WebSocket"}, http.StatusBadGateway, "no answer that can be passed on"},
		"too slow": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, nil, http.StatusGatewayTimeout, "in time"},
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, test.communic8, nil)
			if test.communic8 == nil {
				_ = e.communic8.Listener.Close()
			}
			if test.status == http.StatusGatewayTimeout {
				e.transport.ResponseHeaderTimeout = 10 * time.Millisecond
			}
			resp, body := e.do("POST", "/", nil, test.header...)
			if resp.StatusCode != test.status || strings.Contains(body, "MARK") || !strings.Contains(body, test.text) {
				t.Errorf("got %s %s", resp.Status, body)
			}
			e.kept("the answer", body)
		})
	}
}

// Redirects are the program's to follow. Those to Communic8 lead to the proxy, others
// where they led, and nothing is sent there.
func TestRedirect(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
		for location, want := range map[string]string{
			"":                                 "",
			"/int/v1/x":                        "BASE/int/v1/x",
			"x?y=1;z#f":                        "BASE/a/x?y=1;z#f",
			"../../../../x":                    "BASE/x",
			"?page=2":                          "BASE/a/b?page=2",
			"C8":                               "BASE",
			"C8/":                              "BASE/",
			"C8/int/v1/x?y=%2F&z=%zz":          "BASE/int/v1/x?y=%2F&z=%zz",
			"C8/a%2Fb%20c":                     "BASE/a%2Fb%20c",
			"//HOST/x":                         "BASE/x",
			"https://evil.example/x":           "https://evil.example/x",
			"//evil.example/x":                 "//evil.example/x",
			"//HOST.evil.example/x":            "//HOST.evil.example/x",
			"//HOST@evil.example/x":            "//HOST@evil.example/x",
			"ftp://HOST/x":                     "ftp://HOST/x",
			"https://acme.communic8.com:443/x": "https://acme.communic8.com:443/x",
			"mailto:someone":                   "mailto:someone",
			"http://[malformed":                "http://[malformed",
		} {
			t.Run(protocol+" "+location, func(t *testing.T) {
				var e *environment
				expand := func(s string) string {
					return strings.NewReplacer("C8", e.communic8.URL, "HOST", e.communic8.Listener.Addr().String(), "BASE", e.base).Replace(s)
				}
				e = start(t, func(w http.ResponseWriter, _ *http.Request) {
					if location != "" {
						w.Header().Set("Location", expand(location))
					}
					w.WriteHeader(http.StatusTemporaryRedirect)
				}, protocols[protocol])
				resp, _ := e.raw("GET /SEGMENT/a/b HTTP/1.1\r\nHost: ADDRESS\r\nConnection: close\r\n\r\n")
				if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusTemporaryRedirect || got != expand(want) {
					t.Errorf("got %s %s, want %s", resp.Status, got, expand(want))
				}
				if len(e.requests()) != 1 {
					t.Errorf("%d requests", len(e.requests()))
				}
			})
		}
	}
}

// Whoever asks on this machine is told that the proxy is up, and nothing else; a path
// of Communic8's that is called so is not taken for that.
func TestPing(t *testing.T) {
	e := start(t, ok, nil)
	if resp, body := e.raw("GET /ping HTTP/1.1\r\nHost: ADDRESS\r\n\r\n"); resp.StatusCode != http.StatusOK || body != "up\n" || len(e.requests()) > 0 {
		t.Errorf("got %s %s", resp.Status, body)
	}
	if resp, body := e.do("GET", "/ping", nil); resp.StatusCode != http.StatusOK || body != "ok" || len(e.requests()) != 1 {
		t.Errorf("got %s %s", resp.Status, body)
	}
}

// The log has a line for each request, without query, segment or what an attacker wrote.
func TestLog(t *testing.T) {
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/broken":
			w.WriteHeader(http.StatusAccepted)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/socket":
			respond(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")(w, r)
		default:
			w.WriteHeader(http.StatusCreated)
		}
	}, nil)
	e.do("POST", "/int/v1/broadcast?limit=mine", strings.NewReader("mine"))
	e.do("GET", "/a%2Fb%0Ac", nil)
	e.raw("GET /wrong/x?mine HTTP/1.1\r\nHost: ADDRESS\r\n\r\n")
	e.raw("GET /ping HTTP/1.1\r\nHost: ADDRESS\r\n\r\n")
	e.raw("GET /SEGMENT/socket HTTP/1.1\r\nHost: ADDRESS\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	e.raw("POST /SEGMENT/broken HTTP/1.1\r\nHost: ADDRESS\r\nContent-Length: 0\r\n\r\n") // a GET would be sent again
	want := []string{"GET - 403", "GET /a%2Fb%0Ac 201", "GET /ping 200", "GET /socket 101", "POST /broken 202", "POST /int/v1/broadcast 201"}
	var got []string
	for deadline := time.Now().Add(10 * time.Second); !slices.Equal(got, want) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		// Lines are written after their answers.
		got = strings.Split(regexp.MustCompile(`(?m) \d+\n`).ReplaceAllString(e.log.String(), "\n"), "\n")
		got = got[:len(got)-1]
		slices.Sort(got)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", e.log.String())
	}
	e.kept("the log", e.log.String())
}

// Over a Unix socket there is no segment: the file's mode guards it.
func TestWithoutSegment(t *testing.T) {
	e := start(t, ok, nil)
	e.handler.Base.Path = ""
	for host, want := range map[string]int{"example.com": http.StatusForbidden, "localhost": http.StatusOK} {
		if resp, body := e.raw("GET /int/v1/x HTTP/1.1\r\nHost: " + host + "\r\n\r\n"); resp.StatusCode != want {
			t.Errorf("%s: got %s %s", host, resp.Status, body)
		}
	}
	if sent := e.requests(); len(sent) != 1 || sent[0].RequestURI != "/int/v1/x" {
		t.Errorf("sent %v", sent)
	}
}
