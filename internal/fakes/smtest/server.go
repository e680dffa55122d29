// Package smtest is a stand-in for AWS Secrets Manager: a plain http.Handler
// that speaks the service's wire protocol, AWS JSON 1.1. What is replaced is
// the service, not the SDK: serializers, signatures, retries and the decoding
// of errors all run.
//
//	var store smtest.Server // the zero value is an empty account
//	store.Create("stack/token/acme")
//	server := httptest.NewServer(&store)
//	client := secretsmanager.New(secretsmanager.Options{BaseEndpoint: &server.URL, …})
//
// Three ways lead into it. Clients send the operations of operations.go. A
// test or a demonstration plays the operator with the methods of hand.go, which
// bypass the wire and are not counted as calls. And Fault makes an operation go
// wrong: refused, throttled, garbled, unanswered, or performed and then
// unanswered, which is the case that idempotency is for.
//
// It is deterministic: the same calls give the same version ids and ARNs. It
// takes the time from time.Now, starts no goroutine and holds no lock while it
// waits, so that it runs in a testing/synctest bubble as well.
//
// Behaviour and messages follow recordings of the real service (recorded_test.go),
// and where there is none, AWS's documentation. Of AWS's quotas it has one: 100 versions
// of a secret, beyond which a write is a LimitExceededException.
//
// It differs from Secrets Manager in this: excess versions are removed when the next one
// is written, and deleted secrets never. Left out is what c8auth does not depend on:
// tags, keys, replication, pages, other quotas, last-accessed dates and signatures. A
// PutSecretValue cannot fill the version that RotateSecret left empty.
package smtest

import (
	"cmp"
	"io"
	"net/http"
	"sync"
)

// Server is one region of one account. The zero value is ready to use. All
// methods may be called concurrently; set the fields before the first request.
type Server struct {
	Region  string // in ARNs; empty: eu-central-1
	Account string // in ARNs; empty: 123456789012

	// Fault, if not nil, is asked before each operation, and may make it fail
	// by returning something. The name is the secret's, even where the request
	// had an ARN. It may call the Server's methods.
	Fault func(op, name string) *Fault

	mu      sync.Mutex
	secrets map[string]*secret // by name
	created int                // secrets ever created: a name may come again, an ARN may not
	calls   map[string]int     // requests by operation
	total   int                // requests
}

// Fault is one way in which an operation goes wrong. The zero value is a
// failure of the service itself: 500 InternalServiceError.
type Fault struct {
	Status  int    // HTTP status; 0: 500
	Type    string // error type, such as "ThrottlingException"; empty: InternalServiceError
	Message string
	Body    string // if not empty, sent as it is instead of the JSON error
	After   bool   // perform the operation first
	Hang    bool   // do not answer before the client has gone away
	Break   bool   // break the connection instead of answering
}

// strike ends the request as the fault wants it.
func (f *Fault) strike(w http.ResponseWriter, r *http.Request) {
	if f.Hang {
		// What is answered afterwards nobody reads; but a transport in
		// memory that lets it through must not take it for a success.
		<-r.Context().Done()
	}
	if f.Break {
		panic(http.ErrAbortHandler)
	}
	status := cmp.Or(f.Status, http.StatusInternalServerError)
	if f.Body == "" {
		send(w, status, failure{cmp.Or(f.Type, "InternalServiceError"), f.Message})
		return
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, f.Body)
}
