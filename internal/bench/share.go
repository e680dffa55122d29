package main

// The processor's share that Lambda gives a function of 128 MB: as 1,769 MB get one
// processor, 7.2 %. Linux's control groups can give as little.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

const (
	period = 20_000 // µs
	quota  = period * 128 / 1769
)

// share is a control group of its own.
type share struct{ dir string }

// newShare makes the group; it takes root, and version 1 or 2 of control groups.
func newShare() (*share, error) {
	name := "c8auth-bench-" + strconv.Itoa(os.Getpid())
	v1 := filepath.Join("/sys/fs/cgroup/cpu", name)
	if os.Mkdir(v1, 0o755) == nil {
		return &share{v1}, errors.Join(set(v1, "cpu.cfs_period_us", period), set(v1, "cpu.cfs_quota_us", quota))
	}
	v2 := filepath.Join("/sys/fs/cgroup", name)
	if err := os.Mkdir(v2, 0o755); err != nil {
		return nil, err
	}
	s := &share{v2}
	if err := os.WriteFile(filepath.Join(v2, "cpu.max"), fmt.Appendf(nil, "%d %d", quota, period), 0o644); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

func (s *share) admit(pid int) error { return set(s.dir, "cgroup.procs", pid) }

func (s *share) remove() error { return os.Remove(s.dir) }

func set(dir, file string, value int) error {
	return os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(value)), 0o644)
}
