// Package c8test is a fake of Communic8: an [http.Handler] with its token endpoint
// and one API endpoint, and a setting for everything that Communic8's documentation
// leaves open.
//
//	c8 := &c8test.Server{}
//	c8.AddClient("id", "value")
//	c8.Set(func(b *c8test.Behaviour) { b.Exclusive = true })
//	server := httptest.NewServer(c8)
package c8test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// TokenPath is where tokens are requested; every other path is the API.
const TokenPath = "/int/v1/oauth/token"

// Server is a Communic8 instance. The zero value is ready to use and has no client.
// All methods may be called concurrently.
type Server struct {
	mu        sync.Mutex
	behaviour Behaviour
	clients   map[string]string    // secret by id
	tokens    map[string]time.Time // expiry by token; zero: never
	issued    []string
	owner     map[string]string // id by token
	requests  int               // of tokens
	probes    int               // requests to the API
}

// Behaviour is what the documentation leaves open. The zero value is its most favourable
// reading. An answer that one test needs is a Fault; what instances may do for days, and the
// simulation varies, is a field.
type Behaviour struct {
	Lifetime  time.Duration // of a new token; 0 means a day, as in the documentation's example
	Exclusive bool          // a new token invalidates the client's others
	Same      bool          // another request returns the same token while it is valid, with its remaining lifetime
	ExpiresIn string        // raw JSON in the place of expires_in; "-" leaves it out
	Refusal   Refusal       // how wrong credentials are refused
	Rejection Rejection     // how an invalid token is rejected
	// Fault, if not nil, may answer instead of the instance. n counts the requests
	// to the same endpoint from 1.
	Fault func(r *http.Request, n int) *Fault
}

// Refusal is an answer to wrong credentials.
type Refusal int

// The refusals.
const (
	Refuse401      Refusal = iota // HTTP 401
	Refuse400                     // HTTP 400 with RFC 6749's invalid_client
	Refuse200                     // HTTP 200 with success:false
	Refuse200Error                // HTTP 200 with RFC 6749's invalid_client
	Refuse404                     // HTTP 404 with success:false
)

// Rejection is an answer to an invalid token.
type Rejection int

// The three rejections.
const (
	Reject401 Rejection = iota
	Reject403
	Reject200 // HTTP 200 with success:false
)

// Fault is another answer than the instance would give.
type Fault struct {
	Delay   time.Duration // before anything else, unless the client gives up
	After   bool          // the request takes effect before it fails
	Status  int           // 0 means 200
	Header  http.Header
	Body    string
	Endless bool          // the body repeats without end
	Drip    time.Duration // between a body's bytes
	Break   bool          // the connection breaks off, after Body if there is one
}

// Set changes the behaviour.
func (s *Server) Set(change func(*Behaviour)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.behaviour)
}

// AddClient makes an OAuth 2 client known, or changes its secret.
func (s *Server) AddClient(id, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients == nil {
		s.clients = make(map[string]string)
	}
	s.clients[id] = secret
}

// Knows reports whether the client's secret is this one.
func (s *Server) Knows(id, secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.clients[id]
	return ok && known == secret
}

// RemoveClient makes the client unknown. Its tokens remain valid.
func (s *Server) RemoveClient(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, id)
}

// Issue issues a token to the client, as if another program had requested one.
func (s *Server) Issue(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issue(id)
}

// AddAccessKey makes a bearer token known that never expires.
func (s *Server) AddAccessKey(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(key, "", time.Time{})
}

// Revoke makes a token or access key invalid.
func (s *Server) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, token)
}

// Valid reports whether the API accepts the token now.
func (s *Server) Valid(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isValid(token)
}

// Expiry returns when the token expires. It is the zero time for a token that never does,
// and for one that is not known.
func (s *Server) Expiry(token string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens[token]
}

// Issued returns every token that was issued, oldest first.
func (s *Server) Issued() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.issued)
}

// Requests returns the number of token requests, failed and refused ones included.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Probes returns the number of requests to the API.
func (s *Server) Probes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probes
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, counter := s.api, &s.probes
	if r.URL.Path == TokenPath {
		answer, counter = s.token, &s.requests
	}
	s.mu.Lock()
	*counter++
	n, fault := *counter, s.behaviour.Fault
	s.mu.Unlock()
	if fault != nil {
		if f := fault(r, n); f != nil {
			if f.Delay > 0 && !wait(r.Context(), f.Delay) {
				return
			}
			if f.After {
				answer(r)
			}
			f.serve(w, r)
			return
		}
	}
	status, body := answer(r)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

