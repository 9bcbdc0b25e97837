package github_test

import (
	"testing"

	"github.com/purgebot/purgebot/internal/github"
)

func TestWebURL(t *testing.T) {
	for api, want := range map[string]string{
		"https://api.github.com":            "https://github.com",
		"https://API.github.com/":           "https://github.com",
		"https://ghe.acme.com/api/v3":       "https://ghe.acme.com",
		"https://api.acme.com:8443/api/v3/": "https://api.acme.com:8443",
		"https://api.acme.ghe.com":          "https://acme.ghe.com",
		"http://127.0.0.1:8080":             "",
		"https://api.evil.com":              "",
		"https://notapi.github.com":         "",
		"":                                  "",
	} {
		if got := github.WebURL(api); got != want {
			t.Errorf("%s: %q, want %q", api, got, want)
		}
	}
}
