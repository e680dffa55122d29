package restapi

import (
	"strconv"
	"time"

	"github.com/c8auth/c8auth/internal/object"
)

// Answer is what a caller gets. Nobody on the way may keep it.
type Answer struct {
	Status     int
	RetryAfter time.Duration // in whole seconds; 0 for none
	Body       string        // JSON
}

// Error returns RFC 6749's error answer (section 5.2).
func Error(status int, code, description string, retryAfter time.Duration) Answer {
	body := object.New(256)
	body.Text("error", code)
	body.Text("error_description", description)
	return Answer{status, retryAfter, string(body.Bytes())}
}

// Encode returns the answer as a proxy integration gives it to API Gateway.
func (a Answer) Encode() []byte {
	headers := object.New(128)
	headers.Text("Content-Type", "application/json")
	headers.Text("Cache-Control", "no-store")
	headers.Text("Pragma", "no-cache")
	if a.RetryAfter > 0 {
		headers.Text("Retry-After", strconv.Itoa(int(a.RetryAfter/time.Second)))
	}
	response := object.New(256 + len(a.Body)*5/4) // its quotes are escaped
	response.Int("statusCode", int64(a.Status))
	response.JSON("headers", headers.Bytes())
	response.Text("body", a.Body)
	return response.Bytes()
}
