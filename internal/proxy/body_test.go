package proxy

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
)

// A body can be read again, by any number of attempts, while all of it that was read is
// kept: 64 KiB, or nothing if it is known to be longer.
func TestReplay(t *testing.T) {
	for name, test := range map[string]struct {
		size, read int   // bytes; read is what the first attempt reads
		length     int64 // as announced
		again      bool
	}{
		"empty, chunked":           {0, 0, -1, true},
		"short":                    {10, 10, 10, true},
		"short, half":              {10, 5, 10, true},
		"short, chunked":           {10, 10, -1, true},
		"all that is kept":         {keep, keep, keep, true},
		"all that is kept, chunks": {keep, keep, -1, true},
		"longer":                   {keep + 1, keep + 1, keep + 1, false},
		"longer, one byte read":    {keep + 1, 1, keep + 1, false},
		"longer, not read":         {keep + 1, 0, keep + 1, true},
		"longer, chunked":          {keep + 1, keep + 1, -1, false},
		"longer, chunked, begun":   {keep + 1, keep, -1, true},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Repeat("0123456789", test.size/10+1)[:test.size]
			first, again := replayable(io.NopCloser(strings.NewReader(text)), test.length)
			if _, err := io.ReadFull(first, make([]byte, test.read)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				second, err := again()
				if !test.again {
					if !errors.Is(err, errGone) {
						t.Errorf("got %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := first.Close(); err != nil {
					t.Fatal(err)
				}
				if test.size > keep { // the rest goes by, and nothing can be read a third time
					got, err := io.ReadAll(second)
					if err != nil || string(got) != text {
						t.Errorf("got %d bytes, %v", len(got), err)
					}
					return
				}
				if err := iotest.TestReader(second, []byte(text)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// An attempt that was closed reads nothing any more, and the end that the body had is that
// of every attempt.
func TestReplayEnds(t *testing.T) {
	broken := errors.New("broken")
	// Its end comes once. Nobody may read on after that.
	first, again := replayable(io.NopCloser(io.MultiReader(strings.NewReader("abc"), &once{broken})), -1)
	if got, err := io.ReadAll(first); string(got) != "abc" || !errors.Is(err, broken) {
		t.Errorf("got %q, %v", got, err)
	}
	second, err := again()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(second); string(got) != "abc" || !errors.Is(err, broken) {
		t.Errorf("got %q, %v", got, err)
	}
	_ = second.Close()
	if n, err := second.Read(make([]byte, 1)); n != 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("got %d, %v", n, err)
	}
}

// once is a reader whose end must be read once.
type once struct{ err error }

func (o *once) Read([]byte) (int, error) {
	err := o.err
	o.err = errors.New("read on after the end")
	return 0, err
}

// An attempt that was given up may still wait for the program to send more: that holds up
// nobody, and what comes is the next one's.
func TestReplayWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, program := io.Pipe()
		first, again := replayable(from, -1)
		go func() { _, _ = io.WriteString(program, "ab") }()
		if _, err := io.ReadFull(first, make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = first.Read(make([]byte, 1)) }()
		synctest.Wait() // it waits for more
		_ = first.Close()
		second, err := again()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = io.WriteString(program, "cd")
			_ = program.Close()
		}()
		if got, err := io.ReadAll(second); err != nil || string(got) != "abcd" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}
