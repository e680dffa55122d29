// Rotate is the Lambda function that keeps the tokens of all tenants valid. EventBridge
// Scheduler invokes it every five minutes for each tenant, and API Gateway when a caller
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
	go func() { _, _ = x509.SystemCertPool() }() // parsing takes long, and the first TLS handshake needs the pool
	log := c8auth.NewLogger(os.Stdout)
	slog.SetDefault(log) // for the lines of aws-lambda-go
	settings, store, err := c8auth.Open(context.Background())
	if err != nil {
		log.LogAttrs(context.Background(), slog.LevelError, "start", c8auth.ErrorAttrs(err)...)
		os.Exit(1)
	}
	runtime.GOMAXPROCS(1) // Lambda sends one event at a time; more threads only add scheduling
	lambda.Start(handler{&c8auth.Rotator{
		Store:    store,
		Endpoint: &c8auth.Endpoint{Client: c8auth.NewHTTPClient(), ProbePath: settings.ProbePath},
		Log:      log,
	}})
}

type handler struct{ rotator *c8auth.Rotator }

// Invoke implements lambda.Handler. It handles reports of the API's route, and events that
// request a rotation check. A report never fails the invocation: its error is in the response.
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
		return nil, errors.New(c8auth.Text(err)) // bounded, because Lambda writes it to logs and queues
	}
	return json.Marshal(result)
}
