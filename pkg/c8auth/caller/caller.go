// Package caller is for programs that call Communic8 with a token that c8auth keeps.
//
// A program that uses http.Client needs no code for tokens:
//
//	client := &http.Client{Transport: &caller.Transport{Source: &caller.Source{
//		URL:    "https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1", // output Url of the stack
//		Tenant: "acme",
//	}}}
//	resp, err := client.Get("/int/v1/broadcast?limit=1")
//
// A [Source] fetches the tenant's token from the API, and keeps it until shortly before it
// expires. It signs its requests with the AWS credentials of the program (Signature Version 4).
// Concurrent calls share one request. While the API fails, the held token is used until it
// expires. A Source is an oauth2.TokenSource.
//
// A [Transport] adds the token to requests to Communic8. It resolves paths against the base URL
// of the token. For any other host, scheme or port, also of a redirect, it returns an [ErrHost]
// and sends nothing. When Communic8 answers 401, the Transport reports the rejection, fetches
// the token again, and repeats the request. So a token that is revoked before it expires delays
// the program by some seconds, and causes no error if c8auth has a new token by then.
//
// IAM decides which tokens a program gets. For the tenant acme, attach the managed policy
// ReportingCallerPolicy of its stack, which grants execute-api:Invoke on
//
//	arn:aws:execute-api:<region>:<account>:<api>/v1/GET/tokens/acme
//	arn:aws:execute-api:<region>:<account>:<api>/v1/POST/tokens/acme/rejections
//
// or CallerPolicy, which grants the first one alone. Then reports are denied, and a revoked token
// is replaced at the next heartbeat of c8auth, within five minutes.
//
// Make one Source for each tenant and keep it, because it holds the token. This package writes
// no log. Its errors have at most 500 printable characters, besides what http.Client adds. They
// contain no secret and nothing that a server or a provider of credentials wrote.
package caller

import (
	"errors"
	"fmt"
)

// The errors that callers branch on, with errors.Is. http.Client wraps those of a Transport in
// a *url.Error.
var (
	// ErrCredentials: there are no AWS credentials to sign with, they are malformed, or no AWS
	// region is configured.
	ErrCredentials = errors.New("no AWS credentials")
	// ErrDenied: IAM denies the request. The text names the action and the resource that a
	// policy must grant. An [ErrSignature] is an ErrDenied as well.
	ErrDenied = errors.New("not allowed by IAM")
	// ErrSignature: API Gateway does not accept the signature, because of the AWS credentials,
	// this machine's clock, or the region. No policy helps.
	ErrSignature = fmt.Errorf("%w: the signature is not accepted", ErrDenied)
	// ErrTenant: c8auth has no tenant of that name, or the name is malformed.
	ErrTenant = errors.New("unknown tenant")
	// ErrNoToken: c8auth has no valid token for the tenant now: none is stored yet, the stored
	// one has expired, or c8auth cannot read the store.
	ErrNoToken = errors.New("no valid token")
	// ErrUnreachable: the API does not answer, another server answers, or a proxy or AWS WAF
	// refuses the request. A malformed URL is an ErrUnreachable as well.
	ErrUnreachable = errors.New("API unreachable")
	// ErrHost: the request is not for the token's base URL. Nothing was sent.
	ErrHost = errors.New("not the base URL of the token")
	// ErrKept: c8auth has no newer token than the rejected one: Communic8 accepts the rejected
	// one after all, or issues no other one now. It wraps the error of the report, if that failed.
	ErrKept = errors.New("no newer token")
)
