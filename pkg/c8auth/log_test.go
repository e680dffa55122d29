package c8auth

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/google/go-cmp/cmp"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// The line of a rotation is an audit record, and CloudWatch metrics in the embedded format.
func TestRotationLine(t *testing.T) {
	withEnv(t, func(e *env) {
		e.mustRotate(Waiting, "")
		e.mustLog(members{"CredentialsMissing": 1.0, "TokenLifePercent": 0.0, "outcome": "waiting", "issued_at": nil, "level": "WARN"})
		credentials := e.sm.Put(acmeCredentials, client)
		e.tokenFault(c8test.Fault{Delay: 1500 * time.Millisecond, Body: `{"access_token":"0123","token_type":"Bearer","expires_in":3600}`})
		e.rotator.Endpoint.ProbePath = ""
		result := e.mustRotate(Rotated, FirstToken)
		e.mustLog(members{
			"msg": "rotation", "level": "INFO", "tenant": "acme", "outcome": "rotated", "reason": "first_token", "version": result.Version, "force": false,
			"Stack": "stack", "Tenant": "acme", "RotationSucceeded": 1.0, "TokenLifePercent": 100 * 3598.5 / 3600, "UpstreamMilliseconds": 1500.0,
			"credentials_version": credentials, "issued_at": "2000-01-01T00:00:00Z", "expires_at": "2000-01-01T01:00:00Z", "trial": nil,
		})
		want := members{"Timestamp": float64(time.Now().UnixMilli()), "CloudWatchMetrics": []any{members{
			"Namespace":  "c8auth",
			"Dimensions": []any{[]any{"Stack", "Tenant"}},
			"Metrics": []any{
				members{"Name": "TokenLifePercent", "Unit": "Percent"},
				members{"Name": "RotationSucceeded", "Unit": "Count"},
				members{"Name": "UpstreamMilliseconds", "Unit": "Milliseconds"},
			},
		}}}
		if diff := cmp.Diff(want, e.line(0)["_aws"]); diff != "" {
			t.Error(diff)
		}
		e.mustRotate(Fresh, "")
		e.mustLog(members{"UpstreamMilliseconds": nil}) // there is no probe path

		e.rotator.Endpoint.ProbePath = defaultProbePath
		e.c8Faults(func(*http.Request, int) *c8test.Fault {
			return &c8test.Fault{Delay: 300 * time.Millisecond, Body: `{"success":true,"access_token":"4567","token_type":"Bearer","expires_in":3600}`}
		})
		time.Sleep(time.Hour)
		e.mustRotate(Rotated, HalfLife)
		e.mustLog(members{"UpstreamMilliseconds": 600.0}) // of both
	})
}

// TokenLifePercent is in the line of every rotation, also one that fails, unless the token secret
// cannot be read. Then the store does not say either that the name is a tenant's, and the metrics
// are counted under "-".
func TestTokenLifePercent(t *testing.T) {
	refuse := func(e *env) { e.sm.Put(acmeCredentials, wrongClient) }
	hour := func(left time.Duration, given func(e *env)) func(e *env) {
		return func(e *env) {
			e.put(newToken("stored", time.Hour))
			e.shift(left - time.Hour)
			given(e)
		}
	}
	deny := func(name string) func(e *env) {
		return func(e *env) {
			e.storeFault("", name, smtest.Fault{Status: 400, Type: "AccessDeniedException"})
		}
	}
	type test struct {
		given func(e *env)
		fails bool
		want  any // nil: the line has none
	}
	forEach(t, map[string]test{
		"no credentials":                     {func(*env) {}, false, 0.0},
		"a new token":                        {func(e *env) { e.sm.Put(acmeCredentials, client) }, false, 100.0},
		"an access key":                      {func(e *env) { e.sm.Put(acmeCredentials, accessKey) }, false, 100.0},
		"a refusal, and no token":            {refuse, true, 0.0},
		"a refusal, and a token":             {hour(9*time.Minute, refuse), true, 15.0},
		"a refusal, and an expired token":    {hour(-time.Minute, refuse), true, 0.0},
		"a refusal, and an unreadable one":   {func(e *env) { e.sm.Put(acmeToken, "{}"); refuse(e) }, true, 0.0},
		"malformed credentials":              {hour(30*time.Minute, func(e *env) { e.sm.Put(acmeCredentials, "{}") }), true, 50.0},
		"credentials that cannot be read":    {hour(45*time.Minute, deny(acmeCredentials)), true, 75.0},
		"a token secret that cannot be read": {hour(45*time.Minute, deny(acmeToken)), true, nil},
	}, func(e *env, test test) {
		test.given(e)
		if _, err := e.rotate(false); (err != nil) != test.fails {
			e.Errorf("got %v", err)
		}
		dimension := "acme"
		if test.want == nil {
			dimension = "-"
		}
		e.mustLog(members{"TokenLifePercent": test.want, "tenant": "acme", "Tenant": dimension})
	})
}

// logged returns the log's lines, without their times.
func logged(t *testing.T, out *bytes.Buffer) (lines []members) {
	t.Helper()
	for text := range strings.Lines(out.String()) {
		var line members
		if err := json.Unmarshal([]byte(text), &line); err != nil || line["timestamp"] == nil {
			t.Fatalf("logged %s: %v", text, err)
		}
		delete(line, "timestamp")
		lines = append(lines, line)
	}
	return lines
}

// Lines have the keys that Lambda expects and the request's id, also those of other packages, and
// show no secret. Hints are joined, and printable.
func TestLogger(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out)
	ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "8476a536"})
	l := line{attrs: []slog.Attr{slog.Any("secret", NewSecret("MARK"))}}
	l.warn("one")
	l.warn("two\n")
	l.write(ctx, log, "vend", "stack", "acme")
	slog.NewLogLogger(log.Handler(), slog.LevelInfo).Printf("printed %d\n", 1)
	log.With("a", "b").WithGroup("g").Info("with", "c", "d")
	lines := logged(t, &out)
	delete(lines[0], "_aws")
	want := []members{
		{"level": "WARN", "message": "vend", "requestId": "8476a536", "secret": "[redacted]", "hint": "one; two\ufffd", "Stack": "stack", "Tenant": "acme"},
		{"level": "INFO", "message": "printed 1"},
		{"level": "INFO", "message": "with", "a": "b", "g": members{"c": "d"}},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

// Lines below Lambda's log level are dropped; anything else in its variable counts as INFO.
func TestLogLevel(t *testing.T) {
	for value, want := range map[string]string{"": "INFO WARN ERROR", "DEBUG": "DEBUG INFO WARN ERROR", "WARN": "WARN ERROR", "ERROR": "ERROR", "FATAL": "INFO WARN ERROR"} {
		t.Setenv("AWS_LAMBDA_LOG_LEVEL", value)
		var out bytes.Buffer
		log := NewLogger(&out)
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			log.Log(t.Context(), level, "vend")
		}
		var got []string
		for _, line := range logged(t, &out) {
			got = append(got, line["level"].(string))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", value, got, want)
		}
	}
}
