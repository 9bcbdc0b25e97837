package config_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/purgebot/purgebot/internal/config"
)

func TestSecretNeverPrints(t *testing.T) {
	const text = "hunter2"
	s := config.NewSecret(text)
	type hidden struct{ s config.Secret }
	values := []any{
		s, &s,
		[]config.Secret{s},
		map[string]config.Secret{"x": s},
		struct{ S config.Secret }{s},
		hidden{s},
		&hidden{s},
		[]hidden{{s}},
		config.Config{Database: s},
		&config.GitHub{WebhookSecrets: []config.Secret{s}},
	}
	var out bytes.Buffer
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%b", "%c", "%t"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, fmt.Errorf("wrapped: %v", v))
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		for _, marshal := range []func(any) ([]byte, error){json.Marshal, xml.Marshal, func(v any) ([]byte, error) { return yaml.Marshal(v) }} {
			if b, err := marshal(v); err == nil {
				out.Write(b)
			}
		}
	}
	for _, leak := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), fmt.Sprintf("%d", []byte(text))} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q leaks", leak)
		}
	}
	if !strings.Contains(out.String(), "[redacted]") {
		t.Error("nothing was redacted")
	}
	if s.Reveal() != text || s.IsZero() || !(config.Secret{}).IsZero() {
		t.Error("Reveal must give the text, and the zero Secret none")
	}
}
