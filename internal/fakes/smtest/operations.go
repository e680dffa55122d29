package smtest

// The operations, as AWS's API reference has them. They are called with the
// Server locked, the request checked, and the secret that it is about.

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

var operations = map[string]struct {
	do      func(*Server, *request, *secret) (*answer, *failure)
	missing bool // works without a secret
	deleted bool // works on one that is scheduled for deletion
}{
	"PutSecretValue": {do: put},
	"GetSecretValue": {do: get},
	"DescribeSecret": {do: describe, deleted: true},
	"ListSecrets":    {do: list, missing: true},
}

var (
	missing = &failure{"ResourceNotFoundException", "Secrets Manager can't find the specified secret."}
	marked  = &failure{"InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion."}
	// exceeded has the text of the exception's documentation; the service's message is not known.
	exceeded = &failure{"LimitExceededException", "The request failed because it would exceed one of the Secrets Manager quotas."}
)

// put is idempotent: a version that the request's token made earlier stays as it is, if its
// value is the same.
func put(_ *Server, q *request, on *secret) (*answer, *failure) {
	v, val := on.version(q.ClientRequestToken), q.value()
	switch {
	case v != nil && *val != v.value:
		return nil, &failure{"ResourceExistsException", fmt.Sprintf(
			"You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", v.id, on.arn)}
	case v == nil && !on.prune(time.Now()):
		return nil, exceeded
	case v == nil:
		stages := q.VersionStages
		if len(stages) == 0 {
			stages = []string{current}
		}
		v = on.put(q.ClientRequestToken, *val, stages)
	}
	return &answer{ARN: on.arn, Name: on.name, VersionID: v.id, VersionStages: on.stages(v)}, nil
}

func get(_ *Server, q *request, on *secret) (*answer, *failure) {
	v, sought := on.version(q.VersionID), "VersionId: "+q.VersionID
	if q.VersionID == "" {
		stage := cmp.Or(q.VersionStage, current)
		v, sought = on.labels[stage], "staging label: "+stage
	}
	switch {
	case v == nil || v.empty():
		return nil, &failure{"ResourceNotFoundException", "Secrets Manager can't find the specified secret value for " + sought}
	case q.VersionStage != "" && on.labels[q.VersionStage] != v:
		return nil, &failure{"InvalidRequestException", "You provided a VersionStage that is not associated to the provided VersionId."}
	}
	a := &answer{ARN: on.arn, Name: on.name, VersionID: v.id, VersionStages: on.stages(v), CreatedDate: epoch{v.created}}
	if v.value.binary {
		a.SecretBinary = []byte(v.value.data)
	} else {
		a.SecretString = v.value.data
	}
	return a, nil
}

func describe(_ *Server, _ *request, on *secret) (*answer, *failure) {
	a := on.describe()
	a.VersionIDsToStages = on.labelled()
	return &a, nil
}

// list has all on one page, in the order of their names.
func list(s *Server, q *request, _ *secret) (*answer, *failure) {
	a := &answer{SecretList: new([]answer{})}
	for _, name := range slices.Sorted(maps.Keys(s.secrets)) {
		on := s.secrets[name]
		if !on.deleted.IsZero() || slices.ContainsFunc(q.Filters, func(f filter) bool { return !f.admits(name) }) {
			continue
		}
		entry := on.describe()
		entry.VersionsToStages = on.labelled() // not what DescribeSecret calls it
		*a.SecretList = append(*a.SecretList, entry)
	}
	return a, nil
}

func (f filter) admits(name string) bool {
	return slices.ContainsFunc(f.Values, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// describe returns what DescribeSecret and ListSecrets have in common.
func (s *secret) describe() answer {
	return answer{
		ARN: s.arn, Name: s.name,
		CreatedDate: epoch{s.created}, LastChangedDate: epoch{s.changed}, DeletedDate: epoch{s.deleted},
	}
}

func (s *secret) labelled() map[string][]string {
	labelled := make(map[string][]string)
	for _, v := range s.labels {
		labelled[v.id] = s.stages(v)
	}
	return labelled
}
