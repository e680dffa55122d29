package c8auth

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
)

// NewLogger returns a logger of JSON lines in Lambda's own vocabulary (timestamp,
// level, message), each with the id of the request that ctx belongs to.
func NewLogger(w io.Writer) *slog.Logger {
	return slog.New(requestHandler{slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: lambdacontext.ReplaceAttr})})
}

type requestHandler struct{ slog.Handler }

func (h requestHandler) Handle(ctx context.Context, line slog.Record) error {
	if request, ok := lambdacontext.FromContext(ctx); ok {
		line.AddAttrs(slog.String("requestId", request.AwsRequestID))
	}
	return h.Handler.Handle(ctx, line)
}

// Metric is one value for CloudWatch.
type Metric struct {
	Name  string
	Unit  string // of CloudWatch: "Count", "Seconds", "Milliseconds"
	Value float64
}

// Count returns a metric that counts one.
func Count(name string) Metric { return Metric{name, "Count", 1} }

// EmbedMetrics returns an attribute that makes a log line a metric as well: the
// CloudWatch embedded metric format, namespace c8auth, dimensions Stack and Tenant.
// CloudWatch bills every new value of a dimension, so tenant must not be a name that
// just anyone made up.
func EmbedMetrics(stack, tenant string, metrics ...Metric) slog.Attr {
	type definition struct{ Name, Unit string }
	type directive struct {
		Namespace  string
		Dimensions [][]string
		Metrics    []definition
	}
	type metadata struct {
		Timestamp         int64
		CloudWatchMetrics []directive
	}
	definitions := make([]definition, len(metrics))
	attrs := []slog.Attr{slog.String("Stack", stack), slog.String("Tenant", tenant)}
	for i, m := range metrics {
		definitions[i] = definition{m.Name, m.Unit}
		attrs = append(attrs, slog.Float64(m.Name, m.Value))
	}
	attrs = append(attrs, slog.Any("_aws", metadata{time.Now().UnixMilli(), []directive{{"c8auth", [][]string{{"Stack", "Tenant"}}, definitions}}}))
	return slog.GroupAttrs("", attrs...)
}
