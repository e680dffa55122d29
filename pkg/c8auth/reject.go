package c8auth

// A caller's word that Communic8 rejects a token: what it is worth, and what comes of it.

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

const (
	// rejectTime bounds Reject: API Gateway waits 29 seconds for its answer.
	rejectTime = 25 * time.Second
	// doubtAge is the age up to which a token is kept when its trial is inconclusive.
	doubtAge = 10 * time.Minute
)

// The outcomes of a report, besides [Rotated], whose reason is then [Rejected].
const (
	Superseded Outcome = "superseded" // the version is not the current one; Communic8 was not asked
	Kept       Outcome = "kept"       // Communic8 takes the token, or there is not enough to say that it does not
)

// Report is a caller's word that Communic8 rejects a token.
type Report struct {
	Tenant  string
	Version string      // of the token secret, as the token was vended with it
	By      []slog.Attr // who says so, for the log
}

// Reject follows a report. If the version is the current one, Reject tries the token
// itself, and replaces it if Communic8 rejects it, or if the trial is inconclusive and
// the token, an OAuth one, over ten minutes old. It takes 25 seconds at most, writes a
// line on the report to Log, and another one if it asks for a token, as [Rotator.Rotate]
// does.
//
// Whatever is reported, in however many processes, a tenant's token is replaced at most
// five times in a row and three times an hour after that, and for the same version by
// one process at a time (see [Store.claim]). Besides that a report costs one trial at
// most, and one process makes no second one of the same token within five seconds,
// or within a minute if the first one was inconclusive.
//
// The error is an [ErrTenantName], [ErrUnknownTenant], [ErrUnavailable], [ErrUnreadable]
// or [ErrHeld], or says why there is no new token: [ErrNoCredentials], [ErrCredentials],
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
	first, cancel := withReserve(ctx, 3, tryTimeout) // for the trial, which does not end with ctx
	defer cancel()
	current, err := run.look(first, version)
	if err != nil {
		return Result{}, err
	}
	if !current {
		return run.result(Superseded, ""), nil
	}
	switch run.probe(ctx) {
	case TrialGood:
		return run.result(Kept, ""), nil
	case TrialRejected:
		run.rejectedVersion = version
	default:
		age := now().Sub(run.stored.IssuedAt)
		if !run.stored.Expires() || age >= -maxAhead && age <= doubtAge {
			return run.result(Kept, ""), nil
		}
	}
	claimed, err := run.Store.claim(ctx, run.Tenant, version)
	if claimed || err != nil {
		run.wrote(nil, err)
	}
	if err != nil {
		return Result{}, err
	}
	current, err = run.look(ctx, version) // who was quicker may be done
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

// look reads what is stored, and reports whether it is still the version. None stored is
// another one.
func (run *rotation) look(ctx context.Context, version string) (bool, error) {
	stored, current, err := run.Store.Token(ctx, run.Tenant)
	if isKnown(err) {
		run.stored, run.version = &stored, current
	}
	if errors.Is(err, ErrNoToken) || errors.Is(err, ErrUnreadable) && current != version {
		return false, nil
	}
	return current == version, err
}

// replace puts a new token in the place of the rejected one.
func (run *rotation) replace(ctx context.Context, rejected string) (Result, error) {
	old := run.stored.AccessToken.Reveal()
	token, err := run.obtain(ctx, nil)
	if err != nil {
		return Result{}, err
	}
	if token == nil || token.AccessToken.Reveal() == old { // which has been tried once more
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

// logReport writes the line that says who reported and what came of it. The version that
// was reported is not in it, as it may be anything; the current one is.
func (run *rotation) logReport(ctx context.Context, by []slog.Attr, result Result, err error) {
	level := slog.LevelInfo
	var attrs []slog.Attr
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	if !errors.Is(err, ErrTenantName) {
		add("tenant", run.Tenant)
	}
	add("outcome", string(result.Outcome))
	add("reason", string(result.Reason))
	add("version", run.version)
	add("trial", string(run.trial))
	add("trial_detail", run.detail)
	if err != nil {
		attrs = append(attrs, ErrorAttrs(err)...)
		level = slog.LevelWarn
	}
	attrs = append(append(attrs, by...), EmbedMetrics(run.Store.Stack, run.dimension(), Count("Rejections")))
	run.Log.LogAttrs(ctx, level, "rejection", attrs...)
}
