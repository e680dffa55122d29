package c8auth

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

// The errors that callers branch on, with errors.Is.
var (
	// ErrInput: the event or the request body is malformed.
	ErrInput = errors.New("malformed input")
	// ErrSettings: an environment variable is missing or malformed.
	ErrSettings = errors.New("settings")
	// ErrTenantName: the name is not one that a tenant can have.
	ErrTenantName = errors.New("not a tenant's name: expected a lower-case letter followed by at most 30 lower-case letters, digits or hyphens")
	// ErrUnknownTenant: the tenant has no such secret, or it is being deleted.
	ErrUnknownTenant = errors.New("unknown tenant")
	// ErrNoToken: the tenant's token secret is empty.
	ErrNoToken = errors.New("no token has been stored yet")
	// ErrExpired: the stored token has expired, or will within [Margin].
	ErrExpired = errors.New("the stored token has expired")
	// ErrUnreadable: the token secret holds something that is not a token.
	ErrUnreadable = errors.New("the stored value is not a token")
	// ErrUnavailable: a call to Secrets Manager failed.
	ErrUnavailable = errors.New("the secret store is unavailable")
	// ErrDenied: IAM or the KMS key's policy denies a call. It is an [ErrUnavailable] as well.
	ErrDenied = fmt.Errorf("%w: access denied", ErrUnavailable)
	// ErrQuota: the secret has too many versions for another one.
	ErrQuota = errors.New("too many versions of the token secret")
	// ErrNoCredentials: no credentials are stored.
	ErrNoCredentials = errors.New("no credentials are stored")
	// ErrCredentials: the stored credentials are malformed.
	ErrCredentials = errors.New("malformed credentials")
	// ErrRefused: Communic8 refuses the credentials.
	ErrRefused = errors.New("credentials refused")
	// ErrRejected: Communic8 rejects a token that it has just issued.
	ErrRejected = errors.New("new token rejected")
	// ErrUpstream: Communic8 cannot be reached or fails. Another request may succeed.
	ErrUpstream = errors.New("Communic8 is unavailable")
	// ErrAnswer: the response of Communic8 is neither a token nor a refusal.
	ErrAnswer = errors.New("Communic8 gives no token")
	// ErrLostRace: another rotation stored a token first.
	ErrLostRace = errors.New("another rotation stored a token first")
	// ErrHeld: Communic8 rejects the reported token, but no other one is requested now, because
	// another report is being handled, or too many were recently.
	ErrHeld = errors.New("another report is being handled, or there were too many within a time")
)

// codes are the error codes. If an error is several of these errors, the first counts.
var codes = []struct {
	err  error
	code string
}{
	{ErrInput, "invalid_input"},
	{ErrSettings, "invalid_settings"},
	{ErrTenantName, "invalid_tenant"},
	{ErrUnknownTenant, "unknown_tenant"},
	{ErrNoToken, "no_token"},
	{ErrExpired, "token_expired"},
	{ErrUnreadable, "unreadable_token"},
	{ErrDenied, "access_denied"},
	{ErrUnavailable, "store_unavailable"},
	{ErrQuota, "version_quota"},
	{ErrNoCredentials, "no_credentials"},
	{ErrRefused, "credentials_refused"}, // also if either of the current and the previous ones is malformed
	{ErrCredentials, "malformed_credentials"},
	{ErrRejected, "token_rejected"},
	{ErrUpstream, "communic8_unavailable"},
	{ErrAnswer, "communic8_answer"},
	{ErrLostRace, "lost_race"},
	{ErrHeld, "report_held"},
}

// Code returns the error's code, a stable word for programs: error_code in the log. It is
// "internal" for an error that is none of this package's.
func Code(err error) string {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return "internal"
}

// maxText bounds an error in a log, in characters.
const maxText = 500

// Text returns the error's text for a log: at most 500 printable characters.
func Text(err error) string { return oauth.Printable(err.Error(), maxText) }

// ErrorAttrs returns the attributes of a line about a failure: error, for people, and
// error_code, for programs.
func ErrorAttrs(err error) []slog.Attr {
	return []slog.Attr{slog.String("error", Text(err)), slog.String("error_code", Code(err))}
}

// The patterns of this package do not bound lengths: one with {0,30} is compiled into thirty
// copies of what it repeats, at every cold start.
var tenantName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

// CheckTenant returns [ErrTenantName] unless name can be a tenant's. The error does not
// repeat the name, which may be anything, even a secret.
func CheckTenant(name string) error {
	if len(name) > 31 || !tenantName.MatchString(name) {
		return ErrTenantName
	}
	return nil
}

// explain wraps a sentinel with details.
func explain(sentinel error, format string, args ...any) error {
	return fmt.Errorf("%w: %s", sentinel, fmt.Sprintf(format, args...))
}
