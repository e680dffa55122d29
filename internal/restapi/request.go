// Package restapi reads the events of an API Gateway REST API with proxy integration, and
// encodes the responses.
package restapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// Request is the part of an event that the functions use.
type Request struct {
	Resource string `json:"resource"` // the path with the names of its parameters: /tokens/{tenant}
	Method   string `json:"httpMethod"`
	Path     string `json:"path"` // as the caller sent it, without the stage, but with the base path of a custom domain
	Context  struct {
		Stage     string `json:"stage"`
		RequestID string `json:"requestId"` // of API Gateway, not of Lambda
		Identity  struct {
			Caller   string `json:"userArn"`
			Account  string `json:"accountId"`
			SourceIP string `json:"sourceIp"`
		} `json:"identity"`
	} `json:"requestContext"`

	Tenant  string `json:"-"` // the path parameter; can be any string
	NoCache bool   `json:"-"` // a header Cache-Control has the directive no-cache (RFC 9111, section 5.2.1.4)
	Body    []byte `json:"-"` // decoded; nil if malformed base64
}

// ErrEvent is the error for an event that is not one of a REST API, a [c8auth.ErrInput].
var ErrEvent = fmt.Errorf("%w: not an event of a REST API's proxy integration", c8auth.ErrInput)

// The errors of [Request.Check], both a [c8auth.ErrInput]: API Gateway passes the request on,
// but IAM may not have authorized it. They repeat nothing of the request.
var (
	// ErrTestInvocation: a test invocation in the console needs no permission to invoke the API.
	ErrTestInvocation = fmt.Errorf("%w: a test invocation by API Gateway is not answered, as it takes no execute-api:Invoke: send a signed request to the API's URL", c8auth.ErrInput)
	// ErrPath: for IAM, an escaped path can be another resource than the route.
	ErrPath = fmt.Errorf("%w: the path must end with the route's own, and name the tenant as it is: without escapes, and without a slash at the end", c8auth.ErrInput)
)

// testStage is the stage that API Gateway sends in a test invocation.
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

// Check checks that the request names a tenant, and that IAM has authorized it for the route
// /tokens/{tenant}, with the suffix if that is not empty. The error is a [c8auth.ErrTenantName],
// an [ErrTestInvocation], or an [ErrPath] if the path does not end with the route's: a custom
// domain can add a base path before it.
func (r Request) Check(suffix string) error {
	switch err := c8auth.CheckTenant(r.Tenant); {
	case err != nil:
		return err
	case r.Context.Stage == testStage:
		return ErrTestInvocation
	case !strings.HasSuffix(r.Path, "/tokens/"+r.Tenant+suffix):
		return ErrPath
	}
	return nil
}

// Attrs returns attributes for the log that identify the caller and the request.
func (r Request) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("caller", r.Context.Identity.Caller),
		slog.String("account", r.Context.Identity.Account),
		slog.String("source", r.Context.Identity.SourceIP),
		slog.String("apiRequestId", r.Context.RequestID),
	}
}
