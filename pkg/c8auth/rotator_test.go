package c8auth

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// From empty secrets to a token that is replaced at half of its lifetime. However often Rotate is
// called before that, it reads no credentials and sends nothing but probes.
func TestRotate(t *testing.T) {
	withEnv(t, func(e *env) {
		if result := e.mustRotate(Waiting, ""); result.Version != "" {
			t.Errorf("waiting, but version %s", result.Version)
		}
		credentials := e.sm.Put(acmeCredentials, client)
		result := e.mustRotate(Rotated, FirstToken)
		token, version := e.stored()
		want := Result{Tenant: "acme", Outcome: Rotated, Reason: FirstToken, Version: version, ExpiresAt: time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC), ExpiresIn: 86400}
		if !reflect.DeepEqual(result, want) {
			t.Errorf("got  %+v\nwant %+v", result, want)
		}
		if token.CredentialsVersion != credentials || token.BaseURL != acmeURL || token.TokenType != "Bearer" {
			t.Errorf("stored %+v", token)
		}
		e.storeFault("GetSecretValue", acmeCredentials, smtest.Fault{Status: 400, Type: "AccessDeniedException"})
		for range 11 {
			time.Sleep(time.Hour)
			e.mustRotate(Fresh, "")
			e.mustRotate(Fresh, "") // the event came twice
		}
		if requests, writes := e.c8.Requests(), e.sm.Calls("PutSecretValue"); requests != 1 || writes != 1 {
			t.Errorf("%d tokens were requested and %d stored", requests, writes)
		}
		e.storeWorks()
		time.Sleep(time.Hour)
		if result := e.mustRotate(Rotated, HalfLife); result.Version == version {
			t.Error("the version is the same")
		}
		e.mustBeValid()
	})
}

// A token that is due whatever the credentials are is replaced without a check of their version,
// which could fail.
func TestDueWhateverTheCredentialsAre(t *testing.T) {
	withEnv(t, func(e *env) {
		e.storeFault("DescribeSecret", "", smtest.Fault{Status: 400, Type: "AccessDeniedException"})
		e.mustRotate(Waiting, "") // no token, and no credentials
		e.start(client)
		if _, err := e.rotate(false); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v: the version of the credentials was not checked", err)
		}
		time.Sleep(12 * time.Hour)
		e.mustRotate(Rotated, HalfLife)
		e.sm.Put(acmeToken, "no token")
		e.mustRotate(Rotated, UnreadableToken)
		e.mustBeValid()

		e.storeWorks()
		time.Sleep(time.Hour)
		e.sm.Put(acmeCredentials, client)
		if result, err := e.rotate(true); result.Reason != CredentialsChanged { // which is checked before force
			t.Errorf("got %+v, %v", result, err)
		}
	})
}

func TestForce(t *testing.T) {
	withEnv(t, func(e *env) {
		e.start(client)
		for _, step := range []struct {
			after  time.Duration
			want   Outcome
			reason Reason
		}{{0, Fresh, ""}, {time.Minute, Fresh, ""}, {time.Second, Rotated, Forced}, {time.Second, Fresh, ""}} {
			time.Sleep(step.after)
			if result, err := e.rotate(true); err != nil || result.Outcome != step.want || result.Reason != step.reason {
				t.Errorf("got %+v, %v, want %+v", result, err, step)
			}
		}
	})
}

func TestAccessKey(t *testing.T) {
	withEnv(t, func(e *env) {
		e.sm.Put(acmeCredentials, accessKey)
		result := e.mustRotate(Rotated, FirstToken)
		token, _ := e.stored()
		if !result.ExpiresAt.IsZero() || result.ExpiresIn != 0 || token.Expires() || token.AccessToken.Reveal() != "key-1" {
			t.Errorf("got %+v, %+v", result, token)
		}
		e.mustLog(members{"issued_at": token.IssuedAt.Format(time.RFC3339), "expires_at": nil})
		time.Sleep(1000 * time.Hour)
		e.mustRotate(Fresh, "")
		if e.c8.Requests() != 0 {
			t.Error("a token was requested")
		}
		// A person replaces the key, and then the method.
		e.c8.Revoke("key-1")
		e.c8.AddAccessKey("key-2")
		e.sm.Put(acmeCredentials, strings.ReplaceAll(accessKey, "key-1", "key-2"))
		e.mustRotate(Rotated, CredentialsChanged)
		e.mustBeValid()
		e.sm.Put(acmeCredentials, client)
		if result := e.mustRotate(Rotated, CredentialsChanged); result.ExpiresIn != 86400 {
			t.Errorf("got %+v", result)
		}
	})
}

