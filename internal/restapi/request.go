// Package restapi is a function's side of an API Gateway REST API with proxy integration: it
// reads the events and encodes the answers.
package restapi

import (
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"strings"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// Request is what the functions need of an event.
type Request struct {
	Resource string `json:"resource"` // the path with the names of its parameters: /tokens/{tenant}
	Method   string `json:"httpMethod"`
	Path     string `json:"path"` // as the caller spelled it, without the stage; with the base path of a custom domain
	Context  struct {
		Stage     string `json:"stage"`
		RequestID string `json:"requestId"` // of API Gateway, not of Lambda
		Identity  struct {
			Caller   string `json:"userArn"`
			Account  string `json:"accountId"`
			SourceIP string `json:"sourceIp"`
		} `json:"identity"`
	} `json:"requestContext"`

	Tenant  string `json:"-"` // the path parameter; any string
	NoCache bool   `json:"-"` // a header Cache-Control has the directive no-cache (RFC 9111, section 5.2.1.4)
	Body    []byte `json:"-"` // decoded; nil if it should be base64 and is not
}

// requestError is an error of this package, and a [c8auth.ErrInput].
type requestError string

func (e requestError) Error() string        { return string(e) }
func (e requestError) Is(target error) bool { return target == c8auth.ErrInput }

// ErrEvent is an event that no REST API sends.
const ErrEvent = requestError("not an event of a REST API's proxy integration")

// Requests that IAM may not have allowed, though API Gateway passes them on. The errors
// repeat nothing of the request.
const (
	// ErrTestInvocation: whoever may test an API in the console need not be allowed to invoke it.
	ErrTestInvocation = requestError("a test invocation by API Gateway is not answered, as it takes no execute-api:Invoke: send a signed request to the API's URL")
	// ErrPath: in another spelling, the path may be another resource to IAM.
	ErrPath = requestError("the path must end with the route's own, and name the tenant as it is: without escapes, and without a slash at the end")
)

// testStage is what API Gateway calls the stage of a test invocation.
const testStage = "test-invoke-stage"

// Read reads an event. The error is an [ErrEvent].
func Read(event []byte) (Request, error) {
	var in struct {
		Request
		PathParameters    map[string]string   `json:"pathParameters"`
		Headers           map[string]string   `json:"headers"`
		MultiValueHeaders map[string][]string `json:"multiValueHeaders"`
		Body              any                 `json:"body"`
		IsBase64Encoded   any                 `json:"isBase64Encoded"`
	}
	if json.Unmarshal(event, &in) != nil {
		return Request{}, ErrEvent
	}
	req := in.Request
	req.Tenant = in.PathParameters["tenant"]
	for name, value := range in.Headers {
		req.NoCache = req.NoCache || isNoCache(name, value)
	}
	for name, values := range in.MultiValueHeaders {
		for _, value := range values {
			req.NoCache = req.NoCache || isNoCache(name, value)
		}
	}
	body, _ := in.Body.(string)
	req.Body = []byte(body)
	if in.IsBase64Encoded == true {
		var err error
		if req.Body, err = base64.StdEncoding.DecodeString(body); err != nil {
			req.Body = nil
		}
	}
	return req, nil
}

func isNoCache(name, value string) bool {
	if !strings.EqualFold(name, "Cache-Control") {
		return false
	}
	for directive := range strings.SplitSeq(value, ",") {
		if strings.EqualFold(strings.TrimSpace(directive), "no-cache") {
			return true
		}
	}
	return false
}

// CheckRoute returns an error unless the request came by the route that IAM was asked about:
// [ErrTestInvocation], or [ErrPath] if the path does not end with the route's, which begins
// with a slash and names the tenant. The path decides, which a custom domain may lengthen at
// its beginning; the resource is not needed.
func (r Request) CheckRoute(path string) error {
	switch {
	case r.Context.Stage == testStage:
		return ErrTestInvocation
	case !strings.HasSuffix(r.Path, path):
		return ErrPath
	}
	return nil
}

// Attrs returns who made the request, for the log.
func (r Request) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("caller", r.Context.Identity.Caller),
		slog.String("account", r.Context.Identity.Account),
		slog.String("source", r.Context.Identity.SourceIP),
		slog.String("apiRequestId", r.Context.RequestID),
	}
}
