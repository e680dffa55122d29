// Package caller is for programs that call Communic8 with a token that c8auth keeps.
//
// A program that speaks HTTP needs no token handling at all:
//
//	client := &http.Client{Transport: &caller.Transport{Source: &caller.Source{
//		URL:    "https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1", // output Url of the stack
//		Tenant: "acme",
//	}}}
//	resp, err := client.Get("/int/v1/broadcast?limit=1")
//
// A [Source] fetches the tenant's token from the API by requests that are signed with the AWS
// credentials of the program (Signature Version 4), and keeps it until shortly before it
// expires. Concurrent calls make one request. If the API fails, the token is used while it is
// valid. A Source is an oauth2.TokenSource.
//
// A [Transport] authorizes requests to Communic8. It resolves paths against the base URL of the
// token; for any other host, scheme or port, also of a redirect, it fails before anything is
// sent. When Communic8 answers 401, it reports the rejection, fetches the token again, and
// repeats the request: a token that is revoked before it expires delays the program by a second
// or two, and causes no error.
//
// IAM decides which tokens a program gets. For the tenant acme, attach the managed policy
// ReportingCallerPolicy of its stack, which grants execute-api:Invoke on
//
//	arn:aws:execute-api:<region>:<account>:<api>/v1/GET/tokens/acme
//	arn:aws:execute-api:<region>:<account>:<api>/v1/POST/tokens/acme/rejections
//
// or CallerPolicy, which is the first line alone: then nothing is reported, and a revoked token
// is replaced at the next heartbeat of c8auth, within five minutes.
//
// Make one Source for each tenant and keep it: it holds the token. This package writes no log.
// Its errors have at most 500 printable characters, besides what http.Client adds, and contain
// no secret and nothing that a server or a provider of credentials wrote.
package caller

import (
	"errors"
	"fmt"
)

// The errors that callers branch on, with errors.Is. http.Client wraps those of a Transport in
// a *url.Error.
var (
	// ErrCredentials: there are no AWS credentials to sign with, or malformed ones.
	ErrCredentials = errors.New("no AWS credentials")
	// ErrDenied: IAM denies the request, and the text names the action and the resource that a
	// policy must grant; or API Gateway does not accept the signature, which is an [ErrSignature]
	// as well.
	ErrDenied = errors.New("not allowed by IAM")
	// ErrSignature: API Gateway does not accept the signature: another key is needed, or the
	// right clock or region, but no policy. It is an ErrDenied as well.
	ErrSignature = fmt.Errorf("%w: the signature is not accepted", ErrDenied)
	// ErrTenant: c8auth knows no such tenant.
	ErrTenant = errors.New("unknown tenant")
	// ErrNoToken: the tenant has no valid token now. It has none yet, it has expired and not
	// been replaced, or c8auth cannot read it.
	ErrNoToken = errors.New("no valid token")
	// ErrUnreachable: the API does not answer, another server does, or something on the way,
	// such as a proxy or AWS WAF, refuses the request.
	ErrUnreachable = errors.New("API unreachable")
	// ErrHost: the request is not for the token's base URL. Nothing was sent.
	ErrHost = errors.New("not the base URL of the token")
	// ErrKept: c8auth has no newer token than the rejected one. Communic8 accepts that, or
	// issues no other one now.
	ErrKept = errors.New("no newer token")
)