// Only a 401 to a probe rejects a token: a new one is then not stored. After any other response
// the stored token is kept, and a new one stored.
func TestProbe(t *testing.T) {
	type test struct {
		fault c8test.Fault
		want  ProbeResult
	}
	forEach(t, map[string]test{
		"success":       {c8test.Fault{Body: `{"success":true}`}, ProbeGood},
		"401":           {c8test.Fault{Status: 401}, ProbeRejected},
		"403":           {c8test.Fault{Status: 403}, ProbeInconclusive},
		"500":           {c8test.Fault{Status: 500}, ProbeInconclusive},
		"success:false": {c8test.Fault{Body: `{"success":false}`}, ProbeInconclusive},
		"HTML":          {c8test.Fault{Body: "<html>"}, ProbeInconclusive},
		"no answer":     {c8test.Fault{Delay: time.Hour}, ProbeInconclusive},
		"broken off":    {c8test.Fault{Break: true}, ProbeInconclusive},
	}, func(e *env, test test) {
		version := e.start(client)
		e.probeFault(test.fault)
		if test.want == ProbeRejected {
			for range 2 {
				if _, err := e.rotate(false); !errors.Is(err, ErrRejected) {
					e.Errorf("got %v, want ErrRejected", err)
				}
				e.mustBe(version)
				time.Sleep(12 * time.Hour)
			}
			return
		}
		e.mustRotate(Fresh, "")
		level := "INFO"
		if test.want == ProbeInconclusive {
			level = "WARN"
		}
		e.mustLog(members{"trial": string(test.want), "level": level})
		time.Sleep(12 * time.Hour)
		e.mustRotate(Rotated, HalfLife)
	})
}

// If Communic8 issues the same token again, with its remaining lifetime or with a new one, no
// expired token is given out, and vend fails for no longer than a heartbeat at its end.
func TestSameTokenAgain(t *testing.T) {
	forEach(t, map[string]string{"with the remaining lifetime": "", "with a new lifetime": "86400"}, func(e *env, expiresIn string) {
		e.c8.Set(func(b *c8test.Behaviour) { b.Same, b.ExpiresIn = true, expiresIn })
		e.start(client)
		time.Sleep(100 * time.Second)
		failed := 0
		for i := range 3 * 24 * 120 {
			if i%10 == 0 {
				_, _ = e.rotate(false)
				e.mustLog(members{"version_quota": nil}) // what is left says nothing of a lifetime
			}
			token, err := e.vend(true)
			if err == nil && !e.c8.Valid(token) {
				e.Fatalf("%v: an expired token", time.Now())
			}
			if err != nil {
				failed++
			}
			time.Sleep(30 * time.Second)
		}
		if n := e.sm.Versions(acmeToken); failed > 3*10 || n > 60 {
			e.Errorf("in three days, vend failed for %d s, and %d tokens were stored", failed*30, n)
		}
	})
}

// A token that is issued again a moment before it expires, without a lifetime, is not taken for
// one with another hour. One that still works after it should have expired is.
func TestSameTokenWithoutALifetime(t *testing.T) {
	withEnv(t, func(e *env) {
		e.c8.Set(func(b *c8test.Behaviour) { b.Same, b.Lifetime = true, 5*time.Minute })
		version := e.start(client)
		time.Sleep(5*time.Minute - 300*time.Millisecond)
		if _, err := e.rotate(false); !errors.Is(err, ErrRejected) {
			t.Errorf("got %v", err)
		}
		e.mustBe(version)
	})
	withEnv(t, func(e *env) {
		e.c8.Set(func(b *c8test.Behaviour) { b.Same, b.ExpiresIn = true, "-" })
		e.start(client)
		time.Sleep(time.Hour)
		if result := e.mustRotate(Rotated, HalfLife); result.ExpiresIn < 3500 {
			t.Errorf("got %+v", result)
		}
		e.mustBeValid()
	})
}

