package config

import (
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/yaml"
)

// A key is one key that a mapping may have, with the function that reads its value.
type key struct {
	name string
	set  func(*yaml.Node)
}

// fields sets each key of a mapping, and reports unknown and repeated keys. It stores the
// node of each key that is there in places, under prefix, so that later faults can name
// its line.
func (l *loader) fields(n *yaml.Node, prefix string, places map[string]*yaml.Node, keys ...key) {
	if n.Kind != yaml.Mapping {
		l.wrong(n, string(yaml.Mapping))
		return
	}
	for _, p := range l.unique(n) {
		found := false
		for _, k := range keys {
			if k.name != p.Key.Text {
				continue
			}
			found = true
			places[prefix+k.name] = p.Value
			if p.Value.Kind != yaml.Nothing { // Nothing: all its lines are comments
				k.set(p.Value)
			}
		}
		if !found {
			var names []string
			for _, k := range keys {
				names = append(names, k.name)
			}
			l.unknownKey(p.Key, p.Key.Text, names)
		}
	}
}

// policy takes only entries without any fault.
func (l *loader) policy(n *yaml.Node) {
	if n.Kind != yaml.List {
		l.wrong(n, "a list of entries, each with repositories,")
		return
	}
	for _, item := range n.Items {
		if e, ok := l.policyEntry(item); ok {
			l.config.Policy = append(l.config.Policy, e)
		}
	}
}

// policyEntry reads one entry. It reports each fault at its own line. Package policy
// checks the meaning, and only if the form is right: otherwise its faults would follow
// from those of the form.
func (l *loader) policyEntry(n *yaml.Node) (policy.Entry, bool) {
	before := len(l.faults)
	e := policy.NewEntry()
	places := map[string]*yaml.Node{}
	l.fields(
		n, "", places,
		key{"repositories", l.list(&e.Repositories)},
		key{"hosts", l.list(&e.Hosts)},
		key{"tags", l.list(&e.Tags)},
		key{"cpcodes", l.cpcodes(&e.CPCodes)},
		key{"comments", func(n *yaml.Node) {
			l.fields(
				n, "comments.", places,
				key{"permission", l.role(&e.Comments.Permission)},
				key{"delete", l.role(&e.Comments.Delete)},
				key{"cpcode", l.role(&e.Comments.CPCode)},
			)
		}},
		key{"deploys", func(n *yaml.Node) {
			l.fields(
				n, "deploys.", places,
				key{"creators", l.list(&e.Deploys.Creators)},
				key{"delete", l.boolean(&e.Deploys.Delete)},
				key{"cpcode", l.boolean(&e.Deploys.CPCode)},
			)
		}},
		key{"hold_over", func(n *yaml.Node) {
			l.fields(
				n, "hold_over.", places,
				key{"delete", l.count(&e.HoldOver.Delete)},
				key{"cpcode", l.count(&e.HoldOver.CPCode)},
			)
		}},
		key{"previews", func(n *yaml.Node) {
			l.fields(n, "previews.", places, key{"fail", l.findings(&e.Previews.Fail)})
		}},
		key{"account", l.account(&e.Account)},
		key{"rules_from", l.string(&e.RulesFrom)},
	)
	if len(l.faults) > before {
		return e, false
	}
	// The place of a fault: the item of a list, else the key, else the entry.
	at := func(f policy.Fault) yaml.Place {
		at := n
		if v := places[f.Key]; v != nil {
			at = v
		}
		if f.Index >= 0 && f.Index < len(at.Items) {
			at = at.Items[f.Index]
		}
		return at.Place
	}
	for _, f := range e.Faults() {
		l.fault(at(f), "%s: %s", f.Key, f.Message)
	}
	for _, f := range e.Warnings() {
		l.warn(at(f), "%s: %s", f.Key, f.Message)
	}
	return e, len(l.faults) == before
}

func (l *loader) findings(to *[]policy.Finding) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var names []string
		l.list(&names)(n)
		for _, name := range names {
			*to = append(*to, policy.Finding(name))
		}
	}
}

func (l *loader) role(to *policy.Role) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if text, ok := l.text(n); ok {
			*to = policy.Role(text)
		}
	}
}

// count bounds a number to 32 bits, so that int holds it on every machine.
func (l *loader) count(to *int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if v, ok := l.integer(n); ok {
			if v > 1<<31-1 {
				l.fault(n.Place, "%d is too large", v)
				return
			}
			*to = int(v)
		}
	}
}

func (l *loader) cpcodes(to *[]int64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.List {
			l.wrong(n, "a list")
			return
		}
		for _, item := range n.Items {
			if v, ok := l.integer(item); ok {
				*to = append(*to, v)
			}
		}
	}
}
