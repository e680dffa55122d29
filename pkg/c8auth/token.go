package c8auth

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

// Margin is the least remaining lifetime of a valid token, so that a caller has time to use it.
const Margin = 30 * time.Second

// Token is an access token of Communic8, or an access key. The zero value is no token.
type Token struct {
	BaseURL            string // https://host[:port] of the instance that accepts the token
	AccessToken        Secret
	TokenType          string    // "Bearer"
	IssuedAt           time.Time // just before the token was requested, in UTC and whole seconds
	ExpiresAt          time.Time // zero for an access key, which does not expire
	CredentialsVersion string    // VersionId of the credentials that it was made from
}

// tokenJSON is the JSON of the token secret. A new key must be optional, because functions of
// the version before do not write it. A new time must also be added to internal/sim/wire.go,
// which shifts the clocks of processes.
type tokenJSON struct {
	BaseURL            string    `json:"base_url"`
	AccessToken        string    `json:"access_token"`
	TokenType          string    `json:"token_type"`
	IssuedAt           time.Time `json:"issued_at"`
	ExpiresAt          time.Time `json:"expires_at,omitzero"`
	CredentialsVersion string    `json:"credentials_version"`
}

// ParseToken reads the JSON of a token secret. It ignores unknown keys, so that a function can
// read what a newer version wrote. The error is an [ErrUnreadable] that shows no value.
func ParseToken(data []byte) (Token, error) {
	var in tokenJSON
	if json.Unmarshal(data, &in) != nil {
		return Token{}, explain(ErrUnreadable, "not the expected JSON")
	}
	switch {
	case !oauth.ValidBaseURL(in.BaseURL):
		return Token{}, explain(ErrUnreadable, "no valid base_url")
	case !oauth.ValidBearer(in.AccessToken):
		return Token{}, explain(ErrUnreadable, "no valid access_token")
	case !strings.EqualFold(in.TokenType, bearer):
		return Token{}, explain(ErrUnreadable, "token_type is not Bearer")
	case in.IssuedAt.IsZero():
		return Token{}, explain(ErrUnreadable, "no issued_at")
	}
	token := Token{
		BaseURL:            in.BaseURL,
		AccessToken:        NewSecret(in.AccessToken),
		TokenType:          bearer,
		IssuedAt:           in.IssuedAt.UTC(),
		ExpiresAt:          in.ExpiresAt.UTC(),
		CredentialsVersion: in.CredentialsVersion,
	}
	if _, err := token.encode(); err != nil {
		return Token{}, explain(ErrUnreadable, "issued_at or expires_at cannot be written in UTC")
	}
	return token, nil
}

// encode is the inverse of ParseToken. It does not escape <, > and &, which would make a token
// up to six times as long.
func (t Token) encode() (string, error) {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(tokenJSON{
		BaseURL:            t.BaseURL,
		AccessToken:        t.AccessToken.Reveal(),
		TokenType:          t.TokenType,
		IssuedAt:           t.IssuedAt,
		ExpiresAt:          t.ExpiresAt,
		CredentialsVersion: t.CredentialsVersion,
	})
	return strings.TrimSuffix(out.String(), "\n"), err
}

// Expires reports whether the token expires. An access key does not.
func (t Token) Expires() bool { return !t.ExpiresAt.IsZero() }

// Remaining returns the lifetime that remains after now, never less than zero. For a token that
// does not expire it returns zero.
func (t Token) Remaining(now time.Time) time.Duration {
	return max(0, t.ExpiresAt.Sub(now))
}

// LifetimePercent returns the share of the lifetime that remains after now, from 0 to 100. It is
// 0 for the zero Token and an expired one, and 100 for a token that does not expire.
func (t Token) LifetimePercent(now time.Time) float64 {
	lifetime := t.ExpiresAt.Sub(t.IssuedAt)
	switch {
	case t.AccessToken.Reveal() == "":
		return 0
	case !t.Expires():
		return 100
	case lifetime <= 0: // only a person can have stored such a token
		return 0
	}
	return min(100, 100*float64(t.Remaining(now))/float64(lifetime))
}

// Valid reports whether t is a token and has at least [Margin] of its lifetime left.
func (t Token) Valid(now time.Time) bool {
	return t.AccessToken.Reveal() != "" && (!t.Expires() || t.Remaining(now) >= Margin)
}

// same reports whether both are the same token, whatever their expiries.
func (t Token) same(other Token) bool {
	return t.AccessToken.Reveal() == other.AccessToken.Reveal()
}
