package config

import "slices"

// NeedsRestart names the keys that differ in another configuration and that a running
// server can't take over: what it listens on, where it stores, which App it is, what it
// may fetch, and how long it keeps things. A server takes over all other keys: policy,
// receivers, webhook secrets and Akamai's credentials. A new key belongs in this list
// unless server.Settings has it.
func (c Config) NeedsRestart(next Config) (keys []string) {
	for _, k := range []struct {
		name string
		same bool
	}{
		{"listen", c.Listen == next.Listen},
		{"listen_proxies", slices.Equal(c.Proxies, next.Proxies)},
		{"public_url", c.PublicURL == next.PublicURL},
		{"database", c.Database.Reveal() == next.Database.Reveal()},
		{"github.api_url", c.GitHub.APIURL == next.GitHub.APIURL},
		{"github.app_id", c.GitHub.AppID == next.GitHub.AppID},
		{"github.private_key_file", c.GitHub.PrivateKey.Reveal() == next.GitHub.PrivateKey.Reveal()},
		{"fetch.origins", slices.Equal(c.Fetch.Origins, next.Fetch.Origins)},
		{"fetch.networks", slices.Equal(c.Fetch.Networks, next.Fetch.Networks)},
		{"retention", c.Retention == next.Retention},
	} {
		if !k.same {
			keys = append(keys, k.name)
		}
	}
	return keys
}
