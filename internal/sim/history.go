package sim

// The history: one line for everything that happens, and a sum over all of them.

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"time"
)

// history is what happened. Two runs of the same seed have the same to the byte.
type history struct {
	sum   hash.Hash
	out   io.Writer // may be nil
	tail  []string  // the latest lines
	lines int
}

const tailLines = 60

func newHistory(out io.Writer) *history { return &history{sum: sha256.New(), out: out} }

func (h *history) add(at time.Duration, who, format string, args ...any) {
	line := fmt.Sprintf("%v %s: %s\n", at, who, fmt.Sprintf(format, args...))
	h.lines++
	_, _ = io.WriteString(h.sum, line)
	if h.out != nil {
		_, _ = io.WriteString(h.out, line)
	}
	if len(h.tail) == 2*tailLines {
		h.tail = append(h.tail[:0], h.tail[tailLines:]...)
	}
	h.tail = append(h.tail, line)
}

func (h *history) digest() string { return hex.EncodeToString(h.sum.Sum(nil)[:16]) }