// Without a lifetime, an hour is assumed, with a warning, if the probe of the new token is good,
// and the token is not stored otherwise. A lifetime that is too short is refused. A token is
// requested once in each case.
func TestNoLifetime(t *testing.T) {
	type test struct {
		expiresIn string
		probe     int // status with success:false; 0: good; -1: none
		want      error
	}
	forEach(t, map[string]test{
		"good":           {"-", 0, nil},
		"rejected":       {"-", 401, ErrRejected},
		"forbidden":      {"-", 403, ErrAnswer},
		"unsuccessful":   {"-", 200, ErrAnswer},
		"never":          {"-", -1, ErrAnswer},
		"too short":      {"29", 0, ErrAnswer},
		"short and none": {"29", -1, ErrAnswer},
	}, func(e *env, test test) {
		e.sm.Put(acmeCredentials, client)
		switch test.probe {
		case 0:
		case -1:
			e.rotator.Endpoint.ProbePath = ""
		default:
			e.probeFault(c8test.Fault{Status: test.probe, Body: `{"success":false}`})
		}
		e.c8.Set(func(b *c8test.Behaviour) { b.ExpiresIn = test.expiresIn })
		result, err := e.rotate(false)
		if !errors.Is(err, test.want) || e.c8.Requests() != 1 {
			e.Fatalf("got %v after %d requests, want %v", err, e.c8.Requests(), test.want)
		}
		if test.want != nil {
			e.mustLog(members{"error_code": Code(test.want)})
			e.mustBe("")
			return
		}
		e.mustLog(members{"lifetime_assumed": true, "level": "WARN"})
		if result.ExpiresIn != 3600 || e.line(0)["hint"] == nil {
			e.Errorf("got %+v, logged %v", result, e.line(0))
		}
		e.mustRotate(Fresh, "")
		e.mustLog(members{"lifetime_assumed": nil})
	})
}

// A failed token request is retried with growing pauses, up to a limit, and while there is time left
// to probe and store the token.
func TestRetries(t *testing.T) {
	forEach(t, map[string]c8test.Fault{
		"429":        {Status: 429},
		"503":        {Status: 503},
		"HTML":       {Body: "<html>"},
		"no answer":  {Delay: time.Hour},
		"broken off": {Break: true},
	}, func(e *env, fault c8test.Fault) {
		e.sm.Put(acmeCredentials, client)
		e.tokenFault(fault)
		start := time.Now()
		_, err := e.rotate(false)
		if !errors.Is(err, ErrUpstream) || !strings.HasSuffix(err.Error(), "the next heartbeat retries") || time.Since(start) > 59*time.Second-probeTimeout-storeAttempt {
			e.Errorf("got %v after %v", err, time.Since(start))
		}
		if n := e.c8.Requests(); n < 4 || n > maxRequests || time.Since(start) < (1<<(n-1)-1)*firstBackoff/2 {
			e.Errorf("%d requests in %v", n, time.Since(start))
		}
		e.c8Faults(nil)
		e.mustRotate(Rotated, FirstToken)
	})
}

// Retry-After is the pause, and the expiry counts from the request that succeeded.
func TestRetryAfter(t *testing.T) {
	withEnv(t, func(e *env) {
		e.sm.Put(acmeCredentials, client)
		e.c8Faults(func(r *http.Request, n int) *c8test.Fault {
			if r.URL.Path == c8test.TokenPath && n < 3 {
				return &c8test.Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}}
			}
			return nil
		})
		start := time.Now()
		result := e.mustRotate(Rotated, FirstToken)
		if took, want := time.Since(start), start.Add(14*time.Second+24*time.Hour); took != 14*time.Second || !result.ExpiresAt.Equal(want) {
			t.Errorf("took %v, expires %v", took, result.ExpiresAt)
		}
	})
}

// A tenant that lacks a secret is an error before anything is sent to Communic8, and a malformed
// name before the store is read.
func TestUnknownTenant(t *testing.T) {
	forEach(t, map[string]func(*smtest.Server){
		"no credentials secret":               func(s *smtest.Server) { s.Destroy(acmeCredentials) },
		"no token secret":                     func(s *smtest.Server) { s.Destroy(acmeToken) },
		"credentials scheduled for deletion":  func(s *smtest.Server) { s.Delete(acmeCredentials) },
		"token secret scheduled for deletion": func(s *smtest.Server) { s.Delete(acmeToken) },
	}, func(e *env, remove func(*smtest.Server)) {
		e.sm.Put(acmeCredentials, client)
		remove(e.sm)
		if _, err := e.rotate(false); !errors.Is(err, ErrUnknownTenant) || e.c8.Requests() != 0 {
			e.Errorf("got %v after %d requests", err, e.c8.Requests())
		}
	})
	withEnv(t, func(e *env) { // with a token that is not due
		e.start(client)
		e.sm.Delete(acmeCredentials)
		if _, err := e.rotate(false); !errors.Is(err, ErrUnknownTenant) {
			e.Errorf("got %v", err)
		}
	})
	withEnv(t, func(e *env) {
		if _, err := e.rotator.Rotate(e.Context(), Request{Tenant: "../x"}); !errors.Is(err, ErrTenantName) || e.sm.Calls("") != 0 || e.log.Len() > 0 {
			t.Errorf("got %v after %d calls, logged %s", err, e.sm.Calls(""), &e.log)
		}
	})
}

