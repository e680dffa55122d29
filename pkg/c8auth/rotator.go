package c8auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

const (
	// maxAsks is how often one invocation asks for a token that it does not get.
	maxAsks = 5
	// firstBackoff doubles with every ask that failed, up to maxBackoff.
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 10 * time.Second
	// maxRounds is how often one invocation takes up a race that it has lost. It has lost
	// each to another that is done, so that it takes more than as many at once to lose all.
	maxRounds = 10
	// roundPause lets a replica of the store that lags behind catch up.
	roundPause = time.Second
)

// Rotator replaces a tenant's token when one is due. It may be used concurrently,
// in any number of processes, and must not be copied.
type Rotator struct {
	Store    *Store
	Endpoint *Endpoint
	Log      *slog.Logger

	memories memories
}

// Request is a wish that a tenant's token be looked after.
type Request struct {
	Tenant string
	Force  bool // replace the token though nothing else is due, unless it is younger than a minute
}

// Outcome is what came of a Request.
type Outcome string

// The outcomes.
const (
	Rotated Outcome = "rotated" // a new token is stored
	Fresh   Outcome = "fresh"   // nothing was due, or another rotation has just done it
	Waiting Outcome = "waiting" // nobody has stored credentials yet
)

// Result is what a rotation came to. It holds no secret.
type Result struct {
	Tenant    string    `json:"tenant"`
	Outcome   Outcome   `json:"outcome"`
	Reason    Reason    `json:"reason,omitempty"`     // why a token was due
	Version   string    `json:"version,omitempty"`    // of the stored token's secret
	ExpiresAt time.Time `json:"expires_at,omitzero"`  // left out if the token does not expire
	ExpiresIn int64     `json:"expires_in,omitempty"` // seconds left now
}

// Rotate looks whether a new token is due for the tenant and if so gets, tries and
// stores one, all before the deadline of ctx, which should have one. It writes one
// line to Log, unless the tenant's name is none.
//
// If there is an error, the stored token is as it was, unless storing the new one
// is what failed: then it is either. The error is an [ErrTenantName],
// [ErrUnknownTenant], [ErrUnavailable], [ErrQuota], [ErrCredentials], [ErrRefused],
// [ErrUpstream], [ErrAnswer], [ErrRejected] or [ErrLostRace]; or an [ErrNoCredentials], if
// they were taken away between two reads. [Code] has a word for each.
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

// rotation is one call of Rotate and what it learns on its way.
type rotation struct {
	*Rotator
	Request
	stored   *Token // what the token secret holds, zero for nothing usable; nil if that is not known
	version  string // its version
	asked    bool   // whether Communic8 was
	upstream time.Duration
	trial    Trial // of the latest token tried
	detail   string
	rejected []Secret // tokens that were rejected
	refused  error    // why the newest credentials were not used
	assumed  bool     // whether the lifetime of the latest token is assumed

	rejectedVersion string // of the stored token, if Communic8 rejected it
	fillsQuota      bool   // whether tokens like the one that was stored come too often
}

func (run *rotation) rotate(ctx context.Context) (Result, error) {
	stored, version, readErr := run.Store.Token(ctx, run.Tenant)
	if isKnown(readErr) {
		run.stored, run.version = &stored, version
	}
	if readErr != nil && !errors.Is(readErr, ErrNoToken) && !errors.Is(readErr, ErrUnreadable) {
		return Result{}, readErr
	}
	// What is due whatever the credentials are does not hang on a look at them.
	reason := due(now(), *run.stored, readErr, run.stored.CredentialsVersion, false)
	if reason == "" {
		credentials, err := run.Store.CredentialsVersion(ctx, run.Tenant)
		if err != nil {
			return Result{}, err
		}
		if credentials == "" {
			return run.result(Waiting, ""), nil
		}
		if reason = run.due(ctx, readErr, credentials); reason == "" {
			return run.result(Fresh, ""), nil
		}
	}
	token, err := run.unstored(ctx)
	if token == nil && err == nil {
		token, err = run.obtain(ctx, readErr)
	}
	if errors.Is(err, ErrNoCredentials) {
		return run.result(Waiting, ""), nil
	}
	if err != nil {
		return Result{}, err
	}
	if token == nil {
		return run.result(Fresh, ""), nil
	}
	return run.put(ctx, *token, reason)
}

// due is the function due, and when that sees nothing, a trial of the stored token:
// one that Communic8 does not take any more, because it was revoked or because
// another one ended its life, is replaced before callers have to notice.
func (run *rotation) due(ctx context.Context, readErr error, credentials string) Reason {
	reason := due(now(), *run.stored, readErr, credentials, run.Force)
	if reason == "" && run.try(ctx, *run.stored) == TrialRejected {
		run.rejectedVersion = run.version
		return Rejected
	}
	return reason
}

