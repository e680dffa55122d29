package main

// What status and doctor find.

import "slices"

// The verdicts of a check, and of all together.
const (
	ok      = "ok"
	act     = "act"     // a person must act
	unknown = "unknown" // it could not be looked at
)

// finding is the result of one check.
type finding struct {
	Step    string `json:"step"`
	Tried   string `json:"tried"`
	Seen    string `json:"seen"`
	Verdict string `json:"verdict"`
	Do      string `json:"do,omitempty"` // what a person must do, or can
}

// found returns the finding of a check, which is ok.
func found(step, tried, format string, args ...any) finding {
	return finding{step, tried, sprintf(format, args...), ok, ""}
}

// actFor makes it one for which a person must act.
func (f finding) actFor(do, format string, args ...any) finding {
	f.Seen, f.Verdict, f.Do = sprintf(format, args...), act, do
	return f
}

// failed makes it one of a check that could not be made.
func (f finding) failed(err error) finding {
	f.Seen, f.Verdict, f.Do = textOf(err), unknown, remedy(err)
	return f
}

// verdictOf is the worst of those of the findings.
func verdictOf(findings []finding) string {
	for _, verdict := range []string{act, unknown} {
		if slices.ContainsFunc(findings, func(f finding) bool { return f.Verdict == verdict }) {
			return verdict
		}
	}
	return ok
}
