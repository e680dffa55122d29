// Vend is the Lambda function that returns the current token to callers that IAM allows. API
// Gateway invokes it for GET /tokens/{tenant}.
package main

import (
	"context"
	"crypto/x509"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// prefetchTimeout bounds the reads during initialization, for which Lambda allows ten seconds.
// A token that was not read by then is read at its first request.
const prefetchTimeout = 2 * time.Second

func main() {
	go func() { _, _ = x509.SystemCertPool() }() // parsing takes long, and the first TLS handshake needs the pool
	log := c8auth.NewLogger(os.Stdout)
	slog.SetDefault(log) // for the lines of aws-lambda-go
	ctx, cancel := context.WithTimeout(context.Background(), prefetchTimeout)
	settings, store, err := c8auth.Open(ctx)
	if err != nil {
		log.LogAttrs(ctx, slog.LevelError, "start", c8auth.ErrorAttrs(err)...)
		os.Exit(1)
	}
	cache := &c8auth.Cache{Store: store, TTL: settings.CacheTTL}
	cache.Prefetch(ctx, settings.Prefetch)
	cancel()
	runtime.GOMAXPROCS(1) // Lambda sends one request at a time; more threads only add scheduling
	lambda.Start(lambda.Handler(handler{cache, log}))
}
