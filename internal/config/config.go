// Package config reads purgebot's configuration: one YAML file, and for each key an
// environment variable that takes precedence. Variables alone are enough.
//
// One run finds every fault, and reports it with its place: FILE:LINE, or the variable.
// What can be read is returned even then, because `doctor` continues with it.
//
// settings.go lists each key once, with its variable and how it is read; a test compares
// that list with the tables of the documentation. A text that must never be shown is a
// [Secret], which can't be printed. node.go puts the variables into the tree of the file,
// so that the same code reads and checks both. changes.go says which keys a running
// server can't take over.
package config

import (
	"cmp"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/yaml"
)

// DefaultFile is read, if it exists, when no file is named.
const DefaultFile = "purgebot.yaml"

// Config is the whole configuration, checked; docs/configuration.md explains each key. If
// [Load] returns an error, a faulty value is left at its zero value or default.
type Config struct {
	File      string         // the file that was read, as it was named; "": none
	Listen    string         // HOST:PORT
	Proxies   []netip.Prefix // their connections carry others' requests, named in X-Forwarded-For
	PublicURL string         // absolute, without a slash at its end
	Database  Secret         // sqlite:PATH or postgres://…, which may hold a password
	GitHub    GitHub
	Akamai    Akamai
	Fetch     Fetch
	Notify    []Receiver
	Policy    policy.Policy
	Retention Retention
	Warnings  []string // what works but should be changed, each with its place
}

// Fetch says what the server itself may GET, to verify pages and to warm caches. It comes
// on top of the hosts that the policy lets a repository purge.
type Fetch struct {
	Origins  []string       // HOST or HOST:PORT, in lower case
	Networks []netip.Prefix // addresses that are not public, and that the server may connect to
}

// GitHub is how the server reaches GitHub, and as which App.
type GitHub struct {
	APIURL         string // as written, or the default
	AppID          int64
	PrivateKey     Secret   // PEM, with real line breaks
	PrivateKeyFile string   // the file that the key was read from; "": none
	WebhookSecrets []Secret // deliveries signed with any of them are accepted
}

// Akamai says where an account's credentials are, and what to change about them. Empty
// strings mean Akamai's own defaults.
type Akamai struct {
	Edgerc           string // path of a credentials file
	Section          string
	AccountSwitchKey string
	BaseURL          string

	Accounts map[string]Akamai // the other accounts, by name; nil in each of those
}

// Retention is how long the database keeps what is done. Zero never occurs after [Load]:
// it has defaults.
type Retention struct {
	Deliveries time.Duration
	Purges     time.Duration
}

// Load reads the file at path or, if path is "", DefaultFile if that exists. getenv is
// os.Getenv; an empty variable counts as unset. Paths in the file are relative to the
// file, paths in variables to the working directory; ~ is HOME. The error holds every
// fault, one a line. The Config holds what could be read, even with an error.
func Load(path string, getenv func(string) string) (Config, error) {
	l := &loader{getenv: getenv}
	l.read(path)
	l.apply(l.settings())
	l.defaults()
	l.demandAll()
	return l.config, l.err()
}

// LoadAkamai reads only the akamai section, and requires nothing of the rest of the file.
func LoadAkamai(path string, getenv func(string) string) (Akamai, error) {
	l := &loader{getenv: getenv, only: "akamai"}
	l.read(path)
	l.apply(l.akamaiSettings())
	return l.config.Akamai, l.err()
}

// loader collects the configuration and its faults during one Load.
type loader struct {
	getenv func(string) string
	only   string // the one section that is read; "": all
	config Config
	values map[string]*yaml.Node // by key, from the file
	place  map[string]yaml.Place // of each key that was set
	broken bool                  // the file can't be read, so nobody knows what it lacks
	faults []fault
}

// read collects the values of the file. A missing file is no fault if nobody named it.
func (l *loader) read(path string) {
	l.values, l.place = map[string]*yaml.Node{}, map[string]yaml.Place{}
	name := l.home(cmp.Or(path, DefaultFile)) // what the file names is relative to this
	src, err := os.ReadFile(name)             //nolint:gosec // the operator's own choice
	switch {
	case errors.Is(err, fs.ErrNotExist) && path == "":
		return
	case err != nil:
		l.faults, l.broken = append(l.faults, fault{err: err}), true // it names the file
		return
	}
	l.config.File = name
	if top := l.parse(src, name); top != nil {
		l.collect(top, "")
	}
}

// collect stores the values of a mapping under their full keys, and reports unknown keys.
func (l *loader) collect(n *yaml.Node, prefix string) {
	if n.Kind == yaml.Nothing || n.Kind == yaml.Broken {
		return // every key of the section is commented out, or the fault is reported already
	}
	if n.Kind != yaml.Mapping {
		l.fault(n.Place, "%s must hold keys, not %s", sectionName(prefix), n.Kind)
		return
	}
	for _, p := range l.unique(n) {
		key := prefix + p.Key.Text
		switch known, section := l.known(key); {
		case l.only != "" && prefix == "" && key != l.only:
		case known:
			l.values[key] = p.Value
		case section:
			l.collect(p.Value, key+".")
		default:
			l.unknownKey(p.Key, key, l.siblings(prefix))
		}
	}
}

// apply sets each key from its variable, else from the file. The order of settings
// matters: akamai.accounts needs akamai.edgerc, and policy needs akamai.accounts.
func (l *loader) apply(settings []setting) {
	for _, s := range settings {
		n := l.values[s.key]
		if text := l.getenv(s.variable); text != "" {
			n = l.fromVariable(s, text)
		}
		if n == nil || n.Kind == yaml.Nothing {
			continue
		}
		l.place[s.key] = n.Place
		s.set(n)
	}
}
