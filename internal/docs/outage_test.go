package docs_test

// The picture of a token's lifetime through an outage of Communic8, drawn from what the real
// rotate and vend did in a simulated one.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/internal/harness"
	"github.com/c8auth/c8auth/pkg/c8auth"
)

var update = flag.Bool("update", false, "write the pictures, instead of comparing with them")

const (
	heartbeat = 5 * time.Minute
	lifetime  = 24 * time.Hour
	begins    = 20 * time.Hour // the outage, after the first token
	ends      = 33 * time.Hour
	horizon   = 44 * time.Hour

	alarmBelow = 25.0 // percent: tenant.yaml
	alarmAfter = 3    // heartbeats, of this alarm and of rotations-fail
)

// point is what a heartbeat reported.
type point struct {
	at     time.Duration
	life   float64 // TokenLifePercent
	failed bool
}

// history is what happened in an outage.
type history struct {
	points  []point
	refused time.Duration // when vend first answered that the token has expired; 0 if it never did
}

// simulate lets rotate and vend run through an outage of Communic8 that lasts until then.
func simulate(t *testing.T, until time.Duration) (h history) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		fakes := harness.InMemory("default")
		c8 := fakes.Communic8
		c8.AddClient("id", "secret")
		c8.Set(func(b *c8test.Behaviour) {
			b.Lifetime = lifetime
			b.Fault = func(*http.Request, int) *c8test.Fault {
				if at := time.Since(begin); at >= begins && at < until {
					return &c8test.Fault{Status: http.StatusServiceUnavailable}
				}
				return nil
			}
		})
		fakes.Secrets.Put(harness.CredentialsName("default"), harness.Credentials("https://acme.communic8.com", "id", "secret"))
		store := &c8auth.Store{Stack: "c8auth", Client: fakes.Client}
		var lines bytes.Buffer
		rotator := &c8auth.Rotator{
			Store:    store,
			Endpoint: &c8auth.Endpoint{Client: inmem.Client(c8), ProbePath: "/int/v1/broadcast?limit=1"},
			Log:      c8auth.NewLogger(&lines),
		}
		cache := &c8auth.Cache{Store: store, TTL: time.Minute}
		for at := time.Duration(0); at <= horizon; at += heartbeat / 10 {
			time.Sleep(time.Until(begin.Add(at)))
			if at%heartbeat == 0 {
				lines.Reset()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				_, err := rotator.Rotate(ctx, c8auth.Request{Tenant: "default"})
				cancel()
				var line struct{ TokenLifePercent float64 }
				if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
					t.Fatalf("%v: %s", err, &lines)
				}
				h.points = append(h.points, point{at, line.TokenLifePercent, err != nil})
			}
			if _, err := cache.Token(t.Context(), "default", false); errors.Is(err, c8auth.ErrExpired) && h.refused == 0 {
				h.refused = at
			} else if err != nil && h.refused == 0 {
				t.Fatal(err)
			}
		}
	})
	return h
}

// alarm returns the heartbeat at which as many in a row had reported what an alarm is about.
func (h history) alarm(about func(point) bool) point {
	run := 0
	for _, p := range h.points {
		if run++; !about(p) {
			run = 0
		}
		if run == alarmAfter {
			return p
		}
	}
	return point{}
}

func failed(p point) bool { return p.failed }
func low(p point) bool    { return p.life < alarmBelow }

// The picture is what happens, and a caller notices nothing of an outage of half a lifetime.
func TestOutagePicture(t *testing.T) {
	short, long := simulate(t, ends), simulate(t, horizon+heartbeat)
	if short.refused != 0 {
		t.Errorf("vend refused a token after %v though the outage ended after %v", short.refused, ends)
	}
	if rotated, fails := begins+4*time.Hour, short.alarm(failed).at; fails < rotated || long.refused < rotated+lifetime/2-time.Minute {
		t.Errorf("rotations fail from %v, and callers notice at %v", fails, long.refused)
	}
	picture := draw(short, long)
	const file = "docs/images/outage.svg"
	if *update {
		if err := os.WriteFile(filepath.Join(root, file), []byte(picture), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if read(t, file) != picture {
		t.Errorf("%s is not what happens: make pictures draws it anew", file)
	}
}

const (
	width, height = 880, 380
	left, right   = 60, 860
	top, bottom   = 60, 320
)

func x(at time.Duration) float64 {
	return left + (right-left)*at.Hours()/horizon.Hours()
}

func y(percent float64) float64 { return bottom - (bottom-top)*percent/100 }

// draw returns the SVG.
func draw(short, long history) string {
	var out strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	text := func(x, y float64, anchor, what string) {
		add(`<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, x, y, anchor, what)
	}
	add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13" fill="#222">`, width, height)
	add(`<title>Token lifetime remaining (%%) through an outage of Communic8</title>`)
	add(`<rect width="%d" height="%d" fill="#fff"/>`, width, height)
	add(`<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#f6dede"/>`, x(begins), top, x(ends)-x(begins), bottom-top)
	text((x(begins)+x(ends))/2, top-30, "middle", fmt.Sprintf("Communic8 does not answer for %.0f hours", (ends-begins).Hours()))
	for _, percent := range []float64{0, 25, 50, 100} {
		add(`<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ccc"/>`, left, y(percent), right, y(percent))
		text(left-8, y(percent)+4, "end", fmt.Sprintf("%.0f %%", percent))
	}
	for at := time.Duration(0); at <= horizon; at += 4 * time.Hour {
		text(x(at), bottom+20, "middle", fmt.Sprintf("%.0f h", at.Hours()))
	}
	text((left+right)/2, height-16, "middle", "hours since the first token; the line is the metric TokenLifePercent of each heartbeat")
	line := func(h history, from time.Duration, style string) {
		var points strings.Builder
		for _, p := range h.points {
			if p.at >= from {
				fmt.Fprintf(&points, "%.1f,%.1f ", x(p.at), y(p.life))
			}
		}
		add(`<polyline points="%s" fill="none" %s/>`, strings.TrimSpace(points.String()), style)
	}
	line(long, ends, `stroke="#b00" stroke-width="1.5" stroke-dasharray="5 4"`)
	line(short, 0, `stroke="#06c" stroke-width="2.5"`)
	mark := func(p point, dx, dy float64, anchor, what string) {
		add(`<circle cx="%.1f" cy="%.1f" r="4"/>`, x(p.at), y(p.life))
		text(x(p.at)+dx, y(p.life)+dy, anchor, what)
	}
	mark(point{at: lifetime / 2, life: 50}, -10, 18, "end", "half of the lifetime: a new token")
	mark(point{at: begins + 4*time.Hour, life: 50}, -10, 18, "end", "a new token is due")
	mark(short.alarm(failed), 10, -6, "start", "alarm rotations-fail")
	mark(short.alarm(low), -10, 18, "end", fmt.Sprintf("alarm life: %.0f hours are left", (long.refused-short.alarm(low).at).Hours()))
	mark(point{at: long.refused}, 10, -26, "start", "if it goes on:")
	text(x(long.refused)+10, y(0)-8, "start", "callers get 503")
	out.WriteString("</svg>\n")
	return out.String()
}
