package main

import (
	"fmt"
	"strings"
)

// mutant is one deliberate defect: in the file, what is at exactly one place becomes
// something else.
type mutant struct {
	name, file string
	from, to   string
}

// apply returns the source with the defect, or as it is if there is none.
func (m mutant) apply(source string) (string, error) {
	if m.from == "" {
		return source, nil
	}
	if n := strings.Count(source, m.from); n != 1 {
		return "", fmt.Errorf("%s: what it changes in %s is there %d times", m.name, m.file, n)
	}
	return strings.Replace(source, m.from, m.to, 1), nil
}

var mutants = []mutant{
	// When a token is due.
	{"half of a life becomes a whole one", "due.go",
		"stored.ExpiresAt.Sub(stored.IssuedAt)/2:", "stored.ExpiresAt.Sub(stored.IssuedAt):"},
	{"half of a life becomes a quarter", "due.go",
		"stored.ExpiresAt.Sub(stored.IssuedAt)/2:", "stored.ExpiresAt.Sub(stored.IssuedAt)/4:"},
	{"replaced credentials are not noticed", "due.go",
		"case stored.CredentialsVersion != credentialsVersion:", "case false:"},
	{"a wish that comes twice is two", "due.go",
		"case force && age > forceAfter:", "case force:"},
	{"a wish is not heard", "due.go",
		"case force && age > forceAfter:", "case false:"},
	{"an unreadable token is left alone", "due.go",
		"return UnreadableToken", `return ""`},
	{"the stored token is not tried", "rotator.go",
		`if reason == "" && run.try(ctx, *run.stored) == TrialRejected {`, "if false {"},

	// How one is obtained.
	{"expiry is measured after the request", "rotator.go",
		"return grant, asked, nil", "return grant, now(), nil"},
	{"a token that comes again lives longer", "rotator.go",
		"token.ExpiresAt = run.stored.ExpiresAt\n", "_ = 0\n"},
	{"a rejected token is stored", "rotator.go",
		"if trial == TrialRejected {\n\t\tif", "if false {\n\t\tif"},
	{"a trial that came to nothing undoes a rejection", "rotator.go",
		"case trial != TrialGood && run.wasRejected(token):", "case false:"},
	{"a new token is not tried", "rotator.go",
		"trial := run.try(ctx, token)\n\tif", "trial := Trial(\"\")\n\tif"},
	{"a refusal is asked again", "answer.go",
		`UpstreamError{Refused: true, Text: "refuses the credentials" +`, `UpstreamError{Refused: true, Temporary: true, Text: "refuses the credentials" +`},
	{"success:false is asked again", "answer.go",
		`UpstreamError{Refused: true, Text: "refuses the credentials with`, `UpstreamError{Refused: true, Temporary: true, Text: "refuses the credentials with`},
	{"success:false is not taken for a refusal", "answer.go",
		`case string(in["success"]) == "false":`, "case false:"},
	{"an error is a refusal only with HTTP 400", "answer.go",
		`case code != "":`, `case code != "" && status == http.StatusBadRequest:`},
	{"a token whose lifetime is not said needs no proof", "rotator.go",
		"if run.assumed && trial != TrialGood {", "if false {"},
	{"what is temporary is not asked again", "rotator.go",
		"maxAsks = 5", "maxAsks = 1"},
	{"Communic8 is asked twice as often", "rotator.go",
		"maxAsks = 5", "maxAsks = 10"},
	{"Retry-After is not honoured", "rotator.go",
		"wait := max(backoff(n), upstream.RetryAfter)", "wait := backoff(n)"},
	{"HTML is no reason to ask again", "answer.go",
		`Temporary: true, Text: "gives an answer that is not`, `Text: "gives an answer that is not`},
	{"a missing expires_in is taken for a day", "answer.go",
		"assumedLifetime = time.Hour", "assumedLifetime = 24 * time.Hour"},
	{"an absurd expires_in is believed", "answer.go",
		"maxLifetime = 30 * 24 * time.Hour", "maxLifetime = 300 * 24 * time.Hour"},
	{"a fraction is rounded up", "answer.go",
		"math.Floor(", "math.Ceil("},
	{"expires_in in a string is not read", "answer.go",
		"raw = json.RawMessage(strings.TrimSpace(quoted))", "raw = json.RawMessage(quoted[:0])"},
	{"a worthless token is taken", "answer.go",
		"if lifetime < Margin {", "if lifetime < 0 {"},
	{"there is no fallback", "rotator.go",
		"if !malformed && !errors.Is(err, ErrRefused) {", "if true {"},
	{"malformed credentials have no fallback", "rotator.go",
		"malformed := errors.Is(err, ErrCredentials)", "malformed := false"},
	{"the fallback asks at every heartbeat", "rotator.go",
		`kept := stoodIn && run.due(ctx, readErr, previous.version) == ""`, "kept := stoodIn && false"},
	{"the fallback is taken for the new credentials", "rotator.go",
		"token, err = run.issue(ctx, previous)", "previous.version = current.version\n\ttoken, err = run.issue(ctx, previous)"},
	{"no time is kept to store the token", "rotator.go",
		"ctx, cancel := withReserve(ctx, 3, tryTimeout+storeAttempt)", "ctx, cancel := context.WithCancel(ctx)"},

	// How it is stored.
	{"a lost race overwrites", "store.go",
		"if labels[awsCurrent] != replaces {", "if false {"},
	{"a store that lags behind is believed", "store.go",
		"if now().Sub(rival.created) < settled {", "if _ = rival; false {"},
	{"ids that were taken are never got over", "store.go",
		"if now().Sub(rival.created) < settled {", "if _ = rival; true {"},
	{"that AWSCURRENT was moved back is not seen", "store.go",
		"if labels[awsPrevious] == id {", "if false {"},
	{"a token that was rejected in a race is stored", "rotator.go",
		"(run.wasRejected(token) ||", "(false ||"},
	{"the same token is stored once more", "rotator.go",
		"(same || run.try(", "(same && false || run.try("},
	{"ids are derived from the time", "store.go",
		"id := versionID(name, replaces, n)", "id := versionID(name, now().String(), n)"},
	{"the loser leaves it at that", "rotator.go",
		"if winner.Alive(now()) && (same || run.try(ctx, winner) == TrialGood) {", "if _ = same; true {"},
	{"the loser gives up", "rotator.go",
		"maxRounds = 10", "maxRounds = 1"},
	{"Secrets Manager is asked once", "store.go",
		"storeAttempts = 100", "storeAttempts = 1"},
	{"an exchange with Secrets Manager is not bounded", "store.go",
		"storeAttempt = 3 * time.Second", "storeAttempt = 300 * time.Second"},

	// What comes of a report.
	{"a report of another version is followed", "reject.go",
		"if !current {\n\t\treturn run.result(Superseded, \"\"), nil\n\t}\n\tswitch", "if _ = current; false {\n\t\treturn run.result(Superseded, \"\"), nil\n\t}\n\tswitch"},
	{"a rejected token is kept", "reject.go",
		"case TrialRejected:\n", "case TrialRejected:\n\t\treturn run.result(Kept, \"\"), nil\n"},
	{"a living token is replaced at a caller's word", "reject.go",
		"case TrialGood:\n\t\treturn", "case TrialGood:\n\t\tbreak\n\t\treturn"},
	{"in doubt a token stays", "reject.go",
		"doubtAge = 10 * time.Minute", "doubtAge = 1000 * time.Hour"},
	{"in doubt a token goes", "reject.go",
		"doubtAge = 10 * time.Minute", "doubtAge = time.Second"},
	{"every report is a trial", "reject.go",
		"verdictTTL = 5 * time.Second", "verdictTTL = 0 * time.Second"},
	{"it does not matter who has the claim", "reject.go",
		"case !claimed:", "case !claimed && false:"},
	{"it does not matter who claims first", "claim.go",
		"taken {\n\t\treturn false, nil", "taken {\n\t\treturn true, nil"},
	{"a claim that was made is not seen", "claim.go",
		"c.Rejected == version && age < claimLease", "false"},
	{"there are claims without end", "claim.go",
		"if left < 1 ||", "if"},
	{"claims come back twice as fast", "claim.go",
		"claimRefill = 20 * time.Minute", "claimRefill = 10 * time.Minute"},
	{"claims do not come back", "claim.go",
		"c.Left+float64(age)/float64(claimRefill)", "c.Left"},
	{"a claim is what is vended", "claim.go",
		"VersionStages: []string{claimLabel}", "VersionStages: []string{claimLabel, awsCurrent}"},
	{"who was quicker is not looked for", "reject.go",
		"case !current:\n", "case false:\n"},
	{"a report has all the time there is", "reject.go",
		"rejectTime = 25 * time.Second", "rejectTime = 55 * time.Second"},

	// What is logged.
	{"the metric says what the token had", "rotator.go",
		"run.stored.LifePercent(now())", "run.stored.LifePercent(run.stored.IssuedAt)"},
	{"the metric is of a fixed lifetime", "token.go",
		"100*float64(t.Remaining(now))/float64(lifetime)", "100*float64(t.Remaining(now))/float64(24*time.Hour)"},
	{"the metric of an access key is 0", "token.go",
		"return 100\n", "return 0\n"},
	{"no metric of an access key", "rotator.go",
		"if run.stored != nil { // else", "if run.stored != nil && (run.stored.Expires() || !run.stored.Alive(now())) { // else"},
	{"no metric when a rotation fails", "rotator.go",
		"if run.stored != nil { // else", "if run.stored != nil && err == nil { // else"},

	// What is vended.
	{"the cache ignores expiry", "vendor.go",
		"case e.token.Alive(now):\n\t\tvending", `case e.token.AccessToken.Reveal() != "":` + "\n\t\tvending"},
	{"a dying token is called alive", "token.go",
		"const Margin = 30 * time.Second", "const Margin = 0 * time.Second"},
	{"a dying token is not read again", "vendor.go",
		"case e.err == nil && !e.token.Alive(now): // alive", "case false: // alive"},
	{"a failing store empties the cache", "vendor.go",
		"case err == nil:\n\t\te.err = ErrExpired", "case err != nil:\n\t\te.token = Token{}\n\tcase err == nil:\n\t\te.err = ErrExpired"},
	{"a stored token that is dead empties the cache", "vendor.go",
		"case err == nil:\n\t\te.err = ErrExpired", "case err == nil:\n\t\te.token, e.err = Token{}, ErrExpired"},
	{"the cache outlasts its tenant", "vendor.go",
		"case errors.Is(err, ErrUnknownTenant):\n\t\te.token, e.version = Token{}, \"\"", "case errors.Is(err, ErrUnknownTenant):"},
	{"what was read is never read again", "vendor.go",
		"return age >= ttl", "return age >= 1000*ttl"},
	{"a wish for a fresh token is not heard", "vendor.go",
		"case e.err != nil, fresh:", "case e.err != nil:"},
	{"a failure is remembered for an hour", "vendor.go",
		"pause = time.Second", "pause = time.Hour"},
	{"a cold read has no time to try again", "vendor.go",
		"readTimeout  = 5 * time.Second", "readTimeout  = 20 * time.Millisecond"},
	{"the life left is that at the time of reading", "vendor.go",
		"vending.Remaining = e.token.Remaining(now)", "vending.Remaining = e.token.Remaining(e.read)"},
}
