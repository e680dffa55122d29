package caller

// The token that a Source holds: whether it is usable, and when the next one is due.

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

const (
	// margin is the least remaining lifetime of a usable token: time for the request.
	margin = 10 * time.Second
	// early is the longest time before the expiry of a token at which the next one is fetched.
	// For a token with a short remaining lifetime it is a quarter of that.
	early = 4 * time.Minute
)

// token is a token of the API.
type token struct {
	secret  *string // a pointer, which fmt does not follow; nil if there is no token
	version string
	base    *url.URL  // scheme, host and port; the token must be sent nowhere else
	expiry  time.Time // by this machine's clock; zero: never
	refresh time.Time // when the next one is due; zero: never
}

// parseToken reads a response of the API. sent is when its request was sent. The error shows
// nothing of the response.
func parseToken(body []byte, sent time.Time) (token, error) {
	var in struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   *int64 `json:"expires_in"` // seconds; left out for one that does not expire
		Version     string `json:"version"`
		BaseURL     string `json:"base_url"`
	}
	if json.Unmarshal(body, &in) != nil || !oauth.ValidBearer(in.AccessToken) || !strings.EqualFold(in.TokenType, "Bearer") || in.Version == "" {
		return token{}, errors.New("the answer is not the documented JSON")
	}
	base, ok := oauth.ParseBaseURL(in.BaseURL)
	if !ok || !oauth.Confidential(base) {
		return token{}, errors.New("the answer has no base_url that a token may be sent to")
	}
	t := token{secret: &in.AccessToken, version: in.Version, base: base}
	if in.ExpiresIn != nil {
		remaining := time.Duration(min(max(0, *in.ExpiresIn), 1<<31)) * time.Second
		t.expiry = sent.Add(remaining)
		// The time is random, in the first half of the window, so that programs with the same
		// token do not fetch the next one all at once.
		window := min(early, remaining/4)
		t.refresh = t.expiry.Add(-margin - window + rand.N(window/2+1)) // #nosec G404 -- spreads load, guards nothing
		if earliest := sent.Add(minRetry); t.refresh.Before(earliest) {
			t.refresh = earliest
		}
	}
	return t, nil
}

// usable reports whether t is a token and has at least margin of its lifetime left.
func (t token) usable(now time.Time) bool {
	return t.secret != nil && (t.expiry.IsZero() || t.expiry.Sub(now) >= margin)
}

// due reports whether the next token is due.
func (t token) due(now time.Time) bool {
	return !t.refresh.IsZero() && !now.Before(t.refresh)
}

// oauth2 returns the token as TokenContext documents it.
func (t token) oauth2() *oauth2.Token {
	out := &oauth2.Token{AccessToken: *t.secret, TokenType: "Bearer", Expiry: t.expiry}
	return out.WithExtra(map[string]any{"base_url": t.base.String(), "version": t.version})
}
