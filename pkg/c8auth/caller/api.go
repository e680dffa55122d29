package caller

// One exchange with the API: a signed request, and what its response means.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

const (
	getTimeout    = 10 * time.Second
	reportTimeout = 30 * time.Second // API Gateway gives up after 29
	maxAnswer     = 64 << 10
	maxRetryAfter = time.Minute
	maxText       = 400 // characters of an error, besides the sentinels and a prefix
)

// failure is a failed exchange.
type failure struct {
	error                    // wraps one of the package's errors
	temporary  bool          // it is worth retrying
	retryAfter time.Duration // how long to wait at least; 0 if the API did not say
	signature  bool          // the signature is refused, or the key that it was made with
}

func (f *failure) Unwrap() error { return f.error }

// fail gives a sentinel its details.
func fail(sentinel error, format string, args ...any) *failure {
	return &failure{error: fmt.Errorf("%w: %s", sentinel, printable(fmt.Sprintf(format, args...)))}
}

// printable returns text without characters that do not print, cut to maxText.
func printable(text string) string {
	runes := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text))
	if len(runes) > maxText {
		runes = append(runes[:maxText-1], '…')
	}
	return string(runes)
}

// passing marks a failure that is worth retrying.
func passing(f *failure) *failure {
	f.temporary = true
	return f
}

// get fetches the token; fresh makes vend read the store again (RFC 9111, section 5.2.1.4).
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
		return token{}, passing(fail(ErrNoToken, "the API gives one that has expired, or will within %v", margin))
	}
	return t, nil
}

// report tells c8auth that Communic8 rejects the version, and returns whether c8auth keeps it.
func (s *Source) report(ctx context.Context, version string) (kept bool, _ *failure) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	body, err := json.Marshal(map[string]string{"version": version})
	if err != nil {
		return false, fail(ErrUnreachable, "the report cannot be encoded")
	}
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

// exchange sends one signed request about the tenant and returns the body of a 200. If
// the signature is refused, it reads the AWS configuration again and sends the request
// once more, signed anew: the key may have been renewed, and a signature that was made
// before this machine was frozen is too old afterwards.
func (s *Source) exchange(ctx context.Context, method, tail string, header http.Header, body []byte) ([]byte, *failure) {
	for repeated := false; ; repeated = true {
		current, failed := s.load(ctx)
		if failed != nil {
			return nil, failed
		}
		answer, failed := s.send(ctx, current, method, tail, header.Clone(), body)
		if failed == nil || !failed.signature || repeated {
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
		return nil, passing(fail(ErrUnreachable, "%s", describe(err, base, req)))
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, passing(fail(ErrUnreachable, "%s", describe(err, base, req)))
	}
	if resp.StatusCode == http.StatusOK {
		return answer, nil
	}
	failed = s.classify(resp, answer, at, method+path)
	failed.retryAfter = min(oauth.RetryAfter(resp.Header, now()), maxRetryAfter)
	return nil, failed
}

// describe describes a failed exchange, with the host of the request and, if base goes
// through a proxy, the proxy's address without its user and password.
func describe(err error, base http.RoundTripper, req *http.Request) string {
	text := req.URL.Host + " " + oauth.DescribeError(err)
	transport, ok := base.(*http.Transport)
	if !ok || transport.Proxy == nil {
		return text
	}
	proxy, malformed := transport.Proxy(req)
	switch {
	case malformed != nil:
		return req.URL.Host + " cannot be reached: the proxy's address is malformed; see HTTPS_PROXY"
	case proxy == nil:
		return text
	case err.Error() == http.StatusText(http.StatusProxyAuthRequired): // as net/http reports the answer to CONNECT
		text = req.URL.Host + " cannot be reached: the proxy wants a user and a password (HTTP 407), or does not accept those that HTTPS_PROXY holds"
	}
	return text + "; the proxy is " + proxy.Scheme + "://" + proxy.Host
}

// errorTypes are the values of x-amzn-ErrorType that may be shown, and whether they
// refuse the signature or its key. Any other value came from somewhere else.
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

// classify says what a response other than 200 means. It shows nothing of it but the
// status and a known error type.
func (s *Source) classify(resp *http.Response, body []byte, at endpoint, what string) *failure {
	var in struct {
		Error string `json:"error"` // of c8auth's own answers; API Gateway's have none
	}
	_ = json.Unmarshal(body, &in)
	kind, _, _ := strings.Cut(resp.Header.Get("X-Amzn-Errortype"), ":")
	signature, known := errorTypes[kind]
	if !known {
		kind = "no known x-amzn-ErrorType"
	}
	// Invalid keys are reported by more than one type, but always in these words.
	signature = signature || kind == "AccessDeniedException" && bytes.Contains(body, []byte("security token included in the request"))
	status := resp.StatusCode
	switch {
	case status == http.StatusForbidden && signature:
		failed := fail(ErrSignature, "are the AWS credentials valid, is the clock right, and is %s the API's region? (%s)", at.region, kind)
		failed.signature = true
		return failed
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
		return fail(ErrTenant, "%q, or what was said of it, is malformed", s.tenant())
	case status >= 500 && in.Error != "":
		return passing(fail(ErrNoToken, "c8auth answers %d; its log says why", status))
	case status >= 500, status == http.StatusTooManyRequests:
		return passing(fail(ErrUnreachable, "it answers %d (%s)", status, kind))
	}
	return fail(ErrUnreachable, "it answers %d (%s)", status, kind)
}
