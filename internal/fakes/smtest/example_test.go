package smtest_test

import (
	"fmt"
	"net/http/httptest"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

func Example() {
	var store smtest.Server
	store.Create("stack/token/acme") // as CloudFormation leaves it
	server := httptest.NewServer(&store)
	defer server.Close()
	client := client(server.URL, server.Client())

	_, err := client.GetSecretValue(ctx, get("stack/token/acme", "", ""))
	fmt.Println(refusal(err))

	// The next write is done, but nobody hears of it. The SDK tries again.
	store.Fault = once("PutSecretValue", smtest.Fault{After: true, Break: true})
	_, err = client.PutSecretValue(ctx, put("stack/token/acme", "a token", ""))
	value, _ := store.Value("stack/token/acme")
	fmt.Println(err, value, store.Versions("stack/token/acme"), store.Calls("PutSecretValue"))
	// Output:
	// ResourceNotFoundException: Secrets Manager can't find the specified secret value for staging label: AWSCURRENT
	// <nil> a token 1 2
}
