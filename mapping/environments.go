package mapping

import (
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/glob"
	"github.com/purgebot/purgebot/internal/nearest"
	"github.com/purgebot/purgebot/internal/object"
	"github.com/purgebot/purgebot/internal/yaml"
)

// readEnvironments reads the group of environments, by name.
func (r *reader) readEnvironments(n *yaml.Node) {
	if n.Kind != yaml.Mapping {
		r.errorf(n, "environments must be a group of keys, not %s: write environments: {production: {hosts: [www.example.com]}}", n.Kind)
		return
	}
	if len(n.Pairs) == 0 {
		r.errorf(n, "environments is empty: name at least one, as production: {hosts: [www.example.com]}")
	}
	for i, p := range n.Pairs {
		if i == maxEnvironments {
			r.errorf(p.Key, "too many environments: at most %d", maxEnvironments)
			return
		}
		r.readEnvironment(p)
	}
}

// readEnvironment reads one environment and appends it to the file. environments, keys
// and after of the file grow together: they have the same indexes. An environment whose
// name is faulty is left out of all three.
func (r *reader) readEnvironment(p yaml.Pair) {
	key := strings.TrimSpace(p.Key.Text)
	e := Environment{
		Name: key, Key: key, Glob: glob.IsPattern(key), Network: Production,
		Trigger: Trigger{Kind: OnDeployment}, Announce: AnnounceSuccess, Redeploy: DefaultWithin,
		Line: p.Key.Line, Column: p.Key.Col,
	}
	switch {
	case key == "" || p.Key.Kind == yaml.Nothing:
		r.errorf(p.Key, "an environment has no name")
		return
	case len(key) > maxText:
		r.errorf(p.Key, "an environment's name is too long: at most %d characters", maxText)
		return
	case slices.ContainsFunc(r.file.environments, func(o Environment) bool { return fold(o.Key) == fold(key) }):
		r.errorf(p.Key, "the environment %s stands twice (names compare without regard to case): remove one", quote(key))
		return
	}
	if r.misplaced(p) {
		return
	}
	pattern, err := newNamePattern(key)
	if err != nil {
		r.errorf(p.Key, "%v", err)
		return
	}
	r.environment = after{}
	if p.Value.Kind != yaml.Nothing {
		r.readEnvironmentFields(p.Value, &e)
	}
	if e.Glob && e.Trigger.Kind != OnDeployment {
		r.warnf(p.Key, "%s never purges: only a deployment names the environment that a glob stands for, so its trigger must be deployment", quote(key))
	}
	r.file.environments = append(r.file.environments, e)
	r.file.keys = append(r.file.keys, pattern)
	r.file.after = append(r.file.after, r.environment)
}

// misplaced reports whether a key of an environment stands where an environment's name
// belongs, because it is indented too little, and adds an error then. With a group of
// keys below it, it may be an environment that is really called that; for verify, warm,
// redeploy and trigger that is no excuse, since they take a group themselves.
func (r *reader) misplaced(p yaml.Pair) bool {
	if !slices.Contains(environmentKeys(), p.Key.Text) || p.Value.Kind == yaml.Mapping && !slices.Contains([]string{"verify", "redeploy", "trigger", "warm"}, p.Key.Text) {
		return false
	}
	below := "the environment's name"
	if n := len(r.file.environments); n > 0 {
		below = quote(r.file.environments[n-1].Key)
		// The hosts that the environment above lacks stand here: no second fault.
		r.file.after[n-1].hostless = r.file.after[n-1].hostless || p.Key.Text == "hosts"
	}
	r.errorf(p.Key, "%s stands where an environment's name belongs: indent it further, to stand below %s", quote(p.Key.Text), below)
	return true
}

// environmentKeys are the keys of one environment.
func environmentKeys() []string {
	return []string{
		"network", "hosts", "trigger", "branch", "creators", "settle", "announce",
		"announce_on_pull_request", "redeploy", "verify", "warm",
	}
}

