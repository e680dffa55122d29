package c8auth

// The log lines of both functions. Each is an audit record and carries CloudWatch metrics.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

// NewLogger returns a logger of JSON lines with the keys that Lambda expects (timestamp,
// level, message) and the id of the request that ctx belongs to. It drops lines below
// AWS_LAMBDA_LOG_LEVEL, which Lambda sets. It may be used concurrently.
//
// The logger of lambdacontext writes JSON only if AWS_LAMBDA_LOG_FORMAT is set. Lambda sets
// that variable, and the SAM CLI does not.
func NewLogger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(os.Getenv("AWS_LAMBDA_LOG_LEVEL"))) // INFO if it is missing or malformed
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

// line is a log line before it is written.
type line struct {
	level   slog.Level
	attrs   []slog.Attr
	hints   []string
	metrics []metric
}

// metric is one value for CloudWatch.
type metric struct {
	Name  string
	Unit  string  // of CloudWatch: "Count", "Percent", "Milliseconds"
	value float64 // unexported: encoding/json must leave it out of the metadata
}

func (l *line) add(attrs ...slog.Attr) { l.attrs = append(l.attrs, attrs...) }

// text adds a string unless it is empty.
func (l *line) text(key, value string) {
	if value != "" {
		l.add(slog.String(key, value))
	}
}

func (l *line) count(name string) { l.metrics = append(l.metrics, metric{name, "Count", 1}) }

// warn raises the level to WARN, and adds a hint unless it is empty.
func (l *line) warn(hint string) {
	l.level = max(l.level, slog.LevelWarn)
	if hint != "" {
		l.hints = append(l.hints, hint)
	}
}

// fail adds the error, unless it is nil, and raises the level.
func (l *line) fail(err error, level slog.Level) {
	if err != nil {
		l.add(ErrorAttrs(err)...)
		l.level = max(l.level, level)
	}
}

// write writes the line, with its metrics in the CloudWatch embedded metric format:
// namespace c8auth, dimensions Stack and Tenant. CloudWatch bills every new value of a
// dimension, so tenant must not be a name that a caller made up.
func (l *line) write(ctx context.Context, log *slog.Logger, message, stack, tenant string) {
	type directive struct {
		Namespace  string
		Dimensions [][]string
		Metrics    []metric
	}
	l.text("hint", oauth.Printable(strings.Join(l.hints, "; "), maxText))
	l.add(slog.String("Stack", stack), slog.String("Tenant", tenant))
	for _, m := range l.metrics {
		l.add(slog.Float64(m.Name, m.value))
	}
	l.add(slog.Any("_aws", struct {
		Timestamp         int64 // milliseconds
		CloudWatchMetrics []directive
	}{time.Now().UnixMilli(), []directive{{"c8auth", [][]string{{"Stack", "Tenant"}}, l.metrics}}}))
	log.LogAttrs(ctx, l.level, message, l.attrs...)
}

// unknownTenant is the dimension Tenant for a name that is not known to be a tenant's: there is
// no such secret, or the store is unavailable.
const unknownTenant = "-"

// LogVend writes the log line and the metrics of one request for a token. by describes the
// caller, and status is the HTTP status of the response. `c8auth who` counts the lines with
// status 200. For status 400 the line has no tenant, because the name could be a secret.
func (c *Cache) LogVend(ctx context.Context, log *slog.Logger, by []slog.Attr, tenant string, status int, token CachedToken, err error) {
	l := line{attrs: append([]slog.Attr{slog.Int("status", status)}, by...)}
	dimension := tenant
	switch {
	case status == http.StatusBadRequest:
		tenant, dimension = "", unknownTenant
	case errors.Is(err, ErrUnknownTenant), errors.Is(err, ErrUnavailable):
		dimension = unknownTenant
	}
	l.text("tenant", tenant)
	if err != nil {
		level := slog.LevelError
		if status < http.StatusInternalServerError {
			level = slog.LevelWarn
		}
		l.fail(err, level)
		l.count("VendFailed")
	} else {
		l.text("version", token.Version)
		if token.Token.Expires() {
			l.add(slog.Int64("expires_in", int64(token.Remaining/time.Second)))
		}
		if token.StoreErr != nil {
			l.text("store_error", Text(token.StoreErr))
			l.warn("")
		}
		l.count("Vended")
	}
	if token.Reads > 0 {
		l.metrics = append(l.metrics, metric{"StoreReads", "Count", float64(token.Reads)})
	}
	l.write(ctx, log, "vend", c.Store.Stack, dimension)
}

