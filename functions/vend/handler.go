package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

type handler struct {
	vendor *c8auth.Vendor
	log    *slog.Logger
}

// Invoke implements lambda.Handler. It turns the proxy event of a REST API into the
// answer to its caller and writes one line about it.
func (h handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var req events.APIGatewayProxyRequest
	if json.Unmarshal(payload, &req) != nil {
		req = events.APIGatewayProxyRequest{} // no tenant: a bad request
	}
	tenant := req.PathParameters["tenant"]
	vending, err := h.vendor.Vend(ctx, tenant, wantsFresh(req))
	status, headers, body := respond(vending, err)
	h.audit(ctx, req, tenant, vending, status, err)

	text, err := json.Marshal(body)
	if err != nil {
		return nil, errors.New("the answer could not be encoded")
	}
	maps.Copy(headers, map[string]string{
		"Content-Type":  "application/json",
		"Cache-Control": "no-store",
		"Pragma":        "no-cache",
	})
	return json.Marshal(events.APIGatewayProxyResponse{StatusCode: status, Headers: headers, Body: string(text)})
}

// tokenBody is RFC 6749's successful answer (section 5.1) and what else a caller
// may want to know.
type tokenBody struct {
	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	ExpiresIn   *int64    `json:"expires_in,omitempty"` // seconds left now
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	Version     string    `json:"version"`
	BaseURL     string    `json:"base_url"`
}

// errorBody is RFC 6749's error answer (section 5.2).
type errorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// respond maps what the vendor said to status, headers and body.
func respond(v c8auth.Vending, err error) (status int, headers map[string]string, body any) {
	headers = make(map[string]string)
	unavailable := func(retryAfter time.Duration, description string) (int, map[string]string, any) {
		headers["Retry-After"] = strconv.Itoa(int(retryAfter / time.Second))
		return http.StatusServiceUnavailable, headers, errorBody{"temporarily_unavailable", description}
	}
	switch {
	case err == nil:
		out := tokenBody{
			AccessToken: v.Token.AccessToken.Reveal(),
			TokenType:   v.Token.TokenType,
			ExpiresAt:   v.Token.ExpiresAt,
			Version:     v.Version,
			BaseURL:     v.Token.BaseURL,
		}
		if v.Token.Expires() {
			seconds := int64(v.Remaining / time.Second)
			out.ExpiresIn = &seconds
		}
		return http.StatusOK, headers, out
	case errors.Is(err, c8auth.ErrTenantName):
		return http.StatusBadRequest, headers, errorBody{"invalid_request", "expected GET /tokens/{tenant} with a tenant's name: a lower-case letter followed by at most 30 lower-case letters, digits or hyphens"}
	case errors.Is(err, c8auth.ErrUnknownTenant):
		return http.StatusNotFound, headers, errorBody{"unknown_tenant", "there is no such tenant; check its name"}
	case errors.Is(err, c8auth.ErrNoToken):
		return unavailable(30*time.Second, "no token has been stored yet; store the tenant's credentials, or wait for the next rotation")
	case errors.Is(err, c8auth.ErrExpired):
		return unavailable(30*time.Second, "the token has expired and has not been replaced yet")
	case errors.Is(err, c8auth.ErrUnreadable):
		return http.StatusInternalServerError, headers, errorBody{"server_error", "the stored value is not a token; the next rotation replaces it"}
	}
	return unavailable(5*time.Second, "the token store cannot be reached")
}

// wantsFresh reports whether the request has Cache-Control: no-cache (RFC 9111,
// section 5.2.1.4). API Gateway hands on header names as the caller wrote them.
func wantsFresh(req events.APIGatewayProxyRequest) bool {
	noCache := func(name, value string) bool {
		if !strings.EqualFold(name, "Cache-Control") {
			return false
		}
		for directive := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(directive), "no-cache") {
				return true
			}
		}
		return false
	}
	for name, value := range req.Headers {
		if noCache(name, value) {
			return true
		}
	}
	for name, values := range req.MultiValueHeaders {
		if noCache(name, strings.Join(values, ",")) {
			return true
		}
	}
	return false
}

// audit writes the line that says who got what. Who asks for what is known to be no
// tenant is counted as tenant "-": a metric of its own for every made-up name would be
// billed. What is not a tenant's name is not written at all, because it could be a
// secret that went astray.
func (h handler) audit(ctx context.Context, req events.APIGatewayProxyRequest, tenant string, v c8auth.Vending, status int, err error) {
	identity := req.RequestContext.Identity
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.Int("status", status),
		slog.String("caller", identity.UserArn),
		slog.String("account", identity.AccountID),
		slog.String("source", identity.SourceIP),
		slog.String("apiRequestId", req.RequestContext.RequestID),
	}
	dimension := tenant
	switch {
	case errors.Is(err, c8auth.ErrTenantName):
		dimension = "-"
	case errors.Is(err, c8auth.ErrUnknownTenant):
		dimension = "-"
		attrs = append(attrs, slog.String("tenant", tenant))
	default:
		attrs = append(attrs, slog.String("tenant", tenant))
	}
	metrics := []c8auth.Metric{c8auth.Count("Vended")}
	if err != nil {
		metrics[0].Name = "VendFailed"
		attrs = append(attrs, slog.String("error", err.Error()))
		level = slog.LevelError
		if status < http.StatusInternalServerError {
			level = slog.LevelWarn
		}
	} else {
		attrs = append(attrs, slog.String("version", v.Version))
		if v.Token.Expires() {
			attrs = append(attrs, slog.Int64("expires_in", int64(v.Remaining/time.Second)))
		}
		if v.StoreErr != nil {
			attrs = append(attrs, slog.String("store_error", v.StoreErr.Error()))
			level = slog.LevelWarn
		}
	}
	if reads := h.vendor.TakeReads(tenant); reads > 0 {
		metrics = append(metrics, c8auth.Metric{Name: "StoreReads", Unit: "Count", Value: float64(reads)})
	}
	attrs = append(attrs, c8auth.EmbedMetrics(h.vendor.Store.Stack, dimension, metrics...))
	h.log.LogAttrs(ctx, level, "vend", attrs...)
}
