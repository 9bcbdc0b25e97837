package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/nearest"
	"github.com/purgebot/purgebot/internal/yaml"
)

// A setting is one key, its variable, and the function that checks and stores its value.
type setting struct {
	key          string
	variable     string
	form         form
	variableOnly bool // a secret that has no place in the file
	set          func(*yaml.Node)
}

// form says how the text of a variable is read. In the file, YAML gives the form.
type form int

const (
	scalar   form = iota // one text, number or boolean
	commas               // a list, separated by commas
	document             // a YAML document
)

// settings are all keys, in the order of the file. See apply for why the order matters.
func (l *loader) settings() []setting {
	c := &l.config
	list := []setting{
		{key: "listen", variable: "PURGEBOT_LISTEN", set: l.listen},
		{key: "listen_proxies", variable: "PURGEBOT_LISTEN_PROXIES", form: commas, set: l.networks(&c.Proxies)},
		{key: "public_url", variable: "PURGEBOT_PUBLIC_URL", set: l.publicURL},
		{key: "database", variable: "PURGEBOT_DATABASE", set: l.database},
		{key: "github.api_url", variable: "PURGEBOT_GITHUB_API_URL", set: l.apiURL},
		{key: "github.app_id", variable: "PURGEBOT_GITHUB_APP_ID", set: func(n *yaml.Node) {
			if id, ok := l.integer(n); ok && id <= 0 {
				l.fault(n.Place, "github.app_id must be the App's id, a number above 0")
			} else {
				c.GitHub.AppID = id
			}
		}},
		{key: "github.private_key_file", variable: "PURGEBOT_GITHUB_PRIVATE_KEY_FILE", set: l.privateKeyFile},
		{key: "github.private_key", variable: "PURGEBOT_GITHUB_PRIVATE_KEY", variableOnly: true, set: func(n *yaml.Node) {
			l.privateKey(n.Place, n.Text)
		}},
		{key: "github.webhook_secrets", variable: "PURGEBOT_GITHUB_WEBHOOK_SECRETS", form: commas, set: l.webhookSecrets},
	}
	list = append(list, l.akamaiSettings()...)
	return append(
		list,
		setting{key: "fetch.origins", variable: "PURGEBOT_FETCH_ORIGINS", form: commas, set: l.origins},
		setting{key: "fetch.networks", variable: "PURGEBOT_FETCH_NETWORKS", form: commas, set: l.networks(&c.Fetch.Networks)},
		setting{key: "notify", variable: "PURGEBOT_NOTIFY", form: document, set: l.notify},
		setting{key: "policy", variable: "PURGEBOT_POLICY", form: document, set: l.policy},
		setting{key: "retention.deliveries", variable: "PURGEBOT_RETENTION_DELIVERIES", set: l.duration(&c.Retention.Deliveries)},
		setting{key: "retention.purges", variable: "PURGEBOT_RETENTION_PURGES", set: l.duration(&c.Retention.Purges)},
	)
}

// akamaiSettings are the keys of the akamai section. accounts comes last: its entries
// take the section's edgerc if they name none.
func (l *loader) akamaiSettings() []setting {
	a := &l.config.Akamai
	return []setting{
		{key: "akamai.edgerc", variable: "PURGEBOT_AKAMAI_EDGERC", set: func(n *yaml.Node) {
			if text, ok := l.text(n); ok {
				a.Edgerc = l.path(n.Place, text)
			}
		}},
		{key: "akamai.section", variable: "PURGEBOT_AKAMAI_SECTION", set: l.string(&a.Section)},
		{key: "akamai.account_switch_key", variable: "PURGEBOT_AKAMAI_ACCOUNT_SWITCH_KEY", set: l.string(&a.AccountSwitchKey)},
		{key: "akamai.base_url", variable: "PURGEBOT_AKAMAI_BASE_URL", set: l.baseURL("akamai.base_url", &a.BaseURL)},
		{key: "akamai.accounts", variable: "PURGEBOT_AKAMAI_ACCOUNTS", form: document, set: l.accounts},
	}
}

// known reports whether key is a setting that the file may have, and whether it is a
// section of settings.
func (l *loader) known(key string) (setting, section bool) {
	for _, s := range l.settings() {
		if s.variableOnly {
			continue
		}
		setting = setting || s.key == key
		section = section || strings.HasPrefix(s.key, key+".")
	}
	return setting, section
}

// siblings are the names that a section may have, for the message about an unknown one.
func (l *loader) siblings(prefix string) []string {
	var names []string
	for _, s := range l.settings() {
		rest, ok := strings.CutPrefix(s.key, prefix)
		name, _, _ := strings.Cut(rest, ".")
		if ok && !s.variableOnly && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// variableOf is the variable of a key.
func (l *loader) variableOf(key string) string {
	for _, s := range l.settings() {
		if s.key == key {
			return s.variable
		}
	}
	return ""
}

// injected reports whether Kubernetes may set a variable by itself. It does so for a
// Service called purgebot, unless a pod has enableServiceLinks: false:
// https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
func injected(name string) bool {
	for _, begins := range []string{"PURGEBOT_SERVICE_HOST", "PURGEBOT_SERVICE_PORT", "PURGEBOT_PORT"} {
		if rest, ok := strings.CutPrefix(name, begins); ok && (rest == "" || rest[0] == '_') {
			return true
		}
	}
	return false
}

// Misspelt is an error about variables that begin like purgebot's but do not exist, one a
// line; environ is os.Environ(). Without it a misspelt variable would be ignored, and the
// default would count.
func Misspelt(environ []string) error {
	const prefix, tests = "PURGEBOT_", "PURGEBOT_TEST_" // tests set variables of their own
	// cmd/purgebot reads these two itself.
	names := []string{"PURGEBOT_AKAMAI_CCU_USER", "PURGEBOT_AKAMAI_CCU_PASSWORD"}
	for _, s := range new(loader).settings() {
		names = append(names, s.variable)
	}
	var wrong []error
	for _, assignment := range environ {
		name, _, _ := strings.Cut(assignment, "=")
		if !strings.HasPrefix(name, prefix) || strings.HasPrefix(name, tests) || slices.Contains(names, name) || injected(name) {
			continue
		}
		words := name + ": there is no such variable"
		if near := nearest.Word(name, names); near != "" {
			words += "; did you mean " + near + "?"
		} else {
			words += "; docs/configuration.md lists all"
		}
		wrong = append(wrong, errors.New(words))
	}
	return errors.Join(wrong...)
}
