package main

// How answers get to Lambda's Runtime API.

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"sync/atomic"
)

// wholeAnswers makes connections to the Runtime API at that address send an answer at once.
// net/http hands on head, body and end of it one by one, as it cannot see that aws-lambda-go
// has all of the body, and for what a vend costs, three system calls are a lot. The transport
// is the one that aws-lambda-go copies, [http.DefaultTransport].
func wholeAnswers(transport *http.Transport, api string) {
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil || address != api {
			return c, err
		}
		return &whole{Conn: c}, nil
	}
}

// whole is a connection that holds a chunked request back until its end, and lets any other
// pass: the first write of it decides. As any connection of a Transport it has one
// reader and one writer at a time, and a request begins when the one before is answered.
type whole struct {
	net.Conn
	held    []byte
	passing atomic.Bool // whatever is written, until something is read
}

var (
	chunked = []byte("\r\nTransfer-Encoding: chunked\r\n")
	// end is that of a head, and that of a chunked body (RFC 9112, sections 2.1 and 7.1). Where
	// a body has it before its end, the rest passes.
	end = []byte("\r\n\r\n")
)

func (c *whole) Write(p []byte) (int, error) {
	if len(c.held) == 0 && !bytes.Contains(p, chunked) {
		c.passing.Store(true)
	}
	if c.passing.Load() {
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	if _, body, _ := bytes.Cut(c.held, end); !bytes.HasSuffix(body, end) {
		return len(p), nil
	}
	c.passing.Store(true)
	_, err := c.Conn.Write(c.held)
	c.held = c.held[:0]
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *whole) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.passing.Store(false)
	return n, err
}
