package c8auth

// Callers' reports that Communic8 rejects a token.

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

const (
	// rejectTime bounds Reject: API Gateway waits 29 seconds for a function.
	rejectTime = 25 * time.Second
	// inconclusiveAge is the age up to which a token is kept when its probe is inconclusive.
	inconclusiveAge = 10 * time.Minute
)

// The outcomes of a report, besides [Rotated], whose reason is then [Rejected].
const (
	Superseded Outcome = "superseded" // the version is not, or no longer, the current one
	Kept       Outcome = "kept"       // Communic8 accepts the token or issues the same one again, or see [Rotator.Reject]
)

// Report is a caller's report that Communic8 rejects a token.
type Report struct {
	Tenant  string
	Version string      // the version that the token was vended with, a VersionId of the token secret
	By      []slog.Attr // the caller, for the log
}

// Reject handles a report. If the version is the current one, Reject probes the token. It
// replaces the token if Communic8 rejects it, or if the probe is inconclusive and the token is
// over ten minutes old. An access key is kept if the probe is inconclusive. Reject takes 25
// seconds at most. It writes one line about the report to Log and, if it tries to replace the
// token, another one as [Rotator.Rotate] does.
//
// Reports replace a tenant's token at most five times in a row and three times an hour after
// that, and each version is replaced by one process at a time. That holds for any number of
// reports and processes (see [Store.claim]). One process probes the same token once in five
// seconds, or once in a minute if the last probe was inconclusive.
//
// The error is an [ErrTenantName], [ErrUnknownTenant], [ErrUnavailable], [ErrUnreadable] or
// [ErrHeld], or says why there is no new token: [ErrNoCredentials], [ErrCredentials],
// [ErrQuota], [ErrRefused], [ErrUpstream], [ErrAnswer], [ErrRejected] or [ErrLostRace].
func (r *Rotator) Reject(ctx context.Context, report Report) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, rejectTime)
	defer cancel()
	run := rotation{Rotator: r, Request: Request{Tenant: report.Tenant}}
	result, err := run.reject(ctx, report.Version)
	run.logReport(ctx, report.By, result, err)
	return result, err
}

func (run *rotation) reject(ctx context.Context, version string) (Result, error) {
	if err := CheckTenant(run.Tenant); err != nil {
		return Result{}, err
	}
	first, cancel := withReserve(ctx, 3, probeTimeout) // probeStored does not end at the deadline of ctx
	defer cancel()
	current, err := run.isCurrent(first, version)
	if err != nil {
		return Result{}, err
	}
	if !current {
		return run.result(Superseded, ""), nil
	}
	switch run.probeStored(ctx) {
	case ProbeGood:
		return run.result(Kept, ""), nil
	case ProbeRejected:
		run.rejectedVersion = version
	default:
		age := now().Sub(run.stored.IssuedAt)
		if !run.stored.Expires() || age >= -maxAhead && age <= inconclusiveAge {
			return run.result(Kept, ""), nil
		}
	}
	claimed, err := run.claim(ctx)
	if err != nil {
		return Result{}, err
	}
	current, err = run.isCurrent(ctx, version) // another report may have replaced it during the probe
	switch {
	case err != nil:
		return Result{}, err
	case !current:
		return run.result(Superseded, ""), nil
	case !claimed:
		return Result{}, ErrHeld
	}
	result, err := run.replace(ctx, version)
	run.log(ctx, result, err)
	return result, err
}

// isCurrent reads the token secret and reports whether version is current. It is not if no
// token is stored.
func (run *rotation) isCurrent(ctx context.Context, version string) (bool, error) {
	if err := run.load(ctx); err != nil {
		return false, err
	}
	if run.version != version || errors.Is(run.readErr, ErrNoToken) {
		return false, nil
	}
	return true, run.readErr
}

// replace replaces the token, whose version is rejected, unless Communic8 issues the same one.
func (run *rotation) replace(ctx context.Context, rejected string) (Result, error) {
	old := run.stored
	token, err := run.newToken(ctx)
	if err != nil {
		return Result{}, err
	}
	if token == nil || token.same(old) { // newToken has probed it, and it was not rejected
		return run.result(Kept, ""), nil
	}
	result, err := run.put(ctx, *token, Rejected)
	if err == nil && result.Outcome == Fresh { // another rotation has replaced it
		result.Outcome = Superseded
		if result.Version == rejected {
			result.Outcome = Kept
		}
	}
	return result, err
}
