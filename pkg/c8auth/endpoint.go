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

	// maxAnswer bounds an answer in bytes, so that its token fits into a secret, which holds
	// 64 KiB.
	maxAnswer = 32 << 10

	requestTimeout = 10 * time.Second // of one token request, body included
	probeTimeout   = 5 * time.Second  // of one probe
)

// Endpoint sends requests to Communic8. It may be used concurrently.
type Endpoint struct {
	Client    *http.Client // from [NewHTTPClient]; must not be nil
	ProbePath string       // where a token is probed, beginning with a slash; empty: never
}

// NewHTTPClient returns a client for requests with credentials. It follows no redirect, which
// could lead to another host, and uses TLS 1.2 or newer. It may be used concurrently.
func NewHTTPClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(0), // a probe resumes the session of the token request
	}
	transport.MaxResponseHeaderBytes = 64 << 10
	transport.DisableKeepAlives = true // net/http prints what it receives on an idle connection
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// RequestToken requests a token with the OAuth 2 client credentials of c. It sends one request
// and takes ten seconds at most. As Communic8 documents, the scheme of the Authorization header
// is Bearer where RFC 6749 has Basic, and the body is JSON where RFC 6749 has a form.
//
// The error is an [*UpstreamError], which is an [ErrRefused], [ErrUpstream] or [ErrAnswer].
func (e *Endpoint) RequestToken(ctx context.Context, c Credentials) (TokenResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	pair := c.ClientID + ":" + c.ClientSecret.Reveal()
	resp, body, err := e.do(ctx, http.MethodPost, c.BaseURL+tokenPath, base64.StdEncoding.EncodeToString([]byte(pair)), `{"grant_type":"client_credentials"}`)
	if err != nil {
		return TokenResponse{}, &UpstreamError{Kind: ErrUpstream, Text: err.Error()}
	}
	return readTokenResponse(resp, body, now())
}

// Probe sends one request with the token to the probe path. It returns the result and a
// description of the answer for the log, and takes five seconds at most. Without a probe path
// it sends nothing, and both are empty.
func (e *Endpoint) Probe(ctx context.Context, t Token) (ProbeResult, string) {
	if e.ProbePath == "" {
		return "", ""
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	resp, body, err := e.do(ctx, http.MethodGet, t.BaseURL+e.ProbePath, t.AccessToken.Reveal(), "")
	if err != nil {
		return ProbeInconclusive, err.Error()
	}
	return readProbe(resp.StatusCode, body)
}

// do sends a request with the bearer credential and, unless that is empty, the JSON. It
// returns the response and its body, nil if that is longer than maxAnswer. The error contains
// nothing that the other side sent.
func (e *Endpoint) do(ctx context.Context, method, url, credential, json string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(json))
	if err != nil {
		return nil, nil, errors.New("was sent no request: its URL is malformed")
	}
	req.Header.Set("Authorization", bearer+" "+credential)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "c8auth")
	if json != "" {
		req.Header.Set("Content-Type", "application/json")
	}
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
		body = nil // no documented answer is as long
	}
	return resp, body, nil
}

// DescribeError describes a failed HTTP exchange by the type of err, to follow the
// name of the other side: "did not answer in time". It shows nothing that the other side
// sent. If err is of an [http.Client] and the environment names a proxy for its URL, it
// names the proxy, without user and password.
func DescribeError(err error) string { return oauth.DescribeError(err) }
