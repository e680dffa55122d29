// Rotate is the Lambda function that keeps tenants' tokens fresh. EventBridge
// Scheduler invokes it every few minutes for each tenant, and API Gateway when a caller
// reports that Communic8 rejects a token.
package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// connectTimeout bounds the connecting during initialization, of which Lambda allows 10
// seconds.
const connectTimeout = 2 * time.Second

func main() {
	go func() { _, _ = x509.SystemCertPool() }() // takes a while, and everything that follows needs it
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
	connect(store)
	// One event at a time, and at 128 MB a fourteenth of a processor: from here on, threads
	// only get in each other's way.
	runtime.GOMAXPROCS(1)
	lambda.Start(handler{&c8auth.Rotator{
		Store:    store,
		Endpoint: &c8auth.Endpoint{Client: c8auth.NewHTTPClient(), ProbePath: settings.ProbePath},
		Log:      log,
	}})
}

// connect makes the first request to Secrets Manager, which takes longest, while the
// function starts, and has all of a processor. Which one it is and what comes of it does not
// matter: the tenant is not known yet, and the default one need not be there.
func connect(store *c8auth.Store) {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	_, _ = store.CredentialsVersion(ctx, defaultTenant)
}

type handler struct{ rotator *c8auth.Rotator }

// Invoke implements lambda.Handler.
func (h handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	if req, ok := parseReport(payload); ok {
		return h.report(ctx, req)
	}
	request, err := parseEvent(payload)
	if err != nil {
		h.rotator.Log.LogAttrs(ctx, slog.LevelError, "event", c8auth.ErrorAttrs(err)...)
		return nil, err
	}
	result, err := h.rotator.Rotate(ctx, request)
	if err != nil {
		return nil, errors.New(c8auth.Text(err)) // it ends up in logs and queues, too
	}
	return json.Marshal(result)
}