// isKnown reports whether an error of reading the token secret leaves no doubt that the
// secret, and so the tenant, is there.
func isKnown(err error) bool {
	return err == nil || errors.Is(err, ErrNoToken) || errors.Is(err, ErrUnreadable)
}

// unstored returns the token that this process could not store because of the quota of
// versions, so that no other one is requested meanwhile. When that token is of no use any
// more, a claim shows whether Secrets Manager takes writes again, unless another process
// has written.
func (run *rotation) unstored(ctx context.Context) (*Token, error) {
	m := run.memories.get(run.Tenant)
	if m.full.IsZero() || m.version != run.version {
		return nil, nil
	}
	if m.unstored != nil && m.unstored.Alive(now()) && run.try(ctx, *m.unstored) != TrialRejected {
		return m.unstored, nil
	}
	if run.version == "" { // there is none to claim
		return nil, nil
	}
	claimed, err := run.Store.claim(ctx, run.Tenant, run.version)
	switch {
	case claimed || err != nil:
		run.wrote(nil, err)
	case now().Sub(m.full) < claimRefill:
		err = explain(ErrQuota, "whether one more can be written will be tried again in %v at most", claimRefill)
	} // else another process has made a claim since
	return nil, err
}

// obtain gets a new token by the current credentials or, if those are refused, by
// the previous ones. It returns nil if the stored token is the one to keep.
func (run *rotation) obtain(ctx context.Context, readErr error) (*Token, error) {
	run.refused = nil
	var token *Token
	current, err := run.Store.credentials(ctx, run.Tenant, awsCurrent)
	if err == nil {
		token, err = run.issue(ctx, current)
	}
	malformed := errors.Is(err, ErrCredentials)
	if !malformed && !errors.Is(err, ErrRefused) {
		return token, err
	}
	refused := fmt.Errorf("%w: store the right ones in %s", err, run.Store.credentialsName(run.Tenant))
	previous, err := run.Store.credentials(ctx, run.Tenant, awsPrevious)
	if err != nil || previous.version == current.version { // or somebody has just replaced them
		return nil, refused
	}
	// Every heartbeat comes by here until somebody mends the credentials. Once the
	// previous ones have stood in, their token is good for its half life like any other.
	// Malformed ones are no reason to replace it before that.
	stoodIn := run.stored.CredentialsVersion == previous.version && (malformed || run.stored.IssuedAt.After(current.created))
	kept := stoodIn && run.due(ctx, readErr, previous.version) == ""
	if kept && malformed {
		return nil, refused
	}
	run.refused = refused
	if kept {
		return nil, nil
	}
	token, err = run.issue(ctx, previous)
	if err != nil {
		run.refused = nil
		return nil, fmt.Errorf("%w; and with the previous ones: %w", refused, err)
	}
	return token, nil
}

// issue makes a token from credentials, asking as often as is sensible, and tries it.
func (run *rotation) issue(ctx context.Context, c storedCredentials) (*Token, error) {
	token := Token{BaseURL: c.BaseURL, TokenType: bearer, CredentialsVersion: c.version}
	run.assumed = false
	if c.AccessKey.Reveal() != "" {
		token.AccessToken = c.AccessKey
		token.IssuedAt = now().Truncate(time.Second)
	} else {
		grant, asked, err := run.ask(ctx, c)
		if err != nil {
			return nil, err
		}
		token.AccessToken = grant.AccessToken
		token.IssuedAt = asked.Truncate(time.Second)
		token.ExpiresAt = token.IssuedAt.Add(grant.Lifetime)
		run.assumed = grant.Assumed
	}
	// Whether asking again prolongs a token's life is not documented: one that comes
	// again keeps the expiry that it had. If its lifetime is not said, and it is about to
	// expire, a probe after that shows whether it lives on.
	if run.stored.Expires() && token.ExpiresAt.After(run.stored.ExpiresAt) && token.AccessToken.Reveal() == run.stored.AccessToken.Reveal() {
		if run.stored.Alive(now()) {
			token.ExpiresAt = run.stored.ExpiresAt
		} else if run.assumed {
			sleep(ctx, run.stored.ExpiresAt.Add(askTimeout).Sub(now()))
		}
	}
	trial := run.try(ctx, token)
	if trial == TrialRejected {
		if !token.Expires() { // an access key is the credentials
			return nil, explain(ErrRefused, "Communic8 answered %s to the access key at the probe path", run.detail)
		}
		return nil, explain(ErrRejected, "Communic8 answered %s at the probe path; the token was not stored. If this stays so, give the token's user the right to the path, or set C8AUTH_PROBE_PATH to another one", run.detail)
	}
	if run.assumed && trial != TrialGood {
		return nil, explain(ErrAnswer, "its token has no usable expires_in, and no successful request to the probe path (C8AUTH_PROBE_PATH) shows that the token works; it was not stored")
	}
	return &token, nil
}

