// Package gwtest is a fake of Amazon API Gateway: one stage of a REST API whose
// methods, GET /tokens/{tenant} and POST /tokens/{tenant}/rejections, require
// AWS_IAM authorization and pass the request to a Lambda function each (proxy
// integration).
//
//	gateway := &gwtest.Gateway{
//		Keys:   map[string]gwtest.Key{"AKIDEXAMPLE": {SecretAccessKey: "…", ARN: "…", Tenants: []string{"acme"}}},
//		Invoke: vend.Invoke,
//		Report: rotate.Invoke,
//	}
//	http.ListenAndServe(address, gateway)
//
// A request passes if it is for one of the routes, its signature is right (see
// sigv4.go), and its key may do that for the tenant; then the function gets
// the event that a REST API would send (see event.go). Anything else is answered
// as API Gateway does, except that no answer repeats the caller's credentials. A
// function that fails is 502, also when it timed out; 504 is for one that takes
// over 29 seconds.
//
// Routes, events and what it makes of a function's answer follow recordings of the
// real service (recorded_test.go), and where there is none, AWS's documentation.
//
// It differs from API Gateway in this: a signature in the query string is ignored, IAM
// is a list of tenants by key and route, in which * is any tenant, and header names are in
// Go's canonical form, where API Gateway keeps the letters that the caller or the function
// wrote. Whatever is wrong with a signature but its date, the answer says that it does not match.
package gwtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	smithyrand "github.com/aws/smithy-go/rand"
)

// Gateway is a stage of a REST API in front of two functions. Its fields must
// not change while it serves.
type Gateway struct {
	Keys map[string]Key // by access key id

	// Invoke calls the function behind GET; usually it is
	// (*lambdatest.Function).Invoke. Its context ends with the integration's time,
	// 29 s, and not when the caller hangs up. Report is the same for POST; nil
	// means that there is no such route.
	Invoke, Report func(ctx context.Context, event []byte) ([]byte, error)
}

// Key is an access key, whose it is, and what it may do.
type Key struct {
	SecretAccessKey string
	SessionToken    string   // of temporary credentials: the request must carry it. Empty: it must carry none.
	ARN             string   // the caller's, such as arn:aws:sts::123456789012:assumed-role/payroll/i-0123
	Tenants         []string // whose token it may get, as the path spells them; "*" is all
	Reports         []string // whose token it may report as rejected
	Barred          bool     // by the API's own policy, which must admit callers of other accounts
}

const (
	region  = "eu-central-1"
	account = "123456789012" // the API's, not the callers'
	api     = "c8auth0api"
	stage   = "v1"

	integrationTimeout = 29 * time.Second
)

// failure is an answer of API Gateway itself.
type failure struct {
	status  int
	kind    string // x-amzn-ErrorType
	message string
}

var (
	missingToken = &failure{http.StatusForbidden, "MissingAuthenticationTokenException", "Missing Authentication Token"}
	badGateway   = &failure{http.StatusBadGateway, "InternalServerErrorException", "Internal server error"}
	outOfTime    = &failure{http.StatusGatewayTimeout, "InternalServerErrorException", "Endpoint request timed out"}
)

func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, _ := smithyrand.NewUUID(rand.Reader).GetUUID() // never fails
	w.Header().Set("x-amzn-RequestId", id)
	answer, failed := g.serve(r, id)
	if failed != nil {
		failed.write(w)
		return
	}
	answer.write(w)
}

func (g *Gateway) serve(r *http.Request, id string) (*answer, *failure) {
	route, ok := g.route(r)
	if !ok {
		return nil, missingToken
	}
	body, _ := io.ReadAll(r.Body) // if the caller has hung up, the signature does not match
	keyID, failed := g.authenticate(r, body)
	if failed != nil {
		return nil, failed
	}
	if failed := g.authorize(g.Keys[keyID], r.Method, route); failed != nil {
		return nil, failed
	}
	event, _ := json.Marshal(g.event(r, id, keyID, route, body)) // strings and numbers: cannot fail
	// The function is not told that the caller has hung up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), integrationTimeout)
	defer cancel()
	raw, err := route.invoke(ctx, event)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, outOfTime
	case err != nil:
		return nil, badGateway
	}
	return parseAnswer(raw)
}

// route is what a request is for.
type route struct {
	resource, resourceID string // as the API defines it
	full, path, tenant   string // spelled as the caller did; full begins with the stage
	invoke               func(ctx context.Context, event []byte) ([]byte, error)
	allowed              func(Key) []string
}

