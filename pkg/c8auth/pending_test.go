package c8auth

import (
	"testing"
	"time"
)

// An empty version under AWSPENDING, which aws secretsmanager rotate-secret leaves where its
// function fails, changes nothing: not in either secret, nor before or after the first value.
func TestEmptyPendingVersion(t *testing.T) {
	for name, begin := range map[string]func(w *world){
		"before the first value": func(w *world) {
			w.sm.Rotate(acmeCreds)
			w.sm.Rotate(acmeToken)
			w.must(Waiting, "")
			w.sm.Put(acmeCreds, acmeOAuth)
			w.must(Rotated, FirstToken)
		},
		"after it": func(w *world) {
			w.sm.Put(acmeCreds, acmeOAuth)
			w.must(Rotated, FirstToken)
			w.sm.Rotate(acmeCreds)
			w.sm.Rotate(acmeToken)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				begin(w)
				w.must(Fresh, "")
				_, version := w.stored()
				if vending, err := w.cache.Token(w.Context(), "acme", true); err != nil || vending.Version != version {
					w.Errorf("vended %+v, %v, want version %s", vending, err, version)
				}
				time.Sleep(12 * time.Hour)
				w.must(Rotated, HalfLife)
				token, version := w.stored()
				w.c8.Revoke(token.AccessToken.Reveal())
				if result, err := w.rotator.Reject(w.Context(), Report{Tenant: "acme", Version: version}); err != nil || result.Outcome != Rotated {
					w.Errorf("got %+v, %v to a report", result, err)
				}
				w.sm.Put(acmeCreds, acmeOAuth)
				w.must(Rotated, CredentialsChanged)
				w.living()
			})
		})
	}
}
