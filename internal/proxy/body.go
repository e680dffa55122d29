package proxy

// Request bodies that can be sent again, as long as all that was read of them is kept.

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// keep is the largest body that is kept, in bytes.
const keep = 64 << 10

var (
	errGone = errors.New("the request's body is no longer available")
	// errProgram: the program broke the body off, or its encoding is malformed.
	errProgram = errors.New("the request's body cannot be read")
)

// body is the body of an incoming request. It is read only on demand, so that a program that
// sent Expect: 100-continue gets 100 when the transport reads the body.
type body struct {
	from    io.Reader
	limit   int
	reading sync.Mutex // held while from is read, until the program sends more

	mu    sync.Mutex
	kept  []byte // all bytes that were read; nil if they are more than limit
	count int64  // number of bytes that were read
	err   error  // from the end of from: io.EOF or a failure
}

// replayable returns a reader of a request's body, and a function that returns another reader
// from its beginning. The function fails with errGone if more was read than is kept. Of a body
// whose length is over keep, nothing is kept.
func replayable(from io.ReadCloser, length int64) (io.ReadCloser, func() (io.ReadCloser, error)) {
	b := &body{from: from}
	if length <= keep {
		b.limit = keep
	}
	if length > 0 && b.limit > 0 {
		b.kept = make([]byte, 0, length)
	}
	return &attempt{body: b}, b.again
}

func (b *body) again() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.count > int64(len(b.kept)) {
		return nil, errGone
	}
	return &attempt{body: b}, nil
}

// attempt reads the body from its beginning. Several attempts can read concurrently: net/http
// may still read for an earlier one after its response.
type attempt struct {
	*body
	mu     sync.Mutex // closed is set while Read waits
	closed bool
	offset int64
}

func (a *attempt) Read(p []byte) (int, error) {
	if n, ok, err := a.old(p); ok {
		return n, err
	}
	a.reading.Lock()
	defer a.reading.Unlock()
	if n, ok, err := a.old(p); ok { // another attempt has read it meanwhile
		return n, err
	}
	n, err := a.from.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // Read returns it as it is
		err = fmt.Errorf("%w: %w", errProgram, err)
	}
	a.offset += int64(n)
	a.add(p[:n], err)
	return n, err
}

// old copies bytes that another attempt has read. ok is false if from must be read.
func (a *attempt) old(p []byte) (n int, ok bool, _ error) {
	a.mu.Lock()
	closed := a.closed
	a.mu.Unlock()
	a.body.mu.Lock()
	defer a.body.mu.Unlock()
	switch {
	case closed:
		return 0, true, http.ErrBodyReadAfterClose
	case a.offset < a.count && a.count > int64(len(a.kept)):
		return 0, true, errGone
	case a.offset < a.count:
		n = copy(p, a.kept[a.offset:])
		a.offset += int64(n)
		return n, true, nil
	}
	return 0, a.err != nil, a.err
}

// add keeps bytes that were read from from, and the error of that read.
func (b *body) add(p []byte, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.count == int64(len(b.kept)) && b.count+int64(len(p)) <= int64(b.limit) {
		b.kept = append(b.kept, p...)
	} else if len(p) > 0 {
		b.kept = nil
	}
	b.count += int64(len(p))
	b.err = err
}

// Close ends this attempt, not the body.
func (a *attempt) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	return nil
}
