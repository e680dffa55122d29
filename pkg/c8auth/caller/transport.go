package caller

// Requests to Communic8.

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

// Transport is an http.RoundTripper that sends requests to Communic8 with the token of Source.
// It may be used concurrently.
//
// The URL of a request must be a path, which is resolved against the token's base URL, or begin
// with the base URL. For any other URL, also that of a redirect, the error is an [ErrHost].
//
// If Communic8 answers 401, Transport reports the rejection like [Source.Reject], which takes
// some seconds, and repeats the request with the new token. If Communic8 rejects that one too,
// the request is repeated once more. HTTP 403 can mean a rejected token, or that its user lacks
// rights. It is not reported, and the request is repeated only if c8auth has a newer token
// already. While there is none, the time between such requests to the API grows from one second
// to two minutes. A request with a body is repeated only if its GetBody is set, as
// http.NewRequest does for bodies in memory. If a request is not repeated, the response of
// Communic8 is returned as it is.
//
// The error is that of [Source.TokenContext], an [ErrHost], or one that wraps the error of
// Base. Its text is this package's own, because the wrapped error may quote the other side.
type Transport struct {
	Source *Source           // must not be nil
	Base   http.RoundTripper // to Communic8; nil means http.DefaultTransport
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := t.Source.token(req.Context())
	if err != nil {
		discard(req.Body)
		return nil, err
	}
	resp, err := t.send(req, req.Body, token)
	for range repetitions {
		if err != nil || resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
			break
		}
		token, err = t.Source.renew(req.Context(), token.version, resp.StatusCode == http.StatusUnauthorized)
		if err != nil {
			return resp, nil //nolint:nilerr // the response of Communic8 says more than err
		}
		body, ok := again(req)
		if !ok {
			break
		}
		discard(resp.Body) // unread, although that closes the connection: the body may be endless
		resp, err = t.send(req, body, token)
	}
	return resp, err
}

// repetitions bounds the repetitions of a request. Two are needed if the new token is revoked
// as well.
const repetitions = 2

// send sends the request with the body and the token. The Request of the response is a copy
// without the token.
func (t *Transport) send(req *http.Request, body io.ReadCloser, token token) (*http.Response, error) {
	target := token.base.ResolveReference(req.URL)
	if req.URL.Opaque != "" || !sameOrigin(target, token.base) {
		discard(body)
		return nil, fmt.Errorf("c8auth: %w", fail(ErrHost, "nothing was sent, as the request is not for %s", token.base).err)
	}
	shown := req.Clone(req.Context())
	target.Scheme, target.Host = token.base.Scheme, token.base.Host // the request may have other upper-case letters, or the default port
	shown.URL, shown.Host = target, ""
	shown.Header.Del("Authorization")
	out := shown.Clone(req.Context())
	out.Body = body
	if out.Header == nil {
		out.Header = make(http.Header)
	}
	out.Header.Set("Authorization", "Bearer "+*token.secret)
	base := t.base()
	resp, err := base.RoundTrip(out)
	if err != nil {
		return nil, &exchangeError{"c8auth: " + oauth.Printable(describe(err, base, out), maxText), err}
	}
	resp.Request = shown
	return resp, nil
}

func (t *Transport) base() http.RoundTripper { return cmp.Or(t.Base, http.DefaultTransport) }

// CloseIdleConnections closes the idle connections to Communic8 and to the API.
// http.Client.CloseIdleConnections calls it.
func (t *Transport) CloseIdleConnections() {
	t.Source.mu.Lock()
	current := t.Source.session
	t.Source.mu.Unlock()
	for _, base := range []http.RoundTripper{t.base(), t.Source.base(current)} {
		if closer, ok := base.(interface{ CloseIdleConnections() }); ok {
			closer.CloseIdleConnections()
		}
	}
}

// exchangeError is a failed exchange with Communic8.
type exchangeError struct {
	text  string
	cause error
}

func (e *exchangeError) Error() string { return e.text }
func (e *exchangeError) Unwrap() error { return e.cause }

// Timeout reports whether the cause is a timeout. The method of url.Error does not unwrap an
// error, and calls this one.
func (e *exchangeError) Timeout() bool {
	timeout, ok := errors.AsType[net.Error](e.cause)
	return ok && timeout.Timeout()
}

// again returns a new reader of the request's body, and whether there can be one.
func again(req *http.Request) (io.ReadCloser, bool) {
	if req.Body == nil || req.Body == http.NoBody {
		return req.Body, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	return body, err == nil
}

func discard(body io.Closer) {
	if body != nil {
		_ = body.Close()
	}
}

// sameOrigin reports whether both have the same scheme, host and port (RFC 6454, section 5).
func sameOrigin(a, b *url.URL) bool { return origin(a) == origin(b) }

func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
