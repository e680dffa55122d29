package caller

// Exchanges with the API: a signed request, and what the response means.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

const (
	getTimeout    = 10 * time.Second
	reportTimeout = 30 * time.Second // API Gateway waits 29 seconds for the function
	maxAnswer     = 64 << 10
	maxRetryAfter = time.Minute
	maxText       = 400 // characters of an error, besides the sentinels and a prefix
)

// failure is a failed exchange.
type failure struct {
	err        error         // wraps one of the package's errors
	temporary  bool          // another attempt may succeed
	retryAfter time.Duration // least time until another attempt; 0 if the API did not say
}

// fail returns a failure that another attempt does not fix.
func fail(sentinel error, format string, args ...any) *failure {
	return &failure{err: fmt.Errorf("%w: %s", sentinel, oauth.Printable(fmt.Sprintf(format, args...), maxText))}
}

// failTemporarily returns a failure that another attempt may fix.
func failTemporarily(sentinel error, format string, args ...any) *failure {
	failed := fail(sentinel, format, args...)
	failed.temporary = true
	return failed
}

// get fetches the token. With fresh, it sends no-cache, so that vend reads the store again.
func (s *Source) get(ctx context.Context, fresh bool) (token, *failure) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	header := make(http.Header)
	if fresh {
		header.Set("Cache-Control", "no-cache")
	}
	sent := now()
	body, failed := s.exchange(ctx, http.MethodGet, "", header, nil)
	if failed != nil {
		return token{}, failed
	}
	t, err := parseToken(body, sent)
	if err != nil {
		return token{}, fail(ErrUnreachable, "%v; is URL the stack's output Url?", err)
	}
	if !t.usable(now()) {
		return token{}, failTemporarily(ErrNoToken, "the API gives one that has expired, or will within %v", margin)
	}
	return t, nil
}

// report reports to c8auth that Communic8 rejects the version, and returns whether c8auth
// keeps it.
func (s *Source) report(ctx context.Context, version string) (kept bool, _ *failure) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	body, _ := json.Marshal(map[string]string{"version": version}) // cannot fail
	header := http.Header{"Content-Type": {"application/json"}}
	body, failed := s.exchange(ctx, http.MethodPost, "/rejections", header, body)
	if failed != nil {
		return false, failed
	}
	var out struct {
		Outcome string `json:"outcome"`
	}
	if json.Unmarshal(body, &out) != nil || out.Outcome == "" {
		return false, fail(ErrUnreachable, "the answer to a report is not the documented JSON")
	}
	return out.Outcome == "kept", nil
}

// exchange sends a signed request about the tenant and returns the body of a 200. If the
// signature is refused, exchange reads the AWS configuration again, and signs and sends the
// request once more. The credentials may have been renewed, or the signature may have expired
// while this machine was frozen.
func (s *Source) exchange(ctx context.Context, method, tail string, header http.Header, body []byte) ([]byte, *failure) {
	for repeated := false; ; repeated = true {
		current, failed := s.load(ctx)
		if failed != nil {
			return nil, failed
		}
		answer, failed := s.send(ctx, current, method, tail, header.Clone(), body)
		if failed == nil || repeated || !errors.Is(failed.err, ErrSignature) {
			return answer, failed
		}
		s.unload(current)
	}
}

// send is exchange without the repetition.
func (s *Source) send(ctx context.Context, current *session, method, tail string, header http.Header, body []byte) ([]byte, *failure) {
	at, failed := s.endpoint(current.Region)
	if failed != nil {
		return nil, failed
	}
	path := "/tokens/" + url.PathEscape(s.tenant()) + tail
	req, err := http.NewRequestWithContext(ctx, method, at.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, fail(ErrUnreachable, "URL and Tenant do not make a request")
	}
	req.Header = header
	req.Header.Set("Accept", "application/json")
	if failed := current.sign(req, body, at.region); failed != nil {
		return nil, failed
	}
	base := s.base(current)
	resp, err := base.RoundTrip(req) // which follows no redirect
	if err != nil {
		return nil, failTemporarily(ErrUnreachable, "%s", describe(err, base, req))
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, failTemporarily(ErrUnreachable, "%s", describe(err, base, req))
	}
	if resp.StatusCode == http.StatusOK {
		return answer, nil
	}
	failed = s.classify(resp, answer, at, method+path)
	failed.retryAfter = min(oauth.RetryAfter(resp.Header, now()), maxRetryAfter)
	return nil, failed
}

