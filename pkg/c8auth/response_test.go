package c8auth

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestReadGrant(t *testing.T) {
	const (
		ok      = `{"access_token":"0123","token_type":"Bearer","expires_in":86400}`
		refused = "refused"
		again   = "again" // worth asking again
		final   = "final" // not worth it
		assumed = "assumed"
	)
	for _, test := range []struct {
		name   string
		status int
		body   string
		want   any // a lifetime, assumed, or what kind of error
	}{
		{"as documented", 200, ok, 24 * time.Hour},
		{"with more than documented", 200, `{"success":true,"access_token":"0123","token_type":"bearer","expires_in":60,"scope":"x"}`, time.Minute},

		{"401", 401, `{"success":false,"message":"MARK"}`, refused},
		{"401 with HTML", 401, `<html>MARK`, refused},
		{"401 with nothing", 401, ``, refused},
		{"403", 403, `MARK`, refused},
		{"400 with RFC 6749's error", 400, `{"error":"invalid_client","error_description":"MARK"}`, refused},
		{"400 with an error of its own", 400, `{"error":"MARK"}`, refused},
		{"200 with success:false", 200, `{"success":false,"message":"MARK"}`, refused},
		{"200 with success:false and a token", 200, `{"success":false,"access_token":"MARK","token_type":"Bearer"}`, refused},
		{"400 with HTML", 400, `<html>MARK`, final},
		{"400 with other JSON", 400, `{"message":"MARK"}`, final},
		{"404", 404, `MARK`, final},
		{"400 with success:false", 400, `{"success":false,"message":"MARK"}`, refused},
		{"404 with success:false", 404, `{"success":false}`, refused},
		{"302 with an error", 302, `{"error":"invalid_client"}`, refused},
		{"200 with an error", 200, `{"error":"invalid_client"}`, refused},
		{"200 with an error and a token", 200, `{"error":"MARK","access_token":"MARK"}`, refused},
		{"429 with an error", 429, `{"error":"invalid_client"}`, again},
		{"500 with success:false", 500, `{"success":false}`, again},
		{"201", 201, ok, 24 * time.Hour},
		{"204", 204, ``, again},
		{"301", 301, `MARK`, final},
		{"307", 307, ok, final},
		{"429", 429, `MARK`, again},
		{"408", 408, `MARK`, again},
		{"500", 500, `MARK`, again},
		{"503 with a token", 503, ok, again},
		{"599", 599, ``, again},

		{"200 with HTML", 200, `<html>MARK`, again},
		{"200 with nothing", 200, ``, again},
		{"200 with null", 200, `null`, again},
		{"200 with a list", 200, `["MARK"]`, again},
		{"200 cut off", 200, ok[:40], again},
		{"success:true and no token", 200, `{"success":true}`, again},
		{"an empty token", 200, `{"access_token":"","token_type":"Bearer"}`, again},
		{"a token that is a number", 200, `{"access_token":12345,"token_type":"Bearer"}`, again},
		{"a token with a line end", 200, `{"access_token":"MARK\r\nX: y","token_type":"Bearer"}`, again},
		{"another token_type", 200, `{"access_token":"MARK","token_type":"mac","expires_in":86400}`, final},
		{"token_type is a number", 200, `{"access_token":"MARK","token_type":1,"expires_in":86400}`, final},
		{"no token_type", 200, `{"access_token":"0123","expires_in":86400}`, 24 * time.Hour},
		{"token_type is null", 200, `{"access_token":"0123","token_type":null,"expires_in":86400}`, 24 * time.Hour},
		{"an empty token_type", 200, `{"access_token":"0123","token_type":"","expires_in":86400}`, 24 * time.Hour},

		{"a byte order mark", 200, "\ufeff" + ok, 24 * time.Hour},
		{"success is 1", 200, `{"success":1,"access_token":"0123","expires_in":86400}`, 24 * time.Hour},
		{"success is a string", 200, `{"success":"false","access_token":"0123","expires_in":86400}`, 24 * time.Hour},
		{"error is an object", 200, `{"error":{},"access_token":"0123","expires_in":86400}`, 24 * time.Hour},
		{"error is null", 200, `{"error":null,"access_token":"0123","expires_in":86400}`, 24 * time.Hour},
		{"an empty error", 200, `{"error":"","access_token":"0123","expires_in":86400}`, 24 * time.Hour},
		{"a name in another case", 200, `{"access_token":"0123","expires_in":86400,"EXPIRES_IN":1,"Access_Token":"MARK","SUCCESS":false,"Error":"x","Token_Type":"mac"}`, 24 * time.Hour},
		{"other members of any type", 200, `{"access_token":"0123","expires_in":86400,"scope":[{}],"x":1e999,"y":"\ud800"}`, 24 * time.Hour},
		{"the names in another case alone", 200, `{"Access_Token":"MARK"}`, again},

		{"no expires_in", 200, expiresIn(""), assumed},
		{"null", 200, expiresIn("null"), assumed},
		{"a string", 200, expiresIn(`"86400"`), 24 * time.Hour},
		{"a string with blanks", 200, expiresIn(`" 86400 "`), 24 * time.Hour},
		{"a fraction", 200, expiresIn(`3599.999`), 3599 * time.Second},
		{"a fraction in a string", 200, expiresIn(`"3599.5"`), 3599 * time.Second},
		{"with an exponent", 200, expiresIn(`8.64e4`), 24 * time.Hour},
		{"thirty days", 200, expiresIn(`2592000`), 30 * 24 * time.Hour},
		{"absurdly long", 200, expiresIn(`1e18`), maxLifetime},
		{"longer than a float", 200, expiresIn(`1e999`), maxLifetime},
		{"milliseconds since 1970", 200, expiresIn(`1767323045000`), maxLifetime},
		{"zero", 200, expiresIn(`0`), assumed},
		{"negative", 200, expiresIn(`-86400`), assumed},
		{"absurdly negative", 200, expiresIn(`-1e999`), assumed},
		{"shorter than the margin", 200, expiresIn(`29.9`), final},
		{"half a second", 200, expiresIn(`0.5`), final},
		{"just the margin", 200, expiresIn(`30`), Margin},
		{"words", 200, expiresIn(`"a day"`), assumed},
		{"an empty string", 200, expiresIn(`""`), assumed},
		{"not a number", 200, expiresIn(`"NaN"`), assumed},
		{"infinity", 200, expiresIn(`"Infinity"`), assumed},
		{"hexadecimal", 200, expiresIn(`"0x100"`), assumed},
		{"a boolean", 200, expiresIn(`true`), assumed},
		{"a list", 200, expiresIn(`[86400]`), assumed},
		{"an object", 200, expiresIn(`{"seconds":86400}`), assumed},
	} {
		t.Run(test.name, func(t *testing.T) {
			grant, err := readTokenResponse(&http.Response{StatusCode: test.status}, []byte(test.body), noon)
			lifetime, ok := test.want.(time.Duration)
			if test.want == assumed {
				lifetime = time.Hour
			}
			if ok || test.want == assumed {
				if err != nil || grant.Lifetime != lifetime || grant.Assumed == ok || grant.AccessToken.Reveal() != "0123" {
					t.Fatalf("got %+v, %v, want a token for %v", grant, err, test.want)
				}
				return
			}
			var upstream *UpstreamError
			if !errors.As(err, &upstream) || upstream.Status != test.status {
				t.Fatalf("got %v, %#v", grant.Lifetime, err)
			}
			kind := final
			switch {
			case upstream.Refused && upstream.Temporary:
				kind = "both"
			case upstream.Refused:
				kind = refused
			case upstream.Temporary:
				kind = again
			}
			if kind != test.want || errors.Is(err, ErrRefused) != (kind == refused) {
				t.Errorf("%v is %s, want %s", err, kind, test.want)
			}
			if strings.Contains(err.Error(), "MARK") {
				t.Errorf("the error shows the answer: %v", err)
			}
		})
	}
}

