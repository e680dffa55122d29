package c8auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/google/go-cmp/cmp"

	"github.com/c8auth/c8auth/internal/object"
)

// logged has the same line written by NewLogger and by slog's own handler, and returns both.
func logged(t *testing.T, ctx context.Context, level slog.Level, message string, attrs ...slog.Attr) (ours, theirs string) {
	t.Helper()
	var line, slogs bytes.Buffer
	NewLogger(&line).LogAttrs(ctx, level, message, attrs...)
	if request, ok := lambdacontext.FromContext(ctx); ok {
		attrs = append(attrs, slog.String("requestId", request.AwsRequestID))
	}
	slog.New(slog.NewJSONHandler(&slogs, &slog.HandlerOptions{ReplaceAttr: lambdacontext.ReplaceAttr})).LogAttrs(ctx, level, message, attrs...)
	return line.String(), slogs.String()
}

// Whatever is logged, the line says what slog's own would say, in the same order, and
// nothing twice that is there once. What our own lines consist of is not left to slog.
func TestLinesAreSlogs(t *testing.T) {
	type structure struct{ A []int }
	left := []string{"a secret", "an error", "a structure", "no number", "a duration", "a group", "a group in it"}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000000, time.FixedZone("", 3600))
	for name, attrs := range map[string][]slog.Attr{
		"none":            nil,
		"ours":            {slog.String("a", "b"), slog.Int("n", -5), slog.Int64("m", 1<<62), slog.Bool("t", true), slog.Bool("f", false), slog.Time("at", at), slog.Float64("x", 0.25)},
		"metrics":         {slog.String("tenant", "acme"), EmbedMetrics("stack", "acme", Count("Vended"), Metric{"TokenLifePercent", "Percent", 100.0 / 3})},
		"no metrics":      {EmbedMetrics("stack", "-")},
		"strings":         {slog.String("\"key\\\n", "\"<&>\\\n\t\x00\x7f\u2028\xff😀")},
		"a name twice":    {slog.String("a", "b"), slog.String("a", "c")},
		"a secret":        {slog.Any("secret", NewSecret("MARK"))},
		"an error":        {slog.String("a", "b"), slog.Any("err", errors.New("it \"failed\""))},
		"a structure":     {slog.Any("any", structure{[]int{1}})},
		"no number":       {slog.Float64("x", math.NaN()), slog.Float64("y", math.Inf(-1))},
		"a duration":      {slog.Duration("d", time.Second), slog.Uint64("u", 1<<63)},
		"a group":         {slog.Group("g", slog.String("a", "b"))},
		"an inline group": {slog.Group("", slog.String("a", "b"), slog.Group("", slog.Int("n", 1)))},
		"a group in it":   {slog.Group("", slog.String("a", "b"), slog.Group("g", slog.Int("n", 1)))},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // so that both are written at the same time
				request := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "8476a536-e9f4-11e8-9739-2dfe598c3fcd"})
				foreign := func(attr slog.Attr) bool { return !add(new(object.Object), attr) }
				if got, want := slices.ContainsFunc(attrs, foreign), slices.Contains(left, name); got != want {
					t.Errorf("left to slog: %t, want %t", got, want)
				}
				for _, ctx := range []context.Context{t.Context(), request} {
					for _, level := range []slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError, slog.LevelError + 1} {
						ours, theirs := logged(t, ctx, level, "vend", attrs...)
						if !strings.HasSuffix(ours, "}\n") || strings.Count(ours, "\n") != 1 || strings.Contains(ours, "MARK") {
							t.Errorf("not a line: %q", ours)
						}
						if diff := cmp.Diff(tokens(t, theirs), tokens(t, ours)); diff != "" {
							t.Errorf("%s%s%s", theirs, ours, diff)
						}
					}
				}
			})
		})
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

// tokens are all that a line consists of, one after the other.
func tokens(t *testing.T, line string) (all []json.Token) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(line)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		all = append(all, token)
	}
}

func values(t *testing.T, line string) (members map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &members); err != nil {
		t.Fatalf("%v: %q", err, line)
	}
	return members
}
