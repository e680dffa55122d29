package lambdatest

// What a process prints.

import (
	"bytes"
	"io"
	"math"
	"os"
	"sync"
)

// output is where a process prints: a file without a name. Unlike a pipe, it
// holds all that was printed before an answer when the answer is here, and never
// blocks the process.
type output struct {
	file   *os.File
	copied int64
}

func newOutput() (*output, error) {
	file, err := os.CreateTemp("", "lambdatest-*")
	if err != nil {
		return nil, err
	}
	return &output{file: file}, os.Remove(file.Name())
}

var logs sync.Mutex // functions may share a Log

// copyTo copies what is new, line by line. A line that is not complete has to
// wait, unless the process has ended.
func (o *output) copyTo(log io.Writer, ended bool) {
	// Reading at a position leaves the file's offset alone, which is where
	// the process writes.
	text, _ := io.ReadAll(io.NewSectionReader(o.file, o.copied, math.MaxInt64-o.copied))
	complete := bytes.LastIndexByte(text, '\n') + 1
	if !ended {
		text = text[:complete]
	} else if complete < len(text) {
		text = append(text, '\n')
	}
	o.copied += int64(len(text))
	if log == nil {
		return
	}
	logs.Lock()
	defer logs.Unlock()
	for line := range bytes.Lines(text) {
		_, _ = log.Write(line) // that a log is full is not the function's fault
	}
}
