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

// admit gives a process the share, in a control group of its own: what a process leaves behind
// would be at the expense of the next. That takes root, and version 1 or 2 of control groups.
func admit(pid int) (group string, err error) {
	period := period.Microseconds()
	quota := period * 128 / 1769
	name := fmt.Sprintf("c8auth-bench-%d", pid)
	group = filepath.Join("/sys/fs/cgroup/cpu", name)
	set := func(file, format string, values ...any) error {
		return os.WriteFile(filepath.Join(group, file), fmt.Appendf(nil, format, values...), 0o600)
	}
	if os.Mkdir(group, 0o750) == nil {
		err = errors.Join(set("cpu.cfs_period_us", "%d", period), set("cpu.cfs_quota_us", "%d", quota))
	} else {
		group = filepath.Join("/sys/fs/cgroup", name)
		if err := os.Mkdir(group, 0o750); err != nil {
			return "", err
		}
		err = set("cpu.max", "%d %d", quota, period)
	}
	if err = errors.Join(err, set("cgroup.procs", "%d", pid)); err != nil {
		leave(group)
		return "", err
	}
	return group, nil
}

// leave removes a group, whose process has ended.
func leave(group string) { _ = os.Remove(group) }

// canShare reports whether there are control groups, and we may make one.
func canShare() bool {
	probe := exec.Command("sleep", "60")
	if probe.Start() != nil {
		return false
	}
	group, err := admit(probe.Process.Pid)
	_ = probe.Process.Kill()
	_ = probe.Wait()
	if err == nil {
		leave(group)
	}
	return err == nil
}
