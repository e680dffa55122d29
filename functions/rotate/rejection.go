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

// errBody does not repeat the body, which could be a token.
var errBody = fmt.Errorf("%w: expected a JSON object with one member, version, which is the one that the token was vended with", c8auth.ErrInput)

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
	err := req.Check("/rejections")
	if err == nil {
		report.Version, err = reportedVersion(req.Body)
	}
	if err == nil {
		result, err = h.rotator.Reject(ctx, report)
	} else {
		h.rotator.Log.LogAttrs(ctx, slog.LevelWarn, "rejection", append(report.By, c8auth.ErrorAttrs(err)...)...)
	}
	return respond(result, err).Encode()
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
func respond(result c8auth.Result, err error) restapi.Answer {
	switch {
	case err == nil:
		return restapi.Answer{Status: http.StatusOK, Body: result}
	case errors.Is(err, c8auth.ErrHeld):
		return restapi.Unavailable("another report is being handled, or there were too many; request the token again", 2*time.Second)
	}
	// Only the operator can act on other causes, which are in the log.
	return restapi.Failure(err, "Communic8 rejects the token, and there is no new one yet")
}
