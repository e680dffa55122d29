package main

// POST /tokens/{tenant}/rejections: a caller reports that Communic8 rejects its token.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"github.com/c8auth/c8auth/internal/restapi"
	"github.com/c8auth/c8auth/pkg/c8auth"
)

const rejectionsResource = "/tokens/{tenant}/rejections"

// expectedBody and errBody do not repeat the body, which could be a token.
const expectedBody = `expected {"version": "…"} with the version that the token was vended with, and nothing else`

var errBody = fmt.Errorf("%w: %s", c8auth.ErrInput, expectedBody)

// versionID is the syntax of a VersionId, without its length of 32 to 64 characters.
var versionID = regexp.MustCompile(`^[!-~]+$`)

// parseReport returns the request of the API, and whether the payload is one for this route.
func parseReport(payload []byte) (req restapi.Request, ok bool) {
	req, err := restapi.Read(payload)
	return req, err == nil && req.Resource == rejectionsResource && req.Method == http.MethodPost
}

// report handles a caller's report and returns the response for API Gateway.
func (h handler) report(ctx context.Context, req restapi.Request) []byte {
	report := c8auth.Report{Tenant: req.Tenant, By: req.Attrs()}
	result := c8auth.Result{}
	err := c8auth.CheckTenant(report.Tenant)
	if err == nil {
		err = req.CheckRoute("/tokens/" + report.Tenant + "/rejections")
	}
	if err == nil {
		report.Version, err = reportedVersion(req.Body)
	}
	if err == nil {
		result, err = h.rotator.Reject(ctx, report)
	} else {
		h.rotator.Log.LogAttrs(ctx, slog.LevelWarn, "rejection", append(report.By, c8auth.ErrorAttrs(err)...)...)
	}
	return respond(result, err)
}

// reportedVersion returns the version in the body. A body with anything else is an error,
// because a caller could have sent the token.
func reportedVersion(body []byte) (string, error) {
	var in map[string]string
	if json.Unmarshal(body, &in) != nil || len(in) != 1 || len(in["version"]) < 32 || len(in["version"]) > 64 || !versionID.MatchString(in["version"]) {
		return "", errBody
	}
	return in["version"], nil
}

// respond returns the response for the result or the error of a report.
func respond(result c8auth.Result, err error) []byte {
	unavailable := func(description string, retryAfter time.Duration) restapi.Answer {
		return restapi.Error(http.StatusServiceUnavailable, "temporarily_unavailable", description, retryAfter)
	}
	var answer restapi.Answer
	switch {
	case err == nil:
		answer = restapi.Answer{Status: http.StatusOK, Body: result}
	case errors.Is(err, restapi.ErrTestInvocation), errors.Is(err, restapi.ErrPath):
		answer = restapi.Error(http.StatusBadRequest, "invalid_request", err.Error(), 0)
	case errors.Is(err, c8auth.ErrInput):
		answer = restapi.Error(http.StatusBadRequest, "invalid_request", expectedBody, 0)
	case errors.Is(err, c8auth.ErrTenantName):
		answer = restapi.Error(http.StatusBadRequest, "invalid_request", "expected POST /tokens/{tenant}/rejections with a tenant's name: a lower-case letter followed by at most 30 lower-case letters, digits or hyphens", 0)
	case errors.Is(err, c8auth.ErrUnknownTenant):
		answer = restapi.Error(http.StatusNotFound, "unknown_tenant", "there is no such tenant; check its name", 0)
	case errors.Is(err, c8auth.ErrHeld):
		answer = unavailable("another report is being handled, or there were too many; request the token again", 2*time.Second)
	case errors.Is(err, c8auth.ErrUnavailable):
		answer = unavailable("the token store cannot be reached", 5*time.Second)
	default: // only the operator can act on the cause, which is in the log
		answer = unavailable("Communic8 rejects the token, and there is no new one yet", 30*time.Second)
	}
	return answer.Encode()
}
