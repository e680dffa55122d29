package main

import (
	"bytes"
	"fmt"
	"regexp"
)

// mutant is one deliberate defect of a file of the product.
type mutant struct {
	name, file string
	// code is what is replaced, which the file has once. If it is "func" and a name, it is the
	// beginning of that function's body. What follows stays, so that nothing becomes unused.
	code, instead string
}

var noDefect = mutant{name: "no defect", file: "due.go"}

var mutants = []mutant{
	{"half a lifetime becomes a whole one", "due.go", "func dueAge", "return lifetime"},
	{"replaced credentials are not noticed", "due.go", "case stored.CredentialsVersion != credentialsVersion:", "case false:"},
	{"there is no fallback", "rotator.go", "if err != nil || previous.version == current.version {", "if true {"},
	{"the fallback requests a token at every heartbeat", "due.go", "func madeByFallback", "return false"},
	{"the stored token is not probed", "rotator.go", "run.probe(ctx, run.stored) == ProbeRejected", "false"},
	{"a rejected token is stored", "rotator.go", "case probed == ProbeRejected:", "case false:"},
	{"a token that is returned again gets a new lifetime", "rotator.go", "token.same(run.stored) {", "false {"},
	{"a refusal is retried", "rotator.go", "|| !errors.Is(err, ErrUpstream)", ""},
	{"a lost race is not retried", "rotator.go", "maxRounds = 10", "maxRounds = 1"},
	{"the loser of a race does not check the winner's token", "rotator.go", "run.probe(ctx, winner) == ProbeGood", "true"},
	{"no time is reserved to store the token", "rotator.go", "func withReserve", "return context.WithCancel(ctx)"},
	{"Retry-After is not kept", "state.go", "func holds", "return time.Time{}"},
	{"a token is requested while none can be stored", "state.go", "func unstored", "return nil, nil"},
	{"a report is believed without a probe", "state.go", "func probeStored", "return ProbeRejected"},
	{"everybody may claim at any time", "claim.go", "func next", "return claim{Rejected: version, Nonce: rand.Text()}, true"},
	{"a lost race overwrites", "store.go", "labels[awsCurrent] != replaces", "false"},
	{"version ids are derived from the time", "store.go", "func versionID", `return fmt.Sprintf("%032x", now().UnixNano())`},
	{"expired tokens are valid", "token.go", "func Valid", `return t.AccessToken.Reveal() != ""`},
	{"the metric is constant", "token.go", "func LifetimePercent", "return 100"},
	{"a failing store empties the cache", "cache.go", "case errors.Is(err, ErrUnknownTenant):", "case errors.Is(err, ErrUnknownTenant), true:"},
	{"a request for a fresh token is not honoured", "cache.go", "case e.err != nil, fresh:", "case e.err != nil:"},
}

// apply returns the source with the defect.
func (m mutant) apply(source []byte) ([]byte, error) {
	if m == noDefect {
		return source, nil
	}
	code, instead := []byte(m.code), []byte(m.instead)
	if name, ok := bytes.CutPrefix(code, []byte("func ")); ok {
		code = regexp.MustCompile(`(?m)^func (\(.*?\) )?` + string(name) + `\(.*\{\n`).Find(source)
		instead = append(bytes.Clone(code), instead...)
		instead = append(instead, '\n')
	}
	if len(code) == 0 || bytes.Count(source, code) != 1 {
		return nil, fmt.Errorf("%s does not have this once: %s", m.file, m.code)
	}
	return bytes.Replace(source, code, instead, 1), nil
}
