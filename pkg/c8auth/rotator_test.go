package c8auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// From empty secrets to a token and through its half-lives: rotate decides, however
// often it is called.
func TestLifeOfATenant(t *testing.T) {
	inWorld(t, func(w *world) {
		if result := w.must(Waiting, ""); result.Version != "" {
			t.Errorf("waiting, but version %s", result.Version)
		}
		credentials := w.sm.Put(acmeCreds, acmeOAuth)
		result := w.must(Rotated, FirstToken)
		token, version := w.stored()
		want := Result{Tenant: "acme", Outcome: Rotated, Reason: FirstToken, Version: version, ExpiresAt: time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC), ExpiresIn: 86400}
		if !reflect.DeepEqual(result, want) {
			t.Errorf("got  %+v\nwant %+v", result, want)
		}
		if token.CredentialsVersion != credentials || token.BaseURL != acmeBase || token.TokenType != "Bearer" {
			t.Errorf("stored %+v", token)
		}
		asked := w.c8.Requests()
		for range 11 {
			time.Sleep(time.Hour)
			w.must(Fresh, "")
			w.must(Fresh, "") // the event came twice
		}
		if w.c8.Requests() != asked || w.sm.Calls("PutSecretValue") != 1 {
			t.Errorf("asked for %d tokens, stored %d, while none was due", w.c8.Requests()-asked, w.sm.Calls("PutSecretValue")-1)
		}
		time.Sleep(time.Hour)
		if result := w.must(Rotated, HalfLife); result.Version == version {
			t.Error("the version is still the same")
		}
		w.living()
	})
}

// Nothing but the secret itself is asked of the credentials by a token whose time has come,
// so that there is less that can keep it from being replaced.
func TestDueWhateverTheCredentialsAre(t *testing.T) {
	inWorld(t, func(w *world) {
		w.smFault("DescribeSecret", smtest.Fault{Status: 400, Type: "AccessDeniedException"})
		w.must(Waiting, "") // no token, and no credentials
		w.sm.Put(acmeCreds, acmeOAuth)
		w.must(Rotated, FirstToken)
		if _, err := w.rotate(false); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v: whether the credentials have changed was not asked", err)
		}
		time.Sleep(12 * time.Hour)
		w.must(Rotated, HalfLife)
		w.sm.Put(acmeToken, "no token")
		w.must(Rotated, UnreadableToken)
		w.living()

		w.smFaults(nil)
		time.Sleep(time.Hour)
		w.sm.Put(acmeCreds, acmeOAuth)
		if result, err := w.rotate(true); result.Reason != CredentialsChanged { // by force as well, which is looked for later
			t.Errorf("got %+v, %v", result, err)
		}
	})
}

// The long-lived secret is read only when a token is due.
func TestCredentialsAreReadOnlyWhenDue(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.must(Rotated, FirstToken)
		w.smFaults(func(op, name string) *smtest.Fault {
			if op == "GetSecretValue" && name == acmeCreds {
				t.Error("the credentials were read")
			}
			return nil
		})
		w.must(Fresh, "")
		time.Sleep(time.Hour)
		w.must(Fresh, "")
	})
}

func TestForce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.must(Rotated, FirstToken)
		for _, step := range []struct {
			after  time.Duration
			want   Outcome
			reason Reason
		}{{0, Fresh, ""}, {time.Minute, Fresh, ""}, {time.Second, Rotated, Forced}, {time.Second, Fresh, ""}} {
			time.Sleep(step.after)
			if result, err := w.rotate(true); err != nil || result.Outcome != step.want || result.Reason != step.reason {
				t.Errorf("got %+v, %v, want %+v", result, err, step)
			}
		}
	})
}

func TestAccessKey(t *testing.T) {
	inWorld(t, func(w *world) {
		w.c8.AddAccessKey("key-1")
		w.sm.Put(acmeCreds, acmeKey)
		result := w.must(Rotated, FirstToken)
		token, _ := w.stored()
		if !result.ExpiresAt.IsZero() || result.ExpiresIn != 0 || token.Expires() || token.AccessToken.Reveal() != "key-1" {
			t.Errorf("got %+v, %+v", result, token)
		}
		if line := w.line(); line["issued_at"] != token.IssuedAt.Format(time.RFC3339) || line["expires_at"] != nil {
			t.Errorf("logged %v", line)
		}
		time.Sleep(1000 * time.Hour)
		w.must(Fresh, "")
		if w.c8.Requests() != 0 {
			t.Error("a token was requested")
		}
		// A person makes a new key and stores it. The old one is gone.
		w.c8.Revoke("key-1")
		w.c8.AddAccessKey("key-2")
		w.sm.Put(acmeCreds, strings.ReplaceAll(acmeKey, "key-1", "key-2"))
		w.must(Rotated, CredentialsChanged)
		w.living()
		// The method itself may change.
		w.sm.Put(acmeCreds, acmeOAuth)
		if result := w.must(Rotated, CredentialsChanged); result.ExpiresIn != 86400 {
			t.Errorf("got %+v", result)
		}
	})
}

// An access key that Communic8 does not take is refused credentials: it is never
// stored, and the previous credentials stand in, whatever their method.
func TestWrongAccessKey(t *testing.T) {
	typo := strings.ReplaceAll(acmeKey, "key-1", "typo")
	for name, previous := range map[string]string{"after an access key": acmeKey, "after OAuth 2": acmeOAuth} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.c8.AddAccessKey("key-1")
				w.sm.Put(acmeCreds, typo)
				if _, err := w.rotate(false); !errors.Is(err, ErrRefused) || w.sm.Versions(acmeToken) != 0 {
					t.Errorf("got %v", err)
				}
				w.sm.Put(acmeCreds, previous)
				w.must(Rotated, FirstToken)
				w.sm.Put(acmeCreds, typo)
				for range 24 * 4 {
					time.Sleep(15 * time.Minute)
					if _, err := w.rotate(false); err != nil {
						t.Fatal(err)
					}
					if w.line()["CredentialsFallback"] != 1.0 {
						t.Errorf("logged %v", w.line())
					}
					w.living()
				}
				if n := w.sm.Versions(acmeToken); n > 4 {
					t.Errorf("%d tokens were stored in a day", n)
				}
			})
		})
	}
}

// A token that was revoked is replaced at the next heartbeat.
func TestRevokedToken(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.must(Rotated, FirstToken)
		w.c8.Revoke(w.c8.Issued()[0])
		w.must(Rotated, Rejected)
		w.living()
		w.must(Fresh, "")
	})
}

