package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// counting is a connection that counts what is written to it.
type counting struct {
	net.Conn
	mu     *sync.Mutex
	writes *int
}

func (c counting) Write(p []byte) (int, error) {
	c.mu.Lock()
	*c.writes++
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// hidden is a body whose length net/http cannot see, like those of aws-lambda-go.
type hidden struct{ io.Reader }

// Answers arrive as they were sent, whatever is in them, each in one piece; and all else
// does so, too.
func TestWholeAnswers(t *testing.T) {
	type received struct{ method, body, trailer string }
	var got []received
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = append(got, received{r.Method, string(body), r.Trailer.Get("Error")})
		w.WriteHeader(http.StatusAccepted)
	}))
	defer api.Close()

	var mu sync.Mutex
	var writes int
	address := api.Listener.Addr().String()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		return counting{c, &mu, &writes}, err
	}
	wholeAnswers(transport, address)
	transport = transport.Clone() // as aws-lambda-go does
	client := &http.Client{Transport: transport}
	defer transport.CloseIdleConnections()

	send := func(method, body string, reader io.Reader, trailer http.Header, pieces int) {
		t.Helper()
		before := writes
		req, err := http.NewRequestWithContext(t.Context(), method, api.URL, reader)
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = trailer
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		want := received{method, body, trailer.Get("Error")}
		if last := got[len(got)-1]; last != want {
			t.Errorf("sent %.80q, and %.80q arrived", want, last)
		}
		mu.Lock()
		defer mu.Unlock()
		if writes-before > pieces {
			t.Errorf("%s %.80q came in %d pieces, not in %d", method, body, writes-before, pieces)
		}
	}
	for range 2 {
		for _, body := range []string{
			`{"statusCode":200}`, "", "x", "\r\n", "\r\n\r\n", "0\r\n\r\n", "a\r\n\r\n0", "HTTP\r\n\r\n\r\n\r\n",
			"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", strings.Repeat("answer", 5000),
		} {
			send(http.MethodGet, "", nil, nil, 1)
			pieces := 1
			if strings.Contains(body, "\r\n") {
				pieces = 3
			}
			send(http.MethodPost, body, hidden{strings.NewReader(body)}, nil, pieces)
			send(http.MethodPost, body, hidden{strings.NewReader(body)}, http.Header{"Error": {"none"}}, pieces)
			send(http.MethodPost, body, strings.NewReader(body), nil, 8)
			send(http.MethodPost, body, hidden{io.MultiReader(slices.Collect(func(yield func(io.Reader) bool) {
				for i := range body {
					if !yield(strings.NewReader(body[i : i+1])) {
						return
					}
				}
			})...)}, nil, len(body)+8)
		}
	}
}

// Other connections are left alone.
func TestWholeAnswersOfTheRuntimeAPIAlone(t *testing.T) {
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return counting{}, nil
	}}
	wholeAnswers(transport, "127.0.0.1:9001")
	for address, want := range map[string]bool{"127.0.0.1:9001": true, "127.0.0.1:9002": false} {
		c, err := transport.DialContext(t.Context(), "tcp", address)
		if _, got := c.(*whole); got != want || err != nil {
			t.Errorf("%s: %T, %v", address, c, err)
		}
	}
}

// Whatever is written, and in whatever pieces: of a whole request nothing stays behind, and
// nothing else arrives than was written.
func FuzzWhole(f *testing.F) {
	f.Add(`{"statusCode":200}`, uint8(7), true)
	f.Add("\r\n\r\n", uint8(100), false)
	f.Fuzz(func(t *testing.T, text string, size uint8, trailer bool) {
		body, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var sent, arrived bytes.Buffer
		fmt.Fprintf(&sent, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n", len(body), body)
		if trailer {
			sent.WriteString("Error: none\r\n")
		}
		sent.WriteString("\r\n")
		c := &whole{Conn: memory{Buffer: &arrived}}
		for piece := range slices.Chunk(sent.Bytes(), int(size)+1) {
			if n, err := c.Write(piece); n != len(piece) || err != nil {
				t.Fatalf("wrote %d, %v", n, err)
			}
		}
		if !bytes.Equal(sent.Bytes(), arrived.Bytes()) {
			t.Errorf("sent %q, arrived %q", &sent, &arrived)
		}
	})
}

type memory struct {
	net.Conn
	*bytes.Buffer
}

func (m memory) Read(p []byte) (int, error)  { return m.Buffer.Read(p) }
func (m memory) Write(p []byte) (int, error) { return m.Buffer.Write(p) }
