// Package inmem calls an http.Handler in memory, without sockets, so that whole
// clients run inside a testing/synctest bubble. Unlike an httptest.ResponseRecorder
// it streams: bodies may be slow or endless, and a handler may hang, panic with
// http.ErrAbortHandler, or break off in the middle, as over a real connection.
package inmem

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// Transport is an http.RoundTripper that serves requests with Handler, each in a
// goroutine of its own.
type Transport struct{ Handler http.Handler }

// Client returns a client of h.
func Client(h http.Handler) *http.Client { return &http.Client{Transport: Transport{h}} }

var errBroken = errors.New("inmem: connection broken")

// RoundTrip implements http.RoundTripper.
func (t Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	in := req.Clone(ctx)
	in.RequestURI = req.URL.RequestURI()
	in.RemoteAddr = "192.0.2.1:1234"
	in.Host = cmp.Or(req.Host, req.URL.Host)
	if in.Body == nil {
		in.Body = http.NoBody
	}
	reader, pipe := io.Pipe()
	stop := context.AfterFunc(ctx, func() { _ = pipe.CloseWithError(ctx.Err()) })
	out := &response{header: make(http.Header), pipe: pipe, started: make(chan struct{})}
	go func() {
		defer func() {
			err := io.EOF
			switch p := recover(); {
			case p == any(http.ErrAbortHandler):
				err = errBroken
			case p != nil:
				panic(p)
			case ctx.Err() != nil: // the client gave up before the handler did
				err = ctx.Err()
			}
			out.finish(err)
			_ = in.Body.Close()
		}()
		t.Handler.ServeHTTP(out, in)
	}()
	select {
	case <-out.started:
	case <-ctx.Done():
		cancel()
		return nil, ctx.Err()
	}
	if out.err != nil {
		cancel()
		return nil, out.err
	}
	return &http.Response{
		Status: http.StatusText(out.status), StatusCode: out.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: out.sent, ContentLength: -1, Request: req,
		Body: body{reader, func() { stop(); cancel() }},
	}, nil
}

// response is the handler's side.
type response struct {
	header, sent http.Header
	status       int
	err          error // set before started closes: there is no response
	pipe         *io.PipeWriter
	once         sync.Once
	started      chan struct{}
}

func (r *response) Header() http.Header { return r.header }

func (r *response) WriteHeader(status int) {
	r.once.Do(func() {
		r.status, r.sent = status, r.header.Clone()
		close(r.started)
	})
}

func (r *response) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.pipe.Write(p)
}

// Flush implements http.Flusher: what was written has been read already.
func (r *response) Flush() { r.WriteHeader(http.StatusOK) }

func (r *response) finish(err error) {
	if errors.Is(err, io.EOF) {
		r.WriteHeader(http.StatusOK)
	}
	r.once.Do(func() {
		r.err = err
		close(r.started)
	})
	_ = r.pipe.CloseWithError(err)
}

type body struct {
	*io.PipeReader
	closed func()
}

func (b body) Close() error {
	b.closed()
	return b.PipeReader.Close()
}
