package smtest

// The operations, as AWS's API reference has them. They are called with the
// Server locked, the request checked, and the secret that it is about.

import (
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
	"CreateSecret":             {do: create, missing: true},
	"PutSecretValue":           {do: put},
	"GetSecretValue":           {do: get},
	"DescribeSecret":           {do: describe, deleted: true},
	"UpdateSecretVersionStage": {do: update},
	"ListSecretVersionIds":     {do: list, deleted: true},
	"ListSecrets":              {do: listSecrets, missing: true},
	"DeleteSecret":             {do: remove, missing: true, deleted: true},
	"RestoreSecret":            {do: restore, deleted: true},
}

var (
	missing = &failure{"ResourceNotFoundException", "Secrets Manager can't find the specified secret."}
	marked  = &failure{"InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion."}
	// exceeded has the text of the exception's documentation; the service's message is not known.
	exceeded = &failure{"LimitExceededException", "The request failed because it would exceed one of the Secrets Manager quotas."}
)

func create(s *Server, q *request, _ *secret) (*answer, *failure) {
	on, val := s.secrets[q.Name], q.value()
	if on == nil {
		on = s.add(q.Name)
		if val != nil {
			on.put(q.ClientRequestToken, *val, []string{current})
			return &answer{ARN: on.arn, Name: on.name, VersionID: q.ClientRequestToken}, nil
		}
		return &answer{ARN: on.arn, Name: on.name}, nil
	}
	if !on.deleted.IsZero() {
		return nil, &failure{"InvalidRequestException", "You can't create this secret because a secret with this name is already scheduled for deletion."}
	}
	v, refused := on.repeated(q)
	if v == nil && refused == nil {
		refused = &failure{"ResourceExistsException", fmt.Sprintf("The operation failed because the secret %s already exists.", q.Name)}
	}
	return &answer{ARN: on.arn, Name: on.name, VersionID: q.ClientRequestToken}, refused
}

func put(_ *Server, q *request, on *secret) (*answer, *failure) {
	v, refused := on.repeated(q)
	if refused != nil {
		return nil, refused
	}
	if v == nil {
		if !on.prune(time.Now()) {
			return nil, exceeded
		}
		stages := q.VersionStages
		if len(stages) == 0 {
			stages = []string{current}
		}
		v = on.put(q.ClientRequestToken, *q.value(), stages)
	}
	return &answer{ARN: on.arn, Name: on.name, VersionID: v.id, VersionStages: on.stages(v)}, nil
}

// repeated makes writes idempotent: it returns the version that the request's token
// made earlier, if the value is the same. The labels stay where they are.
func (s *secret) repeated(q *request) (*version, *failure) {
	v, val := s.version(q.ClientRequestToken), q.value()
	if v != nil && (val == nil || *val != v.value) {
		return nil, &failure{"ResourceExistsException", fmt.Sprintf(
			"You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", v.id, s.arn)}
	}
	return v, nil
}

func get(_ *Server, q *request, on *secret) (*answer, *failure) {
	stage := q.VersionStage
	v, sought := on.version(q.VersionID), "VersionId: "+q.VersionID
	if q.VersionID == "" {
		if stage == "" {
			stage = current
		}
		v, sought = on.labels[stage], "staging label: "+stage
	}
	switch {
	case v == nil || v.empty():
		return nil, &failure{"ResourceNotFoundException", "Secrets Manager can't find the specified secret value for " + sought}
	case stage != "" && on.labels[stage] != v:
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

// listSecrets has all on one page, in the order of their names.
func listSecrets(s *Server, q *request, _ *secret) (*answer, *failure) {
	a := &answer{SecretList: new([]answer{})}
	for _, name := range slices.Sorted(maps.Keys(s.secrets)) {
		on := s.secrets[name]
		if !on.deleted.IsZero() && !q.IncludePlannedDeletion || slices.ContainsFunc(q.Filters, func(f filter) bool { return !f.admits(name) }) {
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

// update moves a label, if the request names the version that has it.
func update(_ *Server, q *request, on *secret) (*answer, *failure) {
	stage, holder := q.VersionStage, on.labels[q.VersionStage]
	to, from := on.version(q.MoveToVersionID), on.version(q.RemoveFromVersionID)
	invalid := ""
	switch {
	case q.MoveToVersionID != "" && to == nil:
		invalid = "Not a valid version: " + q.MoveToVersionID
	case q.RemoveFromVersionID != "" && (from == nil || from != holder):
		invalid = fmt.Sprintf("When you move staging label %s, if you specify RemoveFromVersionId, it must be set to the version that currently has the staging label %[1]s.", stage)
	case holder != nil && holder != to && from == nil:
		invalid = fmt.Sprintf("The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", stage, holder.id)
	case stage == current && to == nil:
		invalid = "You can only move staging label AWSCURRENT to a different secret version. It can’t be completely removed."
	}
	if invalid != "" {
		return nil, &failure{"InvalidParameterException", invalid}
	}
	on.move(stage, to)
	return &answer{ARN: on.arn, Name: on.name}, nil
}

func list(_ *Server, q *request, on *secret) (*answer, *failure) {
	a := &answer{ARN: on.arn, Name: on.name}
	for _, v := range on.versions {
		if stages := on.stages(v); stages != nil || q.IncludeDeprecated {
			a.Versions = append(a.Versions, answer{VersionID: v.id, VersionStages: stages, CreatedDate: epoch{v.created}})
		}
	}
	return a, nil
}

// remove refuses a missing or deleted secret unless it is forced.
func remove(s *Server, q *request, on *secret) (*answer, *failure) {
	now, days := time.Now(), 30
	if q.RecoveryWindowInDays != nil {
		days = *q.RecoveryWindowInDays
	}
	switch {
	case q.ForceDeleteWithoutRecovery && q.RecoveryWindowInDays != nil:
		return nil, &failure{"InvalidParameterException", "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays."}
	case days < 7 || days > 30:
		return nil, &failure{"InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."}
	case q.ForceDeleteWithoutRecovery && on == nil:
		return &answer{ARN: s.prefix() + q.SecretID + "-" + uuid(q.SecretID)[:6], Name: q.SecretID, DeletionDate: epoch{now}}, nil
	case q.ForceDeleteWithoutRecovery:
		delete(s.secrets, on.name)
		return &answer{ARN: on.arn, Name: on.name, DeletionDate: epoch{now}}, nil
	case on == nil:
		return nil, missing
	case !on.deleted.IsZero():
		return nil, marked
	}
	on.deleted, on.changed = now.AddDate(0, 0, days), now
	return &answer{ARN: on.arn, Name: on.name, DeletionDate: epoch{on.deleted}}, nil
}

func restore(_ *Server, _ *request, on *secret) (*answer, *failure) {
	on.deleted, on.changed = time.Time{}, time.Now()
	return &answer{ARN: on.arn, Name: on.name}, nil
}
