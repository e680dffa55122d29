package main

import (
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/smtest"
)

// To connect is one request, and one that comes to nothing keeps nobody waiting.
func TestConnect(t *testing.T) {
	for name, fault := range map[string]*smtest.Fault{
		"answers": nil, "denies": {Status: 400, Type: "AccessDeniedException"}, "throttles": {Status: 400, Type: "ThrottlingException"},
		"hangs": {Hang: true}, "breaks off": {Break: true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.lines.Reset()
				w.fault.Store(fault)
				before, start := w.sm.Calls("DescribeSecret"), time.Now()
				connect(w.fn.rotator.Store)
				if took := time.Since(start); took > connectTimeout {
					t.Errorf("took %v", took)
				}
				if n := w.sm.Calls("DescribeSecret") - before; n < 1 || fault == nil && n != 1 {
					t.Errorf("%d requests", n)
				}
				if w.lines.Len() != 0 {
					t.Errorf("logged %s", w.lines)
				}
			})
		})
	}
}
