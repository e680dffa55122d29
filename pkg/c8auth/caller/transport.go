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
// The URL of a request is a path, which is resolved against the token's base URL, or begins
// with that. Any other URL is an [ErrHost], also that of a redirect, which http.Client follows
// by another request.
//
// HTTP 401 means that Communic8 rejects the token. Transport then reports that by
// [Source.Reject], which takes some seconds, and repeats the request with the new token, if it
// has no body or one that can be read again (GetBody, which http.NewRequest sets). If Communic8
// rejects that token as well, there is one more repetition. HTTP 403 means the same as 401, or
// a lack of rights: the request is repeated if there is a newer token already. While there is
// none, the time between requests to the API grows from a second to two minutes. In all other
// cases, Communic8's response is returned as it is.
//
// An error is that of the Source (see [Source.TokenContext]), an [ErrHost], or wraps that of
// Base: errors.Is and errors.As find the cause, and the text is this package's own, because
// the cause may quote the other side.
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
			return resp, nil //nolint:nilerr // the program gets the response of Communic8
		}
		body, ok := again(req)
		if !ok {
			break
		}
		discard(resp.Body) // unread, though that closes the connection: its end may never come
		resp, err = t.send(req, body, token)
	}
	return resp, err
}

// repetitions are enough if the first token was replaced by one that was then revoked.
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
	target.Scheme, target.Host = token.base.Scheme, token.base.Host // which may be spelled in another way
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

// CloseIdleConnections closes the idle connections to Communic8 and to the API. The method of
// that name of http.Client calls it.
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

// Timeout reports whether the cause is a timeout. url.Error, which http.Client returns, calls
// it and does not unwrap.
func (e *exchangeError) Timeout() bool {
	timeout, ok := errors.AsType[net.Error](e.cause)
	return ok && timeout.Timeout()
}

// again returns the request's body from its beginning, if that is possible.
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
