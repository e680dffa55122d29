package smtest_test

// The operator's hand, and what holds for it and the wire together.

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

func TestHand(t *testing.T) {
	var store smtest.Server
	store.Create("s")
	if value, version := store.Value("s"); value != "" || version != "" {
		t.Errorf("an empty secret has %q in %q", value, version)
	}
	v1, v2 := store.Put("s", "one"), store.Put("s", "two")
	store.Move("s", "AWSCURRENT", v1)
	if value, version := store.Value("s"); value != "one" || version != v1 {
		t.Errorf("moved back to %q in %q", value, version)
	}
	value, stages := store.Version("s", v2)
	if diff := cmp.Diff([]string{"AWSPREVIOUS"}, stages); value != "two" || diff != "" {
		t.Errorf("left %q behind (-want +got)\n%s", value, diff)
	}
	c := connect(t, &store)
	if out := must(c.GetSecretValue(ctx, get("s", "", ""))); *out.VersionId != v1 {
		t.Error("the wire shows another version than the hand")
	}
	store.Delete("s")
	if _, err := c.GetSecretValue(ctx, get("s", "", "")); refusal(err) != deleted {
		t.Error(err)
	}
	store.Restore("s")
	must(c.GetSecretValue(ctx, get("s", "", "")))
	store.Destroy("s")
	if _, err := c.GetSecretValue(ctx, get("s", "", "")); refusal(err) != notFound {
		t.Error(err)
	}
	if get, all := store.Calls("GetSecretValue"), store.Calls(""); get != 4 || all != 4 {
		t.Errorf("%d of %d calls counted, want 4 of 4", get, all)
	}
}

func TestHandOnNothing(t *testing.T) {
	var store smtest.Server
	value, version := store.Value("none")
	text, stages := store.Version("none", token1)
	store.Destroy("none")
	if value+version+text != "" || stages != nil || store.Versions("none") != 0 {
		t.Error("a missing secret has something in it")
	}
}

func TestHandPanicsOnNonsense(t *testing.T) {
	for why, do := range map[string]func(*smtest.Server){
		"create twice":       func(s *smtest.Server) { s.Create("s") },
		"put nothing":        func(s *smtest.Server) { s.Put("s", "") },
		"put into deleted":   func(s *smtest.Server) { s.Delete("s"); s.Put("s", "v") },
		"move in a missing":  func(s *smtest.Server) { s.Move("none", "AWSCURRENT", token1) },
		"move to no version": func(s *smtest.Server) { s.Move("s", "AWSCURRENT", token1) },
		"move no label":      func(s *smtest.Server) { s.Move("s", "", s.Put("s", "v")) },
		"delete a missing":   func(s *smtest.Server) { s.Delete("none") },
		"restore a missing":  func(s *smtest.Server) { s.Restore("none") },
		"put into full": func(s *smtest.Server) {
			for range 101 {
				s.Put("s", "v")
			}
		},
		"rotate a missing": func(s *smtest.Server) { s.Rotate("none") },
		"rotate twice":     func(s *smtest.Server) { s.Rotate("s"); s.Rotate("s") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", why)
				}
			}()
			var store smtest.Server
			store.Create("s")
			do(&store)
		}()
	}
}

// The same calls give the same ids, whether in one process or in the next.
func TestDeterministic(t *testing.T) {
	run := func() []string {
		var store smtest.Server
		ids := []string{store.Put("s", "v"), store.Put("s", "v"), store.Put("t", "v")}
		return append(ids, *must(connect(t, &store).GetSecretValue(ctx, get("s", "", ""))).ARN)
	}
	first := run()
	if diff := cmp.Diff(first, run()); diff != "" {
		t.Errorf("(-first +second)\n%s", diff)
	}
	if first[0] == first[1] || first[1] == first[2] || len(first[0]) != len(token1) {
		t.Errorf("version ids %q", first)
	}
}

// However many write at once, there is one AWSCURRENT and one AWSPREVIOUS.
func TestConcurrentWrites(t *testing.T) {
	var store smtest.Server
	c := connect(t, &store)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() { store.Put("s", fmt.Sprint("by hand ", i)) })
		all.Go(func() { store.Calls(""); store.Versions("s") })
	}
	all.Wait()
	for i := range 20 {
		all.Go(func() { must(c.PutSecretValue(ctx, put("s", fmt.Sprint("by wire ", i), ""))) })
		all.Go(func() { must(c.GetSecretValue(ctx, get("s", "", ""))) })
	}
	all.Wait()
	if got := labels(c, "s"); len(got) != 2 || store.Versions("s") != 40 {
		t.Errorf("%d versions, labels %v", store.Versions("s"), got)
	}
}
