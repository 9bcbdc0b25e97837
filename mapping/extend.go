package mapping

import (
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/yaml"
)

// readExtends reads OWNER/NAME. It returns "" if there is a fault.
func (r *reader) readExtends(n *yaml.Node) string {
	s, ok := r.str(n, "extends")
	if !ok {
		return ""
	}
	owner, name, ok := strings.Cut(s, "/")
	if !ok || owner == "" || name == "" || strings.ContainsAny(name, "/@ ") {
		r.errorf(n, "extends must name a repository as OWNER/NAME, such as acme/.github, not %s", quote(s))
		return ""
	}
	return s
}

// valueOf returns the value of the first key of that name in a group, or nil.
func valueOf(n *yaml.Node, key string) *yaml.Node {
	for _, p := range n.Pairs {
		if p.Key.Text == key {
			return p.Value
		}
	}
	return nil
}

// extend joins the tree of a file with that of base, which it extends. A key that only
// base has counts. Environments are joined key by key. The rules come after those of
// base. Every place of base becomes that of extends, because a fault there has no line in
// this file.
func extend(root, base, at *yaml.Node) *yaml.Node {
	base = moved(base, at)
	joined := overlay(root, base, func(key string, own, lower *yaml.Node) *yaml.Node {
		switch {
		case key == "environments":
			return overlay(own, lower, func(_ string, own, lower *yaml.Node) *yaml.Node {
				if own.Kind == yaml.Nothing {
					return lower
				}
				return overlay(own, lower, nil)
			})
		case key == "rules" && own.Kind == yaml.List:
			// A copy: the trees that were given stay as they are.
			all := *own
			all.Items = append(lower.Items, own.Items...)
			return &all
		}
		return own
	})
	// The tests of base don't run here: see Extend.
	if valueOf(root, "tests") == nil {
		joined.Pairs = slices.DeleteFunc(joined.Pairs, func(p yaml.Pair) bool { return p.Key.Text == "tests" })
	}
	return joined
}

// overlay returns own with the pairs that only base has. both decides what becomes of a
// key that both have; if it is nil, own's value stays. Anything but two groups can't be
// joined: then own counts. Names of keys compare without regard to case, as environments
// do.
func overlay(own, base *yaml.Node, both func(key string, own, base *yaml.Node) *yaml.Node) *yaml.Node {
	if own.Kind != yaml.Mapping || base.Kind != yaml.Mapping {
		return own
	}
	all := *own
	all.Pairs = slices.Clone(own.Pairs)
	for _, p := range base.Pairs {
		i := slices.IndexFunc(all.Pairs, func(o yaml.Pair) bool { return fold(o.Key.Text) == fold(p.Key.Text) })
		switch {
		case i < 0:
			all.Pairs = append(all.Pairs, p)
		case both != nil:
			all.Pairs[i].Value = both(p.Key.Text, all.Pairs[i].Value, p.Value)
		}
	}
	return &all
}

// moved returns a copy of a tree in which every place is that of at.
func moved(n, at *yaml.Node) *yaml.Node {
	out := *n
	out.Place, out.Items, out.Pairs = at.Place, nil, nil
	for _, item := range n.Items {
		out.Items = append(out.Items, moved(item, at))
	}
	for _, p := range n.Pairs {
		out.Pairs = append(out.Pairs, yaml.Pair{Key: moved(p.Key, at), Value: moved(p.Value, at)})
	}
	return &out
}