// Only a 401 rejects the stored token. Whatever else the probe path says, nothing
// is due.
func TestInconclusiveTrialOfTheStoredToken(t *testing.T) {
	for name, fault := range map[string]c8test.Fault{
		"403":           {Status: 403},
		"500":           {Status: 500},
		"success:false": {Body: `{"success":false}`},
		"HTML":          {Body: "<html>"},
		"no answer":     {Delay: time.Hour},
		"broken off":    {Break: true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.sm.Put(acmeCreds, acmeOAuth)
				w.must(Rotated, FirstToken)
				w.behave(func(b *c8test.Behaviour) { b.Fault = func(*http.Request, int) *c8test.Fault { return &fault } })
				w.must(Fresh, "")
				if line := w.line(); line["trial"] != "inconclusive" || line["level"] != "WARN" {
					t.Errorf("logged %v", line)
				}
			})
		})
	}
}

func TestTrialOfTheNewToken(t *testing.T) {
	for _, test := range []struct {
		name  string
		probe c8test.Fault
		want  error
	}{
		{"good", c8test.Fault{Body: `{"success":true}`}, nil},
		{"rejected", c8test.Fault{Status: 401}, ErrRejected},
		{"forbidden", c8test.Fault{Status: 403}, nil},
		{"unsuccessful", c8test.Fault{Body: `{"success":false}`}, nil},
		{"no answer", c8test.Fault{Delay: time.Hour}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.sm.Put(acmeCreds, acmeOAuth)
				w.must(Rotated, FirstToken)
				_, version := w.stored()
				time.Sleep(12 * time.Hour)
				w.behave(func(b *c8test.Behaviour) {
					b.Fault = func(r *http.Request, _ int) *c8test.Fault {
						if r.URL.Path == c8test.TokenPath {
							return nil
						}
						return &test.probe
					}
				})
				_, err := w.rotate(false)
				if !errors.Is(err, test.want) {
					t.Fatalf("got %v, want %v", err, test.want)
				}
				if _, now := w.stored(); (now != version) != (test.want == nil) {
					t.Errorf("stored: %t", now != version)
				}
			})
		})
	}
}

// Without a probe path no token is ever tried.
func TestNoProbePath(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rotator.Endpoint.ProbePath = ""
		w.sm.Put(acmeCreds, acmeOAuth)
		w.must(Rotated, FirstToken)
		w.must(Fresh, "")
		if w.c8.Probes() != 0 {
			t.Error("a token was tried")
		}
	})
}

// Each form of refusal is one: it is not retried, changes nothing, and says what to
// do.
func TestRefusal(t *testing.T) {
	for name, refusal := range map[string]c8test.Refusal{"401": c8test.Refuse401, "400": c8test.Refuse400, "200": c8test.Refuse200, "200 with an error": c8test.Refuse200Error, "404": c8test.Refuse404} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.behave(func(b *c8test.Behaviour) { b.Refusal = refusal })
				w.c8.RemoveClient("id")
				w.sm.Put(acmeCreds, acmeOAuth)
				_, err := w.rotate(false)
				if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "store the right ones in stack/credentials/acme") {
					t.Errorf("got %v", err)
				}
				if w.c8.Requests() != 1 || w.sm.Calls("PutSecretValue") != 0 {
					t.Errorf("asked %d times, stored %d times", w.c8.Requests(), w.sm.Calls("PutSecretValue"))
				}
				if line := w.line(); line["RotationFailed"] != 1.0 || line["TokenLifePercent"] != 0.0 || line["level"] != "ERROR" {
					t.Errorf("logged %v", line)
				}
			})
		})
	}
}

// Whatever form the refusal has, the previous credentials stand in.
func TestFallbackForEveryRefusal(t *testing.T) {
	for name, refusal := range map[string]c8test.Fault{
		"401":                      {Status: 401},
		"403 with HTML":            {Status: 403, Body: "<html>"},
		"400 with an error":        {Status: 400, Body: `{"error":"invalid_client"}`},
		"200 with an error":        {Body: `{"error":"invalid_client"}`},
		"200 with success:false":   {Body: `{"success":false}`},
		"404 with success:false":   {Status: 404, Body: `{"success":false}`},
		"302 with an error":        {Status: 302, Body: `{"error":"invalid_client"}`},
		"400 with a BOM and error": {Status: 400, Body: "\ufeff" + `{"error":"MARK"}`},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.begin(acmeOAuth)
				w.sm.Put(acmeCreds, strings.ReplaceAll(acmeOAuth, "secret-1", "typo"))
				w.behave(func(b *c8test.Behaviour) {
					b.Fault = func(r *http.Request, _ int) *c8test.Fault {
						if pair, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")); string(pair) == "id:typo" {
							return &refusal
						}
						return nil
					}
				})
				time.Sleep(time.Second) // a token's age is known to the second
				w.must(Rotated, CredentialsChanged)
				line := w.line()
				if hint, _ := line["hint"].(string); line["CredentialsFallback"] != 1.0 || !strings.Contains(hint, "refuses the credentials") || strings.Contains(hint, "base_url") || strings.Contains(hint, "MARK") {
					t.Errorf("logged %v", line)
				}
				w.living()
			})
		})
	}
}

// Refused credentials that somebody replaces in that very moment are the previous ones
// now, and not tried once more.
func TestCredentialsReplacedMeanwhile(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, strings.ReplaceAll(acmeOAuth, "secret-1", "typo"))
		reads := 0
		w.smFaults(func(op, name string) *smtest.Fault {
			if op == "GetSecretValue" && name == acmeCreds {
				if reads++; reads == 2 {
					w.sm.Put(acmeCreds, acmeOAuth)
				}
			}
			return nil
		})
		if _, err := w.rotate(false); !errors.Is(err, ErrRefused) {
			t.Errorf("got %v, want ErrRefused", err)
		}
		if n := w.c8.Requests(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		w.must(Rotated, FirstToken)
	})
}

