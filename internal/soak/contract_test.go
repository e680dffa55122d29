//go:build soak

package soak

// What every answer must be, whoever gives it, held against Communic8 and the store as
// they are now.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

const margin = 30 * time.Second

var tenantName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// answer is an answer of vend.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// vended is the body of a 200.
type vended struct {
	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	ExpiresIn   *int64    `json:"expires_in"`
	ExpiresAt   time.Time `json:"expires_at"`
	Version     string    `json:"version"`
	BaseURL     string    `json:"base_url"`
}

// refusals are the codes of all other statuses.
var refusals = map[int]string{
	http.StatusBadRequest:          "invalid_request",
	http.StatusNotFound:            "unknown_tenant",
	http.StatusInternalServerError: "server_error",
	http.StatusServiceUnavailable:  "temporarily_unavailable",
}

// readAnswer reads what the function gives to API Gateway.
func readAnswer(raw []byte) (answer, error) {
	var in events.APIGatewayProxyResponse
	if err := strictly(raw, &in); err != nil {
		return answer{}, fmt.Errorf("the answer is not one to API Gateway: %w", err)
	}
	a := answer{in.StatusCode, make(http.Header), []byte(in.Body)}
	for name, value := range in.Headers {
		a.header.Set(name, value)
	}
	return a, nil
}

// lawful returns the token that was given out between start and end, nil if none was,
// and what is wrong with the answer.
func (w *world) lawful(q request, a answer, start, end time.Time) (*vended, error) {
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"} {
		if got := a.header.Values(name); len(got) != 1 || got[0] != want {
			return nil, fmt.Errorf("%s is %q", name, got)
		}
	}
	if wait := a.header.Get("Retry-After"); (wait != "") != (a.status == http.StatusServiceUnavailable) {
		return nil, fmt.Errorf("%d with Retry-After %q", a.status, wait)
	}
	if (a.status == http.StatusBadRequest) == tenantName.MatchString(q.tenant) {
		return nil, fmt.Errorf("%d for a name that is or is not a tenant's", a.status)
	}
	if a.status != http.StatusOK {
		var body struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		if strictly(a.body, &body) != nil || body.Error == "" || body.Error != refusals[a.status] || body.Description == "" {
			return nil, fmt.Errorf("%d with a body that does not belong to it", a.status)
		}
		return nil, nil
	}
	v := new(vended)
	if strictly(a.body, v) != nil {
		return nil, errors.New("200 with a body that is not the documented one")
	}
	return v, w.good(q.tenant, v, start, end)
}

// good says what is wrong with a token that was given out as the tenant's. It does not
// show the token.
func (w *world) good(name string, v *vended, start, end time.Time) error {
	t := w.tenants[name]
	if t == nil {
		return errors.New("a token for a tenant that has none")
	}
	text, _ := w.Secrets.Version(t.tokenName(), v.Version)
	var stored vended
	_ = json.Unmarshal([]byte(text), &stored) // of no version: empty
	left := v.ExpiresAt.Sub(end)
	switch {
	case v.TokenType != "Bearer" || v.BaseURL != t.baseURL:
		return fmt.Errorf("token_type is %s, base_url %s", v.TokenType, v.BaseURL)
	case !t.c8.Valid(v.AccessToken):
		return errors.New("its Communic8 does not take the token")
	case stored.AccessToken != v.AccessToken || !stored.ExpiresAt.Equal(v.ExpiresAt):
		return errors.New("the version is not that of the token")
	case (v.ExpiresIn == nil) != v.ExpiresAt.IsZero() || (v.ExpiresIn == nil) != (name == "keyed"):
		return errors.New("expires_in, expires_at: only one of them, or of an access key, or none though it ends")
	case v.ExpiresIn == nil:
		return nil
	case *v.ExpiresIn < int64(margin/time.Second):
		return fmt.Errorf("expires_in is %d", *v.ExpiresIn)
	case *v.ExpiresIn < wholeSeconds(left) || *v.ExpiresIn > wholeSeconds(v.ExpiresAt.Sub(start)):
		return fmt.Errorf("expires_in is %d, but what is left is %v", *v.ExpiresIn, left)
	}
	return nil
}

func wholeSeconds(d time.Duration) int64 { return int64(math.Floor(d.Seconds())) }

// strictly decodes one JSON object that has no members but those of v.
func strictly(raw []byte, v any) error {
	in := json.NewDecoder(bytes.NewReader(raw))
	in.DisallowUnknownFields()
	if err := in.Decode(v); err != nil {
		return err
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

// now is the wall clock, by which vend lives.
func now() time.Time { return time.Now().UTC().Round(0) }
