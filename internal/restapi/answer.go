package restapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// Answer is a response to a caller. Its headers forbid caching.
type Answer struct {
	Status     int           // of HTTP
	RetryAfter time.Duration // the header, cut to whole seconds; 0: there is none
	Body       any           // must be of a type that encoding/json can encode
}

// Error returns an error response of RFC 6749, section 5.2.
func Error(status int, code, description string, retryAfter time.Duration) Answer {
	return Answer{status, retryAfter, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description}}
}

// Failure returns the response for an error of a request. Unless it is one that all routes have,
// unavailable says what there is not now. The text of an [c8auth.ErrInput] must repeat nothing of
// the request.
func Failure(err error, unavailable string) Answer {
	switch {
	case errors.Is(err, c8auth.ErrInput), errors.Is(err, c8auth.ErrTenantName):
		return Error(http.StatusBadRequest, "invalid_request", err.Error(), 0)
	case errors.Is(err, c8auth.ErrUnknownTenant):
		return Error(http.StatusNotFound, "unknown_tenant", "there is no such tenant; check its name", 0)
	case errors.Is(err, c8auth.ErrUnavailable):
		return Unavailable("the token store cannot be reached", 5*time.Second)
	}
	return Unavailable(unavailable, 30*time.Second)
}

// Unavailable returns the response while there is no token or no new one.
func Unavailable(description string, retryAfter time.Duration) Answer {
	return Error(http.StatusServiceUnavailable, "temporarily_unavailable", description, retryAfter)
}

// Encode returns the JSON that API Gateway expects of a proxy integration.
func (a Answer) Encode() []byte {
	headers := map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"}
	if a.RetryAfter > 0 {
		headers["Retry-After"] = strconv.Itoa(int(a.RetryAfter / time.Second))
	}
	return encode(struct {
		Status  int               `json:"statusCode"`
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"`
	}{a.Status, headers, string(encode(a.Body))})
}

// encode returns the JSON of v. It does not escape <, > and &, which would make a token up to
// six times as long.
func encode(v any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