// route finds what the path leads to. Like API Gateway, it does not decode, so an
// encoded slash stays within its segment; and more slashes than one before the stage or
// after it, or one at the end, lead to the same route.
func (g *Gateway) route(r *http.Request) (route, bool) {
	full := "/" + strings.TrimLeft(r.URL.EscapedPath(), "/")
	rest, ok := strings.CutPrefix(full, "/"+stage+"/")
	path := "/" + strings.TrimLeft(rest, "/")
	segments := strings.Split(strings.TrimSuffix(path, "/"), "/")
	if !ok || len(segments) < 3 || segments[1] != "tokens" || segments[2] == "" {
		return route{}, false
	}
	tenant, tail := segments[2], segments[3:]
	switch {
	case r.Method == http.MethodGet && len(tail) == 0:
		return route{"/tokens/{tenant}", "t0k3ns", full, path, tenant, g.Invoke, func(k Key) []string { return k.Tenants }}, true
	case r.Method == http.MethodPost && slices.Equal(tail, []string{"rejections"}) && g.Report != nil:
		return route{"/tokens/{tenant}/rejections", "r3j3ct", full, path, tenant, g.Report, func(k Key) []string { return k.Reports }}, true
	}
	return route{}, false
}

// authorize decides as IAM would about the path as it was sent: whether AWS evaluates
// policies before or after it drops slashes is not recorded.
func (g *Gateway) authorize(key Key, method string, route route) *failure {
	sent := strings.TrimPrefix(route.full, "/"+stage)
	granted := func(tenant string) bool {
		pattern := strings.Replace(route.resource, "{tenant}", tenant, 1)
		before, after, wild := strings.Cut(pattern, "*")
		return sent == pattern || wild && strings.HasPrefix(sent, before) && strings.HasSuffix(sent, after)
	}
	missing := "identity-based"
	if slices.ContainsFunc(route.allowed(key), granted) {
		if !key.Barred {
			return nil
		}
		missing = "resource-based"
	}
	masked := "********" + account[8:] // of its own account, API Gateway shows the end
	resource := "arn:aws:execute-api:" + region + ":" + masked + ":" + api + "/" + stage + "/" + method + sent
	return &failure{http.StatusForbidden, "AccessDeniedException",
		"User: " + key.ARN + " is not authorized to perform: execute-api:Invoke on resource: " + resource +
			" because no " + missing + " policy allows the execute-api:Invoke action"}
}

func (f *failure) write(w http.ResponseWriter) {
	form := `{"message":%s}`
	switch { // to the letter
	case f.kind == "AccessDeniedException":
		form = `{"Message":%s}`
	case f.status >= 500:
		form = `{"message": %s}`
	}
	message, _ := json.Marshal(f.message) // a string: cannot fail
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store") // these two by the template's GatewayResponses
	w.Header().Set("Pragma", "no-cache")
	w.Header().Set("x-amzn-ErrorType", f.kind)
	w.WriteHeader(f.status)
	_, _ = fmt.Fprintf(w, form, message)
}

// answer is what a proxy integration may return. Every member may be missing.
type answer struct {
	StatusCode        status                   `json:"statusCode"`
	Headers           map[string]headerValue   `json:"headers"`
	MultiValueHeaders map[string][]headerValue `json:"multiValueHeaders"`
	Body              string                   `json:"body"`
	IsBase64Encoded   bool                     `json:"isBase64Encoded"` // without effect: the API has no binary media types
}

// status is a number, or a string of digits.
type status int

func (s *status) UnmarshalJSON(text []byte) error {
	n, err := strconv.Atoi(strings.Trim(string(text), `"`))
	*s = status(n)
	return err
}

// headerValue is a string, or a Boolean.
type headerValue string

func (v *headerValue) UnmarshalJSON(text []byte) error {
	if s := string(text); s == "true" || s == "false" {
		*v = headerValue(s)
		return nil
	}
	return json.Unmarshal(text, (*string)(v))
}

// parseAnswer accepts what a proxy integration may return, and nothing besides.
func parseAnswer(raw []byte) (*answer, *failure) {
	a := &answer{StatusCode: http.StatusOK}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	object := bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) // null would decode
	if !object || d.Decode(a) != nil || d.More() || a.StatusCode < 200 || a.StatusCode > 599 {
		return nil, badGateway
	}
	return a, nil
}

// write sends the answer. Of a header that comes as both, the values of the list go first.
func (a *answer) write(w http.ResponseWriter) {
	h := w.Header()
	for name, values := range a.MultiValueHeaders {
		for _, value := range values {
			h.Add(name, string(value))
		}
	}
	for name, value := range a.Headers {
		if !slices.Contains(h.Values(name), string(value)) {
			h.Add(name, string(value))
		}
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	w.WriteHeader(int(a.StatusCode))
	_, _ = io.WriteString(w, a.Body)
}