// Every status with every kind of body: a refusal is 401, 403, or any status under 500
// but 408 and 429 whose JSON has a string error or success:false. Only what is neither a
// token nor a refusal, and will not pass, is about base_url.
func TestReadGrantCombinations(t *testing.T) {
	bodies := []struct {
		text           string
		token, refuses bool
	}{
		{`{"access_token":"0123","token_type":"Bearer","expires_in":60}`, true, false},
		{`{"access_token":"0123","expires_in":60,"success":true}`, true, false},
		{`{"error":"invalid_client"}`, false, true},
		{`{"error":"MARK","success":true}`, false, true},
		{`{"success":false}`, false, true},
		{`{"success":false,"error":{"code":1}}`, false, true},
		{`{"success":false,"error":"unauthorized","access_token":"MARK"}`, false, true},
		{`{"success":true}`, false, false},
		{`{"success":0,"error":1}`, false, false},
		{`{"SUCCESS":false,"Error":"MARK"}`, false, false},
		{`{"message":"MARK"}`, false, false},
		{`<html>MARK`, false, false},
		{``, false, false},
	}
	statuses := []int{200, 201, 202, 203, 206, 299, 300, 301, 302, 303, 304, 307, 308, 399, 400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 415, 418, 422, 425, 429, 451, 499, 500, 501, 502, 503, 504, 511, 599}
	for _, status := range statuses {
		for _, body := range bodies {
			for _, mark := range []string{"", "\ufeff"} {
				_, err := readTokenResponse(&http.Response{StatusCode: status}, []byte(mark+body.text), noon)
				var want error
				switch {
				case status == 408 || status == 429 || status >= 500:
					want = ErrUpstream
				case status == 401 || status == 403 || body.refuses:
					want = ErrRefused
				case status <= 299 && body.token:
				case status <= 299:
					want = ErrUpstream
				default:
					want = ErrAnswer
				}
				if !errors.Is(err, want) || err != nil && strings.Contains(err.Error(), "MARK") {
					t.Errorf("%d %q: got %v, want %v", status, mark+body.text, err, want)
				}
			}
		}
	}
}

