// Package config reads purgebot's configuration: one YAML file, and for every
// key an environment variable that wins over it. Variables alone are enough.
//
// Every fault is found in one run and told with its place: FILE:LINE, or the
// variable. What can be read is given even so, since `doctor` goes on with it.
//
// settings.go lists all keys once, each with its variable and how it is read; the
// documentation's tables are held to that list by a test. What must never be shown
// is a [Secret], which can't be printed. node.go puts the variables into the file's
// tree, so that both are read, and found fault with, by the same code; changes.go
// says which keys a running server takes over.
package config

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/yaml"
)

// DefaultFile is read, if it exists, where no file is named.
const DefaultFile = "purgebot.yaml"

// Config is the whole, validated; docs/configuration.md explains each key.
type Config struct {
	File      string         // that was read; "" if none was
	Listen    string         // HOST:PORT
	Proxies   []netip.Prefix // whose connections are others', by X-Forwarded-For
	PublicURL string         // absolute, without a slash at its end
	Database  Secret         // sqlite:PATH or postgres://…, which may hold a password
	GitHub    GitHub
	Akamai    Akamai
	Fetch     Fetch
	Notify    []Receiver
	Policy    policy.Policy
	Retention Retention
	Warnings  []string // what works and should not stay so, each with its place
}

// Fetch says what the server itself may GET, to verify and to warm, beside the
// hosts that policy lets a repository purge.
type Fetch struct {
	Origins  []string       // HOST or HOST:PORT, in lower case
	Networks []netip.Prefix // addresses that are not public, and may be connected to
}

// GitHub is the App.
type GitHub struct {
	APIURL         string // as it is written
	AppID          int64
	PrivateKey     Secret // PEM, with real line breaks
	PrivateKeyFile string // that it was read from; "" if none was
	WebhookSecrets []Secret
}

// Akamai says where the credentials are, and what is changed about them;
// empty strings mean Akamai's own defaults.
type Akamai struct {
	Edgerc           string // path of a credentials file
	Section          string
	AccountSwitchKey string
	BaseURL          string

	Accounts map[string]Akamai // others, by name; those have none
}

// Retention is how long the database keeps what is done.
type Retention struct {
	Deliveries time.Duration
	Purges     time.Duration
}

// Load reads the file at path, or, where path is "", DefaultFile if it
// exists; getenv is os.Getenv, and an empty variable is none. Paths in the
// file are relative to it, those in variables to the working directory; ~ is
// HOME. The error holds every fault, one a line.
func Load(path string, getenv func(string) string) (Config, error) {
	l := &loader{getenv: getenv}
	l.read(path)
	l.apply(l.settings())
	l.defaults()
	l.demandAll()
	return l.config, l.err()
}

// LoadAkamai reads the akamai section alone, and demands nothing of the rest.
func LoadAkamai(path string, getenv func(string) string) (Akamai, error) {
	l := &loader{getenv: getenv, only: "akamai"}
	l.read(path)
	l.apply(l.akamaiSettings())
	return l.config.Akamai, l.err()
}

// loader gathers the configuration and its faults.
type loader struct {
	getenv func(string) string
	only   string // the one section that counts; "": all
	config Config
	values map[string]*yaml.Node // by key, from the file
	place  map[string]yaml.Place // of each key that was set
	broken bool                  // the file can't be read: what it lacks is not known
	faults []fault
}

// read collects the file's values.
func (l *loader) read(path string) {
	l.values, l.place = map[string]*yaml.Node{}, map[string]yaml.Place{}
	name := path
	if name == "" {
		name = DefaultFile
	}
	src, err := os.ReadFile(l.home(name))
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

// collect files a mapping's values under their keys and tells of unknown
// ones.
func (l *loader) collect(n *yaml.Node, prefix string) {
	if n.Kind == yaml.Nothing || n.Kind == yaml.Broken {
		return // a section with all of its keys commented out, or a fault that is told
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

// apply sets each key from its variable, else from the file.
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
