package config

import (
	"cmp"
	"errors"
	"maps"
	"regexp"
	"slices"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/yaml"
	"github.com/purgebot/purgebot/purger"
)

// Names lists the accounts other than the default one, sorted.
func (a Akamai) Names() []string { return slices.Sorted(maps.Keys(a.Accounts)) }

// All lists every account, the default one first.
func (a Akamai) All() []string { return append([]string{ledger.DefaultAccount}, a.Names()...) }

// Account is the configuration of one account; "" is the default one. An unknown name is
// an error that lists the known ones.
func (a Akamai) Account(name string) (Akamai, error) {
	one, ok := a.Accounts[name]
	switch {
	case ok:
		return one, nil
	case name == "" || name == ledger.DefaultAccount:
		return a, nil
	}
	return Akamai{}, errors.New(ledger.NoAccount(name, a.All()))
}

// Client is how an account is reached. It reads the credentials at each call.
func (a Akamai) Client(name string, getenv func(string) string) (c purger.Config, err error) {
	one, err := a.Account(name)
	if err != nil {
		return c, err
	}
	if _, ok := a.Accounts[name]; ok { // the variable is meant for the default account only
		getenv = without("AKAMAI_EDGERC_ACCOUNT_KEY", getenv)
	}
	c.BaseURL, c.AccountSwitchKey = one.BaseURL, one.AccountSwitchKey
	c.Credentials, err = purger.LoadCredentials(one.Edgerc, one.Section, getenv)
	return c, err
}

// without hides one variable.
func without(hidden string, getenv func(string) string) func(string) string {
	return func(name string) string {
		if name == hidden {
			return ""
		}
		return getenv(name)
	}
}

// accountForm is the form of an account's name. The name becomes part of other names.
const accountForm = `^[a-z0-9]+([_-][a-z0-9]+)*$`

// longestAccount is in bytes.
const longestAccount = 40

// accounts reads the accounts other than the default one. An account that names no edgerc
// uses that of the default account. Two accounts with the same credentials are a fault:
// they would share one budget at Akamai but not here.
func (l *loader) accounts(n *yaml.Node) {
	if n.Kind != yaml.Mapping {
		l.wrong(n, "a group of accounts, each with its name,")
		return
	}
	a := &l.config.Akamai
	a.Accounts = map[string]Akamai{}
	for _, p := range l.unique(n) {
		name := p.Key.Text
		switch {
		case name == ledger.DefaultAccount:
			l.fault(p.Key.Place, "the keys of akamai itself are the account %s", name)
			continue
		case !regexp.MustCompile(accountForm).MatchString(name), len(name) > longestAccount:
			l.fault(p.Key.Place, "%q is no name of an account: it has small letters and digits, with single - or _ between them, %d at most", name, longestAccount)
			continue
		}
		one := Akamai{Edgerc: a.Edgerc}
		l.fields(
			p.Value, "", map[string]*yaml.Node{},
			key{"edgerc", func(n *yaml.Node) {
				if text, ok := l.text(n); ok {
					one.Edgerc = l.path(n.Place, text)
				}
			}},
			key{"section", l.string(&one.Section)},
			key{"account_switch_key", l.string(&one.AccountSwitchKey)},
			key{"base_url", l.baseURL("akamai.accounts."+name+".base_url", &one.BaseURL)},
		)
		a.Accounts[name] = one
		for _, other := range a.All() {
			if that, _ := a.Account(other); other != name && one.same(that) {
				l.fault(p.Key.Place, "account %s has the same credentials as %s: give it another section, edgerc or account_switch_key", name, other)
			}
		}
	}
}

// same reports whether two accounts have the same credentials, as far as the
// configuration tells: it does not read the files.
func (a Akamai) same(b Akamai) bool {
	const usual = "default" // the section of .edgerc that counts if none is named
	return a.Edgerc == b.Edgerc && cmp.Or(a.Section, usual) == cmp.Or(b.Section, usual) && a.AccountSwitchKey == b.AccountSwitchKey && a.BaseURL == b.BaseURL
}

// account reads the name of an account, which must exist.
func (l *loader) account(to *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		text, ok := l.text(n)
		if !ok {
			return
		}
		if _, err := l.config.Akamai.Account(text); err != nil {
			l.fault(n.Place, "account: %w", err)
			return
		}
		*to = text
	}
}
