package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

type handler struct {
	vendor *c8auth.Vendor
	log    *slog.Logger
}

// Invoke implements lambda.Handler. It turns the proxy event of a REST API into the
// answer to its caller and writes one line about it.
func (h handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var req request
	if json.Unmarshal(payload, &req) != nil {
		req = request{} // no tenant: a bad request
	}
	tenant := req.PathParameters.Tenant
	vending, err := h.vendor.Vend(ctx, tenant, req.fresh())
	status, retryAfter, body := respond(vending, err)
	h.audit(ctx, req, tenant, vending, status, err)

	text, err := json.Marshal(body)
	if err != nil {
		return nil, errors.New("the answer could not be encoded")
	}
	return json.Marshal(proxyResponse{status, proxyHeaders{"application/json", "no-store", "no-cache", retryAfter}, string(text)})
}

// proxyResponse is a REST API's proxy response.
type proxyResponse struct {
	StatusCode int          `json:"statusCode"`
	Headers    proxyHeaders `json:"headers"`
	Body       string       `json:"body"`
}

type proxyHeaders struct {
	ContentType  string `json:"Content-Type"`
	CacheControl string `json:"Cache-Control"`
	Pragma       string `json:"Pragma"`
	RetryAfter   string `json:"Retry-After,omitempty"` // seconds
}

// tokenBody is RFC 6749's successful answer (section 5.1) and what else a caller
// may want to know.
type tokenBody struct {
	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	ExpiresIn   int64     `json:"expires_in,omitempty"` // seconds left now
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	Version     string    `json:"version"`
	BaseURL     string    `json:"base_url"`
}

// errorBody is RFC 6749's error answer (section 5.2).
type errorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// respond maps what the vendor said to status, Retry-After and body.
func respond(v c8auth.Vending, err error) (status int, retryAfter string, body any) {
	switch {
	case err == nil:
		return http.StatusOK, "", tokenBody{
			AccessToken: v.Token.AccessToken.Reveal(),
			TokenType:   v.Token.TokenType,
			ExpiresIn:   int64(v.Remaining / time.Second),
			ExpiresAt:   v.Token.ExpiresAt,
			Version:     v.Version,
			BaseURL:     v.Token.BaseURL,
		}
	case errors.Is(err, c8auth.ErrTenantName):
		return http.StatusBadRequest, "", errorBody{"invalid_request", "expected GET /tokens/{tenant} with a tenant's name: a lower-case letter followed by at most 30 lower-case letters, digits or hyphens"}
	case errors.Is(err, c8auth.ErrUnknownTenant):
		return http.StatusNotFound, "", errorBody{"unknown_tenant", "there is no such tenant; check its name"}
	case errors.Is(err, c8auth.ErrNoToken):
		return http.StatusServiceUnavailable, "30", errorBody{"temporarily_unavailable", "no token has been stored yet; store the tenant's credentials, or wait for the next rotation"}
	case errors.Is(err, c8auth.ErrExpired):
		return http.StatusServiceUnavailable, "30", errorBody{"temporarily_unavailable", "the token has expired and has not been replaced yet"}
	case errors.Is(err, c8auth.ErrUnreadable):
		return http.StatusInternalServerError, "", errorBody{"server_error", "the stored value is not a token; the next rotation replaces it"}
	}
	return http.StatusServiceUnavailable, "5", errorBody{"temporarily_unavailable", "the token store cannot be reached"}
}

// audit writes the line that says who got what. Who asks for what is known to be no
// tenant is counted as tenant "-": a metric of its own for every made-up name would be
// billed. What is not a tenant's name is not written at all, because it could be a
// secret that went astray.
func (h handler) audit(ctx context.Context, req request, tenant string, v c8auth.Vending, status int, err error) {
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
