package c8auth_test

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/internal/harness"
	"github.com/c8auth/c8auth/pkg/c8auth"
)

// Credentials become a token, and a caller gets it: what the two functions do, on fakes of
// Communic8 and Secrets Manager.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fakes := harness.InMemory("default") // with two empty secrets
	fakes.Communic8.AddClient("id", "secret")

	// A person stores credentials, once.
	fakes.Secrets.Put("c8auth/credentials/default", `{"base_url":"https://acme.communic8.com","client_id":"id","client_secret":"secret"}`)

	// The function rotate requests, probes and stores a token, because there is none yet.
	store := &c8auth.Store{Stack: "c8auth", Client: fakes.Client}
	rotator := &c8auth.Rotator{
		Store:    store,
		Endpoint: &c8auth.Endpoint{Client: inmem.Client(fakes.Communic8), ProbePath: "/int/v1/broadcast?limit=1"},
		Log:      c8auth.NewLogger(io.Discard),
	}
	for range 2 { // the second time, nothing is due
		result, err := rotator.Rotate(ctx, c8auth.Request{Tenant: "default"})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s, reason %q\n", result.Outcome, result.Reason)
	}

	// The function vend returns the stored token while it is valid.
	cache := &c8auth.Cache{Store: store, TTL: time.Minute}
	cached, err := cache.Token(ctx, "default", false)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cached.Token.BaseURL, fakes.Communic8.Valid(cached.Token.AccessToken.Reveal()))
	fmt.Println(cached.Token.AccessToken) // is not shown

	// Output:
	// rotated, reason "first_token"
	// fresh, reason ""
	// https://acme.communic8.com true
	// [redacted]
}
