// Package measure has what both benchmarks measure with. It takes Linux.
package measure

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Supported returns an error on systems that do not say what a process uses.
func Supported() error {
	_, err := os.Stat("/proc/self/schedstat")
	return err
}

// CPU returns the time that the threads of a process have spent on processors.
func CPU(pid int) (sum time.Duration) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, task := range tasks {
		text, _ := os.ReadFile(task) // it may have ended
		var nanoseconds time.Duration
		_, _ = fmt.Sscan(string(text), &nanoseconds)
		sum += nanoseconds
	}
	return sum
}

// Memory returns the line of /proc/<pid>/status with that name, in MB: VmRSS is what a process
// holds, VmHWM the most that it has held.
func Memory(pid int, name string) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(text), name+":")
	var kilobytes float64
	_, _ = fmt.Sscan(rest, &kilobytes)
	return kilobytes / 1024
}

// Milliseconds is a duration as a number.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Percentile returns a percentile of values; 0 if there are none.
func Percentile(values []float64, p int) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}
