package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/glob"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/planner"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
)

// place is where a purge goes that a person asked for: an environment, by the rules at
// the head of its branch.
type place struct {
	env    mapping.Environment
	file   *mapping.File
	branch string
	head   string
}

// purge purges what the command names, holds it, or, for --dry-run, says what it would
// purge. The answer is nil if open has stored it together with the purge.
//
// The role is judged after the targets are known, since a delete or a CP code takes a
// higher one. "Nothing to purge" comes before "denied": there the role makes no
// difference.
func (a *commandRun) purge(ctx context.Context) (*store.Answer, error) {
	where, answer, err := a.place(ctx)
	if err != nil || answer != nil {
		return answer, err
	}
	w, answer, err := a.wanted(ctx, where)
	if err != nil || answer != nil {
		return answer, err
	}
	defer w.Release()
	// A guess at what was meant is offered only if it works, and trying it costs calls.
	if w.lacking.Any() {
		if w.lacking.Nearest, err = a.firstThatWorks(ctx, w.near...); err != nil {
			return nil, err
		}
	}
	switch {
	case w.Len() == 0:
		return &store.Answer{Outcome: "nothing to purge", Reaction: "confused", Words: w.nothing(where)}, nil
	case !w.Judge.Enough:
		return a.denied(w.Judge.Need, w.Judge.What), nil
	case a.parsed.DryRun:
		answer := tell("dry run", a.dryRun(where, w))
		answer.Reaction = cmp.Or(w.reaction(), answer.Reaction)
		return answer, nil
	}
	return nil, a.open(ctx, where, w)
}

