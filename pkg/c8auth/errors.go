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
	ErrInput = coded("invalid_input", "malformed input")
	// ErrSettings: an environment variable is missing or malformed.
	ErrSettings = coded("invalid_settings", "settings")
	// ErrTenantName: no tenant can have that name.
	ErrTenantName = coded("invalid_tenant", "not a tenant's name: expected a lower-case letter followed by at most 30 lower-case letters, digits or hyphens")
	// ErrUnknownTenant: the tenant's secret does not exist, or is scheduled for deletion.
	ErrUnknownTenant = coded("unknown_tenant", "unknown tenant")
	// ErrNoToken: the tenant's token secret is empty.
	ErrNoToken = coded("no_token", "no token has been stored yet")
	// ErrExpired: the stored token has expired, or will within [Margin].
	ErrExpired = coded("token_expired", "the stored token has expired")
	// ErrUnreadable: the token secret holds something that is not a token.
	ErrUnreadable = coded("unreadable_token", "the stored value is not a token")
	// ErrUnavailable: a call to Secrets Manager failed.
	ErrUnavailable = coded("store_unavailable", "the secret store is unavailable")
	// ErrDenied: IAM or the KMS key's policy denies a call. It is an [ErrUnavailable] as well.
	ErrDenied = coded("access_denied", "%w: access denied", ErrUnavailable)
	// ErrQuota: the token secret has reached Secrets Manager's quota of versions.
	ErrQuota = coded("version_quota", "too many versions of the token secret")
	// ErrNoCredentials: no credentials are stored.
	ErrNoCredentials = coded("no_credentials", "no credentials are stored")
	// ErrCredentials: the stored credentials are malformed.
	ErrCredentials = coded("malformed_credentials", "malformed credentials")
	// ErrRefused: Communic8 refuses the credentials.
	ErrRefused = coded("credentials_refused", "credentials refused")
	// ErrRejected: Communic8 rejects a token that was just issued.
	ErrRejected = coded("token_rejected", "new token rejected")
	// ErrUpstream: Communic8 cannot be reached or fails. Another request may succeed.
	ErrUpstream = coded("communic8_unavailable", "Communic8 is unavailable")
	// ErrAnswer: the response of Communic8 is neither a token nor a refusal.
	ErrAnswer = coded("communic8_answer", "Communic8 gives no token")
	// ErrLostRace: another rotation stored a token first.
	ErrLostRace = coded("lost_race", "another rotation stored a token first")
	// ErrHeld: the reported token is not replaced now, because another report of it is being
	// handled, or because there were too many reports.
	ErrHeld = coded("report_held", "another report is being handled, or there were too many")
)

// codedError is an error with a code.
type codedError struct {
	error
	code string
}

func coded(code, format string, args ...any) error {
	return &codedError{fmt.Errorf(format, args...), code}
}

func (e *codedError) Unwrap() error { return e.error }

// Code returns the error's code, a stable word for programs: error_code in the log. Of an error
// that is several of these, the first one counts. For nil and for an error that is none of this
// package's, it returns "internal".
func Code(err error) string {
	if coded, ok := errors.AsType[*codedError](err); ok {
		return coded.code
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
