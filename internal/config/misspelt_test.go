package config_test

import (
	"testing"

	"github.com/purgebot/purgebot/internal/config"
)

func TestMisspelt(t *testing.T) {
	for name, want := range map[string]string{
		"PURGEBOT_DATABSE":             "PURGEBOT_DATABSE: there is no such variable; did you mean PURGEBOT_DATABASE?",
		"PURGEBOT_XYZZY_QUUX":          "PURGEBOT_XYZZY_QUUX: there is no such variable; docs/configuration.md lists all",
		"PURGEBOT_PORTS":               "PURGEBOT_PORTS: there is no such variable; did you mean PURGEBOT_POLICY?",
		"PURGEBOT_DATABASE":            "",
		"PURGEBOT_TEST_GENERATORS":     "",
		"HOME":                         "",
		"PURGEBOT_SERVICE_HOST":        "", // and below: what Kubernetes injects
		"PURGEBOT_SERVICE_PORT":        "",
		"PURGEBOT_SERVICE_PORT_HTTP":   "",
		"PURGEBOT_PORT":                "",
		"PURGEBOT_PORT_8080_TCP":       "",
		"PURGEBOT_PORT_8080_TCP_PROTO": "",
		"PURGEBOT_PORT_8080_TCP_ADDR":  "",
	} {
		got := ""
		if err := config.Misspelt([]string{name + "=x"}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
