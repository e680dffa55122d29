// Vend is the Lambda function that gives the current token to callers whom IAM
// allows. API Gateway invokes it for GET /tokens/{tenant}.
package main

import (
	"context"
	"crypto/x509"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// prefetchTimeout bounds the reading during initialization, of which Lambda allows
// 10 seconds. What is not read by then is read at the first request.
const prefetchTimeout = 2 * time.Second

func main() {
	log := c8auth.NewLogger(os.Stdout)
	slog.SetDefault(log) // what aws-lambda-go prints becomes a line like any other
	settings, err := c8auth.ReadSettings(os.LookupEnv)
	if err != nil {
		log.LogAttrs(context.Background(), slog.LevelError, "start", c8auth.ErrorAttrs(err)...)
		os.Exit(1)
	}
	store, err := c8auth.OpenStore(context.Background(), settings.Stack)
	if err != nil {
		log.LogAttrs(context.Background(), slog.LevelError, "start", c8auth.ErrorAttrs(err)...)
		os.Exit(1)
	}
	vendor := &c8auth.Vendor{Store: store, TTL: settings.CacheTTL}
	prefetch(vendor, settings.Prefetch)
	// Lambda sends one request at a time; more threads only add scheduling.
	runtime.GOMAXPROCS(1)
	lambda.Start(lambda.Handler(handler{vendor, log}))
}

// prefetch fills the vendor's cache. What fails is forgotten: the first request reads
// again and answers for it.
func prefetch(vendor *c8auth.Vendor, tenants []string) {
	if len(tenants) > 0 { // while the store is being connected to
		go func() { _, _ = x509.SystemCertPool() }()
	}
	ctx, cancel := context.WithTimeout(context.Background(), prefetchTimeout)
	defer cancel()
	var reading sync.WaitGroup
	for _, tenant := range tenants {
		reading.Go(func() {
			if _, err := vendor.Vend(ctx, tenant, false); err != nil {
				vendor.Forget(tenant)
			}
		})
	}
	reading.Wait()
}