// describe describes a failed exchange, with the host of the request and the proxy of base.
func describe(err error, base http.RoundTripper, req *http.Request) string {
	if transport, ok := base.(*http.Transport); ok {
		return req.URL.Host + " " + oauth.DescribeVia(transport.Proxy, req, err)
	}
	return req.URL.Host + " " + oauth.DescribeError(err)
}

// errorTypes are the values of x-amzn-ErrorType that are shown, because another value could be a
// secret. True means that the signature or its key is refused.
var errorTypes = map[string]bool{
	"AccessDeniedException":               false,
	"BadRequestException":                 false,
	"ExpiredTokenException":               true,
	"ForbiddenException":                  false,
	"IncompleteSignatureException":        true,
	"InternalFailureException":            false,
	"InternalServerErrorException":        false,
	"InvalidClientTokenIdException":       true,
	"InvalidSignatureException":           true,
	"LimitExceededException":              false,
	"MissingAuthenticationTokenException": false,
	"NotFoundException":                   false,
	"RequestEntityTooLargeException":      false,
	"RequestExpiredException":             true,
	"ServiceUnavailableException":         false,
	"SignatureDoesNotMatchException":      true,
	"ThrottlingException":                 false,
	"TooManyRequestsException":            false,
	"UnauthorizedException":               false,
	"UnrecognizedClientException":         true,
	"UnsupportedMediaTypeException":       false,
}

// classify decides what a response other than 200 means. It shows nothing of the response but
// the status and a known error type.
func (s *Source) classify(resp *http.Response, body []byte, at endpoint, what string) *failure {
	var in struct {
		Error string `json:"error"` // only responses of c8auth have it, not those of API Gateway
	}
	_ = json.Unmarshal(body, &in)
	kind, _, _ := strings.Cut(resp.Header.Get("X-Amzn-Errortype"), ":")
	signature, known := errorTypes[kind]
	if !known {
		kind = "no known x-amzn-ErrorType"
	}
	// An invalid key comes with more than one type, but always with these words in the body.
	signature = signature || kind == "AccessDeniedException" && bytes.Contains(body, []byte("security token included in the request"))
	status := resp.StatusCode
	switch {
	case status == http.StatusForbidden && signature:
		return fail(ErrSignature, "are the AWS credentials valid, is the clock right, and is %s the API's region? (%s)", at.region, kind)
	case status == http.StatusForbidden && kind == "MissingAuthenticationTokenException":
		return fail(ErrUnreachable, "there is no such route (URL must be the stack's output Url, with the stage at its end), or a proxy on the way strips the header Authorization")
	case status == http.StatusForbidden && kind == "AccessDeniedException":
		return fail(ErrDenied, "a policy must grant execute-api:Invoke on %s", at.resource(what))
	case status == http.StatusForbidden && kind == "ForbiddenException":
		return fail(ErrUnreachable, "API Gateway forbids the request before it checks the signature (%s): by a rule of AWS WAF, or because the domain name is not mapped to the API", kind)
	case status == http.StatusForbidden:
		return fail(ErrUnreachable, "something on the way forbids the request (HTTP 403, %s): a firewall, or a proxy?", kind)
	case status == http.StatusProxyAuthRequired:
		return fail(ErrUnreachable, "a proxy wants a user and a password (HTTP 407): see HTTP_PROXY")
	case status == http.StatusNotFound && in.Error == "unknown_tenant":
		return fail(ErrTenant, "%q", s.tenant())
	case status == http.StatusBadRequest && in.Error == "invalid_request":
		return fail(ErrTenant, "%q, or the report about it, is malformed", s.tenant())
	case status >= 500 && in.Error != "":
		return failTemporarily(ErrNoToken, "c8auth answers %d; its log says why", status)
	case status >= 500, status == http.StatusTooManyRequests:
		return failTemporarily(ErrUnreachable, "it answers %d (%s)", status, kind)
	}
	return fail(ErrUnreachable, "it answers %d (%s)", status, kind)
}
