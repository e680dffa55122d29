package smtest

// The messages, and the constraints of AWS's model of the API.

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// request has the parameters of all operations, for they agree on names.
type request struct {
	Name                       string
	SecretID                   string `json:"SecretId"`
	ClientRequestToken         string
	SecretString               *string
	SecretBinary               []byte
	VersionID                  string `json:"VersionId"`
	VersionStage               string
	VersionStages              []string
	MoveToVersionID            string `json:"MoveToVersionId"`
	RemoveFromVersionID        string `json:"RemoveFromVersionId"`
	IncludeDeprecated          bool
	RecoveryWindowInDays       *int
	ForceDeleteWithoutRecovery bool
	Filters                    []filter
	IncludePlannedDeletion     bool
}

// filter is one of ListSecrets: for names that begin with one of the values.
type filter struct {
	Key    string
	Values []string
}

// answer has the members of all successes. What there is none of is left out.
type answer struct {
	ARN                string              `json:",omitempty"`
	Name               string              `json:",omitempty"`
	VersionID          string              `json:"VersionId,omitempty"`
	VersionStages      []string            `json:",omitempty"`
	SecretString       string              `json:",omitempty"`
	SecretBinary       []byte              `json:",omitempty"`
	VersionIDsToStages map[string][]string `json:"VersionIdsToStages,omitempty"`
	Versions           []answer            `json:",omitempty"`
	VersionsToStages   map[string][]string `json:"SecretVersionsToStages,omitempty"`
	SecretList         *[]answer           `json:",omitempty"` // of none there is an empty list
	CreatedDate        epoch               `json:",omitzero"`
	LastChangedDate    epoch               `json:",omitzero"`
	DeletedDate        epoch               `json:",omitzero"`
	DeletionDate       epoch               `json:",omitzero"`
}

// failure is an error; it does not say with which status, for that is always 400.
type failure struct {
	Type    string `json:"__type"`
	Message string
}

// epoch is a date as AWS JSON has it: in seconds, with a fraction.
type epoch struct{ time.Time }

func (e epoch) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", float64(e.UnixMilli())/1000), nil
}

const maxValue = 65536 // bytes

var validName = regexp.MustCompile(`^(arn:[\w-]+:secretsmanager:[\w-]+:\d{12}:secret:)?[\w/+=.@!-]+$`)

// check refuses a request that is wrong whatever secrets there are.
func (q *request) check(op string) *failure {
	create, put, all := op == "CreateSecret", op == "PutSecretValue", op == "ListSecrets"
	for _, m := range []struct {
		member, value string
		min, max      int
		required      bool
	}{
		{"name", q.Name, 1, 512, create},
		{"secretId", q.SecretID, 1, 2048, !create && !all},
		{"clientRequestToken", q.ClientRequestToken, 32, 64, false},
		{"versionId", q.VersionID, 32, 64, false},
		{"versionStage", q.VersionStage, 1, 256, op == "UpdateSecretVersionStage"},
		{"moveToVersionId", q.MoveToVersionID, 32, 64, false},
		{"removeFromVersionId", q.RemoveFromVersionID, 32, 64, false},
	} {
		if m.value == "" && m.required {
			return constraint("null ", m.member, "not be null")
		}
		if m.value != "" && (len(m.value) < m.min || len(m.value) > m.max) {
			return outside("'"+m.value+"' ", m.member, len(m.value), m.min, m.max)
		}
	}
	if !all && !validName.MatchString(q.Name+q.SecretID) {
		return &failure{"ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"}
	}
	val := q.value()
	switch {
	case q.SecretString != nil && q.SecretBinary != nil:
		return &failure{"InvalidParameterException", "You can't specify both a binary secret value and a string secret value in the same secret."}
	case val != nil && (val.data == "" || len(val.data) > maxValue):
		return outside("", val.member(), len(val.data), 1, maxValue)
	case put && val == nil:
		return &failure{"InvalidRequestException", "You must provide either SecretString or SecretBinary."}
	case slices.ContainsFunc(q.Filters, func(f filter) bool { return f.Key != "name" }):
		return &failure{"InvalidParameterException", "smtest filters by name alone."}
	case (create || put) && q.ClientRequestToken == "": // the SDK adds one of its own
		return &failure{"InvalidRequestException", "You must provide a ClientRequestToken value. We recommend a UUID-type value."}
	}
	return nil
}

func outside(shown, member string, n, least, most int) *failure {
	if n < least {
		return constraint(shown, member, fmt.Sprintf("have length greater than or equal to %d", least))
	}
	return constraint(shown, member, fmt.Sprintf("have length less than or equal to %d", most))
}

// constraint is how AWS reports a violation of its model. The value is shown
// unless the member is sensitive.
func constraint(shown, member, must string) *failure {
	return &failure{"ValidationException", fmt.Sprintf(
		"1 validation error detected: Value %sat '%s' failed to satisfy constraint: Member must %s", shown, member, must)}
}

// value is what the request wants to store, if anything.
func (q *request) value() *value {
	switch {
	case q.SecretString != nil:
		return &value{data: *q.SecretString}
	case q.SecretBinary != nil:
		return &value{data: string(q.SecretBinary), binary: true}
	}
	return nil
}
