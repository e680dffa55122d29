package restapi

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
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
