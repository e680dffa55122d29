package c8auth

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// mustLogFallback fails unless the last line says that the previous credentials are used.
func (e *env) mustLogFallback() {
	e.Helper()
	e.mustLog(members{"credentials_fallback": true, "CredentialsFallback": 1.0, "level": "WARN"})
}

// A refusal, whatever its form, is not retried and says what to do. If there are previous
// credentials, a token is requested with those.
func TestRefusedCredentials(t *testing.T) {
	forEach(t, map[string]c8test.Fault{
		"401":                      {Status: 401},
		"403 with HTML":            {Status: 403, Body: "<html>"},
		"400 with an error":        {Status: 400, Body: `{"error":"invalid_client"}`},
		"200 with an error":        {Body: `{"error":"invalid_client"}`},
		"200 with success:false":   {Body: `{"success":false}`},
		"404 with success:false":   {Status: 404, Body: `{"success":false}`},
		"302 with an error":        {Status: 302, Body: `{"error":"invalid_client"}`},
		"400 with a BOM and error": {Status: 400, Body: "\ufeff" + `{"error":"MARK"}`},
	}, func(e *env, refusal c8test.Fault) {
		e.c8Faults(func(r *http.Request, _ int) *c8test.Fault {
			if r.Header.Get("Authorization") == "Bearer aWQ6dHlwbw==" { // base64 of id:typo
				return &refusal
			}
			return nil
		})
		e.sm.Put(acmeCredentials, wrongClient)
		_, err := e.rotate(false)
		if !errors.Is(err, ErrRefused) || !strings.HasSuffix(err.Error(), ": store the right ones in stack/credentials/acme") || e.c8.Requests() != 1 {
			e.Errorf("got %v after %d requests", err, e.c8.Requests())
		}
		e.mustLog(members{"RotationFailed": 1.0, "TokenLifePercent": 0.0, "level": "ERROR", "error_code": "credentials_refused"})
		e.mustBe("")

		e.start(client)
		e.sm.Put(acmeCredentials, wrongClient)
		time.Sleep(time.Second) // the age of a token is known to the second
		e.mustRotate(Rotated, CredentialsChanged)
		e.mustLogFallback()
		if hint, _ := e.line(0)["hint"].(string); !strings.Contains(hint, "refuses the credentials") || strings.Contains(hint, "base_url") || strings.Contains(hint, "MARK") {
			e.Errorf("logged %q", hint)
		}
		e.mustBeValid()
	})
}

// With the previous credentials, of any method, tokens are valid all day and no more of them
// are stored than with good ones. Every line says so.
func TestFallbackForADay(t *testing.T) {
	forEach(t, map[string][2]string{
		"client":                        {client, wrongClient},
		"access key":                    {accessKey, wrongKey},
		"access key in place of client": {client, wrongKey},
	}, func(e *env, credentials [2]string) {
		e.start(credentials[0])
		e.sm.Put(acmeCredentials, credentials[1])
		for range 24 * 4 {
			time.Sleep(15 * time.Minute)
			if _, err := e.rotate(false); err != nil {
				e.Fatal(err)
			}
			e.mustLogFallback()
			e.mustBeValid()
		}
		if n := e.sm.Versions(acmeToken); n > 4 {
			e.Errorf("%d tokens were stored in a day", n)
		}
	})
}

// The token that the previous credentials made is replaced when it is revoked or due, and as soon
// as Communic8 accepts the current ones. If both are refused, the error says so of both, and the
// stored token is kept.
func TestFallback(t *testing.T) {
	withEnv(t, func(e *env) {
		good := e.sm.Put(acmeCredentials, client)
		e.mustRotate(Rotated, FirstToken)
		bad := e.sm.Put(acmeCredentials, wrongClient)
		time.Sleep(time.Minute)
		e.mustRotate(Rotated, CredentialsChanged)
		if token, _ := e.stored(); token.CredentialsVersion != good {
			t.Errorf("made from %s, want the previous %s", token.CredentialsVersion, good)
		}
		time.Sleep(time.Second)
		e.mustRotate(Fresh, "")
		e.mustLogFallback()
		e.revoke()
		e.mustRotate(Rotated, CredentialsChanged)
		e.mustBeValid()
		time.Sleep(12 * time.Hour)
		e.mustRotate(Rotated, HalfLife)
		e.mustLogFallback()
		e.c8.AddClient("id", "typo")
		e.mustRotate(Rotated, CredentialsChanged)
		e.mustLog(members{"CredentialsFallback": nil})
		if token, _ := e.stored(); token.CredentialsVersion != bad {
			t.Errorf("made from %s, want %s", token.CredentialsVersion, bad)
		}
		version := e.mustRotate(Fresh, "").Version
		e.c8.RemoveClient("id")
		time.Sleep(12 * time.Hour)
		if _, err := e.rotate(false); !errors.Is(err, ErrRefused) || strings.Count(err.Error(), "refuses the credentials") != 2 {
			t.Errorf("got %v", err)
		}
		e.mustBe(version)
	})
}

// A rotation that has lost a race after a fallback, and then uses the current credentials, is none
// by the log.
func TestFallbackThenNone(t *testing.T) {
	withEnv(t, func(e *env) {
		replaces := e.start(client)
		e.sm.Put(acmeCredentials, wrongClient)
		e.beforeWrite(func() {
			e.wins(newToken("no token", time.Hour), replaces)
			e.c8.Revoke(e.c8.Issued()[1])
			e.c8.AddClient("id", "typo")
		})
		e.mustRotate(Rotated, CredentialsChanged)
		e.mustLog(members{"credentials_fallback": nil, "CredentialsFallback": nil})
	})
}

// Refused credentials that are replaced just then are the previous ones now, and are not used again.
func TestCredentialsReplacedMeanwhile(t *testing.T) {
	withEnv(t, func(e *env) {
		e.sm.Put(acmeCredentials, wrongClient)
		reads := 0
		e.storeFaults(func(op, name string) *smtest.Fault {
			if op == "GetSecretValue" && name == acmeCredentials {
				if reads++; reads == 2 {
					e.sm.Put(acmeCredentials, client)
				}
			}
			return nil
		})
		if _, err := e.rotate(false); !errors.Is(err, ErrRefused) || e.c8.Requests() != 1 {
			t.Errorf("got %v after %d requests", err, e.c8.Requests())
		}
		e.mustRotate(Rotated, FirstToken)
	})
}

// Malformed credentials are an error at every heartbeat that shows no value, except when a token is
// due: then the previous ones are used.
func TestMalformedCredentials(t *testing.T) {
	forEach(t, map[string]string{
		"empty object": "{}", "white space": " ", "the secret alone": "secret-2", "a wrong key": `{"base_url": "https://a.b", "acces_key": "secret-2"}`,
	}, func(e *env, credentials string) {
		version := e.start(client)
		e.sm.Put(acmeCredentials, credentials)
		mustFail := func() {
			_, err := e.rotate(false)
			if !errors.Is(err, ErrCredentials) || !strings.HasPrefix(err.Error(), acmeCredentials+": ") || strings.Contains(err.Error(), "secret-2") {
				e.Errorf("got %v", err)
			}
		}
		mustFail()
		time.Sleep(11 * time.Hour)
		mustFail()
		e.mustBe(version)
		time.Sleep(time.Hour)
		e.mustRotate(Rotated, HalfLife)
		e.mustLogFallback()
		e.mustBeValid()
		mustFail()
	})
}
