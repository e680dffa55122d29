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
	SecretID           string `json:"SecretId"`
	ClientRequestToken string
	SecretString       *string
	SecretBinary       []byte
	VersionID          string `json:"VersionId"`
	VersionStage       string
	VersionStages      []string
	Filters            []filter
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
	VersionsToStages   map[string][]string `json:"SecretVersionsToStages,omitempty"`
	SecretList         *[]answer           `json:",omitempty"` // of none there is an empty list
	CreatedDate        epoch               `json:",omitzero"`
	LastChangedDate    epoch               `json:",omitzero"`
	DeletedDate        epoch               `json:",omitzero"`
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

// check refuses a request that is wrong whatever secrets there are. Of lengths that are
// wrong, AWS says more.
func (q *request) check(op string) *failure {
	val, put, all := q.value(), op == "PutSecretValue", op == "ListSecrets"
	switch {
	case all && slices.ContainsFunc(q.Filters, func(f filter) bool { return f.Key != "name" }):
		return &failure{"InvalidParameterException", "smtest filters by name alone."}
	case !all && !validName.MatchString(q.SecretID):
		return &failure{"ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"}
	case put && q.ClientRequestToken == "": // the SDK adds one of its own
		return &failure{"InvalidRequestException", "You must provide a ClientRequestToken value. We recommend a UUID-type value."}
	case put && (q.SecretString == nil) == (q.SecretBinary == nil):
		return &failure{"InvalidRequestException", "You must provide either SecretString or SecretBinary."}
	case put && (val.data == "" || len(val.data) > maxValue):
		return &failure{"ValidationException", "A value has from 1 to 65536 bytes."}
	case wrongLength(q.ClientRequestToken) || wrongLength(q.VersionID):
		return &failure{"ValidationException", "The id of a version has from 32 to 64 characters."}
	}
	return nil
}

func wrongLength(id string) bool { return id != "" && (len(id) < 32 || len(id) > 64) }

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
