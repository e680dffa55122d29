package caller

// One exchange with the API: a signed request, and what its answer means.

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
)

const (
	getTimeout    = 10 * time.Second
	reportTimeout = 30 * time.Second // API Gateway gives up after 29
	maxAnswer     = 64 << 10
	maxRetryAfter = time.Minute
)

// failure is an exchange that came to nothing.
type failure struct {
	error                    // wraps one of the package's errors
	temporary  bool          // it is worth repeating
	retryAfter time.Duration // how long the API wants to be left alone; 0 if it did not say
}

func (f *failure) Unwrap() error { return f.error }

// fail gives a sentinel its particulars.
func fail(sentinel error, format string, args ...any) *failure {
	return &failure{error: fmt.Errorf("%w: %s", sentinel, fmt.Sprintf(format, args...))}
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

// report says that Communic8 rejects the version, and returns whether c8auth keeps it.
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

// exchange sends one signed request about the tenant and returns the body of a 200.
func (s *Source) exchange(ctx context.Context, method, tail string, header http.Header, body []byte) ([]byte, *failure) {
	cfg, err := s.config(ctx)
	if err != nil {
		return nil, fail(ErrCredentials, "%v", err)
	}
	at, failed := s.place(cfg.Region)
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
	credentials, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, fail(ErrCredentials, "%v", err)
	}
	digest := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, req, hex.EncodeToString(digest[:]), "execute-api", at.region, time.Now()); err != nil {
		return nil, fail(ErrCredentials, "the request cannot be signed")
	}
	resp, err := cmp.Or(s.Base, http.DefaultTransport).RoundTrip(req) // which follows no redirect
	if err != nil {
		return nil, passing(fail(ErrUnreachable, "%s %s", req.URL.Host, describe(err)))
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, passing(fail(ErrUnreachable, "%s %s", req.URL.Host, describe(err)))
	}
	if resp.StatusCode == http.StatusOK {
		return answer, nil
	}
	failed = s.judge(resp, answer, at, method+path)
	failed.retryAfter = retryAfter(resp.Header)
	return nil, failed
}

// passing marks a failure that is worth another try.
func passing(f *failure) *failure {
	f.temporary = true
	return f
}

// describe puts a failed exchange into words. net/http quotes what it could not parse,
// so only errors known to come from this side are passed on.
func describe(err error) string {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "does not answer in time"
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok {
		return "cannot be reached: " + dial.Error()
	}
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "shows a certificate that is not valid: " + certificate.Error()
	}
	return "breaks the connection off"
}

// errorType is what API Gateway's own errors look like.
var errorType = regexp.MustCompile(`^[A-Z][A-Za-z]{1,60}$`)

// judge says what an answer means that is not a 200. It shows nothing of the body.
func (s *Source) judge(resp *http.Response, body []byte, at place, what string) *failure {
	var in struct {
		Error string `json:"error"` // of c8auth's own answers; API Gateway's have none
	}
	_ = json.Unmarshal(body, &in)
	kind, _, _ := strings.Cut(resp.Header.Get("X-Amzn-Errortype"), ":")
	if !errorType.MatchString(kind) {
		kind = "no x-amzn-ErrorType"
	}
	status := resp.StatusCode
	switch {
	case status == http.StatusForbidden && strings.HasPrefix(kind, "MissingAuthenticationToken"):
		return fail(ErrUnreachable, "there is no such route: URL must be the stack's output Url, with the stage at its end")
	case status == http.StatusForbidden && strings.HasPrefix(kind, "AccessDenied"):
		return fail(ErrDenied, "a policy must grant execute-api:Invoke on %s", at.resource(what))
	case status == http.StatusForbidden:
		return fail(ErrDenied, "the signature is not accepted (%s): are the AWS credentials valid, is the clock right, and is %s the API's region?", kind, at.region)
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

// retryAfter reads Retry-After, a number of seconds as c8auth gives it (RFC 9110,
// section 10.2.3). It is 0 if there is none.
func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.ParseUint(header.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxRetryAfter)
}

// config is the AWS configuration: the Source's own, or else the ambient one, which is
// read once.
func (s *Source) config(ctx context.Context) (aws.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.AWS.Credentials != nil:
		return s.AWS, nil
	case s.ambient.Credentials != nil:
		return s.ambient, nil
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err == nil && cfg.Credentials == nil {
		err = errors.New("the configuration has none")
	}
	if err == nil {
		s.ambient = cfg
	}
	return cfg, err
}

// place is what URL says about the API.
type place struct {
	url                string // without a slash at the end
	region, api, stage string
}

// apiHost is the host of a REST API, also of one that is reached through a VPC endpoint.
var apiHost = regexp.MustCompile(`^([a-z0-9]+)(?:-vpce-[0-9a-f]+)?\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$`)

// place reads URL. A host that does not name the region, as a domain name of one's own,
// is taken to be in the ambient one.
func (s *Source) place(region string) (place, *failure) {
	u, err := url.Parse(s.URL)
	if err != nil || !confidential(u) {
		return place{}, fail(ErrUnreachable, "URL must be the stack's output Url, such as https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1")
	}
	at := place{url: strings.TrimRight(s.URL, "/"), region: region, api: "*", stage: "*"}
	if parts := apiHost.FindStringSubmatch(u.Hostname()); parts != nil {
		at.api, at.region, at.stage = parts[1], parts[2], strings.Trim(u.Path, "/")
	}
	if at.region == "" {
		return place{}, fail(ErrCredentials, "no AWS region is configured, and URL does not name one")
	}
	return at, nil
}

// resource is what a policy must grant. Which account the API is in cannot be seen from here.
func (p place) resource(what string) string {
	partition := "aws"
	switch {
	case strings.HasPrefix(p.region, "cn-"):
		partition = "aws-cn"
	case strings.HasPrefix(p.region, "us-gov-"):
		partition = "aws-us-gov"
	}
	return "arn:" + partition + ":execute-api:" + p.region + ":*:" + p.api + "/" + p.stage + "/" + what
}
