package main

// POST /tokens/{tenant}/rejections: a caller says that Communic8 rejects its token.

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

const rejectionsResource = "/tokens/{tenant}/rejections"

// errBody does not repeat the body, which may hold anything.
var errBody = errors.New(`expected {"version": "…"} with the version that the token was vended with, and nothing else`)

// versionID is what Secrets Manager takes for the id of a version, of 32 to 64 characters.
var versionID = regexp.MustCompile(`^[!-~]+$`)

// parseReport returns the API's event, if the payload is one of the route's.
func parseReport(payload []byte) (req events.APIGatewayProxyRequest, ok bool) {
	ok = json.Unmarshal(payload, &req) == nil && req.Resource == rejectionsResource && req.HTTPMethod == http.MethodPost
	return req, ok
}

// report follows a caller's report and answers it, as a REST API's proxy integration.
func (h handler) report(ctx context.Context, req events.APIGatewayProxyRequest) ([]byte, error) {
	identity := req.RequestContext.Identity
	report := c8auth.Report{Tenant: req.PathParameters["tenant"], By: []slog.Attr{
		slog.String("caller", identity.UserArn),
		slog.String("account", identity.AccountID),
		slog.String("source", identity.SourceIP),
		slog.String("apiRequestId", req.RequestContext.RequestID),
	}}
	result := c8auth.Result{}
	err := c8auth.CheckTenant(report.Tenant)
	if err == nil {
		report.Version, err = reportedVersion(req)
	}
	if err == nil {
		result, err = h.rotator.Reject(ctx, report)
	} else {
		h.rotator.Log.LogAttrs(ctx, slog.LevelWarn, "rejection", append(report.By, slog.String("error", err.Error()))...)
	}
	return respond(result, err)
}

// reportedVersion reads the body. A body with anything but the version is refused: it
// might be the token, which nobody should send.
func reportedVersion(req events.APIGatewayProxyRequest) (string, error) {
	body := []byte(req.Body)
	if req.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(req.Body); err != nil {
			return "", errBody
		}
	}
	var in map[string]string
	if json.Unmarshal(body, &in) != nil || len(in) != 1 || len(in["version"]) < 32 || len(in["version"]) > 64 || !versionID.MatchString(in["version"]) {
		return "", errBody
	}
	return in["version"], nil
}

// respond maps what came of a report to a proxy integration's answer.
func respond(result c8auth.Result, err error) ([]byte, error) {
	headers := map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"}
	status, body := http.StatusOK, any(result)
	fail := func(code int, name, description string, retryAfter time.Duration) {
		status = code
		body = struct {
			Error       string `json:"error"` // RFC 6749, section 5.2
			Description string `json:"error_description"`
		}{name, description}
		if retryAfter > 0 {
			headers["Retry-After"] = strconv.Itoa(int(retryAfter / time.Second))
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, errBody):
		fail(http.StatusBadRequest, "invalid_request", err.Error(), 0)
	case errors.Is(err, c8auth.ErrTenantName):
		fail(http.StatusBadRequest, "invalid_request", "expected POST /tokens/{tenant}/rejections with a tenant's name: a lower-case letter followed by at most 30 lower-case letters, digits or hyphens", 0)
	case errors.Is(err, c8auth.ErrUnknownTenant):
		fail(http.StatusNotFound, "unknown_tenant", "there is no such tenant; check its name", 0)
	case errors.Is(err, c8auth.ErrHeld):
		fail(http.StatusServiceUnavailable, "temporarily_unavailable", "another report is being followed, or too many were of late; ask for the token again", 2*time.Second)
	case errors.Is(err, c8auth.ErrUnavailable):
		fail(http.StatusServiceUnavailable, "temporarily_unavailable", "the token store cannot be reached", 5*time.Second)
	default: // why is in the log: it is for the operator
		fail(http.StatusServiceUnavailable, "temporarily_unavailable", "Communic8 rejects the token, and there is no new one yet", 30*time.Second)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, errors.New("the answer could not be encoded")
	}
	return json.Marshal(events.APIGatewayProxyResponse{StatusCode: status, Headers: headers, Body: string(text)})
}
