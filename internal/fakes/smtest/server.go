// Package smtest is a fake of AWS Secrets Manager: an http.Handler that speaks
// the service's wire protocol, AWS JSON 1.1, so that the SDK's serializers,
// signatures, retries and error decoding all run.
//
//	var store smtest.Server // the zero value is an empty account
//	store.Create("stack/token/acme")
//	server := httptest.NewServer(&store)
//	client := secretsmanager.New(secretsmanager.Options{BaseEndpoint: &server.URL, …})
//
// Clients send the operations of operations.go. A test does what a person does in
// the console with the methods of console.go, which bypass the wire and are not
// counted as calls. Fault makes an operation fail: refused, throttled, garbled,
// unanswered, or performed and then unanswered, for which writes are idempotent.
//
// The same calls give the same version ids and ARNs. It starts no goroutine and
// holds no lock while it waits, so that it runs in a testing/synctest bubble.
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
	"maps"
	"net/http"
	"sync"
)

// Server is one region of one account. The zero value is ready to use. All
// methods may be called concurrently; set Fault before the first request.
type Server struct {
	// Fault, if not nil, is called before each operation, which fails if it returns
	// a fault. The name is the secret's, even where the request had an ARN. It may
	// call the Server's methods.
	Fault func(op, name string) *Fault

	mu      sync.Mutex
	secrets map[string]*secret // by name
	created int                // secrets ever created: a name may come again, an ARN may not
	calls   map[string]int     // requests by operation
	total   int                // requests
}

// Fault is a way in which an operation fails. The zero value is a failure of the
// service itself: 500 InternalServiceError.
type Fault struct {
	Status  int    // HTTP status; 0: 500
	Type    string // error type, such as "ThrottlingException"; empty: InternalServiceError
	Message string
	Body    string // if not empty, sent as it is instead of the JSON error
	Header  http.Header
	After   bool // perform the operation first
	Hang    bool // do not answer before the client has gone away
	Break   bool // break the connection instead of answering
}

// serve answers the request with the fault.
func (f *Fault) serve(w http.ResponseWriter, r *http.Request) {
	if f.Hang {
		<-r.Context().Done() // what is answered afterwards, nobody reads
	}
	if f.Break {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), f.Header)
	status := cmp.Or(f.Status, http.StatusInternalServerError)
	if f.Body == "" {
		send(w, status, failure{cmp.Or(f.Type, "InternalServiceError"), f.Message})
		return
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, f.Body)
}