// Whatever Secrets Manager does, either the stored token or the new one is stored, once however often
// the write is repeated, and the next rotation succeeds.
func TestStoreFaults(t *testing.T) {
	for name, fault := range map[string]smtest.Fault{
		"throttles":              {Status: 400, Type: "ThrottlingException", Message: "Rate exceeded"},
		"denies":                 {Status: 400, Type: "AccessDeniedException", Message: "User: arn:aws:sts::1:assumed-role/r/s is not authorized"},
		"fails":                  {Status: 500, Type: "InternalServiceError"},
		"hangs":                  {Hang: true},
		"breaks off":             {Break: true},
		"answers garbage":        {Status: 500, Body: "<html>"},
		"writes and then fails":  {Status: 500, Type: "InternalServiceError", After: true},
		"writes and then hangs":  {After: true, Hang: true},
		"writes and then breaks": {After: true, Break: true},
	} {
		ops := map[string]string{name + " at GetSecretValue": "GetSecretValue", name + " at DescribeSecret": "DescribeSecret", name + " at PutSecretValue": "PutSecretValue"}
		forEach(t, ops, func(e *env, op string) {
			version := e.start(client)
			if op == "DescribeSecret" { // which is called only if nothing else makes a token due
				e.sm.Put(acmeCredentials, client)
			} else {
				time.Sleep(12 * time.Hour)
			}
			e.storeFault(op, "", fault)
			start := time.Now()
			if _, err := e.rotate(false); !errors.Is(err, ErrUnavailable) || time.Since(start) > 59*time.Second {
				e.Errorf("got %v after %v, want ErrUnavailable", err, time.Since(start))
			}
			e.mustLog(members{"RotationFailed": 1.0})
			e.mustBeValid()
			if n := e.sm.Versions(acmeToken); fault.After && op == "PutSecretValue" && n != 2 {
				e.Errorf("%d versions, want the one before and a new one", n)
			} else if !fault.After {
				e.mustBe(version)
			}
			e.storeWorks()
			if _, err := e.rotate(false); err != nil {
				e.Errorf("afterwards: %v", err)
			}
			e.mustBeValid()
			if _, now := e.stored(); now == version {
				e.Error("the token was not replaced afterwards")
			}
		})
	}
}

// A store that fails for seconds is waited for: if a new token ends the earlier ones, it is the
// only valid one. A call of an empty cache waits for as long as its caller can.
func TestStoreFailsForSeconds(t *testing.T) {
	withEnv(t, func(e *env) {
		failFor := func(op string, d time.Duration) {
			e.storeFault(op, "", smtest.Fault{Status: 500})
			time.AfterFunc(d, e.storeWorks)
		}
		e.exclusive()
		e.start(client)
		time.Sleep(12 * time.Hour)
		failFor("PutSecretValue", 10*time.Second)
		e.mustRotate(Rotated, HalfLife)
		e.mustBeValid()
		failFor("", 2*time.Second)
		if _, err := e.vend(false); err != nil {
			t.Errorf("got %v", err)
		}
	})
}

// An outage of Communic8 of half a lifetime makes no call of the cache fail.
func TestOutageOfHalfALifetime(t *testing.T) {
	withEnv(t, func(e *env) {
		e.start(client)
		time.Sleep(12*time.Hour - time.Minute)
		e.c8Faults(func(*http.Request, int) *c8test.Fault { return &c8test.Fault{Break: true} })
		for outage := time.Now(); time.Since(outage) < 12*time.Hour-5*time.Minute; time.Sleep(4 * time.Minute) {
			_, _ = e.rotate(false)
			if _, err := e.vend(false); err != nil {
				t.Fatalf("%v: %v", time.Now(), err)
			}
		}
		e.mustLog(members{"RotationFailed": 1.0})
		if percent := e.line(0)["TokenLifePercent"].(float64); percent > 100.0/24 {
			t.Errorf("TokenLifePercent is %v", percent)
		}
		e.c8Faults(nil)
		e.mustRotate(Rotated, HalfLife)
	})
}