// Credentials that were replaced by wrong ones: the previous ones stand in, loudly,
// once. They make no more tokens than they would have anyway.
func TestCredentialsFallback(t *testing.T) {
	inWorld(t, func(w *world) {
		good := w.sm.Put(acmeCreds, acmeOAuth)
		w.must(Rotated, FirstToken)
		time.Sleep(time.Hour)
		bad := w.sm.Put(acmeCreds, strings.ReplaceAll(acmeOAuth, "secret-1", "typo"))
		time.Sleep(time.Minute)
		w.must(Rotated, CredentialsChanged)
		loud := func() {
			t.Helper()
			if line := w.line(); line["credentials_fallback"] != true || line["CredentialsFallback"] != 1.0 || line["level"] != "WARN" {
				t.Errorf("logged %v", line)
			}
		}
		loud()
		if token, _ := w.stored(); token.CredentialsVersion != good {
			t.Errorf("made from %s, want the previous %s", token.CredentialsVersion, good)
		}
		for range 10 {
			time.Sleep(5 * time.Minute)
			w.must(Fresh, "")
			loud()
		}
		if n := w.sm.Calls("PutSecretValue"); n != 2 {
			t.Errorf("stored %d tokens", n)
		}
		// The token that they made is looked after like any other.
		w.c8.Revoke(w.c8.Issued()[1])
		w.must(Rotated, CredentialsChanged)
		w.living()
		time.Sleep(12 * time.Hour)
		w.must(Rotated, HalfLife)
		loud()
		// Communic8 makes the new ones good after all.
		w.c8.AddClient("id", "typo")
		w.must(Rotated, CredentialsChanged)
		if token, _ := w.stored(); token.CredentialsVersion != bad || w.line()["CredentialsFallback"] != nil {
			t.Errorf("made from %s, want %s; logged %v", token.CredentialsVersion, bad, w.line())
		}
		w.must(Fresh, "")
	})
}

// When neither works, the error says so of both, and the stored token stays.
func TestNeitherCredentialsWork(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.must(Rotated, FirstToken)
		w.sm.Put(acmeCreds, strings.ReplaceAll(acmeOAuth, "secret-1", "typo"))
		w.c8.RemoveClient("id")
		_, version := w.stored()
		_, err := w.rotate(false)
		if !errors.Is(err, ErrRefused) || strings.Count(err.Error(), "refuses the credentials") != 2 {
			t.Errorf("got %v", err)
		}
		if _, now := w.stored(); now != version {
			t.Error("the stored token was replaced")
		}
	})
}

// Credentials that are malformed are an error that names what is wrong; what is
// stored stays.
func TestMalformedCredentials(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.must(Rotated, FirstToken)
		_, version := w.stored()
		for _, bad := range []string{"{}", " ", "secret-2", `{"base_url": "https://a.b", "acces_key": "secret-2"}`} {
			w.sm.Put(acmeCreds, bad)
			_, err := w.rotate(false)
			if !errors.Is(err, ErrCredentials) || !strings.HasPrefix(err.Error(), acmeCreds+": ") || strings.Contains(err.Error(), "secret-2") {
				t.Errorf("got %v", err)
			}
		}
		if _, now := w.stored(); now != version {
			t.Error("the stored token was replaced")
		}
	})
}

// Malformed credentials are an error at every heartbeat, but the previous ones make
// the next token when that is due: nobody who vends notices.
func TestMalformedCredentialsForADay(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.must(Rotated, FirstToken)
		w.sm.Put(acmeCreds, "{}")
		time.Sleep(11 * time.Hour)
		if _, err := w.rotate(false); !errors.Is(err, ErrCredentials) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Hour)
		w.must(Rotated, HalfLife)
		if line := w.line(); line["CredentialsFallback"] != 1.0 {
			t.Errorf("logged %v", line)
		}
		w.living()
		if _, err := w.rotate(false); !errors.Is(err, ErrCredentials) {
			t.Errorf("got %v", err)
		}
	})
}

// A Communic8 that gives the same token again, with the life that it has left or with
// that of a new one: a dead token is never vended, and the hole at the end of a life
// is no longer than a heartbeat.
func TestSameTokenAgain(t *testing.T) {
	for name, expiresIn := range map[string]string{"with the life it has left": "", "with the life of a new one": "86400"} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.behave(func(b *c8test.Behaviour) { b.Same, b.ExpiresIn = true, expiresIn })
				w.sm.Put(acmeCreds, acmeOAuth)
				w.must(Rotated, FirstToken)
				time.Sleep(100 * time.Second)
				failed := 0
				for i := range 3 * 24 * 120 {
					if i%10 == 0 {
						_, _ = w.rotate(false)
					}
					token, err := w.vend(true)
					if err == nil && !w.c8.Valid(token) {
						t.Fatalf("%v: a dead token was vended", time.Now())
					}
					if err != nil {
						failed++
					}
					time.Sleep(30 * time.Second)
				}
				if limit := 3 * 10; failed > limit {
					t.Errorf("vend failed for %d s in three days", failed*30)
				}
				if n := w.sm.Versions(acmeToken); n > 60 {
					t.Errorf("%d tokens were stored in three days", n)
				}
			})
		})
	}
}

// The loser of a race, when no token can be tried and no other can be had, stores the
// one that it asked for last: under exclusive it is the only living one.
func TestLoserThatCannotAskAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.rotator.Endpoint.ProbePath = ""
		w.behave(func(b *c8test.Behaviour) { b.Exclusive = true })
		w.must(Rotated, FirstToken)
		time.Sleep(12 * time.Hour)
		other := w.clone(func(h http.Handler) http.Handler { return h })
		raced := false
		w.smFaults(func(op, _ string) *smtest.Fault {
			if op == "PutSecretValue" && !raced {
				raced = true
				// The other has asked before us, and stores now, before we do.
				dead := w.c8.Issued()[0]
				token := Token{BaseURL: acmeBase, AccessToken: NewSecret(dead), TokenType: bearer, IssuedAt: now().Add(-time.Second), ExpiresAt: now().Add(24 * time.Hour)}
				token.CredentialsVersion, _ = other.Store.CredentialsVersion(w.Context(), "acme")
				_, version := w.sm.Value(acmeToken)
				if _, err := other.Store.PutToken(w.Context(), "acme", token, version); err != nil {
					t.Error(err)
				}
				w.c8Fault(c8test.Fault{Status: 503})
			}
			return nil
		})
		w.must(Rotated, HalfLife)
		w.living()
	})
}

