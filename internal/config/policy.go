package config

import "github.com/purgebot/purgebot/internal/policy"

// A key is one that may stand in a mapping.
type key struct {
	name string
	set  func(*node)
}

// fields sets each key of a mapping, and tells of unknown and repeated ones.
// It gives the places of those that are there, under prefix.
func (l *loader) fields(n *node, prefix string, places map[string]*node, keys ...key) {
	if n.kind != isMapping {
		l.wrong(n, "a group of keys")
		return
	}
	for _, p := range l.unique(n) {
		found := false
		for _, k := range keys {
			if k.name != p.key.text {
				continue
			}
			found = true
			places[prefix+k.name] = p.value
			if p.value.kind != isNothing { // all of its lines are comments
				k.set(p.value)
			}
		}
		if !found {
			var names []string
			for _, k := range keys {
				names = append(names, k.name)
			}
			l.unknownKey(p.key, p.key.text, names)
		}
	}
}

func (l *loader) policy(n *node) {
	if n.kind != isList {
		l.wrong(n, "a list of entries, each with repositories,")
		return
	}
	for _, item := range n.items {
		if e, ok := l.policyEntry(item); ok {
			l.config.Policy = append(l.config.Policy, e)
		}
	}
}

// policyEntry reads one entry and its faults, each at its own line.
func (l *loader) policyEntry(n *node) (policy.Entry, bool) {
	before := len(l.faults)
	e := policy.NewEntry()
	places := map[string]*node{}
	l.fields(
		n, "", places,
		key{"repositories", l.list(&e.Repositories)},
		key{"hosts", l.list(&e.Hosts)},
		key{"tags", l.list(&e.Tags)},
		key{"cpcodes", l.cpcodes(&e.CPCodes)},
		key{"comments", func(n *node) {
			l.fields(
				n, "comments.", places,
				key{"permission", l.role(&e.Comments.Permission)},
				key{"delete", l.role(&e.Comments.Delete)},
				key{"cpcode", l.role(&e.Comments.CPCode)},
			)
		}},
		key{"deploys", func(n *node) {
			l.fields(
				n, "deploys.", places,
				key{"creators", l.list(&e.Deploys.Creators)},
				key{"delete", l.boolean(&e.Deploys.Delete)},
				key{"cpcode", l.boolean(&e.Deploys.CPCode)},
			)
		}},
		key{"hold_over", func(n *node) {
			l.fields(
				n, "hold_over.", places,
				key{"delete", l.count(&e.HoldOver.Delete)},
				key{"cpcode", l.count(&e.HoldOver.CPCode)},
			)
		}},
		key{"previews", func(n *node) {
			l.fields(n, "previews.", places, key{"fail", l.concerns(&e.Previews.Fail)})
		}},
	)
	if len(l.faults) > before {
		return e, false
	}
	for _, f := range e.Faults() {
		at := n
		if v := places[f.Key]; v != nil {
			at = v
		}
		if f.Index >= 0 && f.Index < len(at.items) {
			at = at.items[f.Index]
		}
		l.fault(at.at, "%s: %s", f.Key, f.Message)
	}
	return e, len(l.faults) == before
}

func (l *loader) concerns(to *[]policy.Concern) func(*node) {
	return func(n *node) {
		var names []string
		l.list(&names)(n)
		for _, name := range names {
			*to = append(*to, policy.Concern(name))
		}
	}
}

func (l *loader) role(to *policy.Role) func(*node) {
	return func(n *node) {
		if text, ok := l.text(n); ok {
			*to = policy.Role(text)
		}
	}
}

func (l *loader) count(to *int) func(*node) {
	return func(n *node) {
		if v, ok := l.integer(n); ok {
			if v > 1<<31-1 {
				l.fault(n.at, "%d is too large", v)
				return
			}
			*to = int(v)
		}
	}
}

func (l *loader) cpcodes(to *[]int64) func(*node) {
	return func(n *node) {
		if n.kind != isList {
			l.wrong(n, "a list")
			return
		}
		for _, item := range n.items {
			if v, ok := l.integer(item); ok {
				*to = append(*to, v)
			}
		}
	}
}
