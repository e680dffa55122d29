package awstest

// CloudWatch Logs.

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The bounds of a page of FilterLogEvents, as AWS documents them. It has those of the events
// it looks at that the pattern admits: a page may be empty and yet not be the last.
const (
	maxPageEvents = 10000
	maxPageBytes  = 1 << 20
)

type event struct {
	at   time.Time
	text string
}

// Log returns a log group, to which each Write adds one event. Its time is the
// timestamp of a line in JSON, if it has one.
func (s *Server) Log(group string) io.Writer { return log{s, group} }

type log struct {
	server *Server
	group  string
}

func (l log) Write(line []byte) (int, error) {
	at := time.Now()
	var in struct {
		Timestamp time.Time `json:"timestamp"`
	}
	if json.Unmarshal(line, &in) == nil && !in.Timestamp.IsZero() {
		at = in.Timestamp
	}
	l.server.Set(func(*State) {
		l.server.logs[l.group] = append(l.server.logs[l.group], event{at, strings.TrimSuffix(string(line), "\n")})
	})
	return len(line), nil
}

func filterLogEvents(c *call) (object, *failure) {
	want, ok := parsePattern(c.str("filterPattern"))
	if !ok {
		return nil, &failure{http.StatusBadRequest, "InvalidParameterException", "Invalid filter pattern"}
	}
	events, ok := c.logs[c.str("logGroupName")]
	if !ok {
		return nil, &failure{http.StatusBadRequest, "ResourceNotFoundException", "The specified log group does not exist."}
	}
	start, _ := c.in["startTime"].(float64) // milliseconds
	next, _ := strconv.Atoi(c.str("nextToken"))
	list, size := []any{}, 0
	for end := next + cmp.Or(c.PageEvents, maxPageEvents); next < min(end, len(events)) && size < maxPageBytes; next++ {
		if e := events[next]; e.at.UnixMilli() >= int64(start) && want.in(e.text) {
			list = append(list, object{"timestamp": e.at.UnixMilli(), "message": e.text})
			size += len(e.text)
		}
	}
	out := object{"events": list}
	if next < len(events) {
		out["nextToken"] = strconv.Itoa(next)
	}
	return out, nil
}

// pattern is all that is understood of filter patterns: members of a JSON object, each
// equal to a string or a number.
type pattern object

var (
	whole = regexp.MustCompile(`^\{ *(.*?) *\}$`)
	term  = regexp.MustCompile(`^\(? *\$\.(\w+) *= *("[^"]*"|[0-9.]+) *\)?$`)
)

func parsePattern(text string) (want pattern, ok bool) {
	inner := whole.FindStringSubmatch(text)
	if inner == nil {
		return nil, false
	}
	want = make(pattern)
	for part := range strings.SplitSeq(inner[1], "&&") {
		var value any
		equal := term.FindStringSubmatch(strings.TrimSpace(part))
		if equal == nil || json.Unmarshal([]byte(equal[2]), &value) != nil {
			return nil, false
		}
		want[equal[1]] = value
	}
	return want, true
}

func (want pattern) in(line string) bool {
	var members object
	_ = json.Unmarshal([]byte(line), &members) // a line of text has none
	for name, value := range want {
		if members[name] != value {
			return false
		}
	}
	return true
}
