package c8auth

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/google/go-cmp/cmp"
)

// A line names the request that it belongs to, and shows no secret.
func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "8476a536-e9f4-11e8-9739-2dfe598c3fcd"})
		l := line{attrs: []slog.Attr{slog.String("tenant", "acme"), slog.Any("secret", NewSecret("MARK"))}, metrics: []metric{{"TokenLifePercent", "Percent", 99.5}}}
		l.count("Vended")
		l.warn("one")
		l.warn("two\n")
		l.write(ctx, NewLogger(&out), "vend", "stack", "acme")
		want := map[string]any{
			"timestamp": "2000-01-01T00:00:00Z", "level": "WARN", "message": "vend", "requestId": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
			"tenant": "acme", "secret": "[redacted]", "hint": "one; two\ufffd", "Stack": "stack", "Tenant": "acme", "Vended": 1.0, "TokenLifePercent": 99.5,
			"_aws": map[string]any{"Timestamp": 946684800000.0, "CloudWatchMetrics": []any{map[string]any{
				"Namespace": "c8auth", "Dimensions": []any{[]any{"Stack", "Tenant"}},
				"Metrics": []any{map[string]any{"Name": "TokenLifePercent", "Unit": "Percent"}, map[string]any{"Name": "Vended", "Unit": "Count"}},
			}}},
		}
		if diff := cmp.Diff(want, values(t, out.String())); diff != "" {
			t.Error(diff)
		}
	})
}

// Lambda's log level is kept to; anything else in its variable counts as INFO.
func TestLogLevel(t *testing.T) {
	for value, want := range map[string]string{"": "INFO WARN ERROR", "DEBUG": "DEBUG INFO WARN ERROR", "WARN": "WARN ERROR", "ERROR": "ERROR", "FATAL": "INFO WARN ERROR"} {
		t.Setenv("AWS_LAMBDA_LOG_LEVEL", value)
		var out bytes.Buffer
		log := NewLogger(&out)
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			log.Log(t.Context(), level, "vend")
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			got = append(got, values(t, line)["level"].(string))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", value, got, want)
		}
	}
}

// What is below the level is not written, and what others log is written like ours.
func TestLogger(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out)
	log.Debug("nothing")
	if out.Len() != 0 {
		t.Errorf("logged %s", &out)
	}
	slog.NewLogLogger(log.Handler(), slog.LevelInfo).Printf("printed %d\n", 1)
	log.With("a", "b").WithGroup("g").Info("with", "c", "d")
	var lines []map[string]any
	for line := range strings.Lines(out.String()) {
		members := values(t, line)
		delete(members, "timestamp")
		lines = append(lines, members)
	}
	want := []map[string]any{
		{"level": "INFO", "message": "printed 1"},
		{"level": "INFO", "message": "with", "a": "b", "g": map[string]any{"c": "d"}},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

// Lines of many at once come one by one, also from those who have made a logger of their own.
func TestManyLog(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out)
	var logging sync.WaitGroup
	for range 4 {
		logging.Go(func() {
			for range 100 {
				log.Info("vend", "tenant", "acme")
				log.Info("vend", "took", time.Second)
				log.With("tenant", "acme").Info("vend")
			}
		})
	}
	logging.Wait()
	n := 0
	for line := range strings.Lines(out.String()) {
		if values(t, line)["message"] != "vend" {
			t.Errorf("logged %s", line)
		}
		n++
	}
	if n != 1200 {
		t.Errorf("%d lines", n)
	}
}

func values(t *testing.T, line string) (members map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &members); err != nil {
		t.Fatalf("%v: %q", err, line)
	}
	return members
}
