package lambdatest

// The Lambda Runtime API, version 2018-06-01:
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// maxAnswer is the most that a function may answer: 6 MB and a bit.
const maxAnswer = 6*1024*1024 + 100

type event struct {
	id       string
	function string // ARN
	payload  []byte
	deadline time.Time
}

// outcome is what the function made of an event.
type outcome struct {
	answer []byte
	err    error
}

// api is the Runtime API of one process.
type api struct {
	address string
	server  *http.Server
	polls   chan struct{} // the process asks for an event, with none unanswered
	events  chan *event   // what it gets
	failed  chan *Error   // it could not initialize

	mu      sync.Mutex
	current *event   // handed over, not answered
	outcome *outcome // answered, not taken
}

func newAPI() (*api, error) {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	a := &api{
		address: listener.Addr().String(),
		server:  &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second},
		polls:   make(chan struct{}),
		events:  make(chan *event),
		failed:  make(chan *Error, 1),
	}
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", a.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", a.response)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", a.error)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", a.initError)
	go func() { _ = a.server.Serve(listener) }() // until it is closed
	return a, nil
}

// next waits for an event, however long. One that is not answered yet is
// handed over again, as Lambda does.
func (a *api) next(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	e := a.current
	a.mu.Unlock()
	if e == nil {
		select {
		case a.polls <- struct{}{}:
		case <-r.Context().Done():
			return
		}
		select {
		case e = <-a.events:
		case <-r.Context().Done():
			return
		}
		a.mu.Lock()
		a.current = e
		a.mu.Unlock()
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", e.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(e.deadline.UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", e.function)
	h.Set("Lambda-Runtime-Trace-Id", fmt.Sprintf("Root=1-%08x-%x;Parent=%x;Sampled=0", time.Now().Unix(), random(12), random(8)))
	_, _ = w.Write(e.payload) // if the process is gone, its exit tells
}

func (a *api) response(w http.ResponseWriter, r *http.Request) {
	o := new(outcome)
	var ok bool
	if o.answer, ok = read(w, r); !ok {
		o.answer, o.err = nil, newError(FunctionError, "Function.ResponseSizeTooLarge", r.PathValue("id"),
			fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", maxAnswer))
	}
	a.settle(w, r, o)
}

func (a *api) error(w http.ResponseWriter, r *http.Request) {
	a.settle(w, r, &outcome{err: reported(w, r, FunctionError)})
}

func (a *api) initError(w http.ResponseWriter, r *http.Request) {
	select {
	case a.failed <- reported(w, r, InitError):
	default: // one is enough
	}
	reply(w, http.StatusAccepted, `{"status":"OK"}`)
}

// settle records what became of the event that the request names, once.
func (a *api) settle(w http.ResponseWriter, r *http.Request, o *outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current == nil || a.current.id != r.PathValue("id") {
		reply(w, http.StatusBadRequest, `{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}`)
		return
	}
	a.current, a.outcome = nil, o
	reply(w, http.StatusAccepted, `{"status":"OK"}`)
}

// take returns the outcome, if there is one, and forgets it.
func (a *api) take() *outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.outcome
	a.outcome = nil
	return o
}

// reported is the error that the process describes.
func reported(w http.ResponseWriter, r *http.Request, kind Kind) *Error {
	var said struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}
	payload, ok := read(w, r)
	if !ok || json.Unmarshal(payload, &said) != nil {
		return newError(kind, "Runtime.Unknown", r.PathValue("id"), "the runtime reported an error that is not a JSON object")
	}
	return &Error{kind, cmp.Or(said.Type, r.Header.Get("Lambda-Runtime-Function-Error-Type")), said.Message, payload}
}

func read(w http.ResponseWriter, r *http.Request) (body []byte, ok bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAnswer))
	return body, err == nil
}

func reply(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// newID is a random UUID, as Lambda's request ids are.
func newID() string {
	b := random(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