// A store whose reads lag behind does not make a loser overwrite the winner: that its
// version id is taken and AWSCURRENT seems unmoved means, within a minute, a race.
func TestLaggingRead(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.must(Rotated, FirstToken)
		stale, replaced := w.sm.Value(acmeToken)
		first, _ := w.stored()
		winner, err := w.rotator.Store.PutToken(w.Context(), "acme", first, replaced)
		if err != nil {
			t.Fatal(err)
		}
		reads := 0
		w.smFaults(func(op, _ string) *smtest.Fault {
			if op == "GetSecretValue" {
				reads++
			}
			if op == "GetSecretValue" && reads == 1 { // of AWSCURRENT, after the refused write
				return &smtest.Fault{Status: 200, Body: fmt.Sprintf(`{"Name":%q,"SecretString":%q,"VersionId":%q,"CreatedDate":1}`, acmeToken, stale, replaced)}
			}
			return nil
		})
		first.IssuedAt = first.IssuedAt.Add(time.Second) // another value
		if _, err := w.rotator.Store.PutToken(w.Context(), "acme", first, replaced); !errors.Is(err, ErrLostRace) {
			t.Errorf("got %v, want ErrLostRace", err)
		}
		w.smFaults(nil)
		if _, now := w.stored(); now != winner {
			t.Error("the winner was overwritten")
		}
	})
}

// A store that fails for seconds is waited for: under exclusive the token in hand is
// the only living one.
func TestStoreFailsForSeconds(t *testing.T) {
	inWorld(t, func(w *world) {
		w.behave(func(b *c8test.Behaviour) { b.Exclusive = true })
		w.sm.Put(acmeCreds, acmeOAuth)
		w.must(Rotated, FirstToken)
		time.Sleep(12 * time.Hour)
		recovery := time.Now().Add(10 * time.Second)
		w.smFaults(func(op, _ string) *smtest.Fault {
			if op == "PutSecretValue" && time.Now().Before(recovery) {
				return &smtest.Fault{Status: 500}
			}
			return nil
		})
		w.must(Rotated, HalfLife)
		w.living()
		// A cold vend waits as long as its caller can.
		recovery = time.Now().Add(2 * time.Second)
		w.smFaults(func(string, string) *smtest.Fault {
			if time.Now().Before(recovery) {
				return &smtest.Fault{Status: 500}
			}
			return nil
		})
		if _, err := w.vend(false); err != nil {
			t.Errorf("got %v", err)
		}
	})
}

// What is worth asking again is asked again, with growing pauses, and not beyond
// what one invocation may ask.
func TestRetries(t *testing.T) {
	for name, fault := range map[string]c8test.Fault{
		"429":        {Status: 429},
		"503":        {Status: 503},
		"HTML":       {Body: "<html>"},
		"no answer":  {Delay: time.Hour},
		"broken off": {Break: true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.sm.Put(acmeCreds, acmeOAuth)
				w.c8Fault(fault)
				start := time.Now()
				_, err := w.rotate(false)
				var upstream *UpstreamError
				if !errors.As(err, &upstream) || !strings.HasSuffix(err.Error(), "the next heartbeat retries") {
					t.Errorf("got %v", err)
				}
				if n := w.c8.Requests(); n < 4 || n > maxRequests {
					t.Errorf("asked %d times", n)
				}
				if took := time.Since(start); took > time.Minute {
					t.Errorf("took %v", took)
				}
				// And when it is over, all is well.
				w.behave(func(b *c8test.Behaviour) { b.Fault = nil })
				w.must(Rotated, FirstToken)
			})
		})
	}
}

func TestRetryThenSuccess(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.behave(func(b *c8test.Behaviour) {
			b.Fault = func(r *http.Request, n int) *c8test.Fault {
				if r.URL.Path == c8test.TokenPath && n < 3 {
					return &c8test.Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}}
				}
				return nil
			}
		})
		start := time.Now()
		result := w.must(Rotated, FirstToken)
		if took := time.Since(start); took != 14*time.Second {
			t.Errorf("took %v, want twice the Retry-After of 7s", took)
		}
		// Expiry counts from the moment before the request that was answered.
		if want := start.Add(14*time.Second + 24*time.Hour); !result.ExpiresAt.Equal(want) {
			t.Errorf("expires %v, want %v", result.ExpiresAt, want)
		}
	})
}

// A lifetime that says nothing is taken for an hour, with a warning, if the new token is
// shown to work; the token is not stored if it is not. A lifetime that is too short is
// refused. Communic8 is asked once in each case.
func TestLifetimeThatSaysNothing(t *testing.T) {
	for _, expiresIn := range []string{"-", "null", "0", "-1", `"0"`, `"soon"`, "{}", "29"} {
		for probe, want := range map[string]error{
			"good": nil, "rejected": ErrRejected, "forbidden": ErrAnswer, "unsuccessful": ErrAnswer, "never": ErrAnswer,
		} {
			t.Run(expiresIn+", probe "+probe, func(t *testing.T) {
				inWorld(t, func(w *world) {
					if expiresIn == "29" {
						want = ErrAnswer
					}
					w.sm.Put(acmeCreds, acmeOAuth)
					w.behave(func(b *c8test.Behaviour) {
						b.ExpiresIn = expiresIn
						b.Fault = func(r *http.Request, _ int) *c8test.Fault {
							if r.URL.Path == c8test.TokenPath || probe == "good" {
								return nil
							}
							return &c8test.Fault{Status: map[string]int{"rejected": 401, "forbidden": 403}[probe], Body: `{"success":false}`}
						}
					})
					if probe == "never" {
						w.rotator.Endpoint.ProbePath = ""
					}
					result, err := w.rotate(false)
					if !errors.Is(err, want) || w.c8.Requests() != 1 {
						t.Fatalf("got %v after %d requests, want %v", err, w.c8.Requests(), want)
					}
					line := w.line()
					if want != nil {
						if w.sm.Versions(acmeToken) != 0 || line["error_code"] != Code(want) {
							t.Errorf("stored %d tokens, logged %v", w.sm.Versions(acmeToken), line)
						}
						return
					}
					if result.ExpiresIn != 3600 || line["lifetime_assumed"] != true || line["level"] != "WARN" || line["hint"] == nil {
						t.Errorf("got %+v, logged %v", result, line)
					}
					w.must(Fresh, "")
					if w.line()["lifetime_assumed"] != nil {
						t.Errorf("logged %v", w.line())
					}
				})
			})
		}
	}
}

