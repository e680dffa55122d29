package caller

// The token as a program holds it: whether to use it, and when to fetch the next.

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

const (
	// margin is how much life a token must have left to be used: time for the request.
	margin = 10 * time.Second
	// early is how long before a token's end, at most, the next one is fetched; for a
	// token with little life left it is a quarter of that.
	early = 4 * time.Minute
)

// token is a token that the API has returned.
type token struct {
	secret  *string // by pointer, which fmt does not follow; nil: there is none
	version string
	base    *url.URL  // where it is good: scheme, host and port, nothing else
	expiry  time.Time // by this machine's clock; zero: never
	refresh time.Time // when to fetch the next one; zero: never
}

// parseToken reads the body of a 200 to a request that was sent at the given time. Its
// error shows nothing of it.
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
	base, err := url.Parse(in.BaseURL)
	if err != nil || !confidential(base) || base.Scheme+"://"+base.Host != in.BaseURL || !baseHost.MatchString(base.Host) {
		return token{}, errors.New("the answer has no base_url that a token may be sent to")
	}
	t := token{secret: &in.AccessToken, version: in.Version, base: base}
	if in.ExpiresIn != nil {
		life := time.Duration(min(max(0, *in.ExpiresIn), 1<<31)) * time.Second
		t.expiry = sent.Add(life)
		// Somewhere in the first half of the time that is kept free for it: programs that
		// have the same token do not come for the next one at the same moment.
		window := min(early, life/4)
		t.refresh = t.expiry.Add(-margin - window + rand.N(window/2+1)) // #nosec G404 -- spreads load, guards nothing
		if earliest := sent.Add(minRetry); t.refresh.Before(earliest) {
			t.refresh = earliest
		}
	}
	return t, nil
}

// baseHost is a host with an optional port, short enough to be shown.
var baseHost = regexp.MustCompile(`^[A-Za-z0-9.:\[\]_-]{1,261}$`)

// usable reports whether there is a token and it has at least margin left.
func (t token) usable(now time.Time) bool {
	return t.secret != nil && (t.expiry.IsZero() || t.expiry.Sub(now) >= margin)
}

// due reports whether it is time to fetch the next one.
func (t token) due(now time.Time) bool {
	return !t.refresh.IsZero() && !now.Before(t.refresh)
}

// oauth2 is the token for those who take one.
func (t token) oauth2() *oauth2.Token {
	out := &oauth2.Token{AccessToken: *t.secret, TokenType: "Bearer", Expiry: t.expiry}
	return out.WithExtra(map[string]any{"base_url": t.base.String(), "version": t.version})
}

// confidential reports whether nobody on the way to u can listen: it is https, or this
// machine, where fakes are.
func confidential(u *url.URL) bool {
	host := u.Hostname()
	ip, err := netip.ParseAddr(host)
	local := host == "localhost" || host == "host.docker.internal" || err == nil && ip.Unmap().IsLoopback()
	return host != "" && u.User == nil && (u.Scheme == "https" || u.Scheme == "http" && local)
}