// place finds the environment, and binds the command to the head of its branch. The
// binding is stored: a second handling of the comment purges by the same commit, whatever
// was pushed meanwhile. answer is not nil where the command can't be carried out.
//
// The default branch's rules name the environment and its branch. The rules that the
// purge goes by are those at that branch's head, which need not name it.
func (a *commandRun) place(ctx context.Context) (where place, answer *store.Answer, err error) {
	authority, err := a.planner.Authority(ctx, a.repo)
	if err != nil {
		return where, nil, err
	}
	if authority.File == nil {
		return where, refuse(rulesMissing(authority, a.repo.DefaultBranch)), nil
	}
	name := a.cmd.Environment
	if name == "" {
		name = a.parsed.Env
	}
	if name == "" {
		if name = defaultEnvironment(authority.File); name == "" {
			return where, refuse("the rules have several environments. " + choices(authority.File)), nil
		}
	}
	env, ok := authority.File.Environment(name)
	if !ok {
		return where, refuse("no environment " + report.Quote(name) + " in the rules. " + choices(authority.File)), nil
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
	r, err := a.planner.RulesAt(ctx, a.repo, where.head)
	if err != nil {
		return where, nil, err
	}
	if where.file = r.File; where.file == nil {
		return where, refuse(rulesMissing(r, where.branch)), nil
	}
	if where.env, ok = where.file.Environment(a.cmd.Environment); !ok {
		return where, refuse("no environment " + report.Quote(a.cmd.Environment) + " in the rules on " +
			report.Quote(where.branch) + ". " + choices(where.file)), nil
	}
	return where, nil, nil
}

// namesShown bounds how many environments, or offered commands, one reply names.
const namesShown = 50

// choices lists, as part of a reply, the --env options that a person can choose from.
func choices(file *mapping.File) string {
	names := environments(file)
	if len(names) == 0 {
		return "Add `--env NAME`."
	}
	names = names[:min(len(names), namesShown)]
	for i, name := range names {
		names[i] = report.Quote("--env " + name)
	}
	return "Use " + report.Either(names) + "."
}

// wanted is what a command asks for, once files and rules are read.
type wanted struct {
	planner.Targets
	lacking report.Lacking
	near    []string // guesses at commands that were meant by what is lacking; not tried yet
	others  []string // files that no rule matches, without those that lacking reports
}

// nothing is the reply to a command that purges nothing.
func (w *wanted) nothing(where place) string {
	if words := w.lacking.Headline(where.branch, where.head, true); words != "" {
		return words
	}
	return report.Nothing(report.Unmatched(w.others))
}

// notes is what stands before a purge's own words.
func (w *wanted) notes(where place) string {
	return report.Notes(w.lacking.Headline(where.branch, where.head, false), report.Unmatched(w.others))
}

// reaction is the reaction that the command gets however its purge ends; "": the end of
// the purge decides.
func (w *wanted) reaction() string {
	if w.lacking.Any() {
		return "confused"
	}
	return ""
}

// wanted finds the targets: those that files map to, by the rules of the place, and those
// that the command names directly. The steps of matching and of mapping together are
// bounded by a.steps. If answer is not nil, the result holds no targets. Otherwise the
// caller must call Release on it: the targets take room that all plans share.
func (a *commandRun) wanted(ctx context.Context, where place) (*wanted, *store.Answer, error) {
	work := glob.NewWork(ctx, a.steps)
	found, answer, err := a.changed(ctx, where, work)
	if err != nil || answer != nil {
		return nil, answer, err
	}
	change := planner.Change{Environment: where.env.Name, Files: found.changes, Steps: max(1, work.Left), By: a.by(), Action: mapping.Invalidate}
	if a.parsed.Delete {
		change.Action = mapping.Delete
	}
	for _, o := range a.parsed.Objects {
		change.Objects = append(change.Objects, mapping.Target{Kind: o.Kind, Object: o.Value, Rule: "asked for"})
	}
	w := &wanted{near: found.near}
	w.Targets, err = a.planner.Map(ctx, a.repo, where.file, change)
	if _, ok := planner.Unplannable(err); ok { // waiting would not change that
		return nil, refuse(report.TooManyFiles(len(found.changes))), nil
	}
	w.lacking, w.others = found.lacking(w.Unmatched)
	return w, nil, err
}

// changed lists the files that the command means. A word with a leading slash is a file
// if the tree has it, else a page of the environment's host, which becomes an object of
// the command.
func (a *commandRun) changed(ctx context.Context, where place, work *glob.Work) (found files, answer *store.Answer, err error) {
	if a.parsed.Everything() {
		changes, complete, err := a.repository(a.repo).PullFiles(ctx, a.cmd.Number)
		if err == nil && !complete {
			answer = refuse("this pull request changes 3,000 files or more, and GitHub doesn't list more than that. " +
				"Say what to purge, for example `/purge content/docs/**` or `/purge tag:NAME`.")
		}
		return files{changes: changes}, answer, err
	}
	if len(a.parsed.Paths)+len(a.parsed.Pages) == 0 {
		return found, nil, nil
	}
	tree, err := a.repository(a.repo).Tree(ctx, where.head)
	if err != nil {
		return found, nil, err
	}
	patterns, pages := a.parsed.Paths, []string(nil)
	for _, page := range a.parsed.Pages {
		file := strings.TrimLeft(page, "/")
		if _, ok := tree.Lookup(file); ok {
			patterns = append(patterns, file)
			continue
		}
		pages = append(pages, page)
	}
	if answer := a.onHost(where, pages); answer != nil {
		return found, answer, nil
	}
	found, err = matching(tree.Paths(), patterns, work)
	if errors.Is(err, glob.ErrTooMuch) {
		return found, refuse(report.TooManySteps(where.branch)), nil
	}
	if err == nil && len(found.missing) > 0 {
		found.near = near(tree.Paths(), found.missing[0])
	}
	return found, nil, err
}

// commandSteps is how much matching and mapping one comment may cost: about 200 ms of
// processor time. BenchmarkSteps of internal/glob shows that a step takes at most 8 ns.
const commandSteps = 25_000_000

// files are those that a command's patterns match.
type files struct {
	changes  []mapping.Change
	by       []uint64 // for each change, the patterns that match it: bit i is patterns[i]
	patterns []string
	missing  []string // patterns that no file matches
	near     []string // guesses at commands that were meant by the first of missing
}

// lacking tells the patterns that purge nothing: those that match no file, and those of
// which no file is matched by a rule. others are the unmatched files of all other
// patterns. The reply reports the first loudly, as the person probably mistyped, and the
// second as a remark.
func (f files) lacking(unmatched []string) (l report.Lacking, others []string) {
	l.NoFile = f.missing
	if len(f.patterns) == 0 {
		return l, unmatched
	}
	none := make(map[string]bool, len(unmatched))
	for _, file := range unmatched {
		none[file] = true
	}
	var found, purging uint64
	for i, c := range f.changes {
		// No rule matches a rules file, and it is not told as unmatched.
		if found |= f.by[i]; !none[c.Path] && c.Path != mapping.RootPlace && c.Path != mapping.GitHubPlace {
			purging |= f.by[i]
		}
	}
	idle := found &^ purging
	for i, pattern := range f.patterns {
		if idle&(1<<i) != 0 {
			l.NoRule = append(l.NoRule, pattern)
		}
	}
	for i, c := range f.changes {
		if none[c.Path] && f.by[i]&^idle != 0 {
			others = append(others, c.Path)
		}
	}
	return l, others
}

// matching lists the files that the patterns match, and the patterns that match none. A
// pattern also matches the file that has exactly its text as a name, so that a name with
// brackets needs no escapes. Patterns are bits of a uint64; command.MaxPaths keeps their
// number within 64. The errors are those of work, or say that a pattern does not compile.
func matching(all iter.Seq[string], patterns []string, work *glob.Work) (f files, err error) {
	f.patterns = patterns
	globs, names := make([]*glob.Glob, len(patterns)), make(map[string]int, len(patterns))
	for i, pattern := range patterns {
		if globs[i], err = glob.Compile(pattern); err != nil {
			return f, fmt.Errorf("the pattern %s %w", pattern, err) // can't be: command.Parse compiles each pattern
		}
		names[pattern] = i
	}
	index := glob.NewIndex(globs)
	var matched []int
	var found uint64
	for file := range all {
		matched = index.Match(file, matched[:0], work)
		if err := work.Err(); err != nil {
			return f, err
		}
		if i, ok := names[file]; ok {
			matched = append(matched, i)
		}
		if len(matched) == 0 {
			continue
		}
		var by uint64
		for _, i := range matched {
			by |= 1 << i
		}
		found |= by
		f.changes, f.by = append(f.changes, mapping.Change{Path: file, Op: mapping.Modified}), append(f.by, by)
	}
	for i, pattern := range patterns {
		if found&(1<<i) == 0 {
			f.missing = append(f.missing, pattern)
		}
	}
	return f, nil
}

// dryRun renders what the command would purge. It reads targets again and writes nothing.
func (a *commandRun) dryRun(where place, w *wanted) string {
	d := report.DryRun{
		Environment: contextName(where.env), Network: string(where.env.Network), SHA: where.head, Held: w.Held,
		Action: string(mapping.Invalidate), Counts: w.Counts, Refused: w.Judge.Refused,
	}
	if a.parsed.Delete {
		d.Action = string(mapping.Delete)
	}
	for t := range w.Judged() {
		d.Add(t)
	}
	return d.Markdown(w.notes(where))
}

// open writes the purge and lets it go, or holds it. OpenManual opens it and answers the
// comment in one transaction. So if the comment is handled twice, on two replicas or
// after a crash, the second purge is thrown away (ErrAnswered), and never sent.
func (a *commandRun) open(ctx context.Context, where place, w *wanted) error {
	env, err := a.known(ctx, a.repo, contextName(where.env))
	if err != nil {
		return err
	}
	purge, err := a.Store.Begin(ctx, ledger.Purge{
		RepoID: a.repo.ID, EnvID: env.ID, Environment: contextName(where.env), Cause: ledger.CauseComment, By: a.cmd.Login,
		To: ledger.Point{SHA: where.head}, Network: where.env.Network, Account: a.accountOf(a.repo.FullName()), Note: w.Held,
		Lane: ledger.Lane(ledger.CauseComment, w.Len()), Unmatched: w.Unmatched,
	})
	if err != nil {
		return err
	}
	if err := a.Store.AddTargets(ctx, purge, w.All(), w.Verdict()); err != nil {
		return err
	}
	asks := a.asks(where.file, a.repo, env, where.env)
	if v := asks.Verify; v != nil && v.Origin == "" {
		asks.Verify = nil // no page is looked at before a person's purge, so there is nothing to compare with
	}
	err = a.Store.OpenManual(ctx, purge.ID, w.Held != "", store.Answer{
		Command: a.cmd, Outcome: "purge", Asks: asks, Reaction: w.reaction(), Words: report.Notes(w.notes(where), report.Unread(a.parsed.Unread)),
	})
	if errors.Is(err, store.ErrAnswered) {
		return nil
	}
	if err == nil {
		a.Log.LogAttrs(ctx, slog.LevelInfo, "purge asked for", slog.String("repository", a.repo.FullName()),
			slog.String("environment", env.Name), slog.String("purge", purge.ID),
			slog.Any("judged", w.Judge), slog.Bool("held", w.Held != ""))
	}
	return err
}
