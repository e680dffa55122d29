package main

// Communic8's side of doctor: whether it accepts the token.

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// communic8 probes the token that vend vended, and compares the clocks.
func (doc *doctor) communic8(ctx context.Context) []finding {
	f := found("Communic8", "not tried", "")
	path := "/int/v1/broadcast?limit=1"
	if doc.deployment != nil {
		path = doc.parameters["ProbePath"]
	}
	switch {
	case doc.vended.BaseURL == "":
		f.Verdict, f.Seen = unknown, "it takes a token, and you did not get one"
		return []finding{f}
	case path == "":
		f.Seen = "not probed: the stack's parameter ProbePath is empty"
		return []finding{f}
	}
	f.Tried = "GET " + doc.vended.BaseURL + path + ", with the token"
	const outage = "is that the right instance, and does it respond elsewhere? Until it does, callers fail, but not for want of a token"
	client, recorder := recordedClient()
	probe, detail := (&c8auth.Endpoint{Client: client, ProbePath: path}).Probe(ctx, doc.vended)
	last := recorder.response()
	switch {
	case probe == c8auth.ProbeGood:
		f.Seen = "it accepts the token (" + detail + ")"
	case probe == c8auth.ProbeRejected && doc.patient.Version != "" && doc.version != doc.patient.Version:
		f = f.actFor("ask again in a minute, when vend has read the stored one", "it rejects the token that vend has in its cache (%s), which was replaced", detail)
	case probe == c8auth.ProbeRejected:
		f = f.actFor("`c8auth rotate "+doc.patient.Name+"` has it replaced, which callers see within a minute; if that does not help, give the token's user the right to that path", "it rejects the token (%s)", detail)
	case last.status == 0:
		f = f.actFor(outage, "it %s", detail)
	case last.status == http.StatusTooManyRequests || last.status >= 500:
		f = f.actFor(outage, "it is busy or out of order (%s)", detail)
	default:
		f.Verdict, f.Seen = unknown, "it is not known whether Communic8 accepts the token: "+detail
	}
	if ahead, ok := last.ahead(); ok {
		return []finding{f, found("clock of Communic8", "the Date of its response", "it shows %s; c8auth does not use it", apart(ahead))}
	}
	return []finding{f}
}

// maxBody bounds the body that a recorder keeps, in bytes.
const maxBody = 64 << 10

// response is an HTTP response. Its body can contain secrets.
type response struct {
	status         int // 0: there was none
	header         http.Header
	body           []byte
	sent, received time.Time
}

// ahead returns how far the other side's clock is ahead of this machine's, and whether the
// response has a Date.
func (r response) ahead() (time.Duration, bool) {
	date, err := http.ParseTime(r.header.Get("Date"))
	if err != nil {
		return 0, false
	}
	return date.Sub(middle(r.sent, r.received)).Round(time.Second), true
}

// recorder is an http.RoundTripper that keeps the last response. It may be used concurrently.
type recorder struct {
	base http.RoundTripper

	mu   sync.Mutex
	last response
}

// recordedClient returns the client that rotate uses for Communic8, with a recorder.
func recordedClient() (*http.Client, *recorder) {
	client := c8auth.NewHTTPClient()
	r := &recorder{base: client.Transport}
	client.Transport = r
	return client, r
}

// response returns the last response; its status is 0 if the last request failed.
func (r *recorder) response() response {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	now := response{sent: time.Now()}
	resp, err := r.base.RoundTrip(req)
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		now.status, now.header, now.received = resp.StatusCode, resp.Header, time.Now()
		now.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = now
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(now.body))
	return resp, nil
}
