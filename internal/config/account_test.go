package config_test

import (
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/config"
)

const accountsFile = `
github: {app_id: 1, private_key_file: app.pem, webhook_secrets: [a-secret-of-sixteen]}
akamai:
  edgerc: /etc/edgerc
  accounts:
    emea: {section: emea, account_switch_key: "B-1:2"}
    apac: {edgerc: apac.edgerc, base_url: http://127.0.0.1:9000}
policy:
  - {repositories: ["acme/emea"], account: emea}
  - {repositories: ["acme/*"], account: apac}
  - {repositories: ["other/*"]}
`

func TestAccounts(t *testing.T) {
	path := folder(t, accountsFile, pkcs1(t))
	c, err := config.Load(path, env(nil))
	if err != nil {
		t.Fatal(err)
	}
	if names := strings.Join(c.Akamai.Names(), " "); names != "apac emea" {
		t.Errorf("accounts %s", names)
	}
	if a, err := c.Akamai.Account("emea"); err != nil || a.Edgerc != "/etc/edgerc" || a.Section != "emea" || a.AccountSwitchKey != "B-1:2" {
		t.Errorf("emea is %+v, %v", a, err)
	}
	if a, err := c.Akamai.Account("apac"); err != nil || a.Edgerc != strings.TrimSuffix(path, "purgebot.yaml")+"apac.edgerc" || a.BaseURL != "http://127.0.0.1:9000" {
		t.Errorf("apac is %+v, %v", a, err)
	}
	if _, err := c.Akamai.Account("emae"); err == nil || err.Error() != `there is no Akamai account "emae": there are default, apac, emea` {
		t.Errorf("an unknown one: %v", err)
	}
	for repository, want := range map[string]string{"acme/emea": "emea", "acme/www": "apac", "other/x": "", "nobody/x": ""} {
		if got := c.Policy.For(repository).Account(); got != want {
			t.Errorf("%s goes with %q, want %q", repository, got, want)
		}
	}
	c, err = config.Load(path, env(map[string]string{"PURGEBOT_AKAMAI_ACCOUNTS": "{emea: {section: x}, apac: {section: y}}"}))
	if a, _ := c.Akamai.Account("emea"); err != nil || a.Section != "x" {
		t.Errorf("by the variable emea is %+v, %v", a, err)
	}
}

func TestAccountFaults(t *testing.T) {
	for name, test := range map[string]struct{ old, with, want string }{
		"unknown in the policy": {"account: apac}", "account: apca}", `purgebot.yaml:10: account: there is no Akamai account "apca": there are default, apac, emea`},
		"named default":         {"apac: {edgerc", "default: {edgerc", `purgebot.yaml:7: the keys of akamai itself are the account default`},
		"no name":               {"apac: {edgerc", "A pac: {edgerc", `purgebot.yaml:7: "A pac" is no name of an account`},
		"an unknown key":        {"{section: emea", "{sektion: emea", `purgebot.yaml:6: unknown key "sektion": known here are edgerc, section, account_switch_key, base_url`},
		"plain http":            {"http://127.0.0.1:9000", "http://akamai.test", `purgebot.yaml:7: akamai.accounts.apac.base_url must be https`},
		"one twice":             {`{section: emea, account_switch_key: "B-1:2"}`, "{section: default}", `purgebot.yaml:6: account emea has the same credentials as default`},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(accountsFile, test.old, test.with, 1)
			if text == accountsFile {
				t.Fatal("nothing is at fault")
			}
			_, err := config.Load(folder(t, text, pkcs1(t)), env(nil))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}
