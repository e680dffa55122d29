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
	// ErrTenantName: no tenant can have that name.
	ErrTenantName = errors.New("not a tenant's name: expected a lower-case letter followed by at most 30 lower-case letters, digits or hyphens")
	// ErrUnknownTenant: the tenant's secret does not exist, or is scheduled for deletion.
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
	// ErrQuota: the token secret has reached Secrets Manager's quota of versions.
	ErrQuota = errors.New("too many versions of the token secret")
	// ErrNoCredentials: no credentials are stored.
	ErrNoCredentials = errors.New("no credentials are stored")
	// ErrCredentials: the stored credentials are malformed.
	ErrCredentials = errors.New("malformed credentials")
	// ErrRefused: Communic8 refuses the credentials.
	ErrRefused = errors.New("credentials refused")
	// ErrRejected: Communic8 rejects a token that was just issued.
	ErrRejected = errors.New("new token rejected")
	// ErrUpstream: Communic8 cannot be reached or fails. Another request may succeed.
	ErrUpstream = errors.New("Communic8 is unavailable")
	// ErrAnswer: the response of Communic8 is neither a token nor a refusal.
	ErrAnswer = errors.New("Communic8 gives no token")
	// ErrLostRace: another rotation stored a token first.
	ErrLostRace = errors.New("another rotation stored a token first")
	// ErrHeld: the reported token is not replaced now, because another report of it is being
	// handled, or because there were too many reports.
	ErrHeld = errors.New("another report is being handled, or there were too many")
)

// codes are the error codes. For an error that is several of these, the first one counts.
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
	{ErrRefused, "credentials_refused"}, // also if only one of the current and the previous ones is malformed
	{ErrCredentials, "malformed_credentials"},
	{ErrRejected, "token_rejected"},
	{ErrUpstream, "communic8_unavailable"},
	{ErrAnswer, "communic8_answer"},
	{ErrLostRace, "lost_race"},
	{ErrHeld, "report_held"},
}

// Code returns the error's code, a stable word for programs: error_code in the log. For nil and
// for an error that is none of this package's, it returns "internal".
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

// Text returns the error's text for a log: at most 500 printable characters. err must not be
// nil.
func Text(err error) string { return oauth.Printable(err.Error(), maxText) }

// ErrorAttrs returns the attributes of a log line about a failure: error, for people, and
// error_code, for programs. err must not be nil.
func ErrorAttrs(err error) []slog.Attr {
	return []slog.Attr{slog.String("error", Text(err)), slog.String("error_code", Code(err))}
}

// The regular expressions of this package do not bound lengths: at every cold start, {0,30}
// would be compiled into thirty copies of the repeated part.
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
