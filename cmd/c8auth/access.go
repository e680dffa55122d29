package main

// The caller's side of doctor: identity, stack, API and token.

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/c8auth/c8auth/pkg/c8auth"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

// apiTimeout bounds a request to the API. It is shorter than that of the package caller, because
// a person waits.
const apiTimeout = 10 * time.Second

// identity checks whose AWS credentials are configured, and AWS's clock. Its error ends doctor,
// because all other steps need credentials.
func (doc *doctor) identity(ctx context.Context) (err error) {
	f := found("identity", "sts:GetCallerIdentity", "")
	if doc.aws, err = doc.program.aws(ctx); err != nil {
		doc.note(f.failed(err))
		return err
	}
	sent := time.Now()
	out, err := sts.NewFromConfig(doc.aws).GetCallerIdentity(ctx, nil)
	if err != nil {
		err = awsFailure(doc.aws, err, f.Tried, "*")
		doc.note(f.failed(err))
		return err
	}
	if at := elsewhere(doc.aws); at != "" {
		doc.note(found("endpoint", "the environment and the AWS profile", "requests for AWS go elsewhere, by %s", at))
	}
	doc.account = aws.ToString(out.Account)
	f.Seen = "you are " + aws.ToString(out.Arn)
	doc.note(f)
	if at, ok := awsmiddleware.GetServerTime(out.ResultMetadata); ok {
		doc.note(checkClock(at.Sub(middle(sent, time.Now()))))
	}
	return nil
}

// checkClock checks how far AWS's clock is ahead of this machine's. Signatures expire by it.
func checkClock(ahead time.Duration) finding {
	f := found("clock of AWS", "the Date of its response", "it shows %s", apart(ahead))
	if ahead.Abs() > time.Minute {
		return f.actFor("set this machine's clock: a signature is accepted for five minutes", "%s", f.Seen)
	}
	return f
}

// middle returns the most likely time at which the other side made a response.
func middle(sent, received time.Time) time.Time { return sent.Add(received.Sub(sent) / 2) }

// apart describes how far a clock is ahead of this machine's. Up to two seconds are ignored,
// because a Date has whole seconds.
func apart(ahead time.Duration) string {
	switch {
	case ahead.Abs() <= 2*time.Second:
		return "this machine's time"
	case ahead > 0:
		return span(ahead) + " ahead of this machine's time"
	}
	return span(-ahead) + " behind this machine's time"
}

// stack checks that the stack is visible. If it is not, and the URL of the API is known, the
// steps that need the stack are left out.
func (doc *doctor) stack(ctx context.Context) error {
	f := found("stack", "cloudformation:DescribeStacks", "")
	d, err := doc.program.deployment(ctx)
	switch {
	case err == nil:
		doc.deployment = d
		if doc.url == "" {
			doc.url = d.outputs["Url"]
		}
		f.Seen = d.name + " in " + d.Region + " of account " + d.id.AccountID + ", API " + d.outputs["Url"]
		doc.note(f)
	case doc.url != "":
		f.Seen = "not visible to you, as is right for another account's: only the caller's side is checked (" + textOf(err) + ")"
		doc.note(f)
		return nil
	default:
		f = f.failed(err)
		f.Do += "; a caller of another account names the API: --url"
		doc.note(f)
	}
	return err
}

// api checks that API Gateway responds: it answers 403 to a request without a signature.
func (doc *doctor) api(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	f := found("API", "GET "+doc.url+"/tokens/"+doc.patient.Name+", unsigned", "HTTP 403, as it should be")
	do := "is this machine online, and that the stack's output Url?"
	if doc.deployment != nil && doc.parameters["VpcEndpoints"] != "" {
		do = "the API is private, and reached through the VPC endpoints " + doc.parameters["VpcEndpoints"] + " only: run this in their network, with private DNS"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, doc.url+"/tokens/"+doc.patient.Name, nil)
	if err != nil {
		doc.note(f.actFor("name the stack's output Url", "that is no URL"))
		return false
	}
	client := &http.Client{
		Transport:     transport(doc.aws),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
			do = "if a proxy of your company responds: name the file with its certificate in AWS_CA_BUNDLE"
		}
		doc.note(f.actFor(do, "%s", c8auth.DescribeError(err)))
		return false
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		doc.note(f.actFor(do, "HTTP %d, and not API Gateway's 403", resp.StatusCode))
		return false
	}
	doc.note(f)
	return true
}

// signature fetches the token as a caller does, and keeps it for communic8.
func (doc *doctor) signature(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	f := found("signature", "the same, signed", "it is accepted")
	token, err := (&caller.Source{URL: doc.url, Tenant: doc.patient.Name, AWS: doc.aws}).TokenContext(ctx)
	text := ""
	if err != nil {
		text = textOf(err)
	}
	switch {
	case err == nil:
		base, _ := token.Extra("base_url").(string)
		doc.version, _ = token.Extra("version").(string)
		doc.vended = c8auth.Token{BaseURL: base, AccessToken: c8auth.NewSecret(token.AccessToken), TokenType: token.TokenType}
		left := "it does not expire"
		if !token.Expiry.IsZero() {
			left = span(time.Until(token.Expiry)) + " left"
		}
		f.Seen = sprintf("HTTP 200, a token (version %s, %s) for %s", doc.version, left, base)
		doc.note(f)
	case errors.Is(err, caller.ErrDenied) && !errors.Is(err, caller.ErrSignature):
		doc.note(f, found("permission", f.Tried, "").actFor(doc.grantor(), "%s", text))
	case errors.Is(err, caller.ErrNoToken):
		doc.note(f, found("vend", f.Tried, "").actFor("see below for why", "%s", text))
	default:
		doc.note(f.actFor("", "%s", text))
	}
}

// grantor returns what to do so that the caller may fetch the token.
func (doc *doctor) grantor() string {
	const denies = ". If there are such policies, another one denies it: your organization's, your role's boundary or the API's (VpcEndpoints)"
	if doc.deployment != nil {
		return "`c8auth grant " + doc.patient.Name + " --role ARN` prints the policy, if you are to have the token" + denies
	}
	return "give your role, in account " + doc.account + ", a policy that allows this, and have c8auth's operator add the role to the stack's parameter OtherCallers, and " +
		doc.patient.Name + " to OtherCallersTenants. Is that the right name? Of one that does not exist, API Gateway says the same" + denies
}

// cached compares the version that vend vends with the one that is stored.
func (doc *doctor) cached(now time.Time) []finding {
	if doc.version == "" || doc.patient.Version == "" {
		return nil
	}
	f := found("version", "what vend vends, and the token's secret", "vend vends the version that is stored")
	age := now.Sub(doc.patient.token.changed)
	switch {
	case doc.version == doc.patient.Version:
	case age <= 2*cacheTTL:
		f.Seen = sprintf("vend still vends version %s from its cache, for up to a minute; %s was stored %s ago", doc.version, doc.patient.Version, span(age))
	default:
		f = f.actFor("read store_error in vend's log", "vend vends version %s, though %s was stored %s ago", doc.version, doc.patient.Version, span(age))
	}
	return []finding{f}
}

// cacheTTL is C8AUTH_CACHE_TTL in template.yaml.
const cacheTTL = time.Minute
