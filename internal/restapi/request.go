// Package restapi is a function's side of an API Gateway REST API: the events of its proxy
// integration, and the answers to them.
package restapi

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// Request is what the functions need of an event.
type Request struct {
	Resource  string // the path with its parameters' names: /tokens/{tenant}
	Method    string
	Path      string // as the caller spelled it, without the stage; with the base path of a custom domain
	Stage     string
	Tenant    string // the path parameter; any string
	NoCache   bool   // a header Cache-Control has the directive no-cache (RFC 9111, section 5.2.1.4)
	RequestID string // of API Gateway, not of Lambda
	Caller    string // ARN
	Account   string
	SourceIP  string

	body   []byte // the JSON string of the event
	base64 bool
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

// Read reads an event in one pass. What is not JSON, or has a value of another type where a
// string or an object is needed, is an [ErrEvent]. Bytes that are not UTF-8 become U+FFFD; of
// strings of the same name the last counts, and objects of the same name are one: a caller's
// odd header is no reason to refuse a token. What is not needed is skipped, as it takes
// longest to decode, and the caller's session token is among it. The request is good as long
// as the event is.
func Read(event []byte) (Request, error) {
	r := readers.Get().(*reader)
	defer readers.Put(r)
	r.open(event)
	var req Request
	for name := range r.members() {
		switch string(name) {
		case "resource":
			req.Resource = r.text()
		case "httpMethod":
			req.Method = r.text()
		case "path":
			req.Path = r.text()
		case "pathParameters":
			for name := range r.members() {
				if string(name) == "tenant" {
					req.Tenant = r.text()
				}
			}
		case "headers", "multiValueHeaders": // with their names as the caller wrote them
			for name := range r.members() {
				if strings.EqualFold(string(name), "Cache-Control") {
					req.NoCache = r.noCache() || req.NoCache
				}
			}
		case "requestContext":
			for name := range r.members() {
				switch string(name) {
				case "requestId":
					req.RequestID = r.text()
				case "stage":
					req.Stage = r.text()
				case "identity":
					for name := range r.members() {
						switch string(name) {
						case "userArn":
							req.Caller = r.text()
						case "accountId":
							req.Account = r.text()
						case "sourceIp":
							req.SourceIP = r.text()
						}
					}
				}
			}
		case "body":
			value := r.value()
			end := r.json.InputOffset()
			req.body = event[end-int64(len(value)) : end]
		case "isBase64Encoded":
			req.base64 = r.value().Kind() == jsontext.KindTrue
		}
	}
	if !r.ended() {
		return Request{}, ErrEvent
	}
	return req, nil
}

// CheckRoute returns an error unless the request came by the route that IAM was asked about:
// [ErrTestInvocation], or [ErrPath] if the path does not end with the route's, which begins
// with a slash and names the tenant.
func (r Request) CheckRoute(path string) error {
	switch {
	case r.Stage == testStage:
		return ErrTestInvocation
	case !strings.HasSuffix(r.Path, path):
		return ErrPath
	}
	return nil
}

// Body decodes the request's body. It is nil if there is none, or none that can be decoded:
// no string, or no base64 where it says that it is.
func (r Request) Body() []byte {
	body, err := jsontext.AppendUnquote(nil, r.body)
	if err == nil && r.base64 {
		body, err = base64.StdEncoding.AppendDecode(nil, body)
	}
	if err != nil {
		return nil
	}
	return body
}

// Attrs says who made the request, for the log.
func (r Request) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("caller", r.Caller),
		slog.String("account", r.Account),
		slog.String("source", r.SourceIP),
		slog.String("apiRequestId", r.RequestID),
	}
}

// reader reads JSON until something is wrong, and nothing from then on.
type reader struct {
	json  *jsontext.Decoder
	input bytes.Buffer
	err   error
}

var readers = sync.Pool{New: func() any { return &reader{json: jsontext.NewDecoder(new(bytes.Buffer))} }}

func (r *reader) open(text []byte) {
	r.input = *bytes.NewBuffer(text) // which the decoder does not copy
	r.json.Reset(&r.input, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	r.err = nil
}

// ended reports whether all was read, and nothing was wrong.
func (r *reader) ended() bool {
	if r.err != nil {
		return false
	}
	_, err := r.json.ReadToken()
	return errors.Is(err, io.EOF)
}

// members returns the names of the members of the object that comes next; null has none. A
// value that is not read while its name is looked at is skipped.
func (r *reader) members() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if !r.begins(jsontext.KindBeginObject) {
			return
		}
		for r.err == nil && r.json.PeekKind() != jsontext.KindEndObject {
			name := r.value()
			value := r.json.InputOffset()
			if r.err != nil || !yield(unquote(name)) {
				return
			}
			if r.err == nil && r.json.InputOffset() == value {
				r.err = r.json.SkipValue()
			}
		}
		r.ends()
	}
}

// begins reports whether an object or an array comes next, and enters it. It may be null
// instead, and nothing else.
func (r *reader) begins(kind jsontext.Kind) bool {
	if r.err != nil {
		return false
	}
	token, err := r.json.ReadToken()
	if err != nil {
		r.err = err
		return false
	}
	if token.Kind() != kind && token.Kind() != jsontext.KindNull {
		r.err = ErrEvent
	}
	return token.Kind() == kind
}

func (r *reader) ends() {
	if r.err == nil {
		_, r.err = r.json.ReadToken()
	}
}

// value returns the next value, good until the next call.
func (r *reader) value() (value jsontext.Value) {
	if r.err == nil {
		value, r.err = r.json.ReadValue()
	}
	return value
}

// text returns the string that comes next, empty for null.
func (r *reader) text() string {
	value := r.value()
	switch {
	case r.err != nil, value.Kind() == jsontext.KindNull:
		return ""
	case value.Kind() != jsontext.KindString:
		r.err = ErrEvent
		return ""
	}
	return string(unquote(value))
}

// noCache reports whether the header value that comes next, or one of several, has the
// directive no-cache.
func (r *reader) noCache() (found bool) {
	if r.json.PeekKind() != jsontext.KindBeginArray {
		return hasNoCache(r.text())
	}
	r.begins(jsontext.KindBeginArray)
	for r.err == nil && r.json.PeekKind() != jsontext.KindEndArray {
		found = hasNoCache(r.text()) || found
	}
	r.ends()
	return found
}

func hasNoCache(value string) bool {
	for directive := range strings.SplitSeq(value, ",") {
		if strings.EqualFold(strings.TrimSpace(directive), "no-cache") {
			return true
		}
	}
	return false
}

// unquote returns what a JSON string that was read says.
func unquote(quoted jsontext.Value) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 && utf8.Valid(quoted) {
		return quoted[1 : len(quoted)-1]
	}
	text, _ := jsontext.AppendUnquote(nil, quoted) // the error is about what has become U+FFFD
	return text
}
