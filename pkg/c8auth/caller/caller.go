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
// A [Source] fetches the tenant's token from the API, signed by the AWS credentials
// that the program runs with (Signature Version 4), and keeps it until shortly before
// it expires. However many goroutines want it, one request is made. If the API fails,
// the held token is used while it is valid. A Source is an oauth2.TokenSource, for
// whatever takes one.
//
// A [Transport] authorizes requests to Communic8. It takes paths, and resolves them
// against the base URL of the token; for any other host, scheme or port, redirects
// included, it fails before anything is sent. When Communic8 answers 401, it reports
// the rejection, fetches the token anew, and repeats the request: so a token that dies
// before its time costs the program a second or two and no error.
//
// IAM decides who gets what. For the tenant acme, attach the managed policy
// ReportingCallerPolicy of its stack, which grants execute-api:Invoke on
//
//	arn:aws:execute-api:<region>:<account>:<api>/v1/GET/tokens/acme
//	arn:aws:execute-api:<region>:<account>:<api>/v1/POST/tokens/acme/rejections
//
// or CallerPolicy, which is the first line alone: then nothing is reported, and a dead
// token is replaced by c8auth's next heartbeat, within five minutes.
//
// Make one Source for each tenant and keep it: it holds the token. This package writes no
// log. An error of it has at most 500 printable characters, besides what http.Client adds,
// and holds no secret and nothing that a server or a provider of credentials wrote.
package caller

import (
	"errors"
	"fmt"
)

// What goes wrong, to be told apart by errors.Is. The errors of a Transport come out
// of http.Client wrapped in *url.Error, which errors.Is sees through.
var (
	// ErrCredentials: there are no AWS credentials to sign with, or malformed ones.
	ErrCredentials = errors.New("no AWS credentials")
	// ErrDenied: IAM does not allow it, and the text names the action and the resource that
	// a policy must grant; or API Gateway does not accept the signature, which is an
	// ErrSignature, too.
	ErrDenied = errors.New("not allowed by IAM")
	// ErrSignature: API Gateway does not accept the signature. Another key, or the right
	// clock or region, is needed, and not a policy. It is an ErrDenied, too.
	ErrSignature = fmt.Errorf("%w: the signature is not accepted", ErrDenied)
	// ErrTenant: c8auth knows no such tenant.
	ErrTenant = errors.New("unknown tenant")
	// ErrNoToken: the tenant has no valid token now. It has none yet, it has expired and
	// not been replaced, or c8auth cannot read it.
	ErrNoToken = errors.New("no valid token")
	// ErrUnreachable: the API does not answer, something else does, or something on the way,
	// such as a proxy or AWS WAF, refuses the request.
	ErrUnreachable = errors.New("API unreachable")
	// ErrHost: the request is not for where the token is good. Nothing was sent.
	ErrHost = errors.New("not the base URL of the token")
	// ErrKept: c8auth has nothing newer than the token that was rejected. It finds that
	// Communic8 takes it, or cannot get another one now.
	ErrKept = errors.New("no newer token")
)
