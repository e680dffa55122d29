package c8auth

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a string that shows itself to nobody who does not call Reveal: not to
// fmt with any verb, not to slog, not to encoding/json. It is held by pointer,
// because fmt cannot call methods on a value in an unexported field and would
// print its insides: of a pointer it prints the address. The zero value is the
// empty string.
type Secret struct{ value *string }

// NewSecret returns s as a Secret.
func NewSecret(s string) Secret { return Secret{&s} }

// Reveal returns the string itself. Search for its callers to see every place
// where a secret leaves this type.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// Format writes "[redacted]" whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns "[redacted]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]", which is what encoding/json then writes.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
