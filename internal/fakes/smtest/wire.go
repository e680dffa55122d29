package smtest

// Requests: read, checked, performed and answered.

import (
	"encoding/json"
	"net/http"
	"strings"
)

// ServeHTTP answers one request as Secrets Manager does. It panics with
// http.ErrAbortHandler where a Fault breaks the connection.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", s.count(op))

	q, refused := read(r, op)
	if refused != nil {
		send(w, http.StatusBadRequest, refused)
		return
	}
	var fault *Fault
	if s.Fault != nil {
		fault = s.Fault(op, s.name(q))
	}
	var done *answer
	if fault == nil || fault.After {
		done, refused = s.perform(op, q)
	}
	switch {
	case fault != nil:
		fault.serve(w, r)
	case refused != nil:
		send(w, http.StatusBadRequest, refused)
	default:
		send(w, http.StatusOK, done)
	}
}

// read refuses what no operation would accept.
func read(r *http.Request, op string) (*request, *failure) {
	if _, known := operations[op]; !known {
		return nil, &failure{"UnknownOperationException", ""}
	}
	q := new(request)
	if json.NewDecoder(r.Body).Decode(q) != nil {
		return nil, &failure{"SerializationException", ""}
	}
	return q, q.check(op)
}

func (s *Server) perform(op string, q *request) (*answer, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	on, how := s.find(q.SecretID), operations[op]
	switch {
	case on == nil && !how.missing:
		return nil, missing
	case on != nil && !on.deleted.IsZero() && !how.deleted:
		return nil, marked
	}
	return how.do(s, q, on)
}

// count notes a request and gives it an id.
func (s *Server) count(op string) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = make(map[string]int)
	}
	s.calls[op]++
	s.total++
	return uuid("request", s.total)
}

// name is the name of the secret that the request is about, as far as it is known.
func (s *Server) name(q *request) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if on := s.find(q.SecretID); on != nil {
		return on.name
	}
	return strings.TrimPrefix(q.SecretID, prefix)
}

func send(w http.ResponseWriter, status int, message any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(message) // a client that is gone needs no answer
}
