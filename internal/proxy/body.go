package proxy

// A request's body, which can be sent again while its beginning is kept.

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// keep is how much of a body is kept, in bytes.
const keep = 64 << 10

var errGone = errors.New("the request's body is no longer available")

// body is one that comes in. It is not read before somebody reads it: a program that
// waits for 100 Continue gets that when Communic8 wants the body.
type body struct {
	from    io.Reader
	limit   int
	reading sync.Mutex // held while from is read, for as long as the program takes

	mu    sync.Mutex
	kept  []byte // all that was read, up to the limit; then nothing
	count int64  // bytes that were read
	err   error  // with which from ended
}

// replayable returns a request's body, and what returns it once more: an error if more
// of it was read meanwhile than is kept. A body that is longer than that from the start can
// be sent again only while nothing of it was read.
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

// attempt reads the body from its beginning. An earlier attempt, which may still wait for
// more of it, does not get in its way.
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
	a.offset += int64(n)
	a.add(p[:n], err)
	return n, err
}

// old reads what was read before. ok is whether there was any.
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

// add keeps what was read.
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
