package main

// What an answer was like, beside what the package that asked makes of it.

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// maxBody is what a witness keeps of an answer.
const maxBody = 64 << 10

// answer is an HTTP answer. Its body may hold secrets.
type answer struct {
	status         int // 0: there was none
	header         http.Header
	body           []byte
	sent, received time.Time
}

// ahead is how far the other side's clock is ahead of this machine's.
func (a answer) ahead() (time.Duration, bool) {
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return 0, false
	}
	return date.Sub(middle(a.sent, a.received)).Round(time.Second), true
}

// witness is an http.RoundTripper that keeps the last answer.
type witness struct {
	base http.RoundTripper

	mu   sync.Mutex
	last answer
}

// watched returns c8auth's own client for Communic8, and its witness.
func watched() (*http.Client, *witness) {
	client := c8auth.NewHTTPClient()
	seen := &witness{base: client.Transport}
	client.Transport = seen
	return client, seen
}

// saw returns the last answer.
func (w *witness) saw() answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// RoundTrip implements http.RoundTripper.
func (w *witness) RoundTrip(req *http.Request) (*http.Response, error) {
	now := answer{sent: time.Now()}
	resp, err := w.base.RoundTrip(req)
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		now.status, now.header, now.received = resp.StatusCode, resp.Header, time.Now()
		now.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = now
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(now.body))
	return resp, nil
}