// A token that comes again a moment before it expires, with the lifetime rounded to 0, is
// not taken for one that lives another hour. One that comes again after it should have
// expired, and works, is.
func TestSameTokenWithoutALifetime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.behave(func(b *c8test.Behaviour) { b.Same, b.Lifetime = true, 5*time.Minute })
		w.sm.Put(acmeCreds, acmeOAuth)
		version := w.must(Rotated, FirstToken).Version
		time.Sleep(5*time.Minute - 300*time.Millisecond)
		if _, err := w.rotate(false); !errors.Is(err, ErrRejected) {
			t.Errorf("got %v", err)
		}
		if _, now := w.stored(); now != version {
			t.Error("a token that expires at once is stored")
		}
	})
	inWorld(t, func(w *world) {
		w.behave(func(b *c8test.Behaviour) { b.Same, b.ExpiresIn = true, "-" })
		w.sm.Put(acmeCreds, acmeOAuth)
		w.must(Rotated, FirstToken)
		time.Sleep(time.Hour)
		if result := w.must(Rotated, HalfLife); result.ExpiresIn < 3500 {
			t.Errorf("got %+v", result)
		}
		w.living()
	})
}

// Who wants to be left alone longer than the invocation lasts is left alone.
func TestRetryAfterBeyondTheDeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.c8Fault(c8test.Fault{Status: 429, Header: http.Header{"Retry-After": {"120"}}})
		start := time.Now()
		if _, err := w.rotate(false); err == nil || w.c8.Requests() != 1 || time.Since(start) > time.Second {
			t.Errorf("got %v after %d requests and %v", err, w.c8.Requests(), time.Since(start))
		}
	})
}

// Expiry is measured from before the request: a slow answer never makes a token
// live longer.
func TestExpiryIsMeasuredBeforeTheRequest(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.c8Fault(c8test.Fault{Delay: 9 * time.Second, Body: `{"access_token":"0123","token_type":"Bearer","expires_in":3600}`})
		w.rotator.Endpoint.ProbePath = ""
		start := time.Now()
		if result := w.must(Rotated, FirstToken); !result.ExpiresAt.Equal(start.Add(time.Hour)) {
			t.Errorf("expires %v, want an hour after %v", result.ExpiresAt, start)
		}
	})
}

// A dead, garbled or missing token is replaced, whatever state it is found in.
func TestUnreadableToken(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.sm.Put(acmeToken, "hello")
		w.must(Rotated, UnreadableToken)
		w.living()
	})
}

// A tenant that has no such secrets is an error, found before Communic8 is asked.
func TestUnknownTenant(t *testing.T) {
	for name, lose := range map[string]func(*smtest.Server){
		"no credentials secret":               func(s *smtest.Server) { s.Destroy(acmeCreds) },
		"no token secret":                     func(s *smtest.Server) { s.Destroy(acmeToken) },
		"credentials scheduled for deletion":  func(s *smtest.Server) { s.Delete(acmeCreds) },
		"token secret scheduled for deletion": func(s *smtest.Server) { s.Delete(acmeToken) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.sm.Put(acmeCreds, acmeOAuth)
				lose(w.sm)
				if _, err := w.rotate(false); !errors.Is(err, ErrUnknownTenant) {
					t.Errorf("got %v", err)
				}
				if w.c8.Requests() != 0 {
					t.Error("Communic8 was asked")
				}
			})
		})
	}
	inWorld(t, func(w *world) {
		for _, name := range []string{"", "../x", "a/b", strings.Repeat("a", 200)} {
			if _, err := w.rotator.Rotate(w.Context(), Request{Tenant: name}); !errors.Is(err, ErrTenantName) {
				t.Errorf("%q: got %v", name, err)
			}
		}
		if w.sm.Calls("") != 0 {
			t.Error("the store was asked for what is no tenant")
		}
	})
}

// Whatever Secrets Manager does, the stored token is as it was or the new one, and
// all is well when it is over.
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
		for _, op := range []string{"GetSecretValue", "DescribeSecret", "PutSecretValue"} {
			t.Run(name+" at "+op, func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.sm.Put(acmeCreds, acmeOAuth)
					w.must(Rotated, FirstToken)
					_, version := w.stored()
					if op == "DescribeSecret" { // which is asked when nothing else makes a token due
						w.sm.Put(acmeCreds, acmeOAuth)
					} else {
						time.Sleep(12 * time.Hour)
					}
					w.smFault(op, fault)
					start := time.Now()
					_, err := w.rotate(false)
					if !errors.Is(err, ErrUnavailable) {
						t.Errorf("got %v, want ErrUnavailable", err)
					}
					if took := time.Since(start); took > 59*time.Second {
						t.Errorf("took %v", took)
					}
					if line := w.line(); line["RotationFailed"] != 1.0 {
						t.Errorf("logged %v", line)
					}
					w.living()
					if _, now := w.stored(); now != version && !fault.After {
						t.Error("the stored token was replaced")
					}
					w.smFaults(nil)
					if _, err := w.rotate(false); err != nil {
						t.Errorf("afterwards: %v", err)
					}
					w.living()
					if _, now := w.stored(); now == version {
						t.Error("the token was not replaced afterwards")
					}
				})
			})
		}
	}
}

// A write whose answer is lost once is repeated under the same version id, and is
// one write.
func TestLostAnswerOfAWrite(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.smFaults(func(op, _ string) *smtest.Fault {
			if op == "PutSecretValue" && w.sm.Calls(op) == 1 {
				return &smtest.Fault{After: true, Status: 500, Type: "InternalServiceError"}
			}
			return nil
		})
		w.must(Rotated, FirstToken)
		if n, m := w.sm.Calls("PutSecretValue"), w.sm.Versions(acmeToken); n != 2 || m != 1 {
			t.Errorf("%d calls, %d versions; want 2, 1", n, m)
		}
		w.must(Fresh, "")
	})
}

// Two rotations at once, in every order of their steps: one outcome is stored, and
// it is a living one, whether or not a new token ends the life of the others and
// whether or not tokens can be tried.
func TestTwoAtOnce(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		for _, probe := range []string{defaultProbePath, ""} {
			for _, rejection := range []c8test.Rejection{c8test.Reject401, c8test.Reject403, c8test.Reject200} {
				for first := range 8 {
					for second := range 8 {
						name := fmt.Sprintf("exclusive=%t probe=%t rejection=%d steps=%d,%d", exclusive, probe != "", rejection, first, second)
						t.Run(name, func(t *testing.T) { twoAtOnce(t, exclusive, probe, rejection, first, second) })
					}
				}
			}
		}
	}
}

