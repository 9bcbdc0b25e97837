package config

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a text that prints as [redacted] in every way that Go prints.
//
// It holds the text behind a pointer. fmt reads unexported fields without calling any
// method, and for a pointer inside a struct it prints only the address.
type Secret struct{ text *string }

// NewSecret makes a Secret of a text.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal returns the text; "" for the zero Secret. Its result must not reach a log or an
// error.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether the text is empty.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// Equal compares two texts of the configuration. It is not for a text from outside: the
// time that it takes tells how much agrees.
func (s Secret) Equal(other Secret) bool { return s.Reveal() == other.Reveal() }

// String implements fmt.Stringer.
func (s Secret) String() string { return redacted }

// GoString covers %#v.
func (s Secret) GoString() string { return redacted }

// Format covers every verb, including those for which fmt does not call String.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue covers slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText covers XML, YAML and the keys of maps.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON covers JSON.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
