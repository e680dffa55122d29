package c8auth

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

// Margin is the least remaining lifetime of a valid token: enough for the caller to use it.
const Margin = 30 * time.Second

// Token is an access token of Communic8, or an access key.
type Token struct {
	BaseURL            string // https://host[:port] of the instance that accepts the token
	AccessToken        Secret
	TokenType          string    // "Bearer"
	IssuedAt           time.Time // the time before the request, in whole seconds
	ExpiresAt          time.Time // zero for an access key, which does not expire
	CredentialsVersion string    // VersionId of the credentials that it was made from
}

// tokenJSON is the encoding of the token secret. A key may be added if it can be missing, and a
// time also in internal/sim/wire.go, which shifts the clocks of processes. Besides the response of vend, no other
// encoding shows the token.
type tokenJSON struct {
	BaseURL            string    `json:"base_url"`
	AccessToken        string    `json:"access_token"`
	TokenType          string    `json:"token_type"`
	IssuedAt           time.Time `json:"issued_at"`
	ExpiresAt          time.Time `json:"expires_at,omitzero"`
	CredentialsVersion string    `json:"credentials_version"`
}

// ParseToken reads the JSON of a token secret. Unknown keys are ignored, so that an older
// function can read what a newer one wrote. The error is an [ErrUnreadable] that shows no
// value.
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
// of these up to six times as long.
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

// Remaining returns the lifetime that remains after now, never less than zero. It is
// meaningless for a token that does not expire.
func (t Token) Remaining(now time.Time) time.Duration {
	return max(0, t.ExpiresAt.Sub(now))
}

// LifetimePercent returns the share of the token's lifetime that remains after now, from 0 to 100:
// 0 if there is no token or it has expired, 100 if it does not expire.
func (t Token) LifetimePercent(now time.Time) float64 {
	lifetime := t.ExpiresAt.Sub(t.IssuedAt)
	switch {
	case t.AccessToken.Reveal() == "":
		return 0
	case !t.Expires():
		return 100
	case lifetime <= 0: // stored by hand
		return 0
	}
	return min(100, 100*float64(t.Remaining(now))/float64(lifetime))
}

// Valid reports whether there is a token and it has at least [Margin] left.
func (t Token) Valid(now time.Time) bool {
	return t.AccessToken.Reveal() != "" && (!t.Expires() || t.Remaining(now) >= Margin)
}

// same reports whether both are the same token, whatever their expiries.
func (t Token) same(other Token) bool {
	return t.AccessToken.Reveal() == other.AccessToken.Reveal()
}