type object map[string]any

// denial is an answer to wrong credentials or to an invalid token.
type denial struct {
	status int
	body   object
}

var (
	unsuccessful = object{"success": false, "message": "Invalid parameters"}
	unauthorized = object{"error": "unauthorized"}
	unknown      = object{"error": "invalid_client"}

	refusals = map[Refusal]denial{
		Refuse401: {401, unauthorized}, Refuse400: {400, unknown}, Refuse200: {200, unsuccessful},
		Refuse200Error: {200, unknown}, Refuse404: {404, unsuccessful},
	}
	rejections = map[Rejection]denial{Reject401: {401, unauthorized}, Reject403: {403, unauthorized}, Reject200: {200, unsuccessful}}
)

// token serves the token endpoint.
func (s *Server) token(r *http.Request) (int, object) {
	if r.Method != http.MethodPost || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		return http.StatusBadRequest, object{"error": "invalid_request"}
	}
	var in struct {
		GrantType *string `json:"grant_type"`
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil || in.GrantType != nil && *in.GrantType != "client_credentials" {
		return http.StatusBadRequest, object{"error": "unsupported_grant_type"}
	}
	credential, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	pair, _ := base64.StdEncoding.DecodeString(credential)
	id, secret, _ := strings.Cut(string(pair), ":")

	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.clients[id]; !ok || known != secret {
		refusal := refusals[s.behaviour.Refusal]
		return refusal.status, refusal.body
	}
	token := s.issue(id)
	out := object{
		"access_token": token,
		"token_type":   "Bearer",
		"expires_in":   int(time.Until(s.tokens[token]).Round(time.Second).Seconds()),
	}
	switch raw := s.behaviour.ExpiresIn; raw {
	case "":
	case "-":
		delete(out, "expires_in")
	default:
		out["expires_in"] = json.RawMessage(raw)
	}
	return http.StatusOK, out
}

// issue returns a token for the client. The nth token is the same in every run.
func (s *Server) issue(id string) string {
	if s.behaviour.Same {
		for token, owner := range s.owner {
			if owner == id && s.isValid(token) {
				return token
			}
		}
	}
	if s.behaviour.Exclusive {
		for token, owner := range s.owner {
			if owner == id {
				delete(s.tokens, token)
			}
		}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", id, len(s.issued)))
	token := fmt.Sprintf("%x", sum[:16])
	s.issued = append(s.issued, token)
	s.add(token, id, time.Now().Add(cmp.Or(s.behaviour.Lifetime, 24*time.Hour)))
	return token
}

func (s *Server) add(token, owner string, expiry time.Time) {
	if s.tokens == nil {
		s.tokens, s.owner = make(map[string]time.Time), make(map[string]string)
	}
	s.tokens[token], s.owner[token] = expiry, owner
}

func (s *Server) isValid(token string) bool {
	expiry, ok := s.tokens[token]
	return ok && (expiry.IsZero() || time.Now().Before(expiry))
}

// api serves every other endpoint.
func (s *Server) api(r *http.Request) (int, object) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isValid(token) {
		return http.StatusOK, object{"success": true, "data": []object{{"title": "a broadcast", "author": "a person"}}}
	}
	rejection := rejections[s.behaviour.Rejection]
	return rejection.status, rejection.body
}

// serve writes the fault.
func (f *Fault) serve(w http.ResponseWriter, r *http.Request) {
	if f.Break && f.Body == "" {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), f.Header)
	if f.Status != 0 {
		w.WriteHeader(f.Status)
	}
	for first := true; first || f.Endless; first = false {
		if f.Drip == 0 {
			if _, err := w.Write([]byte(f.Body)); err != nil {
				return
			}
			continue
		}
		for i := range len(f.Body) {
			if _, err := w.Write([]byte{f.Body[i]}); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			if !wait(r.Context(), f.Drip) {
				return
			}
		}
	}
	if f.Break {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// wait reports whether d passed before ctx was done.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
