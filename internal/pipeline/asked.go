package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
)

// place is where a purge that a person asked for goes: an environment, by the
// rules at the head of its branch.
type place struct {
	env    mapping.Environment
	file   *mapping.File
	branch string
	head   string
}

// purge purges what was asked for, holds it, or says what it would purge.
func (a *asking) purge(ctx context.Context) (*store.Answer, error) {
	where, answer, err := a.place(ctx)
	if err != nil || answer != nil {
		return answer, err
	}
	w, answer, err := a.wanted(ctx, where)
	if err != nil || answer != nil {
		return answer, err
	}
	if len(w.targets) == 0 {
		if len(w.missing) > 0 {
			return refuse(w.notes(where) + hint(w.missing)), nil
		}
		return tell("nothing to purge", report.Nothing(w.notes(where))), nil
	}
	if need, what, all := a.judge(w.targets); all {
		return a.denied(need, what), nil
	}
	held, why := hold(a.grant, w.plan, w.targets, false)
	if a.asked.DryRun {
		return tell("dry run", a.dryRun(where, w, why)), nil
	}
	return nil, a.open(ctx, where, w, held, why)
}

// place finds the environment, and binds the command to the head of its
// branch: a second handling finds the same.
func (a *asking) place(ctx context.Context) (where place, answer *store.Answer, err error) {
	authority, err := a.authority(ctx, a.repo)
	if err != nil {
		return where, nil, err
	}
	if authority.file == nil {
		return where, refuse(rulesMissing(authority, a.repo.DefaultBranch)), nil
	}
	name := a.cmd.Environment
	if name == "" {
		name = a.asked.Env
	}
	if name == "" {
		if name = defaultEnvironment(authority.file); name == "" {
			return where, refuse("which environment? " + choices(authority.file)), nil
		}
	}
	env, ok := authority.file.Environment(name)
	if !ok {
		return where, refuse("the rules name no environment " + report.Quote(name) + ". " + choices(authority.file)), nil
	}
	where.branch = branchOf(env, a.repo)
	if a.cmd.SHA == "" {
		head, err := a.repository(a.repo).Head(ctx, where.branch)
		if github.IsNotFound(err) {
			return where, refuse("there is no branch " + report.Quote(where.branch) + "."), nil
		}
		if err != nil {
			return where, nil, err
		}
		if a.cmd, err = a.Store.BindCommand(ctx, a.cmd, name, head); err != nil {
			return where, nil, err
		}
	}
	where.head = a.cmd.SHA
	r, err := a.rulesAt(ctx, a.repo, where.head)
	if err != nil {
		return where, nil, err
	}
	if where.file = r.file; where.file == nil {
		return where, refuse(rulesMissing(r, where.branch)), nil
	}
	if where.env, ok = where.file.Environment(a.cmd.Environment); !ok {
		return where, refuse("the rules on " + report.Quote(where.branch) + " name no environment " +
			report.Quote(a.cmd.Environment) + ". " + choices(where.file)), nil
	}
	return where, nil, nil
}

// namesShown bounds how many environments a reply names.
const namesShown = 50

func choices(file *mapping.File) string {
	names := environments(file)
	if len(names) == 0 {
		return "Name one with `--env NAME`."
	}
	names = names[:min(len(names), namesShown)]
	for i, name := range names {
		names[i] = report.Quote("--env " + name)
	}
	return "Write one of " + strings.Join(names, ", ") + "."
}

// wanted is what a command comes to.
type wanted struct {
	plan    mapping.Plan
	targets []mapping.Target
	missing []string // patterns that no file matches
}

func (w *wanted) notes(where place) string {
	return report.Notes(report.NoFile(w.missing, where.branch, where.head), report.Unmatched(w.plan.Unmatched))
}

// wanted finds the targets: what files map to, by the rules of the place,
// and what was named directly.
func (a *asking) wanted(ctx context.Context, where place) (*wanted, *store.Answer, error) {
	w := new(wanted)
	var changes []mapping.Change
	switch {
	case a.asked.Everything():
		files, complete, err := a.repository(a.repo).PullFiles(ctx, a.cmd.Number)
		if err != nil {
			return nil, nil, err
		}
		if !complete {
			return nil, refuse("this pull request changes 3,000 files or more, and GitHub lists no more than that. " +
				"Name what to purge: `/purge content/docs/**`, or a tag."), nil
		}
		changes = files
	case len(a.asked.Paths) > 0:
		tree, err := a.repository(a.repo).Tree(ctx, where.head)
		if err != nil {
			return nil, nil, err
		}
		if changes, w.missing, err = matching(ctx, tree, a.asked.Paths); err != nil {
			return nil, nil, err
		}
	}
	var err error
	w.plan, err = where.file.Plan(mapping.Query{
		Environment: where.env.Name, Owner: a.repo.Owner, Repo: a.repo.Name, DefaultBranch: a.repo.DefaultBranch,
		Changes: slices.Values(changes), Named: a.asked.URLs(),
	})
	if errors.Is(err, mapping.ErrTooLarge) || errors.Is(err, mapping.ErrTooSlow) { // no waiting changes that
		return nil, refuse(report.Quote(err.Error())), nil
	}
	if err != nil {
		return nil, nil, err
	}
	w.targets = slices.Clone(w.plan.Targets)
	known := map[string]bool{}
	for _, t := range w.targets {
		known[t.String()] = true
	}
	for _, o := range a.asked.Objects {
		t := mapping.Target{Kind: mapping.Kind(o.Kind), Object: o.Value, Rule: "asked for"}
		if !known[t.String()] {
			known[t.String()] = true
			w.targets = append(w.targets, t)
		}
	}
	for i := range w.targets {
		if w.targets[i].Action = mapping.Invalidate; a.asked.Delete {
			w.targets[i].Action = mapping.Delete
		}
	}
	return w, nil, nil
}

