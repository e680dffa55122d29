package main

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"
)

// Every error_code that rotate logs has a remedy of its own.
func TestRemedies(t *testing.T) {
	source, err := os.ReadFile("../../pkg/c8auth/errors.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`Err\w+ += coded\("(\w+)"`).FindAllStringSubmatch(string(source), -1)
	if len(codes) < 15 {
		t.Fatalf("found only %d codes", len(codes))
	}
	// They are of events, of vend, or of reports, which are lines of another kind.
	others := []string{"invalid_input", "invalid_settings", "invalid_tenant", "no_token", "token_expired", "unreadable_token", "no_credentials", "report_held"}
	for _, c := range codes {
		if _, has := remedies[c[1]]; has == slices.Contains(others, c[1]) {
			t.Errorf("%s: has a remedy: %v", c[1], has)
		}
	}
}

// What a person must do, and what passes by itself.
func TestChecks(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	denied := errors.New("not allowed")
	// well is a tenant of which nothing is wrong, changed by f.
	well := func(f func(*tenant)) *tenant {
		t := &tenant{
			Name: "acme", Version: "v", Stored: now.Add(-time.Hour), IssuedAt: now.Add(-time.Hour), ExpiresAt: now.Add(time.Hour), Schedule: "ENABLED",
			token: secret{exists: true, version: "v", changed: now.Add(-time.Hour)}, credentials: secret{name: "c8auth/credentials/acme", exists: true, version: "c"},
		}
		t.apply([]rotation{{At: now.Add(-time.Minute), Tenant: "acme", Outcome: "fresh"}})
		f(t)
		return t
	}
	failed := func(code string, n int) func(*tenant) {
		return func(t *tenant) {
			t.Last, t.Failures = &rotation{At: now, Error: "it failed", Code: code}, n
		}
	}
	both := func(fs ...func(*tenant)) func(*tenant) {
		return func(t *tenant) {
			for _, f := range fs {
				f(t)
			}
		}
	}
	expired := func(t *tenant) { t.ExpiresAt = now.Add(-time.Second) }
	none := func(t *tenant) { t.Version, t.IssuedAt, t.ExpiresAt = "", time.Time{}, time.Time{} }
	silent := func(t *tenant) { t.Last = nil }
	for _, test := range []struct {
		name    string
		change  func(*tenant)
		check   func(*tenant, time.Time) finding
		verdict string
		do      string
	}{
		{"all is well", func(*tenant) {}, (*tenant).checkSecrets, ok, ""},
		{"a secret is missing", func(t *tenant) { t.token.exists = false }, (*tenant).checkSecrets, act, "deploy the tenant's stack again"},
		{"a secret is being deleted", func(t *tenant) { t.credentials.deleted = true }, (*tenant).checkSecrets, act, "`aws secretsmanager restore-secret --secret-id c8auth/credentials/acme`"},
		{"no credentials", func(t *tenant) { t.Stored = time.Time{} }, (*tenant).checkSecrets, act, "`c8auth credentials set acme`"},
		{"secrets not visible", func(t *tenant) { t.err = denied }, (*tenant).checkSecrets, unknown, ""},

		{"all is well", func(*tenant) {}, (*tenant).checkToken, ok, ""},
		{"no token, no credentials", both(none, func(t *tenant) { t.Stored = time.Time{} }), (*tenant).checkToken, ok, ""},
		{"no token, new credentials", both(none, func(t *tenant) { t.Stored = now.Add(-time.Minute) }), (*tenant).checkToken, ok, ""},
		{"no token, new credentials that fail", both(none, func(t *tenant) { t.Stored = now }, failed("", 1)), (*tenant).checkToken, act, "`c8auth rotate acme` requests one, or says why there is none"},
		{"no token, old credentials", none, (*tenant).checkToken, act, "`c8auth rotate acme` requests one, or says why there is none"},
		{"an expired token", expired, (*tenant).checkToken, act, "`c8auth rotate acme` requests one, or says why there is none"},
		{"an access key", func(t *tenant) { t.ExpiresAt = time.Time{} }, (*tenant).checkToken, ok, ""},
		{"secrets not visible", func(t *tenant) { t.err = denied }, (*tenant).checkToken, unknown, ""},

		{"all is well", func(*tenant) {}, (*tenant).checkSchedule, ok, ""},
		{"no schedule", func(t *tenant) { t.Schedule = missing }, (*tenant).checkSchedule, act, "deploy the tenant's stack again"},
		{"a disabled schedule", func(t *tenant) { t.Schedule = "DISABLED" }, (*tenant).checkSchedule, act, "enable it in the console of EventBridge Scheduler"},
		{"schedules not visible", func(t *tenant) { t.scheduleErr = denied }, (*tenant).checkSchedule, unknown, ""},

		{"all is well", func(*tenant) {}, (*tenant).checkHeartbeats, ok, ""},
		{"a failure that can pass", failed("communic8_unavailable", 1), (*tenant).checkHeartbeats, ok, ""},
		{"an unknown failure", failed("", 1), (*tenant).checkHeartbeats, ok, ""},
		{"two in a row", failed("communic8_unavailable", 2), (*tenant).checkHeartbeats, act, "wait: every heartbeat tries again. If it lasts, ask Communic8"},
		{"two in a row, unknown", failed("brand_new", 2), (*tenant).checkHeartbeats, act, "follow the text of the error; `c8auth rotate acme` tries again now"},
		{"one, and no valid token", both(expired, failed("communic8_unavailable", 1)), (*tenant).checkHeartbeats, act, "wait: every heartbeat tries again. If it lasts, ask Communic8"},
		{"one that cannot pass", failed("credentials_refused", 1), (*tenant).checkHeartbeats, act, "`c8auth credentials set acme`"},
		{"a role was changed", failed("access_denied", 1), (*tenant).checkHeartbeats, act, "somebody has changed rotate's role or the key: deploy the stack again"},
		{"previous credentials", func(t *tenant) { t.Last.Fallback, t.Last.Hint = true, "refused" }, (*tenant).checkHeartbeats, act, "`c8auth credentials set acme`"},
		{"lifetimes that fill the quota", func(t *tenant) { t.Last.Quota, t.Last.Hint = true, "quota" }, (*tenant).checkHeartbeats, act, "have Communic8 grant a longer lifetime"},
		{"silence", silent, (*tenant).checkHeartbeats, act, "`c8auth rotate acme` shows whether rotate works; `c8auth doctor acme`, whether heartbeats reach it"},
		{"an old heartbeat", func(t *tenant) { t.Last.At = now.Add(-silence - 1) }, (*tenant).checkHeartbeats, act, "`c8auth rotate acme` shows whether rotate works; `c8auth doctor acme`, whether heartbeats reach it"},
		{"silence without a schedule", both(silent, func(t *tenant) { t.Schedule = missing }), (*tenant).checkHeartbeats, ok, ""},
		{"silence without credentials", both(silent, none, func(t *tenant) { t.Stored = time.Time{} }), (*tenant).checkHeartbeats, ok, ""},
		{"silence after new credentials", both(silent, none, func(t *tenant) { t.Stored = now }), (*tenant).checkHeartbeats, ok, ""},
		{"waiting", func(t *tenant) { t.Last.Outcome = "waiting" }, (*tenant).checkHeartbeats, ok, ""},
		{"the log is not readable", func(t *tenant) { t.rotationsErr = denied }, (*tenant).checkHeartbeats, unknown, ""},

		{"two rejections", func(t *tenant) { t.Rejected = 2 }, (*tenant).checkRejections, ok, ""},
		{"three", func(t *tenant) { t.Rejected = 3 }, (*tenant).checkRejections, act, "find what else requests tokens with this client, such as another stack, and give it a client of its own in Communic8's console"},
		{"the log is not readable", func(t *tenant) { t.rejectedErr = denied }, (*tenant).checkRejections, unknown, ""},
	} {
		if f := test.check(well(test.change), now); f.Verdict != test.verdict || f.Do != test.do || f.Seen == "" {
			t.Errorf("%s: %s: %q, %q; %q", f.Step, test.name, f.Verdict, f.Do, f.Seen)
		}
	}
}

// A verdict is the worst.
func TestVerdict(t *testing.T) {
	for want, verdicts := range map[string][]string{ok: {}, act: {ok, unknown, act}, unknown: {unknown, ok}} {
		var findings []finding
		for _, v := range verdicts {
			findings = append(findings, finding{Verdict: v})
		}
		if got := verdictOf(findings); got != want {
			t.Errorf("%v: %s, want %s", verdicts, got, want)
		}
	}
}

// One typing error leads to the name that was meant.
func TestNearest(t *testing.T) {
	names := []string{"default", "acme", "acme-test", "who"}
	for typed, want := range map[string]string{
		"default": "default", "defaul": "default", "Default": "default", "acm": "acme", "acme-tset": "acme-test", "amce": "acme",
		"hwo": "who", "foo": "", "globex": "", "": "",
	} {
		if got := nearest(typed, names); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}
