package main

// c8auth proxy, as the operators' tool has it: it finds the API by the stack's name.

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/c8auth/c8auth/internal/cli"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

func (p *program) proxyCommand() *cobra.Command {
	proxy := &cli.Proxy{
		Stdin: p.stdin, Stdout: p.stdout.stream, Stderr: p.stderr.stream,
		Source: p.source,
		Report: func(err error) { _ = p.report(err) },
	}
	command := &cobra.Command{
		Use:   "proxy [flags] [-- COMMAND ARG...]",
		Short: "Run a program whose requests to Communic8 get the token",
		Long: `Proxy is a reverse proxy to Communic8 for programs on this machine, in any language. It
adds the tenant's token to each request: it fetches the token by the AWS credentials that
it runs with, holds and renews it, and when Communic8 rejects one, reports that and
repeats the request. The programs see no token and need no AWS credentials.

With a COMMAND, proxy runs it with the proxy's URL in its environment, C8AUTH_BASE_URL,
passes signals on, and ends when it ends, with its status (128 and the signal's number, if
a signal ended it). Without, it prints the URL and serves until Ctrl-C or SIGTERM; then
requests under way have 25 seconds to end.

The URL has a random segment in its path: whoever knows it can use the proxy, so it is as
confidential as the token while the proxy runs. In --path-file, "/" and the segment are
kept for other containers and the next start; then only the rest is printed. A Unix socket
has no segment, but mode 0600.

While there is no valid token, the proxy answers 503, with Retry-After and what to do.`,
		Example: `  c8auth proxy -- ./program
  c8auth proxy --tenant acme --log -- sh -c 'echo "url=$C8AUTH_BASE_URL/int/v1/broadcast?limit=1" | curl --config -'
  c8auth proxy --url https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1 --listen 127.0.0.1:8918 --path-file /run/c8auth/path
  c8auth proxy --listen unix:/run/c8auth/socket
  c8auth proxy --listen 127.0.0.1:8918 --ping`,
		RunE: p.does(proxy.Run),
	}
	command.Flags().SetInterspersed(false) // flags after COMMAND belong to it
	proxy.Flags(command.Flags())
	return command
}

// source returns the Source of the proxy. Without --region and --profile, its AWS configuration is
// the ambient one, which it reads again if the API refuses the signature.
func (p *program) source(ctx context.Context, url, tenant string) (*caller.Source, error) {
	url, _, err := p.apiURL(ctx, url)
	if err != nil {
		return nil, err
	}
	source := &caller.Source{URL: url, Tenant: tenant}
	if p.region != "" || p.profile != "" {
		if source.AWS, err = p.awsConfig(ctx); err != nil {
			return nil, fail(0, "aws configure list-profiles shows which profiles there are", "the AWS configuration cannot be read")
		}
	}
	return source, nil
}
