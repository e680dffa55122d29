package lambdatest

// The Lambda Runtime API, version 2018-06-01:
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

type event struct {
	id       string
	function string // ARN
	payload  []byte
	limit    time.Duration
}

// outcome is what the function made of an event.
type outcome struct {
	answer []byte
	err    error
}

// api is the Runtime API of one process.
type api struct {
	address  string
	server   *http.Server
	polls    chan struct{} // the process asks for an event
	events   chan *event   // what it gets
	outcomes chan *outcome // what it made of it
}

func newAPI() (*api, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	a := &api{
		address:  listener.Addr().String(),
		server:   &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second},
		polls:    make(chan struct{}),
		events:   make(chan *event),
		outcomes: make(chan *outcome, 1), // of the one event that the process has
	}
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", a.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", a.response)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", a.error)
	go func() { _ = a.server.Serve(listener) }() // until it is closed
	return a, nil
}

// next waits for an event, however long.
func (a *api) next(w http.ResponseWriter, r *http.Request) {
	select {
	case a.polls <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	select {
	case e := <-a.events:
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", e.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(e.limit).UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", e.function)
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0")
		_, _ = w.Write(e.payload) // if the process is gone, its exit tells
	case <-r.Context().Done():
	}
}

func (a *api) response(w http.ResponseWriter, r *http.Request) {
	answer, _ := io.ReadAll(r.Body)
	a.outcomes <- &outcome{answer: answer}
	w.WriteHeader(http.StatusAccepted)
}

func (a *api) error(w http.ResponseWriter, r *http.Request) {
	payload, _ := io.ReadAll(r.Body)
	var said struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}
	_ = json.Unmarshal(payload, &said)
	a.outcomes <- &outcome{err: &Error{Type: said.Type, Message: said.Message, Payload: payload}}
	w.WriteHeader(http.StatusAccepted)
}

// take returns the outcome, if there is one.
func (a *api) take() *outcome {
	select {
	case o := <-a.outcomes:
		return o
	default:
		return nil
	}
}