// ask requests a token until it gets one, is refused, or time runs out. It returns
// the moment before the request that was answered.
func (run *rotation) ask(ctx context.Context, c storedCredentials) (Grant, time.Time, error) {
	ctx, cancel := withReserve(ctx, 3, tryTimeout+storeAttempt) // to try and store the token
	defer cancel()
	held := run.memories.get(run.Tenant)
	if left := held.hold.Sub(now()); held.heldFor == c.version && left > 0 && left <= maxHold {
		return Grant{}, now(), &UpstreamError{Temporary: true, RetryAfter: left, Text: "is not asked for a token before " + held.hold.Format(time.TimeOnly) + " UTC, as its Retry-After said"}
	}
	for n := 1; ; n++ {
		asked := now()
		grant, err := run.Endpoint.Ask(ctx, c.Credentials)
		run.took(asked)
		if err == nil {
			return grant, asked, nil
		}
		err = fmt.Errorf("token request %d: %w", n, err)
		var upstream *UpstreamError
		if !errors.As(err, &upstream) || !upstream.Temporary {
			return Grant{}, asked, err
		}
		if upstream.RetryAfter > 0 {
			run.memories.update(run.Tenant, func(m *memory) {
				m.hold, m.heldFor = now().Add(min(maxHold, upstream.RetryAfter)), c.version
			})
		}
		wait := max(backoff(n), upstream.RetryAfter)
		if deadline, ok := ctx.Deadline(); n == maxAsks || ok && time.Until(deadline) < wait {
			return Grant{}, asked, fmt.Errorf("%w; the next heartbeat looks again", err)
		}
		sleep(ctx, wait)
	}
}

// sleep waits, but not longer than ctx lasts.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// backoff is how long to wait after the nth ask failed.
func backoff(n int) time.Duration {
	return jitter(min(maxBackoff, firstBackoff<<(n-1)))
}

// jitter shortens a pause by up to a half at random, so that many do not come back all
// at once. The clock is its only source: under a simulated one, what happened once
// happens again.
func jitter(full time.Duration) time.Duration {
	source := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)) // #nosec G404 G115 -- spreads load, guards nothing
	return full/2 + time.Duration(source.Int64N(int64(full/2)))
}

func (run *rotation) try(ctx context.Context, token Token) Trial {
	if run.Endpoint.ProbePath == "" {
		return ""
	}
	start := now()
	trial, detail := run.Endpoint.Try(ctx, token)
	run.took(start)
	switch {
	case trial == TrialRejected:
		run.rejected = append(run.rejected, token.AccessToken)
	case trial != TrialGood && run.wasRejected(token):
		// The same again, of which a trial just now that came to nothing says no better.
		trial, detail = TrialRejected, "HTTP 401, and then "+detail
	}
	run.trial, run.detail = trial, detail
	return trial
}

// wasRejected reports whether this run has seen Communic8 reject the token.
func (run *rotation) wasRejected(token Token) bool {
	return slices.ContainsFunc(run.rejected, func(s Secret) bool { return s.Reveal() == token.AccessToken.Reveal() })
}

func (run *rotation) took(since time.Time) {
	run.asked = true
	run.upstream += now().Sub(since)
}

// put stores the token in the place of the one that was found to be due.
//
// When another rotation was quicker, both may hold living tokens or, if a new token
// ends the life of the ones before, only one does, and who stored last need not be
// the one. So the winner's token stays only if it is the same as ours or proven good.
// Otherwise ours takes its place if that is proven good, and else one that is asked for
// now: asked for after the winner's, it is the living one. If none can be had, ours is
// next best when it was asked for last and has not been rejected.
func (run *rotation) put(ctx context.Context, token Token, reason Reason) (Result, error) {
	for range maxRounds {
		version, err := run.Store.PutToken(ctx, run.Tenant, token, run.version)
		run.wrote(&token, err)
		if err == nil {
			again := token.AccessToken.Reveal() == run.stored.AccessToken.Reveal() // with what is left of its lifetime
			run.fillsQuota = !again && token.Expires() && fillsQuota(token.ExpiresAt.Sub(token.IssuedAt))
			run.stored, run.version = &token, version
			return run.result(Rotated, reason), nil
		}
		if !errors.Is(err, ErrLostRace) {
			return Result{}, err
		}
		winner, version, err := run.Store.Token(ctx, run.Tenant)
		if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownTenant) {
			return Result{}, err
		}
		run.stored, run.version = &winner, version
		same := winner.AccessToken.Reveal() == token.AccessToken.Reveal() && !run.wasRejected(token)
		if winner.Alive(now()) && (same || run.try(ctx, winner) == TrialGood) {
			return run.result(Fresh, ""), nil
		}
		if run.try(ctx, token) != TrialGood {
			again, err := run.obtain(ctx, err)
			switch {
			case err != nil && (run.wasRejected(token) || token.IssuedAt.Before(winner.IssuedAt)):
				return Result{}, err
			case err == nil && again == nil:
				return run.result(Fresh, ""), nil
			case err == nil:
				token = *again
			}
		}
		sleep(ctx, roundPause)
	}
	return Result{}, explain(ErrLostRace, "%d times in a row; the next heartbeat looks again", maxRounds)
}

