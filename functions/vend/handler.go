package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/c8auth/c8auth/internal/restapi"
	"github.com/c8auth/c8auth/pkg/c8auth"
)

type handler struct {
	vendor *c8auth.Vendor
	log    *slog.Logger
}

// Invoke implements lambda.Handler, and never fails. It turns the proxy event of a REST API
// into the answer to its caller and writes one line about it.
func (h handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var vending c8auth.Vending
	req, err := restapi.Read(payload)
	if err == nil {
		err = c8auth.CheckTenant(req.Tenant)
	}
	if err == nil {
		err = req.CheckRoute("/tokens/" + req.Tenant)
	}
	if err == nil {
		vending, err = h.vendor.Vend(ctx, req.Tenant, req.NoCache)
	}
	answer := respond(vending, err)
	h.audit(ctx, req, vending, answer.Status, err)
	return answer.Encode(), nil
}

// respond maps what the vendor said to an answer.
func respond(v c8auth.Vending, err error) restapi.Answer {
	const unavailable, unavailableCode = http.StatusServiceUnavailable, "temporarily_unavailable"
	switch {
	case err == nil:
		return restapi.Answer{Status: http.StatusOK, Body: newTokenResponse(v)}
	case errors.Is(err, restapi.ErrTestInvocation), errors.Is(err, restapi.ErrPath):
		return restapi.Error(http.StatusBadRequest, "invalid_request", err.Error(), 0)
	case errors.Is(err, c8auth.ErrInput), errors.Is(err, c8auth.ErrTenantName):
		return restapi.Error(http.StatusBadRequest, "invalid_request", "expected GET /tokens/{tenant} with a tenant's name: a lower-case letter followed by at most 30 lower-case letters, digits or hyphens", 0)
	case errors.Is(err, c8auth.ErrUnknownTenant):
		return restapi.Error(http.StatusNotFound, "unknown_tenant", "there is no such tenant; check its name", 0)
	case errors.Is(err, c8auth.ErrNoToken):
		return restapi.Error(unavailable, unavailableCode, "no token has been stored yet; store the tenant's credentials, or wait for the next rotation", 30*time.Second)
	case errors.Is(err, c8auth.ErrExpired):
		return restapi.Error(unavailable, unavailableCode, "the token has expired and has not been replaced yet", 30*time.Second)
	case errors.Is(err, c8auth.ErrUnreadable):
		return restapi.Error(http.StatusInternalServerError, "server_error", "the stored value is not a token; the next rotation replaces it", 0)
	}
	return restapi.Error(unavailable, unavailableCode, "the token store cannot be reached", 5*time.Second)
}

// tokenResponse is the successful response of RFC 6749, section 5.1, with three members more.
// A token that does not expire has neither of the two expiries.
type tokenResponse struct {
	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	ExpiresIn   int64     `json:"expires_in,omitempty"` // seconds left now
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	Version     string    `json:"version"`
	BaseURL     string    `json:"base_url"`
}

func newTokenResponse(v c8auth.Vending) tokenResponse {
	return tokenResponse{
		AccessToken: v.Token.AccessToken.Reveal(),
		TokenType:   v.Token.TokenType,
		ExpiresIn:   int64(v.Remaining / time.Second),
		ExpiresAt:   v.Token.ExpiresAt,
		Version:     v.Version,
		BaseURL:     v.Token.BaseURL,
	}
}

// audit writes the line that says who got what. A name that is not known to be a tenant's,
// because it is unknown or because the store cannot say, is counted as tenant "-": a metric
// of its own for every made-up name would be billed. Nothing of a malformed request's path
// is written, because it could be a secret that went astray.
func (h handler) audit(ctx context.Context, req restapi.Request, v c8auth.Vending, status int, err error) {
	level := slog.LevelInfo
	attrs := append(make([]slog.Attr, 0, 10), slog.Int("status", status))
	attrs = append(attrs, req.Attrs()...)
	tenant, dimension := req.Tenant, req.Tenant
	switch {
	case status == http.StatusBadRequest:
		tenant, dimension = "", "-"
	case errors.Is(err, c8auth.ErrUnknownTenant), errors.Is(err, c8auth.ErrUnavailable):
		dimension = "-"
		attrs = append(attrs, slog.String("tenant", tenant))
	default:
		attrs = append(attrs, slog.String("tenant", tenant))
	}
	metrics := []c8auth.Metric{c8auth.Count("Vended")}
	if err != nil {
		metrics[0].Name = "VendFailed"
		attrs = append(attrs, c8auth.ErrorAttrs(err)...)
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
			attrs = append(attrs, slog.String("store_error", c8auth.Text(v.StoreErr)))
			level = slog.LevelWarn
		}
	}
	if reads := h.vendor.TakeReads(tenant); reads > 0 {
		metrics = append(metrics, c8auth.Metric{Name: "StoreReads", Unit: "Count", Value: float64(reads)})
	}
	attrs = append(attrs, c8auth.EmbedMetrics(h.vendor.Store.Stack, dimension, metrics...))
	h.log.LogAttrs(ctx, level, "vend", attrs...)
}
