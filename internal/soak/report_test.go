//go:build soak

package soak

// The figures, and what they must not be.

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

// growth is what a process may take more of than when it was warm.
var growth = figures{memory: 2048, files: 2, threads: 3, goroutines: 4}

// checkVariety is the check of all others: everything has happened that they are about.
func (w *world) checkVariety() {
	fmt.Printf("%-13s", "answers")
	for _, status := range slices.Sorted(maps.Keys(w.counts.statuses)) {
		fmt.Printf("%d: %d  ", status, w.counts.statuses[status])
	}
	fmt.Printf("\n%13s%d of the tokens from memory, while the store failed\n%-13s", "", w.counts.outlasted, "rotations")
	for _, kind := range slices.Sorted(maps.Keys(w.counts.rotations)) {
		fmt.Printf("%s: %d  ", kind, w.counts.rotations[kind])
	}
	fmt.Println()
	for _, status := range []int{http.StatusOK, http.StatusForbidden, http.StatusBadRequest, http.StatusNotFound, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		if w.counts.statuses[status] == 0 {
			w.t.Errorf("nobody was answered %d", status)
		}
	}
	for _, kind := range []string{"failed", "fresh", "half_life", "forced", "credentials_changed"} {
		if w.counts.rotations[kind] == 0 {
			w.t.Errorf("of the rotations, none was %s", kind)
		}
	}
	if w.counts.outlasted == 0 {
		w.t.Error("nobody was given a token while the store failed")
	}
}

// checkReads holds the reads of the store to how many there can be, for each cause, in
// the time that it took.
func (w *world) checkReads(took time.Duration) {
	each := func(tenants int, period time.Duration) int {
		return (sandboxes + 1) * tenants * (int(took/period) + 1)
	}
	all := len(w.tenants) + 3 // empty, broken, nobody
	limits := []struct {
		cause cause
		limit int
	}{
		{first, (sandboxes+1)*all + w.counts.madeUp},
		{periodOver, each(len(w.tenants), cacheTTL)},
		{noCache, each(1, pause)}, // of acme
		{tokenOver, each(1, shortLife/2)},
		{failedBefore, each(all, pause)},
		{doubt, each(all, pause)},
	}
	title := "store reads"
	for _, l := range limits {
		n := w.counts.reads[l.cause]
		fmt.Printf("%-13s%6d, %d at most: %s\n", title, n, l.limit, l.cause)
		title = ""
		if n > l.limit {
			w.t.Errorf("%d reads, because: %s; there can be %d", n, l.cause, l.limit)
		}
	}
	fmt.Printf("%13s%6d attempts in all\n", "", w.counts.attempts)
}

// checkGrowth compares what the sandboxes take with what they took when they were warm.
func (w *world) checkGrowth(before, after figures) {
	fmt.Printf("%-13s%s when warm\n%13s%s at the end; bound: %s more\n", "a sandbox", before, "", after, growth)
	if runtime.GOOS != "linux" {
		fmt.Printf("%13sof memory, files and threads, only Linux tells\n", "")
	}
	if after.exceeds(before) {
		w.t.Error("a sandbox has grown")
	}
}

// checkItself waits until this process, with all stand-ins and callers in it, takes no
// more files and goroutines than before.
func (w *world) checkItself(before figures) {
	deadline := time.After(10 * time.Second) // connections are being closed
	for after := itself(w.t); after.exceeds(before); after = itself(w.t) {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			w.t.Errorf("this process has grown: it took %s, and takes %s", before, after)
			return
		}
	}
}

// itself is what this process takes, but for memory and threads: the stand-ins remember
// every version, and the runtime keeps its threads.
func itself(t *testing.T) figures {
	f := measure(t, os.Getpid())
	return figures{files: f.files, goroutines: runtime.NumGoroutine()}
}

// measure returns the most that any sandbox takes.
func (w *world) measure() (most figures) {
	for _, s := range w.sandboxes {
		pid := s.vend.PID()
		if pid == 0 {
			continue // it has ended
		}
		f := measure(w.t, pid)
		most = figures{max(most.memory, f.memory), max(most.files, f.files), max(most.threads, f.threads), 0}
	}
	return most
}

// checkLog looks for all secrets that there were in what both functions printed, the
// dumps of their goroutines included.
func (w *world) checkLog(log io.ReadSeeker) {
	if _, err := log.Seek(0, io.SeekStart); err != nil {
		w.t.Fatal(err)
	}
	secrets := []string{unreadable, functionSecret, functionSession, callerSecret, callerSession}
	for _, t := range w.tenants {
		secrets = append(append(secrets, t.secret), t.c8.Issued()...)
	}
	lines, found, err := newNeedles(secrets).search(log)
	if err != nil {
		w.t.Fatal(err)
	}
	fmt.Printf("%-13s%d lines, %d of them with one of %d secrets\n", "logs", lines, len(found), len(secrets))
	if len(found) > 0 {
		w.t.Errorf("secrets are in %d lines, first in line %d", len(found), found[0])
	}
}
