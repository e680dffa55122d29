package smtest

// The state: secrets, their versions, and the labels that move between them.

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"
	pending  = "AWSPENDING"

	// maxVersions is the quota for the versions of one secret, and minAge the age below
	// which an unlabelled version is not removed to keep to it. User guide, "AWS Secrets
	// Manager quotas".
	maxVersions = 100
	minAge      = 24 * time.Hour
)

type secret struct {
	name, arn        string
	created, changed time.Time
	deleted          time.Time           // when the recovery window ends; zero: not scheduled for deletion
	versions         []*version          // oldest first
	written          int                 // versions ever written: an id may not come again
	labels           map[string]*version // by label, for a label is on one version only
}

type version struct {
	id      string
	value   value
	created time.Time
}

// empty reports whether the version holds no value: RotateSecret makes it so.
func (v *version) empty() bool { return v.value.data == "" }

// value is a string or bytes. The two are never equal.
type value struct {
	data   string
	binary bool
}

// prefix is that of every ARN.
const prefix = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"

// add makes a secret without any version.
func (s *Server) add(name string) *secret {
	if s.secrets == nil {
		s.secrets = make(map[string]*secret)
	}
	s.created++
	now := time.Now()
	on := &secret{name: name, created: now, changed: now, labels: make(map[string]*version)}
	on.arn = prefix + name + "-" + uuid(name, s.created)[:6]
	s.secrets[name] = on
	return on
}

var whole = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)

// find looks a secret up by name, ARN, or ARN without the six characters at the
// end. As at AWS, a partial ARN that happens to end like a whole one is taken
// for a whole one and finds nothing: that of stack/token/acme-berlin, say.
func (s *Server) find(id string) *secret {
	name, isARN := strings.CutPrefix(id, prefix)
	if !isARN || !whole.MatchString(name) {
		return s.secrets[name]
	}
	if on := s.secrets[name[:len(name)-7]]; on != nil && on.arn == id {
		return on
	}
	return nil
}

func (s *secret) version(id string) *version {
	if i := slices.IndexFunc(s.versions, func(v *version) bool { return v.id == id }); i >= 0 {
		return s.versions[i]
	}
	return nil
}

// stages are the labels of a version. Without any it is deprecated.
func (s *secret) stages(v *version) (stages []string) {
	for label, on := range s.labels {
		if on == v {
			stages = append(stages, label)
		}
	}
	slices.Sort(stages)
	return stages
}

// prune removes unlabelled versions, the oldest first, until the quota has room for one
// more, and reports whether it has. AWS prunes in the background; the documentation does
// not say when.
func (s *secret) prune(now time.Time) (room bool) {
	excess := len(s.versions) - maxVersions + 1
	s.versions = slices.DeleteFunc(s.versions, func(v *version) bool {
		if excess <= 0 || !s.removable(v, now) {
			return false
		}
		excess--
		return true
	})
	return excess <= 0
}

func (s *secret) removable(v *version, now time.Time) bool {
	return now.Sub(v.created) >= minAge && s.stages(v) == nil
}

// put adds a version with the labels; AWSCURRENT comes to the first value unasked.
// The version that loses AWSCURRENT to it loses all other labels, too: recorded, but
// not of move.
func (s *secret) put(id string, val value, stages []string) *version {
	s.changed = time.Now()
	v := &version{id, val, s.changed}
	s.versions = append(s.versions, v)
	s.written++
	if old := s.labels[current]; old != nil && slices.Contains(stages, current) {
		maps.DeleteFunc(s.labels, func(_ string, on *version) bool { return on == old })
		s.labels[previous] = old
	}
	if len(s.versions) == 1 && !v.empty() {
		s.labels[current] = v
	}
	for _, stage := range stages {
		s.labels[stage] = v
	}
	return v
}

// move takes the label to the version.
func (s *secret) move(stage string, to *version) {
	s.changed = time.Now()
	if from := s.labels[stage]; stage == current && from != nil && from != to {
		s.labels[previous] = from
	}
	s.labels[stage] = to
}

// uuid derives an id, so that a run can be repeated.
func uuid(seeds ...any) string {
	b := sha256.Sum256(fmt.Appendln(nil, seeds...))
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
