package proxy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// Attacks, one by one: the status that comes back, and what Communic8 gets, which is
// nothing, or one request that the proxy has written itself.
func TestAttacks(t *testing.T) {
	const good = "GET /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\n"
	for name, attack := range map[string]struct {
		request string
		status  int    // 0: the connection is closed
		sent    string // method, path, and body that reach Communic8
	}{
		"none":                        {good + "\r\n", 200, "GET /x "},
		"no segment":                  {"GET /int/v1/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 403, ""},
		"no path":                     {"GET / HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 403, ""},
		"another segment":             {"GET /AAAAAAAAAAAAAAAAAAAAAAAAAA/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 403, ""},
		"half a segment":              {"GET /SEGMENTx HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 403, ""},
		"segment, not at first":       {"GET /x/SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 403, ""},
		"segment behind dots":         {"GET /x/../SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 403, ""},
		"segment behind two slashes":  {"GET //SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 403, ""},
		"segment in the query":        {"GET /?/SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 403, ""},
		"segment before %2F":          {"GET /SEGMENT%2Fx HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 403, ""},
		"segment after %2F":           {"GET /%2FSEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 403, ""},
		"dots up from the segment":    {"GET /SEGMENT/../../x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 200, "GET /x "},
		"encoded dots":                {"GET /SEGMENT/%2e%2e/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 200, "GET /%2e%2e/x "},
		"encoded slash and dots":      {"GET /SEGMENT/..%2f..%2fx HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 200, "GET /..%2f..%2fx "},
		"ping behind dots":            {"GET /x/../ping HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 403, ""},
		"//host":                      {"GET /SEGMENT//evil.example/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 200, "GET //evil.example/x "},
		"//host, first":               {"GET //evil.example/SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 403, ""},
		"a URL as the path":           {"GET /SEGMENT/http://evil.example/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 200, "GET /http://evil.example/x "},
		"backslashes":                 {"GET /SEGMENT/\\\\evil.example/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 200, "GET /%5C%5Cevil.example/x "},
		"user in the path":            {"GET /SEGMENT@evil.example/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 403, ""},
		"NUL":                         {"GET /SEGMENT/\x00 HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 400, ""},
		"newline in the path":         {"GET /SEGMENT/%0d%0aX-Evil:1 HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 200, "GET /%0d%0aX-Evil:1 "},
		"Host: another":               {"GET /SEGMENT/x HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, ""},
		"Host: another, ping":         {"GET /ping HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, ""},
		"Host: begins like loopback":  {"GET /SEGMENT/x HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n", 403, ""},
		"Host: begins like localhost": {"GET /SEGMENT/x HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", 403, ""},
		"Host: ends like localhost":   {"GET /SEGMENT/x HTTP/1.1\r\nHost: evil.localhost\r\n\r\n", 403, ""},
		"Host: any address":           {"GET /SEGMENT/x HTTP/1.1\r\nHost: 0.0.0.0\r\n\r\n", 403, ""},
		"Host: decimal":               {"GET /SEGMENT/x HTTP/1.1\r\nHost: 2130706433\r\n\r\n", 403, ""},
		"Host: user":                  {"GET /SEGMENT/x HTTP/1.1\r\nHost: 127.0.0.1@evil.example\r\n\r\n", 400, ""},
		"Host: none":                  {"GET /SEGMENT/x HTTP/1.1\r\n\r\n", 400, ""},
		"Host: none, HTTP/1.0":        {"GET /SEGMENT/x HTTP/1.0\r\n\r\n", 403, ""},
		"Host: empty":                 {"GET /SEGMENT/x HTTP/1.1\r\nHost:\r\n\r\n", 403, ""},
		"Host: two":                   {"GET /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\nHost: evil.example\r\n\r\n", 400, ""},
		"Host: localhost":             {"GET /SEGMENT/x HTTP/1.1\r\nHost: LOCALHOST:1\r\n\r\n", 200, "GET /x "},
		"Host: IPv6":                  {"GET /SEGMENT/x HTTP/1.1\r\nHost: [::1]\r\n\r\n", 200, "GET /x "},
		"Origin":                      {good + "Origin: https://evil.example\r\n\r\n", 403, ""},
		"Origin: null":                {good + "Origin: null\r\n\r\n", 403, ""},
		"Origin: its own":             {good + "Origin: http://ADDRESS\r\n\r\n", 403, ""},
		"Origin: empty":               {good + "oRiGiN:\r\n\r\n", 403, ""},
		"preflight":                   {"OPTIONS /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\nOrigin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n\r\n", 403, ""},
		"an image in a page":          {good + "Sec-Fetch-Site: cross-site\r\n\r\n", 403, ""},
		"Forwarded":                   {good + "Forwarded: for=10.0.0.1\r\n\r\n", 403, ""},
		"X-Forwarded-For":             {good + "X-Forwarded-For: 10.0.0.1\r\n\r\n", 403, ""},
		"X-Forwarded-Host":            {good + "x-forwarded-host: acme.communic8.com\r\n\r\n", 403, ""},
		"X-Forwarded-Anything":        {good + "X-Forwarded-Anything: 1\r\n\r\n", 403, ""},
		"X-Real-IP":                   {good + "X-Real-IP: 127.0.0.1\r\n\r\n", 403, ""},
		"Via":                         {good + "Via: 1.1 proxy\r\n\r\n", 403, ""},
		"Via, declared hop-by-hop":    {good + "Connection: Via\r\nVia: 1.1 proxy\r\n\r\n", 403, ""},
		"absolute URL":                {"GET http://ADDRESS/SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 400, ""},
		"absolute URL, elsewhere":     {"GET http://evil.example/SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 400, ""},
		"absolute URL, no scheme":     {"GET evil.example/SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 400, ""},
		"CONNECT":                     {"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", 400, ""},
		"CONNECT, loopback":           {"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n", 400, ""},
		"CONNECT with a path":         {"CONNECT /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 400, ""},
		"OPTIONS *":                   {"OPTIONS * HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 200, ""}, // net/http's own answer, which says nothing
		"TRACE":                       {"TRACE /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 405, ""},
		"HTTP/2 in the clear":         {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, ""},
		"upgrade to h2c":              {good + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", 200, "GET /x "},
		"HTTP/0.9":                    {"GET /SEGMENT/x\r\n\r\n", 400, ""},
		"TLS":                         {"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400, ""},

		"smuggling: both lengths":            {"POST /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /int/v1/evil HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 200, "POST /x "},
		"smuggling: two Content-Lengths":     {"POST /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, ""},
		"smuggling: signed Content-Length":   {"POST /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\nContent-Length: +1\r\n\r\na", 400, ""},
		"smuggling: list of Content-Lengths": {"POST /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\nContent-Length: 1, 1\r\n\r\na", 400, ""},
		"smuggling: two Transfer-Encodings":  {"POST /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501, ""},
		"smuggling: unknown encoding":        {"POST /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501, ""},
		"smuggling: space before the colon":  {"POST /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, ""},
		"smuggling: obs-fold":                {good + "X-A: 1\r\n Authorization: mine\r\n\r\n", 200, "GET /x "},
		"smuggling: obs-fold at first":       {"GET /SEGMENT/x HTTP/1.1\r\n Host: ADDRESS\r\n\r\n", 400, ""},
		"smuggling: bare LF":                 {"GET /SEGMENT/x HTTP/1.1\nHost: ADDRESS\nX-A: 1\n\n", 200, "GET /x "},
		"smuggling: bare CR":                 {good + "X-A: 1\rX-B: 2\r\n\r\n", 400, ""},
		"smuggling: bare LF in a chunk":      {"POST /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\nTransfer-Encoding: chunked\r\n\r\n1;a\nb\r\na\r\n0\r\n\r\n", 400, "POST /x "},
		"smuggling: a chunk without an end":  {"POST /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400, "POST /x "},
		"smuggling: NUL in a header":         {good + "X-A: a\x00b\r\n\r\n", 400, ""},
		"smuggling: a body with GET":         {good + "Content-Length: 26\r\n\r\nGET /int/v1/evil HTTP/1.1\r\n", 200, "GET /x "},
		"a header of 1 MB":                   {good + "X-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", 431, ""},
		"a path of 1 MB":                     {"GET /SEGMENT/" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 431, ""},
		"100,000 headers":                    {good + strings.Repeat("A: 1\r\n", 100_000) + "\r\n", 431, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				ok(w, r)
			}, nil)
			resp, body := e.raw(attack.request)
			status := 0
			if resp != nil {
				status = resp.StatusCode
				for name := range resp.Header {
					if strings.HasPrefix(name, "Access-Control") {
						t.Errorf("the answer has %s", name)
					}
				}
			}
			t.Logf("%d %.200s", status, body)
			if status != attack.status {
				t.Errorf("got %d %s, want %d", status, body, attack.status)
			}
			e.kept("the answer", body)
			e.kept("the log", e.log.String())
			sent := e.requests()
			if attack.status != 200 {
				for _, r := range sent { // a body that turns out to be malformed has begun to be sent
					if r.Method+" "+r.RequestURI+" " != attack.sent {
						t.Errorf("Communic8 is sent %v", r)
					}
				}
				return
			}
			for _, r := range sent {
				if got := r.Method + " " + r.RequestURI + " "; attack.sent != "" && got != attack.sent {
					t.Errorf("Communic8 is sent %q, want %q", got, attack.sent)
				}
				if r.Header.Get("Upgrade")+r.Header.Get("Http2-Settings") != "" {
					t.Errorf("Communic8 is sent %v", r.Header)
				}
				if r.Host != e.communic8.Listener.Addr().String() || len(r.Header["Authorization"]) != 1 {
					t.Errorf("Communic8 is sent %s %v", r.Host, r.Header)
				}
			}
			if attack.sent != "" && len(sent) != 1 {
				t.Errorf("Communic8 is sent %d requests", len(sent))
			}
		})
	}
}

// What follows a request on its connection is a request of its own, and needs the
// segment itself.
func TestSecondRequestOnAConnection(t *testing.T) {
	e := start(t, ok, nil)
	_, reader := e.dial("GET /SEGMENT/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\nGET /int/v1/x HTTP/1.1\r\nHost: ADDRESS\r\n\r\n")
	for _, want := range []int{http.StatusOK, http.StatusForbidden} {
		resp, err := http.ReadResponse(reader, nil)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("got %v, %v, want %d", resp, err, want)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
}
