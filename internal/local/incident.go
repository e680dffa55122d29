package main

// Incidents to practise on: how the fake of Communic8 can misbehave.

import (
	"net/http"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
)

// incident is a way in which Communic8 misbehaves.
type incident struct {
	says   string               // what it does
	happen func(*c8test.Server) // when it begins, and again before each heartbeat
}

// other is a client that Communic8 accepts in the incident "refusing".
const (
	otherID     = "4712"
	otherSecret = "another-value-from-the-console"
)

var incidents = map[string]incident{
	"refusing": {
		"refuses the client " + clientID + ", as if somebody had replaced it. It accepts client ID " + otherID + " with client secret " + otherSecret,
		func(c8 *c8test.Server) {
			c8.Set(func(b *c8test.Behaviour) { b.Refusal = c8test.Refuse400 })
			c8.RemoveClient(clientID)
			c8.AddClient(otherID, otherSecret)
		},
	},
	"busy": {
		"answers every request with 429 Too Many Requests",
		fault(c8test.Fault{Status: http.StatusTooManyRequests}),
	},
	"down": {
		"breaks every connection off",
		fault(c8test.Fault{Break: true}),
	},
	"exclusive": {
		"invalidates a client's token when it issues another one, and another program uses the same client",
		func(c8 *c8test.Server) {
			c8.Set(func(b *c8test.Behaviour) { b.Exclusive = true })
			c8.Issue(clientID)
		},
	},
	"revoking": {
		"invalidates each token soon after it has issued it",
		func(c8 *c8test.Server) {
			for _, token := range c8.Issued() {
				c8.Revoke(token)
			}
		},
	},
}

func fault(f c8test.Fault) func(*c8test.Server) {
	return func(c8 *c8test.Server) {
		c8.Set(func(b *c8test.Behaviour) {
			b.Fault = func(*http.Request, int) *c8test.Fault { return &f }
		})
	}
}
