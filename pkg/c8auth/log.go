package c8auth

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
)

// NewLogger returns a logger of JSON lines with the keys that Lambda expects (timestamp,
// level, message) and the id of the request that ctx belongs to. It drops lines below
// AWS_LAMBDA_LOG_LEVEL, which Lambda sets. It may be used concurrently.
//
// lambdacontext has such a logger too, but that writes JSON only where Lambda sets
// AWS_LAMBDA_LOG_FORMAT, which the SAM CLI does not.
func NewLogger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(os.Getenv("AWS_LAMBDA_LOG_LEVEL"))) // INFO unless it is a level
	return slog.New(requestHandler{slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: lambdacontext.ReplaceAttr})})
}

// requestHandler adds the request's id to lines. Loggers that are derived by With do not.
type requestHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h requestHandler) Handle(ctx context.Context, record slog.Record) error {
	if request, ok := lambdacontext.FromContext(ctx); ok {
		record.AddAttrs(slog.String("requestId", request.AwsRequestID))
	}
	return h.Handler.Handle(ctx, record)
}

// Metric is one value for CloudWatch.
type Metric struct {
	Name  string  `json:"Name"`
	Unit  string  `json:"Unit"` // of CloudWatch: "Count", "Percent", "Milliseconds"
	Value float64 `json:"-"`
}

// Count returns a metric that counts one.
func Count(name string) Metric { return Metric{name, "Count", 1} }

// EmbedMetrics returns an attribute that makes a log line a metric as well: the
// CloudWatch embedded metric format, namespace c8auth, dimensions Stack and Tenant.
// CloudWatch bills every new value of a dimension, so tenant must not be a name that
// a caller made up.
func EmbedMetrics(stack, tenant string, metrics ...Metric) slog.Attr {
	type directive struct {
		Namespace  string
		Dimensions [][]string
		Metrics    []Metric
	}
	attrs := []slog.Attr{slog.String("Stack", stack), slog.String("Tenant", tenant)}
	for _, m := range metrics {
		attrs = append(attrs, slog.Float64(m.Name, m.Value))
	}
	attrs = append(attrs, slog.Any("_aws", struct {
		Timestamp         int64 // milliseconds
		CloudWatchMetrics []directive
	}{time.Now().UnixMilli(), []directive{{"c8auth", [][]string{{"Stack", "Tenant"}}, metrics}}}))
	return slog.GroupAttrs("", attrs...)
}
