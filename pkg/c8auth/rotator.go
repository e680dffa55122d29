package c8auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// maxRequests bounds the failed requests of one call of requestToken.
	maxRequests = 5
	// firstBackoff doubles with every failed request, up to maxBackoff.
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 10 * time.Second
	// maxRounds bounds retries after a lost write race. Each race is lost to another rotation,
	// which stores one token, so only more than maxRounds concurrent rotations can exceed it.
	maxRounds = 10
	// roundPause is the time for replicas of Secrets Manager to become consistent.
	roundPause = time.Second
)

// Rotator replaces a tenant's token when a new one is due. It may be used concurrently, in any
// number of processes, and must not be copied. No exported field may be nil.
type Rotator struct {
	Store    *Store
	Endpoint *Endpoint
	Log      *slog.Logger

	states states
}

// Request is a request to check a tenant's token, and to replace it if one is due.
type Request struct {
	Tenant string
	Force  bool // replace the token even if no new one is due, unless it is at most a minute old
}

// Outcome is the outcome of a Request.
type Outcome string

// The outcomes.
const (
	Rotated Outcome = "rotated" // a new token is stored
	Fresh   Outcome = "fresh"   // no new token was due, or another rotation has just stored one
	Waiting Outcome = "waiting" // no credentials are stored yet
)

// Result is the result of a rotation. It holds no secret.
type Result struct {
	Tenant    string    `json:"tenant"`
	Outcome   Outcome   `json:"outcome"`
	Reason    Reason    `json:"reason,omitempty"`     // why a token was due
	Version   string    `json:"version,omitempty"`    // VersionId of the token secret; empty if no token is stored
	ExpiresAt time.Time `json:"expires_at,omitzero"`  // of the stored token; zero if it does not expire
	ExpiresIn int64     `json:"expires_in,omitempty"` // seconds until ExpiresAt
}

// Rotate checks whether a new token is due for the tenant. If one is, Rotate requests, probes
// and stores it, all before the deadline of ctx, which should have one. It writes one line to
// Log, unless the tenant's name is malformed.
//
// After an error the stored token is unchanged, unless the error came from the write: then the
// stored token is the old or the new one. The error is an [ErrTenantName], [ErrUnknownTenant],
// [ErrUnavailable], [ErrQuota], [ErrCredentials], [ErrRefused], [ErrUpstream], [ErrAnswer],
// [ErrRejected] or [ErrLostRace], or an [ErrNoCredentials] if the credentials were removed
// between two reads. [Code] returns a word for each.
func (r *Rotator) Rotate(ctx context.Context, req Request) (Result, error) {
	if err := CheckTenant(req.Tenant); err != nil {
		return Result{}, err
	}
	ctx, cancel := withReserve(ctx, 20, time.Second) // to write the line
	defer cancel()
	run := rotation{Rotator: r, Request: req}
	result, err := run.rotate(ctx)
	run.log(ctx, result, err)
	return result, err
}

// rotation is one run of Rotate or Reject.
type rotation struct {
	*Rotator
	Request

	known   bool   // whether the token secret was read, so the tenant exists
	stored  Token  // the token in it; zero if there is none
	version string // its VersionId; empty if it has no value
	readErr error  // why there is no token: ErrNoToken or ErrUnreadable; nil if there is one

	requested       bool          // whether requests were sent to Communic8
	upstream        time.Duration // total time of these requests
	probed          ProbeResult   // of the latest probe, with its detail
	detail          string
	rejected        []Secret // tokens that Communic8 rejected in this run
	rejectedVersion string   // of the stored token, if Communic8 rejected it
	refused         error    // why the current credentials were not used
	assumed         bool     // whether the lifetime of the latest token is assumed
	fillsQuota      bool     // whether tokens of the stored one's lifetime fill the quota of versions
}

func (run *rotation) rotate(ctx context.Context) (Result, error) {
	if err := run.load(ctx); err != nil {
		return Result{}, err
	}
	// The first check needs no DescribeSecret of the credentials, so that a failure of that call
	// does not delay a token that is due for another reason.
	reason := due(now(), run.stored, run.readErr, run.stored.CredentialsVersion, false)
	if reason == "" {
		credentials, err := run.Store.CredentialsVersion(ctx, run.Tenant)
		if err != nil {
			return Result{}, err
		}
		if credentials == "" {
			return run.result(Waiting, ""), nil
		}
		if reason = run.due(ctx, credentials); reason == "" {
			return run.result(Fresh, ""), nil
		}
	}
	token, err := run.unstored(ctx)
	if token == nil && err == nil {
		token, err = run.newToken(ctx)
	}
	switch {
	case errors.Is(err, ErrNoCredentials):
		return run.result(Waiting, ""), nil
	case err != nil:
		return Result{}, err
	case token == nil:
		return run.result(Fresh, ""), nil
	}
	return run.put(ctx, *token, reason)
}

