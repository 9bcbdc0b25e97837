package mapping

import (
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

func (r *reader) readEnvironments(n *yamlNode) {
	if n.kind != isMapping {
		r.errorf(n, "environments must be a group of keys, not %s: write environments: {production: {hosts: [www.example.com]}}", n.kind)
		return
	}
	if len(n.pairs) == 0 {
		r.errorf(n, "environments is empty: name at least one, as production: {hosts: [www.example.com]}")
	}
	for i, p := range n.pairs {
		if i == maxEnvironments {
			r.errorf(p.key, "too many environments: at most %d", maxEnvironments)
			return
		}
		r.readEnvironment(p)
	}
}

func (r *reader) readEnvironment(p yamlPair) {
	key := strings.TrimSpace(p.key.text)
	e := Environment{
		Name: key, Key: key, Glob: isGlob(key), Network: Production,
		Trigger: Trigger{Kind: OnDeployment}, Announce: AnnounceSuccess,
	}
	switch {
	case key == "" || p.key.kind == isNothing:
		r.errorf(p.key, "an environment has no name")
		return
	case len(key) > maxText:
		r.errorf(p.key, "an environment's name is too long: at most %d characters", maxText)
		return
	case slices.ContainsFunc(r.file.environments, func(o Environment) bool { return fold(o.Key) == fold(key) }):
		r.errorf(p.key, "the environment %s stands twice (names compare without regard to case): remove one", quote(key))
		return
	}
	if e.Glob {
		if _, err := compileGlob(fold(key)); err != nil {
			r.errorf(p.key, "%v", err)
			return
		}
	}
	if p.value.kind != isNothing {
		r.readEnvironmentFields(p.value, &e)
	}
	if e.Glob && e.Trigger.Kind != OnDeployment {
		r.warnf(p.key, "%s never purges: only a deployment names the environment that a glob stands for, so its trigger must be deployment", quote(key))
	}
	r.file.environments = append(r.file.environments, e)
}

// globMeta begins whatever in a glob is not itself.
const globMeta = `*?[{\`

func isGlob(name string) bool { return strings.ContainsAny(name, globMeta) }

func (r *reader) readEnvironmentFields(n *yamlNode, e *Environment) {
	got := r.fields(n, "the environment "+quote(e.Key),
		"network", "hosts", "trigger", "branch", "creators", "settle", "announce")
	if n := got["network"]; n != nil {
		if s, ok := r.choice(n, "network", string(Production), string(Staging)); ok {
			e.Network = Network(s)
		}
	}
	if n := got["hosts"]; n != nil {
		e.Hosts = r.readHosts(n)
	}
	if n := got["trigger"]; n != nil {
		e.Trigger = r.readTrigger(n)
	}
	if n := got["branch"]; n != nil {
		e.Branch = r.readBranch(n)
	}
	if n := got["creators"]; n != nil {
		e.Creators, _ = r.strs(n, "creators", `creators: ["github-actions[bot]"]`)
		if n.kind == isList && len(n.items) == 0 {
			r.errorf(n, "creators is empty: nobody's deployments would count; name logins, or remove the key")
		}
	}
	if n := got["settle"]; n != nil {
		e.Settle = r.readSettle(n)
	}
	if n := got["announce"]; n != nil {
		if s, ok := r.choice(n, "announce", string(AnnounceSuccess), string(AnnouncePending), string(AnnounceNone)); ok {
			e.Announce = Announce(s)
		}
	}
}

func (r *reader) readHosts(n *yamlNode) []string {
	texts, at := r.strs(n, "hosts", "hosts: [www.example.com]")
	if len(texts) > maxHosts {
		r.errorf(n, "too many hosts: at most %d in an environment", maxHosts)
		return nil
	}
	var hosts []string
	for i, s := range texts {
		ascii, err := asciiHost(s)
		switch {
		case err == nil && slices.Contains(hosts, ascii):
			r.warnf(at[i], "the host %s stands twice", quote(s))
		case err == nil:
			hosts = append(hosts, ascii)
		case strings.Contains(s, "*"):
			r.errorf(at[i], "%s is not a host name: Akamai purges no wildcards, name each host", quote(s))
		default:
			r.errorf(at[i], "%s is not a host name: write it alone, as www.example.com%s", quote(s), hostHint(s))
		}
	}
	return hosts
}

// hostHint finds the host in a URL that stands where a host should.
func hostHint(s string) string {
	if _, after, ok := strings.Cut(s, "://"); ok {
		s = after
	}
	if i := strings.IndexAny(s, ":/?#"); i >= 0 {
		s = s[:i]
	}
	if ascii, err := asciiHost(s); err == nil {
		return " (did you mean " + ascii + "?)"
	}
	return ""
}

func (r *reader) readTrigger(n *yamlNode) Trigger {
	byDefault := Trigger{Kind: OnDeployment}
	const all = `deployment, push, {status: "…"}, {check: "…"} or {workflow: "…"}`
	if n.kind == isText {
		switch k := TriggerKind(n.text); k {
		case OnDeployment, OnPush:
			return Trigger{Kind: k}
		case OnStatus, OnCheck, OnWorkflow:
			r.errorf(n, `trigger: %s needs a name: write trigger: {%s: "…"}`, k, k)
			return byDefault
		}
		hint := ""
		if near := nearest(n.text, []string{string(OnDeployment), string(OnPush)}); near != "" {
			hint = ": did you mean " + near + "?"
		}
		r.errorf(n, "trigger must be %s, not %s%s", all, quote(n.text), hint)
		return byDefault
	}
	if n.kind != isMapping {
		r.errorf(n, "trigger must be %s, not %s", all, n.kind)
		return byDefault
	}
	got := r.fields(n, "trigger", string(OnStatus), string(OnCheck), string(OnWorkflow))
	if len(n.pairs) != 1 {
		r.errorf(n, "trigger must have one of status, check and workflow")
		return byDefault
	}
	for kind, name := range got {
		if s, ok := r.str(name, kind); ok {
			return Trigger{Kind: TriggerKind(kind), Name: s}
		}
	}
	return byDefault
}

func (r *reader) readBranch(n *yamlNode) string {
	s, ok := r.str(n, "branch")
	switch {
	case !ok:
		return ""
	case strings.HasPrefix(s, "refs/heads/"):
		r.errorf(n, "branch is a name without refs/heads/: write %s", quote(strings.TrimPrefix(s, "refs/heads/")))
	case strings.ContainsAny(s, " \t\n~^:?*[\\") || strings.HasPrefix(s, "-") || strings.Contains(s, ".."):
		r.errorf(n, "%s can't be a branch's name", quote(s))
	}
	return s
}

func (r *reader) readSettle(n *yamlNode) time.Duration {
	if n.kind == isNumber && n.text != "0" {
		r.errorf(n, "settle needs a unit: write %ss for seconds, or %sm for minutes", n.text, n.text)
		return 0
	}
	if n.kind != isNumber && n.kind != isText {
		r.errorf(n, "settle must be a time, not %s: write 30s, or 2m", n.kind)
		return 0
	}
	d, err := time.ParseDuration(n.text)
	switch {
	case err != nil:
		r.errorf(n, "settle must be a time, not %s: write 30s, or 2m", quote(n.text))
	case d < 0 || d > maxSettle:
		r.errorf(n, "settle must lie between 0s and 168h, not %s", n.text)
	}
	return d
}

// readRuleEnvironments reads a rule's environments, folded.
func (r *reader) readRuleEnvironments(n *yamlNode) []string {
	texts, at := r.strs(n, "environments", "environments: [production]")
	if n.kind == isList && len(n.items) == 0 {
		r.errorf(n, "environments is empty: the rule would never count; name some, or remove the key")
	}
	if len(texts) > maxRuleEnvironments {
		r.errorf(n, "too many environments: at most %d in a rule, or use a glob", maxRuleEnvironments)
		return nil
	}
	var names []string
	for i, s := range texts {
		if isGlob(s) {
			if _, err := compileGlob(fold(s)); err != nil {
				r.errorf(at[i], "%v", err)
				continue
			}
		}
		if r.knownEnvironment(at[i], s) {
			names = append(names, fold(s))
		}
	}
	return names
}

// knownEnvironment reports whether some key of the file fits a name, or may
// fit names that a glob fits, and says so if not.
func (r *reader) knownEnvironment(at *yamlNode, name string) bool {
	if len(r.file.environments) == 0 || r.file.find(name) >= 0 {
		return true // where there is no environment, that is the fault
	}
	keys := make([]string, 0, len(r.file.environments))
	for _, e := range r.file.environments {
		if isGlob(name) && mayOverlap(fold(name), fold(e.Key)) {
			return true
		}
		keys = append(keys, e.Key)
	}
	if near := nearest(name, keys); near != "" {
		r.errorf(at, "no environment is called %s: did you mean %s?", quote(name), quote(near))
		return false
	}
	const most = 10
	if len(keys) > most {
		keys = append(keys[:most], "…")
	}
	r.errorf(at, "no environment is called %s: the file has %s", quote(name), listed(keys))
	return false
}

// mayOverlap reports whether two globs, or a glob and a name, may fit one
// name. It errs on the side of yes.
func mayOverlap(a, b string) bool {
	if !isGlob(b) {
		return doublestar.MatchUnvalidated(a, b)
	}
	if !isGlob(a) {
		return doublestar.MatchUnvalidated(b, a)
	}
	const meta = `*?[]{}\`
	head := func(s string) string { return s[:strings.IndexAny(s, meta)] }
	tail := func(s string) string { return s[strings.LastIndexAny(s, meta)+1:] }
	ha, hb, ta, tb := head(a), head(b), tail(a), tail(b)
	return (strings.HasPrefix(ha, hb) || strings.HasPrefix(hb, ha)) &&
		(strings.HasSuffix(ta, tb) || strings.HasSuffix(tb, ta))
}
