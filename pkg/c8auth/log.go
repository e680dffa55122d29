package c8auth

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/c8auth/c8auth/internal/object"
)

// NewLogger returns a logger of JSON lines in Lambda's own vocabulary (timestamp,
// level, message), each with the id of the request that ctx belongs to. It may be used
// concurrently; a line is one call of Write.
func NewLogger(w io.Writer) *slog.Logger {
	return slog.New(&lines{w: w, Handler: slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: lambdacontext.ReplaceAttr})})
}

// lines writes what a [slog.JSONHandler] would, in a third of its time: every vend waits for
// its line. What our own lines do not consist of is left to the JSONHandler.
type lines struct {
	slog.Handler
	w io.Writer

	mu   sync.Mutex
	line object.Object
}

// Handle implements slog.Handler.
func (h *lines) Handle(ctx context.Context, record slog.Record) error {
	if request, ok := lambdacontext.FromContext(ctx); ok {
		record.AddAttrs(slog.String("requestId", request.AwsRequestID))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.line.Reset()
	h.line.Time("timestamp", record.Time)
	h.line.Text("level", record.Level.String())
	h.line.Text("message", record.Message)
	ours := true
	record.Attrs(func(attr slog.Attr) bool {
		ours = h.add(attr)
		return ours
	})
	if !ours {
		return h.Handler.Handle(ctx, record)
	}
	_, err := h.w.Write(append(h.line.Bytes(), '\n'))
	return err
}

// add adds an attribute to the line, if it is of a kind that our own lines have.
func (h *lines) add(attr slog.Attr) bool {
	switch value := attr.Value; value.Kind() {
	case slog.KindString:
		h.line.Text(attr.Key, value.String())
	case slog.KindInt64:
		h.line.Int(attr.Key, value.Int64())
	case slog.KindFloat64:
		h.line.Float(attr.Key, value.Float64())
	case slog.KindBool:
		h.line.Bool(attr.Key, value.Bool())
	case slog.KindTime:
		h.line.Time(attr.Key, value.Time())
	case slog.KindGroup:
		for _, member := range value.Group() {
			if attr.Key != "" || !h.add(member) {
				return false
			}
		}
	default:
		metrics, ok := value.Any().(metadata)
		if ok {
			h.line.JSON(attr.Key, metrics.json())
		}
		return ok
	}
	return true
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
	attrs := make([]slog.Attr, 0, 3+len(metrics))
	attrs = append(attrs, slog.String("Stack", stack), slog.String("Tenant", tenant))
	for _, m := range metrics {
		attrs = append(attrs, slog.Float64(m.Name, m.Value))
	}
	return slog.GroupAttrs("", append(attrs, slog.Any("_aws", metadata{time.Now(), metrics}))...)
}

// metadata tells CloudWatch which members of a line are metrics.
type metadata struct {
	at      time.Time
	metrics []Metric
}

func (m metadata) json() []byte {
	text := append(make([]byte, 0, 256), `[{"Namespace":"c8auth","Dimensions":[["Stack","Tenant"]],"Metrics":[`...)
	for i, metric := range m.metrics {
		if i > 0 {
			text = append(text, ',')
		}
		text = object.Quote(append(text, `{"Name":`...), metric.Name)
		text = object.Quote(append(text, `,"Unit":`...), metric.Unit)
		text = append(text, '}')
	}
	meta := object.New(64 + len(text))
	meta.Int("Timestamp", m.at.UnixMilli())
	meta.JSON("CloudWatchMetrics", append(text, "]}]"...))
	return meta.Bytes()
}

// MarshalJSON implements json.Marshaler.
func (m metadata) MarshalJSON() ([]byte, error) { return m.json(), nil }
