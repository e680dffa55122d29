//go:build soak

package soak

// What a process takes: memory, open files, threads, and at its end goroutines.

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// figures are what a process takes; of memory, KiB that are resident.
type figures struct{ memory, files, threads, goroutines int }

func (f figures) String() string {
	return fmt.Sprintf("%.1f MiB, %d files, %d threads, %d goroutines", float64(f.memory)/1024, f.files, f.threads, f.goroutines)
}

// exceeds reports whether f is more than before by more than may be.
func (f figures) exceeds(before figures) bool {
	return f.memory > before.memory+growth.memory || f.files > before.files+growth.files ||
		f.threads > before.threads+growth.threads || f.goroutines > before.goroutines+growth.goroutines
}

// measure takes the figures of a process, but for goroutines. Only Linux shows them.
func measure(t *testing.T, pid int) (f figures) {
	if runtime.GOOS != "linux" {
		return f
	}
	dir := fmt.Sprintf("/proc/%d/", pid)
	statm, err := os.ReadFile(dir + "statm")
	if err != nil {
		t.Fatal(err)
	}
	var size int
	if _, err := fmt.Sscan(string(statm), &size, &f.memory); err != nil {
		t.Fatal(err)
	}
	f.memory *= os.Getpagesize() / 1024
	for name, n := range map[string]*int{"fd": &f.files, "task": &f.threads} {
		entries, err := os.ReadDir(dir + name)
		if err != nil {
			t.Fatal(err)
		}
		*n = len(entries)
	}
	return f
}

// header is the first line of a goroutine in a dump.
var header = regexp.MustCompile(`(?m)^goroutine \d+ `)

// end ends the sandbox as an operator would who wants to know where it hangs, and
// returns how many goroutines it had. The dump goes to its log.
func (s *sandbox) end() (goroutines int) {
	var dump bytes.Buffer
	s.vend.Log = io.MultiWriter(s.vend.Log, &dump)
	s.vend.Kill(syscall.SIGQUIT)
	s.vend.Stop()
	if !strings.Contains(dump.String(), "SIGQUIT") {
		s.world.violation("there was no dump")
	}
	return len(header.FindAllIndex(dump.Bytes(), -1))
}