// matching lists the files of a tree that patterns match, or that have their
// very names, and the patterns that match none.
func matching(ctx context.Context, tree *github.Tree, patterns []string) (changes []mapping.Change, missing []string, err error) {
	found := make([]bool, len(patterns))
	n := 0
	for file := range tree.Paths() {
		if n++; n%1000 == 0 && ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		hit := false
		for i, pattern := range patterns {
			if ok, err := doublestar.Match(pattern, file); file == pattern || ok && err == nil {
				hit, found[i] = true, true
			}
		}
		if hit {
			changes = append(changes, mapping.Change{Path: file, Op: mapping.Modified})
		}
	}
	for i, pattern := range patterns {
		if !found[i] {
			missing = append(missing, pattern)
		}
	}
	return changes, missing, nil
}

// hint guesses what was meant by a pattern that no file matches.
func hint(missing []string) string {
	pattern := missing[0]
	host, _, _ := strings.Cut(pattern, "/")
	switch {
	case strings.ContainsAny(pattern, "*?[{"):
		return "."
	case strings.Contains(host, ".") && host != pattern && !strings.HasPrefix(host, "."):
		return ". Did you mean " + report.Quote("/purge https://"+pattern) + "?"
	case path.Ext(pattern) == "":
		return ". Did you mean " + report.Quote("/purge "+strings.TrimSuffix(pattern, "/")+"/**") + "?"
	default:
		return "."
	}
}

// judge adds the reasons why targets can't go out, by the policy and the
// person's role. all says that the role is not enough for any of them.
func (a *asking) judge(targets []mapping.Target) (need policy.Role, what string, all bool) {
	all = true
	for i := range targets {
		t := &targets[i]
		may := a.grant.May(a.role, t.Kind, t.Action)
		if all = all && !may; !may && need == "" {
			need, what = a.grant.Required(t.Kind, t.Action), deed(t.Kind, t.Action)
		}
		switch words := a.grant.PersonRefusal(t.Kind, t.Object); {
		case t.Reason != "":
		case words != "":
			t.Reason = words
		case !may:
			t.Reason = fmt.Sprintf("to %s takes the role %s, and %s has %s", deed(t.Kind, t.Action),
				a.grant.Required(t.Kind, t.Action), a.cmd.Login, a.role)
		case garbled(t.Path, t.Object):
			t.Reason = garbledReason
		default:
			t.Reason = unsendable(t.Kind, t.Object)
		}
	}
	return need, what, all
}

func (a *asking) dryRun(where place, w *wanted, held string) string {
	d := report.DryRun{
		Environment: contextName(where.env), Network: string(where.env.Network), SHA: where.head, Held: held,
		Action: string(mapping.Invalidate),
	}
	if a.asked.Delete {
		d.Action = string(mapping.Delete)
	}
	for _, t := range w.targets {
		d.Targets = append(d.Targets, ledger.Target{Target: t})
	}
	return d.Markdown(w.notes(where))
}

// open writes the purge and lets it go, or holds it.
func (a *asking) open(ctx context.Context, where place, w *wanted, held bool, why string) error {
	env, err := a.known(ctx, a.repo, contextName(where.env))
	if err != nil {
		return err
	}
	purge, err := a.Store.Begin(ctx, ledger.Purge{
		RepoID: a.repo.ID, EnvID: env.ID, Environment: contextName(where.env), Cause: ledger.CauseComment, By: a.cmd.Login,
		To: ledger.Point{SHA: where.head}, Network: where.env.Network, Note: why,
		Lane: ledger.Lane(ledger.CauseComment, len(w.targets)), Unmatched: w.plan.Unmatched,
	})
	if err != nil {
		return err
	}
	if err := a.Store.AddTargets(ctx, purge, w.targets); err != nil {
		return err
	}
	err = a.Store.OpenAsked(ctx, purge.ID, held, store.Answer{Command: a.cmd, Outcome: "purge", Words: w.notes(where)})
	if errors.Is(err, store.ErrAnswered) {
		return nil
	}
	if err == nil {
		a.Log.LogAttrs(ctx, slog.LevelInfo, "purge asked for", slog.String("repository", a.repo.FullName()),
			slog.String("environment", env.Name), slog.String("by", a.cmd.Login), slog.String("purge", purge.ID),
			slog.Int("targets", len(w.targets)), slog.Bool("held", held))
	}
	return err
}