// twoAtOnce lets two rotations run with pauses that make the first be overtaken
// after its step numbered first, and the other after its step numbered second.
func twoAtOnce(t *testing.T, exclusive bool, probe string, rejection c8test.Rejection, first, second int) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.rotator.Endpoint.ProbePath = probe
		w.behave(func(b *c8test.Behaviour) { b.Exclusive, b.Rejection = exclusive, rejection })
		w.must(Rotated, FirstToken)
		time.Sleep(12 * time.Hour)

		done := make(chan error, 2)
		for i, pauseAfter := range []int{first, second} {
			// Each has its own clients, whose requests are counted and held up.
			steps := 0
			held := func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if steps == pauseAfter {
						time.Sleep(time.Duration(i+1) * 100 * time.Millisecond)
					}
					steps++
					h.ServeHTTP(rw, r)
				})
			}
			rotator := w.clone(held)
			go func() {
				ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
				defer cancel()
				_, err := rotator.Rotate(ctx, Request{Tenant: "acme"})
				done <- err
			}()
		}
		for range 2 {
			// Under exclusive, the one whose token was ended before it was tried fails.
			if err := <-done; err != nil && !(exclusive && errors.Is(err, ErrRejected)) {
				t.Errorf("failed: %v", err)
			}
		}
		w.living()
		w.must(Fresh, "")
	})
}

// AWSCURRENT moved back by hand to an older version: rotate gets away from it, every
// time, though the version ids that it derives have been taken.
func TestCurrentMovedByHand(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		t.Run(fmt.Sprintf("exclusive=%t", exclusive), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.sm.Put(acmeCreds, acmeOAuth)
				w.behave(func(b *c8test.Behaviour) { b.Exclusive = exclusive })
				old := w.must(Rotated, FirstToken).Version
				time.Sleep(12 * time.Hour)
				w.must(Rotated, HalfLife)
				for range 5 {
					time.Sleep(5 * time.Minute)
					w.sm.Move(acmeToken, awsCurrent, old)
					w.must(Rotated, HalfLife)
					w.living()
					w.must(Fresh, "")
				}
			})
		})
	}
}

// The same within a second of a rotation, for a rotation and for a report.
func TestCurrentMovedByHandAtOnce(t *testing.T) {
	for name, rotate := range map[string]func(w *world, version string) (Result, error){
		"rotation": func(w *world, _ string) (Result, error) { return w.rotate(false) },
		"report": func(w *world, version string) (Result, error) {
			return w.rotator.Reject(w.Context(), Report{Tenant: "acme", Version: version})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.sm.Put(acmeCreds, acmeOAuth)
				w.behave(func(b *c8test.Behaviour) { b.Exclusive = true })
				old := w.must(Rotated, FirstToken).Version
				for range 3 {
					time.Sleep(12 * time.Hour)
					w.must(Rotated, HalfLife)
					time.Sleep(time.Second)
					w.sm.Move(acmeToken, awsCurrent, old)
					start := time.Now()
					if result, err := rotate(w, old); err != nil || result.Outcome != Rotated || time.Since(start) > time.Second {
						t.Errorf("got %+v, %v after %v", result, err, time.Since(start))
					}
					w.living()
					old = w.must(Fresh, "").Version
				}
			})
		})
	}
}

// What a replica of the store shows that lags behind is no reason to overwrite a token
// that another rotation has stored.
func TestStoreThatLagsBehind(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.must(Rotated, FirstToken)
		time.Sleep(12 * time.Hour)
		text, old := w.sm.Value(acmeToken)
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		w.behave(func(b *c8test.Behaviour) { b.Exclusive = true }) // nothing but the race is in its way
		version := w.must(Rotated, HalfLife).Version
		w.smFaults(func(op, name string) *smtest.Fault {
			switch {
			case name != acmeToken:
			case op == "GetSecretValue": // by label and by id
				return &smtest.Fault{Status: 200, Body: fmt.Sprintf(`{"VersionId":%q,"SecretString":%s,"CreatedDate":%d}`, old, quoted, time.Now().Unix())}
			case op == "DescribeSecret":
				return &smtest.Fault{Status: 200, Body: fmt.Sprintf(`{"VersionIdsToStages":{%q:["AWSCURRENT"]}}`, old)}
			}
			return nil
		})
		if _, err := w.rotate(false); !errors.Is(err, ErrLostRace) {
			t.Errorf("got %v", err)
		}
		if _, current := w.stored(); current != version {
			t.Errorf("the token that another rotation has just stored was overwritten by %s", current)
		}
	})
}

// Two rotations at once that get the same token: the loser, which requested it later,
// does not store it once more with a later expiry.
func TestSameTokenInARace(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.behave(func(b *c8test.Behaviour) { b.Same, b.Lifetime, b.ExpiresIn = true, time.Hour, "3600" })
		slow := w.clone(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == c8test.TokenPath {
					time.Sleep(2 * time.Second)
				}
				h.ServeHTTP(rw, r)
			})
		})
		done := make(chan error)
		go func() {
			_, err := slow.Rotate(w.Context(), Request{Tenant: "acme"})
			done <- err
		}()
		time.Sleep(time.Second)
		result := w.must(Rotated, FirstToken)
		n := w.c8.Probes()
		w.behave(func(b *c8test.Behaviour) { // the winner's token cannot be tried, and then the loser's can
			b.Fault = func(r *http.Request, tried int) *c8test.Fault {
				if r.URL.Path != c8test.TokenPath && tried == n+2 {
					return &c8test.Fault{Status: 429}
				}
				return nil
			}
		})
		if err := <-done; err != nil {
			t.Error(err)
		}
		if now, version := w.stored(); version != result.Version || !now.ExpiresAt.Equal(result.ExpiresAt) {
			t.Errorf("the token now expires at %v, and did at %v", now.ExpiresAt, result.ExpiresAt)
		}
	})
}