// load reads the token secret. If there is no token in it, load sets readErr and returns nil.
func (run *rotation) load(ctx context.Context) error {
	stored, version, err := run.Store.Token(ctx, run.Tenant)
	if err != nil && !errors.Is(err, ErrNoToken) && !errors.Is(err, ErrUnreadable) {
		return err
	}
	run.known, run.stored, run.version, run.readErr = true, stored, version, err
	return nil
}

// due returns the reason of the function due. If there is none, it probes the stored token, so
// that a revoked token is replaced even if no caller reports it.
func (run *rotation) due(ctx context.Context, credentialsVersion string) Reason {
	reason := due(now(), run.stored, run.readErr, credentialsVersion, run.Force)
	if reason == "" && run.probe(ctx, run.stored) == ProbeRejected {
		run.rejectedVersion = run.version
		return Rejected
	}
	return reason
}

// newToken returns a new token, requested with the current credentials or, if those cannot
// be used, with the previous ones. It returns nil to keep the stored token.
func (run *rotation) newToken(ctx context.Context) (*Token, error) {
	run.refused = nil
	var token *Token
	current, err := run.Store.credentials(ctx, run.Tenant, awsCurrent)
	if err == nil {
		token, err = run.tokenFrom(ctx, current)
	}
	malformed := errors.Is(err, ErrCredentials)
	if !malformed && !errors.Is(err, ErrRefused) {
		return token, err
	}
	refused := fmt.Errorf("%w: store the right ones in %s", err, run.Store.credentialsName(run.Tenant))
	previous, err := run.Store.credentials(ctx, run.Tenant, awsPrevious)
	if err != nil || previous.version == current.version { // equal if new ones were stored between the reads
		return nil, refused
	}
	// A token of the previous credentials differs from the current ones' version at every
	// heartbeat. It must not be replaced for that reason, only for the others.
	if madeByFallback(run.stored, current, previous, malformed) && run.due(ctx, previous.version) == "" {
		if malformed { // an error at every heartbeat until they are corrected
			return nil, refused
		}
		run.refused = refused
		return nil, nil
	}
	token, err = run.tokenFrom(ctx, previous)
	if err != nil {
		return nil, fmt.Errorf("%w; and with the previous ones: %w", refused, err)
	}
	run.refused = refused
	return token, nil
}

// tokenFrom returns a new token of the credentials, after a probe.
func (run *rotation) tokenFrom(ctx context.Context, c storedCredentials) (*Token, error) {
	token := Token{BaseURL: c.BaseURL, TokenType: bearer, CredentialsVersion: c.version}
	run.assumed = false
	if c.AccessKey.Reveal() != "" {
		token.AccessToken = c.AccessKey
		token.IssuedAt = now().Truncate(time.Second)
	} else {
		response, sent, err := run.requestToken(ctx, c)
		if err != nil {
			return nil, err
		}
		token.AccessToken = response.AccessToken
		token.IssuedAt = sent.Truncate(time.Second)
		token.ExpiresAt = token.IssuedAt.Add(response.Lifetime)
		run.assumed = response.Assumed
	}
	// Communic8 may return the stored token again, and does not document whether that extends
	// its lifetime. So such a token keeps its expiry. If it is about to expire and its lifetime
	// is assumed, a probe after the expiry shows whether it is still valid.
	if run.stored.Expires() && token.ExpiresAt.After(run.stored.ExpiresAt) && token.same(run.stored) {
		if run.stored.Valid(now()) {
			token.ExpiresAt = run.stored.ExpiresAt
		} else if run.assumed {
			sleep(ctx, run.stored.ExpiresAt.Add(requestTimeout).Sub(now()))
		}
	}
	probed := run.probe(ctx, token)
	switch {
	case probed == ProbeRejected && !token.Expires(): // an access key is token and credentials at once
		return nil, explain(ErrRefused, "Communic8 answered %s to the access key at the probe path", run.detail)
	case probed == ProbeRejected:
		return nil, explain(ErrRejected, "Communic8 answered %s at the probe path; the token was not stored. If this stays so, give the token's user the right to the path, or set C8AUTH_PROBE_PATH to another one", run.detail)
	case run.assumed && probed != ProbeGood:
		return nil, explain(ErrAnswer, "its token has no usable expires_in, and no successful request to the probe path (C8AUTH_PROBE_PATH) shows that the token works; it was not stored")
	}
	return &token, nil
}

