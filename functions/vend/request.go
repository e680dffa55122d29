package main

import (
	"encoding/json"
	"strings"
)

// request is what vend needs of a REST API's proxy event. All else is skipped: it takes
// longest to decode, and the caller's session token is among it.
type request struct {
	PathParameters struct {
		Tenant string `json:"tenant"`
	} `json:"pathParameters"`
	Headers           headers `json:"headers"`
	MultiValueHeaders headers `json:"multiValueHeaders"`
	RequestContext    struct {
		RequestID string `json:"requestId"`
		Identity  struct {
			AccountID string `json:"accountId"`
			SourceIP  string `json:"sourceIp"`
			UserArn   string `json:"userArn"`
		} `json:"identity"`
	} `json:"requestContext"`
}

// headers are a request's. API Gateway hands on their names as the caller wrote them,
// and encoding/json takes names in any case.
type headers struct {
	NoCache noCache `json:"cache-control"`
}

// noCache is whether a header Cache-Control, or one of several, has the directive
// no-cache (RFC 9111, section 5.2.1.4).
type noCache bool

// UnmarshalJSON decodes a header's value, or a list of them.
func (n *noCache) UnmarshalJSON(text []byte) error {
	var values []string
	if json.Unmarshal(text, &values) != nil {
		values = make([]string, 1)
		if err := json.Unmarshal(text, &values[0]); err != nil {
			return err
		}
	}
	for _, value := range values {
		for directive := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(directive), "no-cache") {
				*n = true
			}
		}
	}
	return nil
}

// fresh reports whether the caller asks for a token that the store holds now.
func (r request) fresh() bool { return bool(r.Headers.NoCache || r.MultiValueHeaders.NoCache) }
