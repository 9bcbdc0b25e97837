package mapping

import (
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/yaml"
)

// readExtends reads OWNER/NAME.
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

// valueOf is that of a group's first key of that name, or nil.
func valueOf(n *yaml.Node, key string) *yaml.Node {
	for _, p := range n.Pairs {
		if p.Key.Text == key {
			return p.Value
		}
	}
	return nil
}

// extend joins a file's tree with that of the file that it extends: what only
// base has counts, environments are joined key by key, and the rules come
// behind those of base. What is out of base stands at the place of extends: it
// has none in this file.
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
			all := *own
			all.Items = append(lower.Items, own.Items...)
			return &all
		}
		return own
	})
	if valueOf(root, "tests") == nil {
		joined.Pairs = slices.DeleteFunc(joined.Pairs, func(p yaml.Pair) bool { return p.Key.Text == "tests" })
	}
	return joined
}

// overlay gives own with the pairs that only base has. What becomes of a key
// that both have is both's word; nil: own's value stays.
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

// moved is a tree with every place at one.
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
