package c8auth

import (
	"context"
	"io"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/c8auth/c8auth/internal/object"
)

// NewLogger returns a logger of JSON lines in Lambda's own vocabulary (timestamp,
// level, message), each with the id of the request that ctx belongs to, which the lines of
// loggers derived from it do not have. It may be used concurrently; a line is one call of
// Write.
func NewLogger(w io.Writer) *slog.Logger {
	w = &lockedWriter{w: w}
	return slog.New(lines{slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: lambdacontext.ReplaceAttr}), w})
}

// lines writes lines that say what those of a [slog.JSONHandler] say, in a third of its
// time: every vend waits for its line. What our own lines do not consist of is left to the
// JSONHandler.
type lines struct {
	slog.Handler
	w io.Writer
}

var line = sync.Pool{New: func() any { return object.New(1024) }}

// Handle implements slog.Handler.
func (h lines) Handle(ctx context.Context, record slog.Record) error {
	if request, ok := lambdacontext.FromContext(ctx); ok {
		record.AddAttrs(slog.String("requestId", request.AwsRequestID))
	}
	o := line.Get().(*object.Object)
	defer line.Put(o)
	o.Reset()
	o.Time("timestamp", record.Time)
	o.Text("level", record.Level.String())
	o.Text("message", record.Message)
	ours := true
	record.Attrs(func(attr slog.Attr) bool {
		ours = add(o, attr)
		return ours
	})
	if !ours {
		return h.Handler.Handle(ctx, record)
	}
	_, err := h.w.Write(append(o.Bytes(), '\n'))
	return err
}

// add adds an attribute to a line, if it is of a kind that our own lines have.
func add(o *object.Object, attr slog.Attr) bool {
	switch value := attr.Value; value.Kind() {
	case slog.KindString:
		o.Text(attr.Key, value.String())
	case slog.KindInt64:
		o.Int(attr.Key, value.Int64())
	case slog.KindFloat64:
		if math.IsNaN(value.Float64()) || math.IsInf(value.Float64(), 0) {
			return false
		}
		o.Float(attr.Key, value.Float64())
	case slog.KindBool:
		o.Bool(attr.Key, value.Bool())
	case slog.KindTime:
		o.Time(attr.Key, value.Time())
	case slog.KindGroup:
		for _, member := range value.Group() {
			if attr.Key != "" || !add(o, member) {
				return false
			}
		}
	default:
		metrics, ok := value.Any().(metadata)
		if ok {
			o.JSON(attr.Key, metrics.json())
		}
		return ok
	}
	return true
}

// lockedWriter writes one line at a time, whichever handler it comes from.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(line)
}

// Metric is one value for CloudWatch.
type Metric struct {
	Name  string
	Unit  string // of CloudWatch: "Count", "Percent", "Milliseconds"
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
