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

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

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
	// Lambda sends one event at a time; more threads only add scheduling.
	runtime.GOMAXPROCS(1)
	lambda.Start(handler{&c8auth.Rotator{
		Store:    store,
		Endpoint: &c8auth.Endpoint{Client: c8auth.NewHTTPClient(), ProbePath: settings.ProbePath},
		Log:      log,
	}})
}

type handler struct{ rotator *c8auth.Rotator }

// Invoke implements lambda.Handler.
func (h handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	if req, ok := parseReport(payload); ok {
		return h.report(ctx, req), nil
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
