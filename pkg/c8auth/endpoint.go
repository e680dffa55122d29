package c8auth

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

const (
	tokenPath = "/int/v1/oauth/token"
	bearer    = "Bearer"

	// maxAnswer bounds what is read of an answer. It leaves a token room in a
	// secret, which holds 64 KiB.
	maxAnswer = 32 << 10

	askTimeout = 10 * time.Second // for one token request, body included
	tryTimeout = 5 * time.Second  // for one trial of a token
)

// Endpoint speaks to Communic8. It may be used concurrently.
type Endpoint struct {
	Client    *http.Client // see [NewHTTPClient]
	ProbePath string       // where a token is tried, beginning with a slash; empty: nowhere
}

// NewHTTPClient returns a client fit for credentials: it follows no redirect,
// because one could carry them to another host, and speaks TLS 1.2 or newer.
func NewHTTPClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(0), // to try a token, the session of asking for it is taken up
	}
	transport.MaxResponseHeaderBytes = 64 << 10
	transport.DisableKeepAlives = true // net/http prints what it receives on an idle connection
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Ask requests a token with the OAuth 2 client credentials of c, once. The scheme
// of its Authorization header is Bearer where RFC 6749 has Basic, and its body JSON
// where RFC 6749 has a form: so Communic8 documents it.
//
// The error is an [*UpstreamError]; it is an [ErrRefused] if the credentials are
// what is wrong.
func (e *Endpoint) Ask(ctx context.Context, c Credentials) (Grant, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.BaseURL+tokenPath, strings.NewReader(`{"grant_type":"client_credentials"}`))
	if err != nil {
		return Grant{}, &UpstreamError{Text: "cannot be asked: the request could not be made"}
	}
	pair := c.ClientID + ":" + c.ClientSecret.Reveal()
	req.Header.Set("Authorization", bearer+" "+base64.StdEncoding.EncodeToString([]byte(pair)))
	req.Header.Set("Content-Type", "application/json")
	resp, body, err := e.do(req)
	if err != nil {
		return Grant{}, &UpstreamError{Temporary: true, Text: err.Error()}
	}
	return readGrant(resp, body, now())
}

// Try presents the token at the probe path, once, and returns what came of it with
// a few words on what that rests on. Without a probe path it does nothing.
func (e *Endpoint) Try(ctx context.Context, t Token) (Trial, string) {
	if e.ProbePath == "" {
		return "", ""
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.BaseURL+e.ProbePath, nil)
	if err != nil {
		return TrialInconclusive, "the request could not be made"
	}
	req.Header.Set("Authorization", bearer+" "+t.AccessToken.Reveal())
	resp, body, err := e.do(req)
	if err != nil {
		return TrialInconclusive, err.Error()
	}
	return readTrial(resp.StatusCode, body)
}

// do sends a request and reads its answer, bounded. Its error shows nothing that the
// other side sent.
func (e *Endpoint) do(req *http.Request) (*http.Response, []byte, error) {
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "c8auth")
	resp, err := e.Client.Do(req)
	if err != nil {
		return nil, nil, errors.New(oauth.DescribeError(err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, nil, errors.New(oauth.DescribeError(err))
	}
	if len(body) > maxAnswer {
		body = nil // as unreadable as no body
	}
	return resp, body, nil
}
