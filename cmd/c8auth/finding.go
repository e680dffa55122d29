package main

// The results of the checks of status and doctor.

import "slices"

// The verdicts of a check, and of all together.
const (
	ok      = "ok"
	act     = "act"     // a person must act
	unknown = "unknown" // the check could not be made
)

// finding is the result of one check.
type finding struct {
	Step    string `json:"step"`
	Tried   string `json:"tried"`
	Seen    string `json:"seen"`
	Verdict string `json:"verdict"`
	Do      string `json:"do,omitempty"` // what a person must do, or can
}

// found returns a finding with the verdict ok.
func found(step, tried, format string, args ...any) finding {
	return finding{step, tried, sprintf(format, args...), ok, ""}
}

// actFor returns the finding with the verdict act, what was seen, and what to do.
func (f finding) actFor(do, format string, args ...any) finding {
	f.Seen, f.Verdict, f.Do = sprintf(format, args...), act, do
	return f
}

// failed returns the finding with the verdict unknown, for a check that failed with err.
func (f finding) failed(err error) finding {
	f.Seen, f.Verdict, f.Do = textOf(err), unknown, remedy(err)
	return f
}

// verdictOf returns the worst verdict of the findings: act, then unknown, then ok.
func verdictOf(findings []finding) string {
	for _, verdict := range []string{act, unknown} {
		if slices.ContainsFunc(findings, func(f finding) bool { return f.Verdict == verdict }) {
			return verdict
		}
	}
	return ok
}
