package c8auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Grant is a token as Communic8 issues it.
type Grant struct {
	AccessToken Secret
	Lifetime    time.Duration // from the moment of the request on, in whole seconds
}

const (
	// assumedLifetime is how long a token is taken to live when Communic8 does not
	// say: RFC 6749, section 5.1, lets it be silent.
	assumedLifetime = time.Hour
	// maxLifetime is the longest that is believed. To believe too little costs a
	// few early rotations, to believe too much an expired token.
	maxLifetime = 30 * 24 * time.Hour
	// maxRetryAfter keeps an absurd Retry-After from overflowing.
	maxRetryAfter = 24 * time.Hour
)

// UpstreamError says why Communic8 gave no token. It holds words of our own,
// never any of the answer's.
type UpstreamError struct {
	Refused    bool          // the credentials are what is wrong
	Temporary  bool          // it is worth asking again
	Status     int           // of the HTTP answer; 0 if there was none
	RetryAfter time.Duration // how long Communic8 wants to be left alone; 0 if it did not say
	Text       string        // what happened, to follow the word Communic8
}

// Error returns a sentence on what happened.
func (e *UpstreamError) Error() string {
	if e.Status == 0 {
		return "Communic8 " + e.Text
	}
	return fmt.Sprintf("Communic8 %s (HTTP %d)", e.Text, e.Status)
}

// Is makes it an [ErrRefused], an [ErrUpstream] if it is temporary, or an [ErrAnswer].
func (e *UpstreamError) Is(target error) bool {
	switch {
	case e.Refused:
		return target == ErrRefused
	case e.Temporary:
		return target == ErrUpstream
	}
	return target == ErrAnswer
}

// readGrant decides what an answer of the token endpoint means.
//
// Which statuses and bodies refuse credentials is not documented. RFC 6749's two
// forms count, a 403, and the {"success": false} of Communic8's other endpoints.
func readGrant(resp *http.Response, body []byte, now time.Time) (Grant, error) {
	status := resp.StatusCode
	fail := func(e UpstreamError) (Grant, error) {
		e.Status = status
		return Grant{}, &e
	}
	var in struct {
		Success     *bool           `json:"success"`
		AccessToken string          `json:"access_token"`
		TokenType   string          `json:"token_type"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
		Error       string          `json:"error"`
	}
	readable := json.Unmarshal(body, &in) == nil
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= 500:
		return fail(UpstreamError{Temporary: true, RetryAfter: readRetryAfter(resp.Header, now), Text: "is busy or out of order"})
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusBadRequest && readable && in.Error != "":
		return fail(UpstreamError{Refused: true, Text: "refuses the credentials" + knownCode(in.Error)})
	case status >= 300 && status < 400:
		return fail(UpstreamError{Text: "redirects, which is not followed with credentials: base_url should be the host that answers itself"})
	case status != http.StatusOK:
		return fail(UpstreamError{Text: "gives no token: does base_url lead to the right instance?"})
	case !readable:
		return fail(UpstreamError{Temporary: true, Text: "gives an answer that is not the documented JSON"})
	case in.Success != nil && !*in.Success:
		return fail(UpstreamError{Refused: true, Text: "refuses the credentials with success:false"})
	case !isBearer(in.AccessToken):
		return fail(UpstreamError{Temporary: true, Text: "gives an answer without a usable access_token"})
	case !strings.EqualFold(in.TokenType, bearer):
		return fail(UpstreamError{Text: "gives a token whose token_type is not Bearer"})
	}
	lifetime := readLifetime(in.ExpiresIn)
	if lifetime < Margin {
		return fail(UpstreamError{Temporary: true, Text: fmt.Sprintf("gives a token that lives no %d seconds", Margin/time.Second)})
	}
	return Grant{NewSecret(in.AccessToken), lifetime}, nil
}

// knownCode returns RFC 6749's error code (section 5.2) for show, if it is one. Any
// other string came from outside and is not shown.
func knownCode(code string) string {
	known := []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
	if slices.Contains(known, code) {
		return ", " + code
	}
	return ""
}

// readLifetime reads expires_in: a number, or a string that holds one, rounded down
// to seconds and cut to what is believed. What is no number counts as not given.
func readLifetime(raw json.RawMessage) time.Duration {
	text := string(raw)
	var quoted string
	if json.Unmarshal(raw, &quoted) == nil {
		text = strings.TrimSpace(quoted)
	}
	var number json.Number
	if json.Unmarshal([]byte(text), &number) != nil || number == "" {
		return assumedLifetime
	}
	// The only error left is a number too large, which comes as an infinity.
	seconds, _ := strconv.ParseFloat(number.String(), 64)
	return time.Duration(math.Floor(min(max(seconds, 0), maxLifetime.Seconds()))) * time.Second
}

// readRetryAfter reads Retry-After, which is a number of seconds or a date (RFC
// 9110, section 10.2.3). It is 0 if there is none, or none that can be read.
func readRetryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil || errors.Is(err, strconv.ErrRange) {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter) // out of range, it is the largest there is
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(0, date.Sub(now)), maxRetryAfter)
	}
	return 0
}

// Trial is what came of trying a token at the probe path; empty if it was not tried.
type Trial string

// What a trial can come to. Only HTTP 401 rejects: 403 may mean a user without the
// right to the probe path, and success:false may mean anything.
const (
	TrialGood         Trial = "good"
	TrialRejected     Trial = "rejected"
	TrialInconclusive Trial = "inconclusive"
)

// readTrial decides what the probe path's answer means. It returns a few words of
// our own on what that rests on.
func readTrial(status int, body []byte) (Trial, string) {
	detail := fmt.Sprintf("HTTP %d", status)
	if status == http.StatusUnauthorized {
		return TrialRejected, detail
	}
	var in struct {
		Success *bool `json:"success"`
	}
	if json.Unmarshal(body, &in) != nil || in.Success == nil {
		return TrialInconclusive, detail + " without the documented JSON"
	}
	if status == http.StatusOK && *in.Success {
		return TrialGood, detail
	}
	return TrialInconclusive, fmt.Sprintf("%s, success:%t", detail, *in.Success)
}