// A token that was rejected in the course of a lost race is not stored: an access key
// that could not be tried at first.
func TestTokenRejectedInARace(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeKey) // which Communic8 does not know
		w.behave(func(b *c8test.Behaviour) {
			b.Fault = func(_ *http.Request, n int) *c8test.Fault {
				if n < 4 { // the new one, the winner's, and the new one again
					return &c8test.Fault{Status: 503}
				}
				return nil
			}
		})
		winner := Token{BaseURL: acmeBase, AccessToken: NewSecret("winner"), TokenType: "Bearer", IssuedAt: time.Now().UTC(), ExpiresAt: time.Now().UTC().Add(time.Hour)}
		text, err := winner.encode()
		if err != nil {
			t.Fatal(err)
		}
		won := false
		w.smFaults(func(op, _ string) *smtest.Fault {
			if op == "PutSecretValue" && !won {
				won = true
				_, err = w.clone(func(h http.Handler) http.Handler { return h }).Store.PutToken(w.Context(), "acme", winner, "")
			}
			return nil
		})
		if _, failed := w.rotate(false); !errors.Is(failed, ErrRefused) || err != nil {
			t.Errorf("got %v, %v", failed, err)
		}
		if now, _ := w.sm.Value(acmeToken); now != text {
			t.Errorf("stored %s", now)
		}
	})
}

// A rotation that is invoked with little time leaves what is stored alone and still
// writes its line.
func TestShortDeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.c8Fault(c8test.Fault{Delay: time.Hour})
		ctx, cancel := context.WithTimeout(w.Context(), 3*time.Second)
		defer cancel()
		_, err := w.rotator.Rotate(ctx, Request{Tenant: "acme"})
		if err == nil || ctx.Err() != nil || w.line()["RotationFailed"] != 1.0 {
			t.Errorf("got %v, %v, %v", err, ctx.Err(), w.line())
		}
	})
}

// An outage of Communic8 of half a lifetime is not noticed by anybody who vends.
func TestOutageOfHalfALifetime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.sm.Put(acmeCreds, acmeOAuth)
		w.must(Rotated, FirstToken)
		time.Sleep(12*time.Hour - time.Minute)
		w.behave(func(b *c8test.Behaviour) {
			b.Fault = func(*http.Request, int) *c8test.Fault { return &c8test.Fault{Break: true} }
		})
		for outage := time.Now(); time.Since(outage) < 12*time.Hour-5*time.Minute; time.Sleep(4 * time.Minute) {
			_, _ = w.rotate(false)
			if _, err := w.cache.Token(w.Context(), "acme", false); err != nil {
				t.Fatalf("%v: %v", time.Now(), err)
			}
		}
		if line := w.line(); line["RotationFailed"] != 1.0 || line["TokenLifePercent"].(float64) > 100.0/24 {
			t.Errorf("logged %v", line)
		}
		w.behave(func(b *c8test.Behaviour) { b.Fault = nil })
		w.must(Rotated, HalfLife)
	})
}

// Clocks that are minutes off, either way, never make a token that has expired look
// alive, nor stop its rotation: it is renewed at half of a life that is far longer.
func TestClockMinutesOff(t *testing.T) {
	for _, off := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		t.Run(off.String(), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.sm.Put(acmeCreds, acmeOAuth)
				w.must(Rotated, FirstToken)
				// As a rotate whose clock is off would have written it.
				token, _ := w.stored()
				token.IssuedAt, token.ExpiresAt = token.IssuedAt.Add(off), token.ExpiresAt.Add(off)
				text, err := token.encode()
				if err != nil {
					t.Fatal(err)
				}
				w.sm.Put(acmeToken, text)
				for range 24 * 12 {
					if _, err := w.rotate(false); err != nil {
						t.Fatal(err)
					}
					vending, err := w.cache.Token(w.Context(), "acme", true)
					if err != nil || !w.c8.Valid(vending.Token.AccessToken.Reveal()) {
						t.Fatalf("%v: vended a token that is not alive, or %v", time.Now(), err)
					}
					time.Sleep(5 * time.Minute)
				}
			})
		})
	}
}

// TokenLifePercent is in the line of every heartbeat, failed ones included, whatever is
// stored; but not if the store cannot be read, as nothing is known then.
func TestLifeMetric(t *testing.T) {
	refuse := func(b *c8test.Behaviour) {
		b.Fault = func(r *http.Request, _ int) *c8test.Fault { return &c8test.Fault{Status: 401} }
	}
	hour := func(left time.Duration) func(*world) {
		return func(w *world) {
			now := time.Now().UTC()
			token := Token{BaseURL: acmeBase, AccessToken: NewSecret("stored"), TokenType: "Bearer", IssuedAt: now.Add(left - time.Hour), ExpiresAt: now.Add(left)}
			text, err := token.encode()
			if err != nil {
				w.Fatal(err)
			}
			w.sm.Put(acmeToken, text)
		}
	}
	for _, test := range []struct {
		name  string
		given func(*world)
		fails bool
		want  any // nil: the line has none
	}{
		{"no credentials", func(*world) {}, false, 0.0},
		{"a new token", func(w *world) { w.sm.Put(acmeCreds, acmeOAuth) }, false, 100.0},
		{"an access key", func(w *world) { w.c8.AddAccessKey("key-1"); w.sm.Put(acmeCreds, acmeKey) }, false, 100.0},
		{"a refusal, and no token", func(w *world) { w.sm.Put(acmeCreds, acmeOAuth); w.behave(refuse) }, true, 0.0},
		{"a refusal, and a token", func(w *world) { hour(9 * time.Minute)(w); w.sm.Put(acmeCreds, acmeOAuth); w.behave(refuse) }, true, 15.0},
		{"a refusal, and an expired token", func(w *world) { hour(-time.Minute)(w); w.sm.Put(acmeCreds, acmeOAuth); w.behave(refuse) }, true, 0.0},
		{"a refusal, and an unreadable token", func(w *world) {
			w.sm.Put(acmeToken, "{}")
			w.sm.Put(acmeCreds, acmeOAuth)
			w.behave(refuse)
		}, true, 0.0},
		{"malformed credentials, and a token", func(w *world) { hour(30 * time.Minute)(w); w.sm.Put(acmeCreds, "{}") }, true, 50.0},
		{"credentials that cannot be read", func(w *world) {
			hour(45 * time.Minute)(w)
			w.sm.Put(acmeCreds, acmeOAuth)
			w.smFaults(func(_, name string) *smtest.Fault {
				if name == acmeCreds {
					return &smtest.Fault{Status: 400, Type: "AccessDeniedException"}
				}
				return nil
			})
		}, true, 75.0},
		{"a store that cannot be read", func(w *world) {
			hour(45 * time.Minute)(w)
			w.smFault("GetSecretValue", smtest.Fault{Status: 400, Type: "AccessDeniedException"})
		}, true, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				test.given(w)
				_, err := w.rotate(false)
				line := w.line()
				if got := line["TokenLifePercent"]; (err != nil) != test.fails || got != test.want {
					t.Errorf("got %v (%v), want %v", got, err, test.want)
				}
				emf, err := json.Marshal(line["_aws"])
				if err != nil || strings.Contains(string(emf), `{"Name":"TokenLifePercent","Unit":"Percent"}`) != (test.want != nil) {
					t.Errorf("_aws: %s, %v", emf, err)
				}
			})
		})
	}
}

