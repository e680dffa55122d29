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
	cache *c8auth.Cache
	log   *slog.Logger
}

// Invoke implements lambda.Handler. It returns the response to a proxy event of API Gateway and
// writes one log line. The error is always nil: a failure is in the response.
func (h handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var token c8auth.CachedToken
	req, err := restapi.Read(payload)
	if err == nil {
		err = req.Check("")
	}
	if err == nil {
		token, err = h.cache.Token(ctx, req.Tenant, req.NoCache)
	}
	answer := respond(token, err)
	h.cache.LogVend(ctx, h.log, req.Attrs(), req.Tenant, answer.Status, token, err)
	return answer.Encode(), nil
}

// respond returns the response for a token or an error.
func respond(token c8auth.CachedToken, err error) restapi.Answer {
	switch {
	case err == nil:
		return restapi.Answer{Status: http.StatusOK, Body: tokenResponse{
			AccessToken: token.Token.AccessToken.Reveal(),
			TokenType:   token.Token.TokenType,
			ExpiresIn:   int64(token.Remaining / time.Second),
			ExpiresAt:   token.Token.ExpiresAt,
			Version:     token.Version,
			BaseURL:     token.Token.BaseURL,
		}}
	case errors.Is(err, c8auth.ErrUnreadable):
		return restapi.Error(http.StatusInternalServerError, "server_error", "the stored value is not a token; the next rotation replaces it", 0)
	case errors.Is(err, c8auth.ErrNoToken):
		return restapi.Failure(err, "no token has been stored yet; store the tenant's credentials, or wait for the next rotation")
	}
	return restapi.Failure(err, "the token has expired and has not been replaced yet")
}

// tokenResponse is the successful response of RFC 6749, section 5.1, with three additional
// members. expires_in and expires_at are left out for a token that does not expire.
type tokenResponse struct {
	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	ExpiresIn   int64     `json:"expires_in,omitempty"` // seconds left now
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	Version     string    `json:"version"`
	BaseURL     string    `json:"base_url"`
}
