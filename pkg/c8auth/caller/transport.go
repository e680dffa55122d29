package caller

// Requests to Communic8, and nowhere else.

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Transport is an http.RoundTripper that sends requests to Communic8, authorized by the
// token of Source. It may be used concurrently.
//
// A request's URL is a path, which is resolved against the token's base URL, or begins
// with that. Any other is an [ErrHost]: a redirect to another host, too, which
// http.Client follows by a request of its own.
//
// HTTP 401 means that Communic8 rejects the token. Then the Source is told, which takes
// some seconds, and the request is repeated with the new token: if it has no body, or
// one that can be read again (GetBody, as http.NewRequest sets it). If that token is
// rejected as well, because it was not so new, there is one more repetition. HTTP 403 may
// mean the same as 401, or a lack of rights: then the request is repeated if there is a
// newer token already. In all other cases, Communic8's answer is returned as it is.
//
// An error is that of the Source (see [Source.TokenContext]), an [ErrHost], or that of
// Base.
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
			return resp, nil //nolint:nilerr // what Communic8 says is what there is to say
		}
		body, ok := again(req)
		if !ok {
			break
		}
		_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // so that the connection can be used again
		discard(resp.Body)
		resp, err = t.send(req, body, token)
	}
	return resp, err
}

// repetitions are enough for a token that was replaced by one that was revoked.
const repetitions = 2

// send sends the request with the body and the token, which nobody sees but Communic8:
// the request that the response bears is another one.
func (t *Transport) send(req *http.Request, body io.ReadCloser, token token) (*http.Response, error) {
	target := token.base.ResolveReference(req.URL)
	if req.URL.Opaque != "" || !sameOrigin(target, token.base) {
		discard(body)
		return nil, fmt.Errorf("c8auth: %w: nothing was sent, as the request is not for %s", ErrHost, token.base)
	}
	shown := req.Clone(req.Context())
	target.Scheme, target.Host = token.base.Scheme, token.base.Host // however it was spelled
	shown.URL, shown.Host = target, ""
	shown.Header.Del("Authorization")
	out := shown.Clone(req.Context())
	out.Body = body
	if out.Header == nil {
		out.Header = make(http.Header)
	}
	out.Header.Set("Authorization", "Bearer "+*token.secret)
	resp, err := cmp.Or(t.Base, http.DefaultTransport).RoundTrip(out)
	if resp != nil {
		resp.Request = shown
	}
	return resp, err
}

// again returns the request's body once more, and whether there is a way to.
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

// sameOrigin reports whether both lead to the same scheme, host and port (RFC 6454,
// section 5).
func sameOrigin(a, b *url.URL) bool { return origin(a) == origin(b) }

func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
