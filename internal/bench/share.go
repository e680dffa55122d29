package main

// The processor's share that Lambda gives a function of 128 MB: as 1,769 MB get one
// processor, 7.2 %. Linux's control groups can give as little.

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// period is that in which the share may be used up at once. Lambda's own is not
// documented; those who measured it found this.
const period = 20 * time.Millisecond

// share is a control group of one process: what a process leaves behind would be at the
// expense of the next.
type share struct{ dir string }

// admit gives a process the share. That takes root, and version 1 or 2 of control groups.
func admit(pid int) (*share, error) {
	period := period.Microseconds()
	quota := period * 128 / 1769
	name := fmt.Sprintf("c8auth-bench-%d", pid)
	s := &share{filepath.Join("/sys/fs/cgroup/cpu", name)}
	set := func(file, format string, values ...any) error {
		return os.WriteFile(filepath.Join(s.dir, file), fmt.Appendf(nil, format, values...), 0o600)
	}
	var err error
	if os.Mkdir(s.dir, 0o750) == nil {
		err = errors.Join(set("cpu.cfs_period_us", "%d", period), set("cpu.cfs_quota_us", "%d", quota))
	} else {
		s.dir = filepath.Join("/sys/fs/cgroup", name)
		if err := os.Mkdir(s.dir, 0o750); err != nil {
			return nil, err
		}
		err = set("cpu.max", "%d %d", quota, period)
	}
	if err = errors.Join(err, set("cgroup.procs", "%d", pid)); err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

// remove takes the group away, whose process has ended.
func (s *share) remove() { _ = os.Remove(s.dir) }

// canShare reports whether there are control groups, and we may make one.
func canShare() bool {
	probe := exec.Command("sleep", "60")
	if probe.Start() != nil {
		return false
	}
	s, err := admit(probe.Process.Pid)
	_ = probe.Process.Kill()
	_ = probe.Wait()
	if err == nil {
		s.remove()
	}
	return err == nil
}
