package c8auth

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a string that only Reveal returns: fmt with any verb, slog and encoding/json write
// "[redacted]" instead. It holds a pointer, because fmt calls no methods on the value of an
// unexported field but prints its contents, and of a pointer that is the address. The zero
// value is the empty string.
type Secret struct{ value *string }

// NewSecret returns s as a Secret.
func NewSecret(s string) Secret { return Secret{&s} }

// Reveal returns the string. Its callers are all the places where a secret leaves this type.
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

// MarshalText returns "[redacted]", which encoding/json writes.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
