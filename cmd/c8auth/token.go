package main

// c8auth token: fetch a token as a caller does.

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/c8auth/c8auth/internal/cli"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

func (p *program) tokenCommand() *cobra.Command {
	var url string
	var header bool
	command := p.tenantCommand(&cobra.Command{
		Use:   "token TENANT",
		Short: "Print a tenant's token",
		Long: `Token fetches a tenant's token as a program does, by a signed request to the API, and
prints it alone. Pass it on by a pipe: every user of the machine can see a command line.

With the API's URL it works for whoever IAM lets have the token, in other accounts, too.
Without, it finds the URL by the stack's name, which needs cloudformation:DescribeStacks.`,
		Example: `  c8auth token default
  c8auth token default --header | curl -H @- "https://acme.communic8.com/int/v1/broadcast?limit=1"
  c8auth token default --json | jq -r .expires_at
  c8auth token default --url https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1`,
	}, func(ctx context.Context, tenant string) error {
		if header && p.json {
			return fail(statusUsage, "leave out one of them", "--header and --json exclude each other")
		}
		token, err := p.token(ctx, tenant, url)
		switch {
		case err != nil:
			return err
		case p.json:
			return p.stdout.json(token)
		case header:
			p.stdout.printf("Authorization: %s %s\n", token.TokenType, token.AccessToken)
		default:
			p.stdout.printf("%s\n", token.AccessToken)
		}
		return nil
	})
	command.Flags().StringVar(&url, "url", os.Getenv("C8AUTH_URL"), "the API's URL, the stack's output Url; also C8AUTH_URL")
	command.Flags().BoolVar(&header, "header", false, "print a whole header line, Authorization: Bearer …")
	return command
}

// tokenAnswer is the output of c8auth token --json.
type tokenAnswer struct {
	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	ExpiresIn   int64     `json:"expires_in,omitempty"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	Version     any       `json:"version"`
	BaseURL     any       `json:"base_url"`
}

// token fetches the tenant's token from the API at url. If url is empty, it uses that of the stack.
func (p *program) token(ctx context.Context, tenant, url string) (*tokenAnswer, error) {
	cfg, err := p.aws(ctx)
	if err != nil {
		return nil, err
	}
	url, d, err := p.apiURL(ctx, url)
	if err != nil {
		return nil, err
	}
	token, err := (&caller.Source{URL: url, Tenant: tenant, AWS: cfg}).TokenContext(ctx)
	if err != nil && d != nil && (errors.Is(err, caller.ErrDenied) || errors.Is(err, caller.ErrTenant)) {
		if unknown := d.known(ctx, tenant); unknown != nil {
			return nil, unknown
		}
	}
	if err != nil {
		return nil, cli.Explain(err, tenant)
	}
	out := &tokenAnswer{AccessToken: token.AccessToken, TokenType: token.TokenType, Version: token.Extra("version"), BaseURL: token.Extra("base_url")}
	if !token.Expiry.IsZero() {
		out.ExpiresIn = int64(time.Until(token.Expiry) / time.Second)
		out.ExpiresAt = token.Expiry.UTC().Truncate(time.Second)
	}
	return out, nil
}

// apiURL returns the URL of the API, that of --url or of the stack. It returns the stack if it needs it.
func (p *program) apiURL(ctx context.Context, url string) (string, *deployment, error) {
	if url != "" {
		return url, nil, nil
	}
	d, err := p.deployment(ctx)
	if f, ok := errors.AsType[*failure](err); ok {
		f.Do += "; or name the API by --url, which takes no right but that to the token"
	}
	if err != nil {
		return "", nil, err
	}
	return d.outputs["Url"], d, nil
}
