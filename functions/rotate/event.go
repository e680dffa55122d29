package main

import (
	"encoding/json"
	"fmt"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

const defaultTenant = "default"

// errEvent does not repeat the event, which could contain a secret.
var errEvent = fmt.Errorf(`%w: expected {"tenant": "acme"}, {"tenant": "acme", "force": true}, an EventBridge Scheduled Event, or {}`, c8auth.ErrInput)

// parseEvent returns the request that an event of the function means. The error is a
// [c8auth.ErrInput] or a [c8auth.ErrTenantName].
func parseEvent(payload []byte) (c8auth.Request, error) {
	var event map[string]json.RawMessage
	if json.Unmarshal(payload, &event) != nil || event == nil {
		return c8auth.Request{}, errEvent
	}
	var detailType string
	if json.Unmarshal(event["detail-type"], &detailType) == nil && detailType == "Scheduled Event" || len(event) == 0 {
		return c8auth.Request{Tenant: defaultTenant}, nil
	}
	var in struct {
		Tenant        string `json:"tenant"`
		Force         bool   `json:"force"`
		ScheduledTime string `json:"scheduled_time"` // sent by the schedule, not used
	}
	for key := range event { // encoding/json accepts keys of any case
		if key != "tenant" && key != "force" && key != "scheduled_time" {
			return c8auth.Request{}, errEvent
		}
	}
	if _, ok := event["tenant"]; !ok || json.Unmarshal(payload, &in) != nil {
		return c8auth.Request{}, errEvent
	}
	if err := c8auth.CheckTenant(in.Tenant); err != nil {
		return c8auth.Request{}, fmt.Errorf("tenant: %w", err)
	}
	return c8auth.Request{Tenant: in.Tenant, Force: in.Force}, nil
}