// result reports on what is stored now.
func (run *rotation) result(outcome Outcome, reason Reason) Result {
	result := Result{Tenant: run.Tenant, Outcome: outcome, Reason: reason, Version: run.version}
	if run.stored.Expires() {
		result.ExpiresAt = run.stored.ExpiresAt
		result.ExpiresIn = int64(run.stored.Remaining(now()) / time.Second)
	}
	return result
}

// log writes the line of this rotation, which is audit record and metric in one.
func (run *rotation) log(ctx context.Context, result Result, err error) {
	level := slog.LevelInfo
	var metrics []Metric
	if run.stored != nil { // else it could not be read, and the alarm takes the missing metric for a low one
		metrics = append(metrics, Metric{"TokenLifePercent", "Percent", run.stored.LifePercent(now())})
	}
	attrs := []slog.Attr{slog.String("tenant", run.Tenant), slog.Bool("force", run.Force)}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	var hints []string // each a reason to warn
	hint := func(text string) {
		hints = append(hints, text)
		level = slog.LevelWarn
	}
	add("outcome", string(result.Outcome))
	add("reason", string(result.Reason))
	add("version", run.version)
	if run.stored != nil && !run.stored.IssuedAt.IsZero() { // for operators, who need not read the token itself
		add("credentials_version", run.stored.CredentialsVersion)
		attrs = append(attrs, slog.Time("issued_at", run.stored.IssuedAt))
		if run.stored.Expires() {
			attrs = append(attrs, slog.Time("expires_at", run.stored.ExpiresAt))
		}
	}
	add("trial", string(run.trial))
	add("trial_detail", run.detail)
	if run.trial == TrialInconclusive {
		level = slog.LevelWarn
	}
	switch result.Outcome {
	case Rotated:
		metrics = append(metrics, Count("RotationSucceeded"))
		if run.assumed {
			attrs = append(attrs, slog.Bool("lifetime_assumed", true))
			hint("Communic8 does not say how long the token is valid (expires_in); an hour is assumed")
		}
	case Waiting:
		metrics = append(metrics, Count("CredentialsMissing"))
		hint("store credentials in " + run.Store.credentialsName(run.Tenant))
	}
	if run.rejectedVersion != "" {
		hint("Communic8 rejected the stored token: it was revoked, or something else requests tokens with the same client, which only this stack may use")
		run.memories.update(run.Tenant, func(m *memory) {
			if m.rejected != run.rejectedVersion { // it is counted once, though it may take long to replace it
				metrics = append(metrics, Count("TokenRejected"))
			}
			m.rejected = run.rejectedVersion
		})
	}
	if run.fillsQuota {
		attrs = append(attrs, slog.Bool("version_quota", true))
		hint(fmt.Sprintf("tokens of this lifetime are stored more often than Secrets Manager allows, about %d times a day: ask Communic8 for a longer lifetime", maxVersions))
	}
	if run.refused != nil {
		metrics = append(metrics, Count("CredentialsFallback"))
		attrs = append(attrs, slog.Bool("credentials_fallback", true))
		hint("the previous credentials stand in: " + run.refused.Error())
	}
	add("hint", printable(strings.Join(hints, "; ")))
	if run.asked {
		metrics = append(metrics, Metric{"UpstreamMilliseconds", "Milliseconds", float64(run.upstream.Milliseconds())})
	}
	if err != nil {
		metrics = append(metrics, Count("RotationFailed"))
		attrs = append(attrs, ErrorAttrs(err)...)
		level = slog.LevelError
	}
	attrs = append(attrs, EmbedMetrics(run.Store.Stack, run.dimension(), metrics...))
	run.Log.LogAttrs(ctx, level, "rotation", attrs...)
}

// dimension is the tenant by which metrics are counted: "-" for a name that is not known to
// be a tenant's, because CloudWatch would bill a metric for each that somebody makes up.
func (run *rotation) dimension() string {
	if run.stored == nil {
		return "-"
	}
	return run.Tenant
}

// withReserve moves the deadline of ctx, if it has one, ahead by at most reserve:
// by no more than 1/part of the time that is left.
func withReserve(ctx context.Context, part int64, reserve time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	left := time.Until(deadline)
	return context.WithDeadline(ctx, deadline.Add(-min(reserve, left/time.Duration(part))))
}