// log writes the log line and the metrics of this rotation.
func (run *rotation) log(ctx context.Context, result Result, err error) {
	l := line{attrs: []slog.Attr{slog.String("tenant", run.Tenant), slog.Bool("force", run.Force)}}
	if run.known { // otherwise the metric is missing, which the alarm life treats as breaching
		l.metrics = append(l.metrics, metric{"TokenLifePercent", "Percent", run.stored.LifetimePercent(now())})
	}
	run.addResult(&l, result)
	if !run.stored.IssuedAt.IsZero() { // c8auth status shows these without reading the secret
		l.text("credentials_version", run.stored.CredentialsVersion)
		l.add(slog.Time("issued_at", run.stored.IssuedAt))
		if run.stored.Expires() {
			l.add(slog.Time("expires_at", run.stored.ExpiresAt))
		}
	}
	if run.probed == ProbeInconclusive {
		l.warn("")
	}
	switch result.Outcome {
	case Rotated:
		l.count("RotationSucceeded")
		if run.assumed {
			l.add(slog.Bool("lifetime_assumed", true))
			l.warn("Communic8 does not say how long the token is valid (expires_in); an hour is assumed")
		}
	case Waiting:
		l.count("CredentialsMissing")
		l.warn("store credentials in " + run.Store.credentialsName(run.Tenant))
	}
	if run.rejectedVersion != "" {
		l.warn("Communic8 rejected the stored token: it was revoked, or something else requests tokens with the same client, which only this stack may use")
		run.states.update(run.Tenant, func(s *state) {
			if s.rejected != run.rejectedVersion { // counted once, even if every heartbeat finds it rejected
				l.count("TokenRejected")
			}
			s.rejected = run.rejectedVersion
		})
	}
	if run.fillsQuota {
		l.add(slog.Bool("version_quota", true))
		l.warn(fmt.Sprintf("tokens of this lifetime are stored more often than Secrets Manager allows, about %d times a day: ask Communic8 for a longer lifetime", maxVersions))
	}
	if run.refused != nil {
		l.count("CredentialsFallback")
		l.add(slog.Bool("credentials_fallback", true))
		l.warn("the previous credentials are used instead: " + run.refused.Error())
	}
	if run.requested {
		l.metrics = append(l.metrics, metric{"UpstreamMilliseconds", "Milliseconds", float64(run.upstream.Milliseconds())})
	}
	if err != nil {
		l.count("RotationFailed")
	}
	l.fail(err, slog.LevelError)
	l.write(ctx, run.Log, "rotation", run.Store.Stack, run.dimension())
}

// logReport writes the log line and the metrics of a report. The line has the current version,
// not the reported one, which can be any text.
func (run *rotation) logReport(ctx context.Context, by []slog.Attr, result Result, err error) {
	var l line
	if !errors.Is(err, ErrTenantName) {
		l.text("tenant", run.Tenant)
	}
	run.addResult(&l, result)
	l.fail(err, slog.LevelWarn)
	l.add(by...)
	l.count("Rejections")
	l.write(ctx, run.Log, "rejection", run.Store.Stack, run.dimension())
}

// addResult adds the attributes that the lines of rotations and of reports share.
func (run *rotation) addResult(l *line, result Result) {
	l.text("outcome", string(result.Outcome))
	l.text("reason", string(result.Reason))
	l.text("version", run.version)
	l.text("trial", string(run.probed))
	l.text("trial_detail", run.detail)
}

// dimension returns the dimension Tenant of this run's metrics.
func (run *rotation) dimension() string {
	if !run.known {
		return unknownTenant
	}
	return run.Tenant
}
