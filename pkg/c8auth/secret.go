package c8auth

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a string that only Reveal returns: fmt with any verb, slog and encoding/json write
// "[redacted]". The zero value is the empty string. A Secret may be used concurrently.
//
// Secret holds a pointer, because fmt does not call methods of values in unexported fields. It
// prints their contents instead, and of a pointer only the address.
type Secret struct{ value *string }

// NewSecret returns s as a Secret.
func NewSecret(s string) Secret { return Secret{&s} }

// Reveal returns the string.
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

// MarshalText returns "[redacted]" and never an error. encoding/json calls it.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
