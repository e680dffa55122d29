//go:build soak

package soak

// The tenants, each with a Communic8 of its own, so that a token which that takes is
// this tenant's; and what is asked of whom.

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/harness"
)

const (
	life      = time.Hour        // of a token
	shortLife = 33 * time.Second // of one of the tenant fleeting: 3 of them are worth vending
)

// lasting are the tenants that have a living token at all times.
var lasting = []string{"default", "acme", "berlin", "keyed"}

type tenant struct {
	name, baseURL string
	c8            *c8test.Server
	secret        string // the client's, or the access key
	credentials   string // as they are stored
	failed        bool   // its latest rotation did
}

func (t *tenant) credentialsName() string { return harness.Name + "/credentials/" + t.name }
func (t *tenant) tokenName() string       { return tokenPrefix + t.name }

const tokenPrefix = harness.Name + "/token/"

// settleIn makes the tenants. Besides the lasting ones, fleeting has a token that lives
// shortly, empty has none, and what broken has is none. Nobody is not there.
func (w *world) settleIn() {
	w.tenants = make(map[string]*tenant)
	for _, name := range append([]string{"fleeting"}, lasting...) {
		t := &tenant{name: name, c8: new(c8test.Server)}
		server := httptest.NewServer(t.c8)
		w.t.Cleanup(server.Close)
		t.baseURL = server.URL
		t.secret = "M4rk3dS3cr3tOf" + strings.ToUpper(name) + "0123456789"
		if name == "keyed" {
			t.c8.AddAccessKey(t.secret)
			t.credentials = fmt.Sprintf(`{"base_url":%q,"access_key":%q}`, t.baseURL, t.secret)
		} else {
			id := "client-of-" + name
			t.c8.AddClient(id, t.secret)
			t.credentials = fmt.Sprintf(`{"base_url":%q,"client_id":%q,"client_secret":%q}`, t.baseURL, id, t.secret)
		}
		t.c8.Set(func(b *c8test.Behaviour) {
			b.Lifetime = life
			if name == "fleeting" {
				b.Lifetime = shortLife
			}
		})
		w.tenants[name] = t
		w.Secrets.Put(t.credentialsName(), t.credentials)
		if name != "default" { // which the stack has
			w.Secrets.Create(t.tokenName())
		}
	}
	w.Secrets.Create(tokenPrefix + "empty")
	w.Secrets.Put(tokenPrefix+"broken", `{"access_token":"`+unreadable+`"`)
}

// madeUp is what names begin with that are asked for once.
const madeUp = "made-up-"

// malformed are no names of tenants; a secret that went astray is one of them.
var malformed = []string{"Default", "a_b", "4cme", "-", "default%2f..%2facme", strings.Repeat("a", 32), unreadable}

// request is what somebody asks.
type request struct {
	tenant string
	fresh  bool // Cache-Control: no-cache
	wrong  wrong
}

// wrong is what is wrong with a request besides the tenant's name.
type wrong int

const (
	nothing   wrong = iota
	forged          // signed by a key that is not the caller's
	foreign         // of a caller who is not granted the tenant
	shapeless       // not an event of the route, or not a path of the API
)

// plan decides what the nth request is: the same in every run.
func plan(n int64) request {
	slot := uint64(n) * 0x9e3779b97f4a7c15 >> 32 % 100
	q := request{tenant: lasting[slot%3]}
	switch {
	case slot < 60:
		q.fresh = q.tenant == "acme" && slot < 12
	case slot < 70:
		q.tenant = "keyed"
	case slot < 78:
		q.tenant = "fleeting"
	case slot < 82:
		q.tenant = "empty"
	case slot < 85:
		q.tenant = "broken"
	case slot < 87:
		q.tenant = "nobody"
	case slot < 92: // a name that was never heard of, and never will be again
		q.tenant = fmt.Sprint(madeUp, n)
	case slot < 97:
		q.tenant = malformed[n%int64(len(malformed))]
	case slot == 97:
		q.wrong = forged
	case slot == 98:
		q.wrong, q.tenant = foreign, "berlin"
	case slot == 99:
		q.wrong, q.tenant = shapeless, ""
	}
	return q
}

// age makes the stored token as old as the life that it has left, so that half of its
// life is over, or else two minutes: time that nobody has to wait for.
func (w *world) age(t *tenant, half bool) {
	text, _ := w.Secrets.Value(t.tokenName())
	var token map[string]string
	if err := json.Unmarshal([]byte(text), &token); err != nil {
		w.violation("the token of %s that is stored cannot be read", t.name)
		return
	}
	by := 2 * time.Minute
	if half {
		end, err := time.Parse(time.RFC3339, token["expires_at"])
		if err != nil {
			w.violation("the token of %s that is stored has no end", t.name)
			return
		}
		by = time.Until(end)
	}
	token["issued_at"] = now().Add(-by).Format(time.RFC3339)
	aged, err := json.Marshal(token)
	if err != nil {
		w.t.Error(err)
	}
	w.Secrets.Put(t.tokenName(), string(aged))
}
