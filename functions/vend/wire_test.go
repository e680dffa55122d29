package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/lambdatest"
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

// known is a body whose length it is told.
type known struct {
	hidden
	length int64
}

// Answers arrive as they were sent, whatever is in them, and JSON in one piece. All else
// arrives, too.
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
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	defer transport.CloseIdleConnections()

	send := func(method, body string, reader io.Reader, trailer http.Header) (pieces int) {
		t.Helper()
		mu.Lock()
		before := writes
		mu.Unlock()
		req, err := http.NewRequestWithContext(t.Context(), method, api.URL, reader)
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = trailer
		if body, ok := reader.(known); ok {
			req.ContentLength = body.length
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%.80q: %v", body, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		want := received{method, body, trailer.Get("Error")}
		if last := got[len(got)-1]; last != want {
			t.Errorf("sent %.80q, and %.80q arrived", want, last)
		}
		mu.Lock()
		defer mu.Unlock()
		return writes - before
	}
	begin := "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
	for range 2 {
		for _, body := range []string{`{"statusCode":200}`, "", "x", strings.Repeat("answer", 5000)} {
			if n := send(http.MethodGet, "", nil, nil); n != 1 {
				t.Errorf("a GET came in %d pieces", n)
			}
			for _, trailer := range []http.Header{nil, {"Error": {"none"}}} {
				if n := send(http.MethodPost, body, hidden{strings.NewReader(body)}, trailer); n != 1 {
					t.Errorf("%.80q came in %d pieces", body, n)
				}
			}
		}
		for _, body := range []string{
			"\r\n", "\r\n\r\n", "0\r\n\r\n", "a\r\n\r\n0", "HTTP\r\n\r\n\r\n\r\n", begin + "0\r\n\r\n",
			strings.Repeat(" ", 4086) + "\r\n\r\n" + begin[:len(begin)-2] + strings.Repeat("x", 5000), strings.Repeat(begin, 200),
		} {
			send(http.MethodPost, body, hidden{strings.NewReader(body)}, nil)
			send(http.MethodPost, body, strings.NewReader(body), nil)
			send(http.MethodPost, body, known{hidden{strings.NewReader(body)}, int64(len(body))}, nil)
			send(http.MethodPost, body, hidden{io.MultiReader(slices.Collect(func(yield func(io.Reader) bool) {
				for piece := range slices.Chunk([]byte(body), 5) {
					if !yield(bytes.NewReader(piece)) {
						return
					}
				}
			})...)}, nil)
		}
	}
}

// The function itself sends its answers so: aws-lambda-go uses what main has prepared.
func TestBinarySendsWholeAnswers(t *testing.T) {
	root, err := lambdatest.Root()
	if err != nil {
		t.Fatal(err)
	}
	bootstrap, err := lambdatest.Build(t.Context(), root, t.TempDir(), "vend")
	if err != nil {
		t.Fatal(err)
	}
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = api.Close() }()
	deadline := time.Now().Add(time.Minute) // if it ends, or hangs
	if err := api.(*net.TCPListener).SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	vend := exec.CommandContext(t.Context(), bootstrap)
	vend.Stdout, vend.Stderr = &output, &output
	vend.Env = []string{"AWS_LAMBDA_RUNTIME_API=" + api.Addr().String(), "AWS_REGION=eu-central-1", "C8AUTH_STACK=stack"}
	if err := vend.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = vend.Process.Kill(), vend.Wait() }()
	conn, err := api.Accept()
	if err != nil {
		_, _ = vend.Process.Kill(), vend.Wait()
		t.Fatalf("%v\n%s", err, &output)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil { // the next event?
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nLambda-Runtime-Deadline-Ms: %d\r\n\r\n{}", deadline.UnixMilli()); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 1<<16)
		n, err := conn.Read(answer)
		if err != nil || !bytes.Contains(answer[:n], []byte(`"statusCode":400`)) || !bytes.HasSuffix(answer[:n], []byte("\r\n0\r\n\r\n")) {
			t.Fatalf("%v, or in pieces, the first of them: %s", err, answer[:n])
		}
		if _, err := io.WriteString(conn, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"); err != nil {
			t.Fatal(err)
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

// request is a chunked POST.
func request(body string, trailer bool) []byte {
	text := []byte("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	if body != "" {
		text = fmt.Appendf(text, "%x\r\n%s\r\n", len(body), body)
	}
	text = append(text, "0\r\n"...)
	if trailer {
		text = append(text, "Error: none\r\n"...)
	}
	return append(text, "\r\n"...)
}

// Whatever is in it, and in whatever pieces it is written: nothing of a request stays behind,
// and nothing else arrives than was written.
func FuzzWhole(f *testing.F) {
	f.Add(`{"statusCode":200}`, uint8(70), true)
	f.Add("\r\n\r\n", uint8(100), false)
	f.Add(string(request("x", false)), uint8(60), false)
	f.Add("\r\n\r\nPOST \r\nTransfer-Encoding: chunked\r\nx", uint8(63), false)
	f.Add("aaaaaaaaaaPOST \r\nTransfer-Encoding: chunked\r\nx", uint8(34), false)
	f.Fuzz(func(t *testing.T, body string, size uint8, trailer bool) {
		var arrived bytes.Buffer
		c := &whole{Conn: memory{&arrived}}
		for range 2 {
			sent := request(body, trailer)
			for piece := range slices.Chunk(sent, int(size)+1) {
				if n, err := c.Write(piece); n != len(piece) || err != nil {
					t.Fatalf("wrote %d, %v", n, err)
				}
			}
			if !bytes.Equal(sent, arrived.Bytes()) {
				t.Errorf("sent %q, arrived %q", sent, &arrived)
			}
			if n, err := c.Read(sent); n != len(sent) || err != nil { // the answer
				t.Errorf("read %d, %v", n, err)
			}
		}
	})
}

// memory is a connection to itself.
type memory struct{ *bytes.Buffer }

func (memory) Close() error                     { return nil }
func (memory) LocalAddr() net.Addr              { return nil }
func (memory) RemoteAddr() net.Addr             { return nil }
func (memory) SetDeadline(time.Time) error      { return nil }
func (memory) SetReadDeadline(time.Time) error  { return nil }
func (memory) SetWriteDeadline(time.Time) error { return nil }

// A connection that is broken says so, with the last piece.
func TestBrokenConnection(t *testing.T) {
	ours, theirs := net.Pipe()
	_ = theirs.Close()
	c := &whole{Conn: ours}
	text := request("{}", false)
	if n, err := c.Write(text[:60]); n != 60 || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	if n, err := c.Write(text[60:]); n != 0 || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("wrote %d, %v", n, err)
	}
}
