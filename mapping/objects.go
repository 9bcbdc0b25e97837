package mapping

import (
	"strconv"
	"strings"

	"github.com/purgebot/purgebot/internal/yaml"
)

// readObjects reads urls, tags and cpcodes of a rule, of unmatched, of instead, or of
// what an environment asks for. A template with a fault is left out.
func (r *reader) readObjects(got map[string]*yaml.Node) objects {
	var o objects
	if n := got["urls"]; n != nil {
		texts, at := r.strs(n, "urls", "urls: [https://{host}/{path}]")
		r.notEmpty(n, "urls")
		for i, s := range texts {
			if t, ok := r.readURL(at[i], s); ok {
				o.urls = append(o.urls, t)
			}
		}
	}
	if n := got["tags"]; n != nil {
		texts, at := r.strs(n, "tags", "tags: [docs]")
		r.notEmpty(n, "tags")
		for i, s := range texts {
			if t, ok := r.readTag(at[i], s); ok {
				o.tags = append(o.tags, t)
			}
		}
	}
	if n := got["cpcodes"]; n != nil {
		r.notEmpty(n, "cpcodes")
		items := []*yaml.Node{n}
		if n.Kind != yaml.Number {
			items = r.list(n, "cpcodes", "cpcodes: [12345]")
		}
		for _, item := range items {
			code, ok := r.whole(item, "a CP code")
			if ok && code == 0 {
				r.errorf(item, "a CP code can't be 0")
			}
			if ok && r.countTemplate(item) {
				o.cpcodes = append(o.cpcodes, strconv.Itoa(code))
			}
		}
	}
	for _, t := range o.templates() {
		o.numbered = o.numbered || len(t.numbers()) > 0
	}
	return o
}

// notEmpty adds an error for an empty list.
func (r *reader) notEmpty(n *yaml.Node, what string) {
	if n.Kind == yaml.List && len(n.Items) == 0 {
		r.errorf(n, "%s is empty: name at least one, or remove the key", what)
	}
}

// countTemplate counts one template or CP code. Beyond maxTemplates it returns false,
// with one fault for all of them.
func (r *reader) countTemplate(at *yaml.Node) bool {
	if r.templates++; r.templates == maxTemplates+1 {
		r.errorf(at, "too many urls, tags and cpcodes: at most %d in a file", maxTemplates)
	}
	return r.templates <= maxTemplates
}

// readTemplate reads what URLs and tags have in common. ok is false if the template has a
// fault.
func (r *reader) readTemplate(at *yaml.Node, s string) (t objectTemplate, ok bool) {
	if !r.countTemplate(at) {
		return t, false
	}
	if habit := templateHabit(s); habit != "" {
		r.habits.warnf(at, "%s %s", quote(s), habit)
	}
	ps, faults := splitTemplate(s)
	for _, fault := range faults {
		r.errorf(at, "%s: %s", quote(s), fault)
	}
	return objectTemplate{pieces: ps, written: s, hosted: ps.usesHost(), at: at}, len(faults) == 0
}

// readURL reads the template of a URL. ok is false if it has a fault.
func (r *reader) readURL(at *yaml.Node, s string) (objectTemplate, bool) {
	t, ok := r.readTemplate(at, s)
	if !ok {
		return t, false
	}
	url, fault := newURLTemplate(t.pieces)
	if fault != "" {
		r.errorf(at, "%s: %s", quote(s), fault)
		return t, false
	}
	t.url = url
	return t, true
}

// readTag reads the template of a tag. It checks the literal text joined; the values are
// known, and checked, only when a target is made.
func (r *reader) readTag(at *yaml.Node, s string) (objectTemplate, bool) {
	t, ok := r.readTemplate(at, s)
	if !ok {
		return t, false
	}
	literal := t.literals()
	if literal != "" {
		if fault := tagFault(literal); fault != "" {
			r.errorf(at, "%s: %s", quote(s), fault)
			return t, false
		}
	}
	if strings.ContainsAny(literal, "&/") {
		r.warnf(at, "%s: Akamai's pages disagree on & and / in tags: better without", quote(s))
	}
	return t, true
}
