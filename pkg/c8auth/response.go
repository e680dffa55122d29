package c8auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

// TokenResponse is a token as Communic8 issues it (RFC 6749, section 5.1).
type TokenResponse struct {
	AccessToken Secret
	Lifetime    time.Duration // from the time of the request, in whole seconds
	Assumed     bool          // the response has no usable expires_in; Lifetime is one hour
}

const (
	// assumedLifetime is the lifetime of a token without a usable expires_in, which is optional
	// in RFC 6749, section 5.1.
	assumedLifetime = time.Hour
	// maxLifetime is the longest lifetime that is used. Too short a lifetime costs a few early
	// rotations; too long a one would have an expired token vended.
	maxLifetime = 30 * 24 * time.Hour
)

// refusals are the error codes of RFC 6749, section 5.2.
var refusals = []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}

// UpstreamError is why Communic8 issued no token. Of the response it contains the status, the
// Retry-After and an error code of RFC 6749.
type UpstreamError struct {
	Kind       error         // [ErrRefused], [ErrUpstream] or [ErrAnswer]
	Status     int           // of the HTTP response; 0 if there was none
	RetryAfter time.Duration // least time until the next request, a day at most; 0 if Communic8 did not say
	Text       string        // what happened and what to do, as the predicate of a sentence about Communic8
}

// Error returns what happened and what to do, with the HTTP status if there was a response.
func (e *UpstreamError) Error() string {
	if e.Status == 0 {
		return "Communic8 " + e.Text
	}
	return fmt.Sprintf("Communic8 %s (HTTP %d)", e.Text, e.Status)
}

// Unwrap returns Kind.
func (e *UpstreamError) Unwrap() error { return e.Kind }

// readTokenResponse decides what a response of the token endpoint means. It reads only the
// documented members of the JSON, by their exact names and types.
//
// Communic8 does not document which responses refuse credentials. Here 401 and 403 do, and so
// does any other status under 500, except 408 and 429, whose JSON has a string error (RFC 6749,
// section 5.2), or the {"success": false} of Communic8's other endpoints.
func readTokenResponse(resp *http.Response, body []byte, now time.Time) (TokenResponse, error) {
	status := resp.StatusCode
	fail := func(kind error, text string) (TokenResponse, error) {
		return TokenResponse{}, &UpstreamError{kind, status, 0, text}
	}
	in := readObject(body)
	code, _ := readText(in["error"])
	token, _ := readText(in["access_token"])
	success := status >= 200 && status < 300
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= 500:
		return TokenResponse{}, &UpstreamError{ErrUpstream, status, oauth.RetryAfter(resp.Header, now), "is busy or out of order"}
	case slices.Contains(refusals, code): // no other string is shown: it could be a secret
		return fail(ErrRefused, "refuses the credentials, "+code)
	case string(in["success"]) == "false":
		return fail(ErrRefused, "refuses the credentials with success:false")
	case code != "", status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fail(ErrRefused, "refuses the credentials")
	case success && oauth.ValidBearer(token):
	case success && in == nil:
		return fail(ErrUpstream, "gives an answer that is not the documented JSON")
	case success:
		return fail(ErrUpstream, "gives an answer without a usable access_token")
	case status >= 300 && status < 400:
		return fail(ErrAnswer, "redirects, which is not followed with credentials: base_url should be the host that answers itself")
	default:
		return fail(ErrAnswer, "gives no token: does base_url lead to the right instance?")
	}
	if kind, ok := readText(in["token_type"]); kind != "" && !strings.EqualFold(kind, bearer) || !ok && !isNull(in["token_type"]) {
		return fail(ErrAnswer, "gives a token whose token_type is not Bearer")
	}
	lifetime, ok := readLifetime(in["expires_in"])
	if !ok {
		return TokenResponse{NewSecret(token), assumedLifetime, true}, nil
	}
	if lifetime < Margin {
		return fail(ErrAnswer, fmt.Sprintf("gives a token that expires in under %d seconds", Margin/time.Second))
	}
	return TokenResponse{NewSecret(token), lifetime, false}, nil
}

// readObject returns the members of a JSON object by their exact names, or nil if the body is
// not a JSON object. It skips a byte order mark.
func readObject(body []byte) map[string]json.RawMessage {
	var in map[string]json.RawMessage
	if json.Unmarshal(bytes.TrimPrefix(body, []byte("\ufeff")), &in) != nil {
		return nil
	}
	return in
}

// readText returns the value of raw, and whether raw is a JSON string.
func readText(raw json.RawMessage) (text string, ok bool) {
	var in *string
	if json.Unmarshal(raw, &in) != nil || in == nil {
		return "", false
	}
	return *in, true
}

// isNull reports whether a member is missing or null.
func isNull(raw json.RawMessage) bool { return raw == nil || string(raw) == "null" }

// readLifetime reads expires_in: a positive number, or a string of one. It rounds down to
// seconds and cuts to maxLifetime. Anything else is not ok.
func readLifetime(raw json.RawMessage) (lifetime time.Duration, ok bool) {
	if quoted, isText := readText(raw); isText {
		raw = json.RawMessage(strings.TrimSpace(quoted))
	}
	var number json.Number
	if isNull(raw) || len(raw) == 0 || raw[0] == '"' || json.Unmarshal(raw, &number) != nil {
		return 0, false
	}
	// The only error left is ErrRange, and seconds is then infinite.
	seconds, _ := strconv.ParseFloat(number.String(), 64)
	if seconds <= 0 {
		return 0, false
	}
	return time.Duration(math.Floor(min(seconds, maxLifetime.Seconds()))) * time.Second, true
}

// ProbeResult is the result of presenting a token at the probe path; empty if there was no
// probe.
type ProbeResult string

// The results of a probe. Only HTTP 401 rejects the token: 403 can mean a user without the
// right to the probe path, and success:false can mean anything.
const (
	ProbeGood         ProbeResult = "good"
	ProbeRejected     ProbeResult = "rejected"
	ProbeInconclusive ProbeResult = "inconclusive"
)

// readProbe decides what a response of the probe path means, and describes the response for
// the log.
func readProbe(status int, body []byte) (ProbeResult, string) {
	detail := fmt.Sprintf("HTTP %d", status)
	if status == http.StatusUnauthorized {
		return ProbeRejected, detail
	}
	success := string(readObject(body)["success"])
	if success != "true" && success != "false" {
		return ProbeInconclusive, detail + " without the documented JSON"
	}
	if status >= 200 && status < 300 && success == "true" {
		return ProbeGood, detail
	}
	return ProbeInconclusive, detail + ", success:" + success
}