// readEnvironmentFields reads the keys of an environment into e, which has the defaults
// already, and into r.environment.
func (r *reader) readEnvironmentFields(n *yaml.Node, e *Environment) {
	got := r.fields(n, "the environment "+quote(e.Key), environmentKeys()...)
	if n := got["network"]; n != nil {
		if s, ok := r.choice(n, "network", string(Production), string(Staging)); ok {
			e.Network = Network(s)
		}
	}
	if n := got["hosts"]; n != nil {
		before := len(r.faults)
		e.Hosts = r.readHosts(n)
		r.environment.hostless = len(e.Hosts) == 0 && len(r.faults) > before
	}
	if n := got["trigger"]; n != nil {
		e.Trigger, e.Line, e.Column = r.readTrigger(n), n.Line, n.Col
	}
	if n := got["branch"]; n != nil {
		e.Branch = r.readBranch(n)
	}
	if n := got["creators"]; n != nil {
		e.Creators, _ = r.strs(n, "creators", `creators: ["github-actions[bot]"]`)
		if n.Kind == yaml.List && len(n.Items) == 0 {
			r.errorf(n, "creators is empty: nobody's deployments would count; name logins, or remove the key")
		}
	}
	if n := got["settle"]; n != nil {
		e.Settle = r.duration(n, "settle", maxSettle)
	}
	if n := got["announce"]; n != nil {
		if s, ok := r.choice(n, "announce", string(AnnounceSuccess), string(AnnouncePending), string(AnnounceNone)); ok {
			e.Announce = Announce(s)
		}
	}
	if n := got["announce_on_pull_request"]; n != nil {
		e.AnnounceOnPullRequest = r.yes(n, "announce_on_pull_request")
	}
	r.readAfter(got, e)
}

// readHosts reads hosts as names in lower case and punycode, each once.
func (r *reader) readHosts(n *yaml.Node) []string {
	texts, at := r.strs(n, "hosts", "hosts: [www.example.com]")
	if len(texts) > maxHosts {
		r.errorf(n, "too many hosts: at most %d in an environment", maxHosts)
		return nil
	}
	var hosts []string
	for i, s := range texts {
		ascii, err := object.ASCIIHost(s)
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

// hostHint finds the host in a URL that somebody wrote where a host belongs. It returns
// the end of a message, or "".
func hostHint(s string) string {
	if _, after, ok := strings.Cut(s, "://"); ok {
		s = after
	}
	if i := strings.IndexAny(s, ":/?#"); i >= 0 {
		s = s[:i]
	}
	if ascii, err := object.ASCIIHost(s); err == nil {
		return " (did you mean " + ascii + "?)"
	}
	return ""
}

// readTrigger reads a word, or a group with one key. After a fault it returns the
// default, so that the rest of the file can be checked.
func (r *reader) readTrigger(n *yaml.Node) Trigger {
	byDefault := Trigger{Kind: OnDeployment}
	const all = `deployment, push, {status: "…"}, {check: "…"} or {workflow: "…"}`
	if n.Kind == yaml.Text {
		switch k := TriggerKind(n.Text); k {
		case OnDeployment, OnPush:
			return Trigger{Kind: k}
		case OnStatus, OnCheck, OnWorkflow:
			r.errorf(n, `trigger: %s needs a name: write trigger: {%s: "…"}`, k, k)
			return byDefault
		}
		hint := ""
		if near := nearest.Word(n.Text, []string{string(OnDeployment), string(OnPush)}); near != "" {
			hint = ": did you mean " + near + "?"
		}
		r.errorf(n, "trigger must be %s, not %s%s", all, quote(n.Text), hint)
		return byDefault
	}
	if n.Kind != yaml.Mapping {
		r.errorf(n, "trigger must be %s, not %s", all, n.Kind)
		return byDefault
	}
	got := r.fields(n, "trigger", string(OnStatus), string(OnCheck), string(OnWorkflow))
	if len(n.Pairs) != 1 {
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

// readBranch reads the name of a branch. It refuses what git does not allow in one, as
// far as people are likely to write it.
func (r *reader) readBranch(n *yaml.Node) string {
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

// readRuleEnvironments reads the environments of a rule: names and globs, without regard
// to case.
func (r *reader) readRuleEnvironments(n *yaml.Node) []namePattern {
	texts, at := r.strs(n, "environments", "environments: [production]")
	if n.Kind == yaml.List && len(n.Items) == 0 {
		r.errorf(n, "environments is empty: the rule would never count; name some, or remove the key")
	}
	if len(texts) > maxRuleEnvironments {
		r.errorf(n, "too many environments: at most %d in a rule, or use a glob", maxRuleEnvironments)
		return nil
	}
	var names []namePattern
	for i, s := range texts {
		pattern, err := newNamePattern(s)
		if err != nil {
			r.errorf(at[i], "%v", err)
			continue
		}
		if r.knownEnvironment(at[i], s, pattern) {
			names = append(names, pattern)
		}
	}
	return names
}

// knownEnvironment reports whether an environment of the file has this name, or may have
// one that the pattern fits. If not, it adds an error. It can't tell, and returns true,
// if the file extends another one or has no environments.
func (r *reader) knownEnvironment(at *yaml.Node, name string, pattern namePattern) bool {
	if r.partial() || len(r.file.environments) == 0 || r.file.find(name) >= 0 || slices.ContainsFunc(r.file.keys, pattern.mayFit) {
		return true // a file without environments has a fault for that
	}
	keys := make([]string, 0, len(r.file.environments))
	for _, e := range r.file.environments {
		keys = append(keys, e.Key)
	}
	if near := nearest.Word(name, keys); near != "" {
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