func expiresIn(raw string) string {
	if raw == "" {
		return `{"access_token":"0123","token_type":"Bearer"}`
	}
	return `{"access_token":"0123","token_type":"Bearer","expires_in":` + raw + `}`
}

func TestReadTrial(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		body   string
		want   ProbeResult
	}{
		{"success", 200, `{"success":true,"data":[{"author":"MARK"}]}`, ProbeGood},
		{"401", 401, `{"success":true}`, ProbeRejected},
		{"401 with HTML", 401, `<html>MARK`, ProbeRejected},
		{"success:false", 200, `{"success":false,"message":"MARK"}`, ProbeInconclusive},
		{"403", 403, `{"success":false}`, ProbeInconclusive},
		{"403 with success", 403, `{"success":true}`, ProbeInconclusive},
		{"HTML", 200, `<html>MARK`, ProbeInconclusive},
		{"nothing", 200, ``, ProbeInconclusive},
		{"success as a string", 200, `{"success":"true"}`, ProbeInconclusive},
		{"a byte order mark", 200, "\ufeff" + `{"success":true}`, ProbeGood},
		{"success in another case", 200, `{"Success":true}`, ProbeInconclusive},
		{"success:false and in another case", 200, `{"success":false,"SUCCESS":true}`, ProbeInconclusive},
		{"a redirect", 302, ``, ProbeInconclusive},
		{"404", 404, ``, ProbeInconclusive},
		{"429", 429, ``, ProbeInconclusive},
		{"500", 500, `{"success":true}`, ProbeInconclusive},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, detail := readProbe(test.status, []byte(test.body))
			if got != test.want || strings.Contains(detail, "MARK") {
				t.Errorf("got %s (%s), want %s", got, detail, test.want)
			}
		})
	}
}
