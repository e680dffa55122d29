package c8auth

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// kind returns which of the three kinds of an UpstreamError err is; "wrong" if it is malformed,
// and "none" if it is nil.
func kind(err error, status int) string {
	var upstream *UpstreamError
	switch {
	case err == nil:
		return "none"
	case !errors.As(err, &upstream) || upstream.Status != status || strings.Contains(err.Error(), "MARK"):
		return "wrong"
	case errors.Is(err, ErrRefused):
		return "refused"
	case errors.Is(err, ErrUpstream):
		return "temporary"
	case errors.Is(err, ErrAnswer):
		return "final"
	}
	return "wrong"
}

// What the members of a response with status 200 mean.
func TestReadTokenResponse(t *testing.T) {
	const (
		assumed = time.Duration(-1)
		day     = 24 * time.Hour
		ok      = `{"access_token":"0123","token_type":"Bearer","expires_in":86400}`
	)
	with := func(members string) string { return `{"access_token":"0123","expires_in":86400,` + members + `}` }
	expiresIn := func(raw string) string { return `{"access_token":"0123","expires_in":` + raw + `}` }
	for _, test := range []struct {
		name, body string
		want       any // a lifetime, or the kind of error
	}{
		{"as documented", ok, day},
		{"more than documented", with(`"token_type":"bearer","success":true,"scope":"x"`), day},
		{"a byte order mark", "\ufeff" + ok, day},
		{"cut off", ok[:40], "temporary"},
		{"null", `null`, "temporary"},
		{"a list", `["MARK"]`, "temporary"},

		{"an empty token", `{"access_token":"","token_type":"Bearer"}`, "temporary"},
		{"a token that is a number", `{"access_token":12345,"token_type":"Bearer"}`, "temporary"},
		{"a token with a line end", `{"access_token":"MARK\r\nX: y","token_type":"Bearer"}`, "temporary"},
		{"another token_type", with(`"token_type":"MARK"`), "final"},
		{"token_type is a number", with(`"token_type":1`), "final"},
		{"token_type is null", with(`"token_type":null`), day},
		{"an empty token_type", with(`"token_type":""`), day},
		{"success is 1", with(`"success":1`), day},
		{"success is a string", with(`"success":"false"`), day},
		{"error is an object", with(`"error":{}`), day},
		{"error is null", with(`"error":null`), day},
		{"an empty error", with(`"error":""`), day},
		{"names in another case", with(`"EXPIRES_IN":1,"Access_Token":"MARK","SUCCESS":false,"Error":"x","Token_Type":"mac"`), day},
		{"other members of any type", with(`"scope":[{}],"x":1e999,"y":"\ud800"`), day},
		{"the names in another case alone", `{"Access_Token":"MARK"}`, "temporary"},

		{"no expires_in", `{"access_token":"0123"}`, assumed},
		{"null", expiresIn("null"), assumed},
		{"a string", expiresIn(`"86400"`), day},
		{"a string with blanks", expiresIn(`" 86400 "`), day},
		{"a fraction", expiresIn(`3599.999`), 3599 * time.Second},
		{"a fraction in a string", expiresIn(`"3599.5"`), 3599 * time.Second},
		{"with an exponent", expiresIn(`8.64e4`), day},
		{"thirty days", expiresIn(`2592000`), 30 * day},
		{"more than thirty days", expiresIn(`2592001`), 30 * day},
		{"longer than a float", expiresIn(`1e999`), 30 * day},
		{"zero", expiresIn(`0`), assumed},
		{"negative", expiresIn(`-86400`), assumed},
		{"absurdly negative", expiresIn(`-1e999`), assumed},
		{"shorter than the margin", expiresIn(`29.9`), "final"},
		{"half a second", expiresIn(`0.5`), "final"},
		{"the margin", expiresIn(`30`), Margin},
		{"words", expiresIn(`"a day"`), assumed},
		{"an empty string", expiresIn(`""`), assumed},
		{"not a number", expiresIn(`"NaN"`), assumed},
		{"infinity", expiresIn(`"Infinity"`), assumed},
		{"hexadecimal", expiresIn(`"0x100"`), assumed},
		{"a boolean", expiresIn(`true`), assumed},
		{"a list", expiresIn(`[86400]`), assumed},
		{"an object", expiresIn(`{"seconds":86400}`), assumed},
	} {
		t.Run(test.name, func(t *testing.T) {
			response, err := readTokenResponse(&http.Response{StatusCode: http.StatusOK}, []byte(test.body), noon)
			want, ok := test.want.(time.Duration)
			if !ok {
				if got := kind(err, 200); got != test.want {
					t.Errorf("got %v, which is %s, want %s", err, got, test.want)
				}
				return
			}
			if want == assumed {
				want = time.Hour
			}
			if err != nil || response.Lifetime != want || response.Assumed != (test.want == assumed) || response.AccessToken.Reveal() != "0123" {
				t.Errorf("got %+v, %v, want a token for %v", response, err, test.want)
			}
		})
	}
}

