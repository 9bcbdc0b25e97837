package config

import (
	"net/url"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/nearest"
	"github.com/purgebot/purgebot/internal/yaml"
)

// Receiver is where events are posted. The address is a secret as well: everybody who
// knows the address of a chat can write there.
type Receiver struct {
	URL, Secret  Secret
	Events       []ledger.EventKind // never empty
	Repositories []string           // globs; empty: all
}

// MostReceivers bounds the receivers, because each can keep a worker waiting.
const MostReceivers = 20

// notify reads the receivers. It takes only entries without any fault, so that a Receiver
// always has an address and a secret.
func (l *loader) notify(n *yaml.Node) {
	if n.Kind != yaml.List {
		l.wrong(n, "a list of receivers, each with a url and a secret,")
		return
	}
	if len(n.Items) > MostReceivers {
		l.fault(n.Place, "notify has %d receivers, and may have %d: let one of them pass things on", len(n.Items), MostReceivers)
	}
	for i, item := range n.Items {
		before := len(l.faults)
		r, at := Receiver{Events: ledger.EventKinds()}, map[string]*yaml.Node{}
		l.fields(
			item, "", at,
			key{"url", l.receiverURL(&r)},
			key{"secret", l.receiverSecret(&r)},
			key{"events", l.events(&r.Events)},
			key{"repositories", l.globs(&r.Repositories)},
		)
		if item.Kind == yaml.Mapping && (at["url"] == nil || at["url"].Kind == yaml.Nothing) {
			l.fault(item.Place, "url is missing: where events are posted to")
		}
		if item.Kind == yaml.Mapping && (at["secret"] == nil || at["secret"].Kind == yaml.Nothing) {
			l.fault(item.Place, "secret is missing: make one with openssl rand -hex 32. A receiver that checks no signatures, such as a chat, takes no notice of it")
		}
		if same := slices.IndexFunc(l.config.Notify, func(o Receiver) bool { return o.URL.Equal(r.URL) }); same >= 0 && !r.URL.IsZero() {
			l.fault(item.Place, "receiver %d has the url of receiver %d: make one of the two", i+1, same+1)
		}
		if len(l.faults) == before {
			l.config.Notify = append(l.config.Notify, r)
		}
	}
}

// receiverURL takes an address. No fault quotes it, because it is a secret.
func (l *loader) receiverURL(r *Receiver) func(*yaml.Node) {
	return func(n *yaml.Node) {
		text, ok := l.text(n)
		if !ok {
			return
		}
		u, err := url.Parse(text)
		switch {
		case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.User != nil:
			l.fault(n.Place, "url must be an absolute https URL without a user")
		case u.Scheme == "http" && !loopback(u.Hostname()):
			l.fault(n.Place, "url must be https: http is fine on loopback alone")
		default:
			r.URL = NewSecret(text)
		}
	}
}

// receiverSecret takes a secret. A short one gets only a warning, unlike webhook secrets:
// with it nobody can start a purge.
func (l *loader) receiverSecret(r *Receiver) func(*yaml.Node) {
	return func(n *yaml.Node) {
		text, ok := l.text(n)
		switch {
		case !ok:
			return
		case text == "":
			l.fault(n.Place, "secret is empty: anybody could sign with it")
		case len(text) < shortSecret:
			l.warn(n.Place, "this secret has fewer than %d bytes and can be guessed: make a new one with openssl rand -hex 32", shortSecret)
		}
		r.Secret = NewSecret(text)
	}
}

// events takes names of events. An empty list is a fault: it would silence the receiver.
func (l *loader) events(to *[]ledger.EventKind) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var names, known []string
		for _, kind := range ledger.EventKinds() {
			known = append(known, string(kind))
		}
		l.list(&names)(n)
		if n.Kind == yaml.List && len(n.Items) == 0 {
			l.fault(n.Place, "events is empty: name some, or leave the key out for all")
		}
		*to = nil
		for i, name := range names {
			if !slices.Contains(known, name) {
				near := ""
				if word := nearest.Word(name, known); word != "" {
					near = "did you mean " + word + "? "
				}
				l.fault(n.Items[min(i, len(n.Items)-1)].Place, "there is no event %q: %sthere are %s", name, near, strings.Join(known, ", "))
				continue
			}
			*to = append(*to, ledger.EventKind(name))
		}
	}
}

// globs takes globs of OWNER/NAME.
func (l *loader) globs(to *[]string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		l.list(to)(n)
		for i, glob := range *to {
			if fault := (ledger.Scope{Repositories: glob}).Fault(); fault != "" || glob == "" {
				l.fault(n.Items[min(i, len(n.Items)-1)].Place, "repositories: %q is not a glob of OWNER/NAME %s", glob, fault)
			}
		}
	}
}