// The line of a rotation is an audit record and a CloudWatch metric in one.
func TestRotationLine(t *testing.T) {
	inWorld(t, func(w *world) {
		w.must(Waiting, "")
		if line := w.line(); line["CredentialsMissing"] != 1.0 || line["TokenLifePercent"] != 0.0 || line["outcome"] != "waiting" || line["issued_at"] != nil {
			t.Errorf("logged %v", line)
		}
		credentials := w.sm.Put(acmeCreds, acmeOAuth)
		w.c8Fault(c8test.Fault{Delay: 1500 * time.Millisecond, Body: `{"access_token":"0123","token_type":"Bearer","expires_in":3600}`})
		w.rotator.Endpoint.ProbePath = ""
		result := w.must(Rotated, FirstToken)
		line := w.line()
		for key, want := range map[string]any{
			"msg": "rotation", "level": "INFO", "tenant": "acme", "outcome": "rotated", "reason": "first_token", "version": result.Version, "force": false,
			"Stack": "stack", "Tenant": "acme", "RotationSucceeded": 1.0, "TokenLifePercent": 100 * 3598.5 / 3600, "UpstreamMilliseconds": 1500.0,
			"credentials_version": credentials, "issued_at": "2000-01-01T00:00:00Z", "expires_at": "2000-01-01T01:00:00Z",
		} {
			if line[key] != want {
				t.Errorf("%s: got %v, want %v", key, line[key], want)
			}
		}
		emf, _ := line["_aws"].(map[string]any)
		want := []any{map[string]any{
			"Namespace":  "c8auth",
			"Dimensions": []any{[]any{"Stack", "Tenant"}},
			"Metrics": []any{
				map[string]any{"Name": "TokenLifePercent", "Unit": "Percent"},
				map[string]any{"Name": "RotationSucceeded", "Unit": "Count"},
				map[string]any{"Name": "UpstreamMilliseconds", "Unit": "Milliseconds"},
			},
		}}
		if !reflect.DeepEqual(emf["CloudWatchMetrics"], want) || emf["Timestamp"] != float64(time.Now().UnixMilli()) {
			t.Errorf("_aws: %v", emf)
		}
	})
}

// A token that was rejected and comes again is not stored because its second trial was
// inconclusive: as an access key does, or a token of a Communic8 that gives the same one
// while it lives.
func TestRejectedTokenThatComesAgain(t *testing.T) {
	for name, credentials := range map[string]string{"access key": acmeKey, "the same token": acmeOAuth} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.c8.AddAccessKey("key-1")
				w.behave(func(b *c8test.Behaviour) { b.Same = true })
				w.sm.Put(acmeCreds, credentials)
				version := w.must(Rotated, FirstToken).Version
				tried := w.c8.Probes()
				w.behave(func(b *c8test.Behaviour) {
					b.Fault = func(r *http.Request, n int) *c8test.Fault {
						switch {
						case r.URL.Path == c8test.TokenPath:
							return nil
						case n == tried+1:
							return &c8test.Fault{Status: http.StatusUnauthorized}
						}
						return &c8test.Fault{Break: true}
					}
				})
				if _, err := w.rotate(false); !errors.Is(err, ErrRejected) && !errors.Is(err, ErrRefused) {
					t.Errorf("got %v", err)
				}
				if _, now := w.stored(); now != version {
					t.Error("a token that was rejected was stored again")
				}
			})
		})
	}
}

// However many rotations there are at once, and however they overtake each other, none
// gives up with the only living token in hand: who loses has lost to one that is done.
func TestManyAtOnce(t *testing.T) {
	for many := 2; many <= 6; many++ {
		for _, pause := range []time.Duration{13 * time.Millisecond, 211 * time.Millisecond, 457 * time.Millisecond} {
			t.Run(fmt.Sprintf("%d, %v", many, pause), func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.sm.Put(acmeCreds, acmeOAuth)
					w.behave(func(b *c8test.Behaviour) { b.Exclusive = true })
					w.must(Rotated, FirstToken)
					time.Sleep(12 * time.Hour)
					var rotating sync.WaitGroup
					for i := range many {
						// Nobody stores before all have asked, and then one after the other.
						rotator := w.clone(func(h http.Handler) http.Handler {
							return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
								if strings.HasSuffix(r.Header.Get("X-Amz-Target"), "PutSecretValue") {
									time.Sleep(time.Duration(i+1) * pause)
								}
								h.ServeHTTP(rw, r)
							})
						})
						rotating.Go(func() {
							time.Sleep(time.Duration(i) * time.Millisecond)
							ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
							defer cancel()
							if _, err := rotator.Rotate(ctx, Request{Tenant: "acme"}); err != nil && !errors.Is(err, ErrRejected) {
								t.Errorf("failed: %v", err)
							}
						})
					}
					rotating.Wait()
					w.living()
					w.must(Fresh, "")
				})
			})
		}
	}
}

// Nor if another one was rejected in between, as of the winner of a race.
func TestTokensThatWereRejected(t *testing.T) {
	inWorld(t, func(w *world) {
		run := rotation{Rotator: w.rotator}
		one := Token{BaseURL: acmeBase, AccessToken: NewSecret("one")}
		other := Token{BaseURL: acmeBase, AccessToken: NewSecret("other")}
		if run.probe(w.Context(), one) != ProbeRejected || run.probe(w.Context(), other) != ProbeRejected {
			t.Fatal("Communic8 takes what it does not know")
		}
		w.behave(func(b *c8test.Behaviour) {
			b.Fault = func(*http.Request, int) *c8test.Fault { return &c8test.Fault{Break: true} }
		})
		if got := run.probe(w.Context(), one); got != ProbeRejected {
			t.Errorf("got %s of a token that was rejected", got)
		}
		if got := run.probe(w.Context(), Token{BaseURL: acmeBase, AccessToken: NewSecret("third")}); got != ProbeInconclusive {
			t.Errorf("got %s of a token that was never tried", got)
		}
	})
}
