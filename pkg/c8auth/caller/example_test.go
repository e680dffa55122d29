package caller_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2"

	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

// A program that calls Communic8, by the AWS credentials that it runs with.
func Example() {
	client := &http.Client{Transport: &caller.Transport{Source: &caller.Source{
		URL:    os.Getenv("C8AUTH_URL"), // https://….execute-api.….amazonaws.com/v1
		Tenant: "acme",
	}}}
	resp, err := client.Get("/int/v1/broadcast?limit=1")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.Status, len(body), err)
}

// What Communic8 sees, with fakes of both sides.
func ExampleTransport() {
	communic8 := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL, r.Header.Get("Authorization"))
	}))
	defer communic8.Close()
	api := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(rw, `{"access_token":"made-up","token_type":"Bearer","expires_in":3600,"version":"v1","base_url":%q}`, communic8.URL)
	}))
	defer api.Close()

	client := &http.Client{Transport: &caller.Transport{Source: &caller.Source{
		URL: api.URL,
		AWS: aws.Config{Region: "eu-central-1", Credentials: credentials("AKIDEXAMPLE")},
	}}}
	resp, err := client.Get("/int/v1/broadcast?limit=1")
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	_, err = client.Get("https://elsewhere.example/")
	fmt.Println(errors.Is(err, caller.ErrHost))
	// Output:
	// GET /int/v1/broadcast?limit=1 Bearer made-up
	// true
}

// A Source is an oauth2.TokenSource. The token is good at its base URL and nowhere else,
// which a plain oauth2.Transport does not see to.
func ExampleSource() {
	source := &caller.Source{URL: os.Getenv("C8AUTH_URL")}
	var _ oauth2.TokenSource = source
	token, err := source.TokenContext(context.Background())
	switch {
	case errors.Is(err, caller.ErrDenied):
		log.Fatal(err) // names what a policy must grant
	case errors.Is(err, caller.ErrNoToken):
		log.Fatal(err) // nobody has stored credentials yet, perhaps
	case err != nil:
		log.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodGet, token.Extra("base_url").(string)+"/int/v1/broadcast?limit=1", nil)
	if err != nil {
		log.Fatal(err)
	}
	token.SetAuthHeader(req)
}

// Programs that send requests in their own way, or see a rejection that is not HTTP 401,
// report it and take the new token.
func ExampleSource_Reject() {
	ctx := context.Background()
	source := &caller.Source{URL: os.Getenv("C8AUTH_URL")}
	token, err := source.TokenContext(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := source.Reject(ctx, token); errors.Is(err, caller.ErrKept) {
		log.Print("it is not the token's fault: ", err)
	}
}