// requestToken requests a token, and retries after temporary failures until maxRequests or the
// deadline. It also returns the time just before the last request.
func (run *rotation) requestToken(ctx context.Context, c storedCredentials) (TokenResponse, time.Time, error) {
	ctx, cancel := withReserve(ctx, 3, probeTimeout+storeAttempt) // to probe and store the token
	defer cancel()
	if retryAt := run.states.get(run.Tenant).holds(c.version, now()); !retryAt.IsZero() {
		return TokenResponse{}, now(), &UpstreamError{Kind: ErrUpstream, RetryAfter: retryAt.Sub(now()), Text: "is sent no token request before " + retryAt.Format(time.TimeOnly) + " UTC, as its Retry-After said"}
	}
	for n := 1; ; n++ {
		sent := now()
		response, err := run.Endpoint.RequestToken(ctx, c.Credentials)
		run.addUpstreamTime(sent)
		if err == nil {
			return response, sent, nil
		}
		err = fmt.Errorf("token request %d: %w", n, err)
		upstream, ok := errors.AsType[*UpstreamError](err)
		if !ok || !errors.Is(err, ErrUpstream) {
			return TokenResponse{}, sent, err
		}
		if upstream.RetryAfter > 0 {
			run.states.update(run.Tenant, func(s *state) {
				s.hold, s.holdVersion = now().Add(min(maxHold, upstream.RetryAfter)), c.version
			})
		}
		wait := max(jitter(min(maxBackoff, firstBackoff<<(n-1))), upstream.RetryAfter)
		if deadline, ok := ctx.Deadline(); n == maxRequests || ok && time.Until(deadline) < wait {
			return TokenResponse{}, sent, fmt.Errorf("%w; the next heartbeat retries", err)
		}
		sleep(ctx, wait)
	}
}

// probe probes the token. If the probe is inconclusive and the token was rejected earlier in
// this run, the result is ProbeRejected.
func (run *rotation) probe(ctx context.Context, token Token) ProbeResult {
	if run.Endpoint.ProbePath == "" {
		return ""
	}
	start := now()
	result, detail := run.Endpoint.Probe(ctx, token)
	run.addUpstreamTime(start)
	switch {
	case result == ProbeRejected:
		run.rejected = append(run.rejected, token.AccessToken)
	case result != ProbeGood && run.wasRejected(token):
		result, detail = ProbeRejected, "HTTP 401, and then "+detail
	}
	run.probed, run.detail = result, detail
	return result
}

// wasRejected reports whether Communic8 has rejected the token in this run.
func (run *rotation) wasRejected(token Token) bool {
	return slices.ContainsFunc(run.rejected, func(s Secret) bool { return s.Reveal() == token.AccessToken.Reveal() })
}

func (run *rotation) addUpstreamTime(since time.Time) {
	run.requested = true
	run.upstream += now().Sub(since)
}

// put stores the token if the stored version is still the one that was found to be due.
//
// If another rotation stored a token first, Communic8 may accept both tokens or, if a new token
// revokes earlier ones, only the one that was requested last. So the stored token is kept if it
// is the same as token, or if the probe shows that it is good. Otherwise it is replaced: by
// token, if the probe shows that token is good, or else by one that is requested now. If none
// is issued, token is stored if it was not rejected and was requested after the stored one.
func (run *rotation) put(ctx context.Context, token Token, reason Reason) (Result, error) {
	for range maxRounds {
		version, err := run.Store.PutToken(ctx, run.Tenant, token, run.version)
		run.noteWrite(&token, err)
		if err == nil {
			// A token that Communic8 returned again says nothing about a full lifetime.
			run.fillsQuota = !token.same(run.stored) && token.Expires() && fillsQuota(token.ExpiresAt.Sub(token.IssuedAt))
			run.stored, run.version = token, version
			return run.result(Rotated, reason), nil
		}
		if !errors.Is(err, ErrLostRace) {
			return Result{}, err
		}
		if err := run.load(ctx); err != nil {
			return Result{}, err
		}
		winner := run.stored
		same := winner.same(token) && !run.wasRejected(token)
		if winner.Valid(now()) && (same || run.probe(ctx, winner) == ProbeGood) {
			return run.result(Fresh, ""), nil
		}
		if run.probe(ctx, token) != ProbeGood {
			next, err := run.newToken(ctx)
			switch {
			case err != nil && (run.wasRejected(token) || token.IssuedAt.Before(winner.IssuedAt)):
				return Result{}, err
			case err == nil && next == nil:
				return run.result(Fresh, ""), nil
			case err == nil:
				token = *next
			}
		}
		sleep(ctx, roundPause)
	}
	return Result{}, explain(ErrLostRace, "%d times in a row; the next heartbeat retries", maxRounds)
}

// result describes what is stored now.
func (run *rotation) result(outcome Outcome, reason Reason) Result {
	result := Result{Tenant: run.Tenant, Outcome: outcome, Reason: reason, Version: run.version}
	if run.stored.Expires() {
		result.ExpiresAt = run.stored.ExpiresAt
		result.ExpiresIn = int64(run.stored.Remaining(now()) / time.Second)
	}
	return result
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// jitter shortens a pause by up to a half at random, so that clients that failed together do
// not retry together. The clock is the seed, so that runs under a simulated clock are
// repeatable.
func jitter(full time.Duration) time.Duration {
	source := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)) // #nosec G404 G115 -- spreads load, guards nothing
	return full/2 + time.Duration(source.Int64N(int64(full/2)))
}

// withReserve makes the deadline of ctx, if it has one, earlier by reserve, but by no more than
// 1/part of the time that is left.
func withReserve(ctx context.Context, part int64, reserve time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	left := time.Until(deadline)
	return context.WithDeadline(ctx, deadline.Add(-min(reserve, left/time.Duration(part))))
}