// Every status with every kind of body: a refusal is 401, 403, or any status under 500
// but 408 and 429 whose JSON has a string error or success:false. Only what is neither a
// token nor a refusal, and not temporary, is about base_url.
func TestTokenResponseStatuses(t *testing.T) {
	bodies := []struct {
		text           string
		token, refuses bool
	}{
		{`{"access_token":"0123","token_type":"Bearer","expires_in":60}`, true, false},
		{`{"access_token":"0123","expires_in":60,"success":true}`, true, false},
		{`{"error":"invalid_client","error_description":"MARK"}`, false, true},
		{`{"error":"MARK","access_token":"MARK","success":true}`, false, true},
		{`{"success":false,"access_token":"MARK"}`, false, true},
		{`{"success":false,"error":{"code":1}}`, false, true},
		{`{"success":false,"error":"unauthorized","access_token":"MARK"}`, false, true},
		{`{"success":true}`, false, false},
		{`{"success":0,"error":1}`, false, false},
		{`{"SUCCESS":false,"Error":"MARK"}`, false, false},
		{`{"message":"MARK"}`, false, false},
		{`<html>MARK`, false, false},
		{``, false, false},
	}
	statuses := []int{200, 201, 202, 203, 204, 206, 299, 300, 301, 302, 303, 304, 307, 308, 399, 400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 415, 418, 422, 425, 429, 451, 499, 500, 501, 502, 503, 504, 511, 599}
	for _, status := range statuses {
		for _, body := range bodies {
			for _, mark := range []string{"", "\ufeff"} {
				want := "final"
				switch {
				case status == 408 || status == 429 || status >= 500:
					want = "temporary"
				case status == 401 || status == 403 || body.refuses:
					want = "refused"
				case status <= 299 && body.token:
					want = "none"
				case status <= 299:
					want = "temporary"
				}
				_, err := readTokenResponse(&http.Response{StatusCode: status}, []byte(mark+body.text), noon)
				if got := kind(err, status); got != want {
					t.Errorf("%d %q: got %v, want %s", status, mark+body.text, err, want)
				}
			}
		}
	}
}

// The texts of errors name causes that are known: RFC 6749's error codes, and redirects.
func TestTokenResponseErrors(t *testing.T) {
	for want, response := range map[string]struct {
		status int
		body   string
	}{
		"Communic8 refuses the credentials, invalid_client (HTTP 400)":                                                            {400, `{"error":"invalid_client"}`},
		"Communic8 refuses the credentials (HTTP 400)":                                                                            {400, `{"error":"MARK"}`},
		"Communic8 refuses the credentials with success:false (HTTP 200)":                                                         {200, `{"success":false}`},
		"Communic8 redirects, which is not followed with credentials: base_url should be the host that answers itself (HTTP 302)": {302, ``},
		"Communic8 gives no token: does base_url lead to the right instance? (HTTP 404)":                                          {404, ``},
		"Communic8 is busy or out of order (HTTP 500)":                                                                            {500, ``},
		"Communic8 gives a token that expires in under 30 seconds (HTTP 200)":                                                     {200, `{"access_token":"0123","expires_in":29}`},
	} {
		if _, err := readTokenResponse(&http.Response{StatusCode: response.status}, []byte(response.body), noon); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
