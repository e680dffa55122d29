package caller

// The time between attempts, by the wall clock.

import "time"

// maxBackoff is the longest time between two attempts of any kind.
const maxBackoff = 2 * time.Minute

// backoff delays attempts for a version of the token after failed ones. It must not be used
// concurrently.
type backoff struct {
	version  string
	failures int
	until    time.Time
}

// allows reports whether another attempt may begin.
func (b *backoff) allows(version string) bool { return b.version != version || !pending(b.until) }

// fail counts a failed attempt. The delay after it is first, doubled with every failure before.
func (b *backoff) fail(version string, first time.Duration) {
	if b.version != version {
		*b = backoff{version: version}
	}
	b.until = now().Add(min(first<<min(b.failures, 10), maxBackoff))
	b.failures++
}

// pending reports whether t is in the future. If it is more than maxBackoff ahead, the clock
// was set back, and t counts as past.
func pending(t time.Time) bool {
	left := t.Sub(now())
	return left > 0 && left <= maxBackoff
}

// now returns the wall clock, without the monotonic reading.
func now() time.Time { return time.Now().Round(0) }
