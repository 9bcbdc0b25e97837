package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/git"
	"github.com/purgebot/purgebot/mapping"
)

// planCmd is purgebot plan: what a deployment would purge, computed from a local clone.
type planCmd struct {
	Env        string      `required:"" help:"The environment, as GitHub names it."`
	From       string      `default:"HEAD~1" placeholder:"REV" help:"The commit that is live (default: the one before HEAD)."`
	To         string      `default:"HEAD" placeholder:"REV" help:"The commit to deploy (default: HEAD). An ancestor of FROM is a rollback, FROM itself a rebuild."`
	Rules      string      `placeholder:"FILE" help:"Rules to use for both commits. Default: the file in each commit, as the server reads it."`
	Extends    sharedRules `placeholder:"DIR" help:"A clone or folder of the repository whose rules these extend, or that count where there are none."`
	Repo       string      `default:"." placeholder:"DIR" help:"The local clone."`
	Repository string      `placeholder:"OWNER/NAME" help:"What {owner} and {repo} stand for. Default: the clone's remote."`
	JSON       bool        `name:"json" help:"Print JSON."`
	Explain    bool        `help:"Say for each object which rule and which file caused it."`
}

// Run prints what the deployment would purge. The plan goes to standard output; notes and
// faults of the rules go to standard error.
//
// It exits with 2 for an unknown revision or environment, and with 1 if the rules have
// errors or if a target can't be sent as written. A plan that purges nothing is a
// success.
func (c *planCmd) Run(ctx context.Context, std streams) error {
	clone := git.Clone{Dir: c.Repo}
	from, err := clone.Revision(ctx, c.From)
	if err != nil {
		return usage("%w", err)
	}
	to, err := clone.Revision(ctx, c.To)
	if err != nil {
		return usage("%w", err)
	}
	rules, err := c.readRules(ctx, clone, std.err, from, to)
	if err != nil {
		return err
	}
	query := mapping.Query{
		Environment: c.Env, DefaultBranch: clone.DefaultBranch(ctx), Old: rules.old,
		Rollback: clone.IsRollback(ctx, from, to),
	}
	query.Owner, query.Repo, err = clone.Repository(ctx, c.Repository)
	if err != nil {
		return usage("%w", err)
	}
	// The rules need values for {owner} and {repo}. Without them the plan would show URLs
	// that the server does not purge.
	if query.Owner == "" && (rules.now.UsesRepository() || rules.old != nil && rules.old.UsesRepository()) {
		return usage("the rules use {owner} or {repo} and the clone has no remote: add --repository OWNER/NAME")
	}
	// The changes are read while the plan is made. A failure of git ends the sequence
	// early and looks like a shorter list, so failure must be asked after planning.
	changes, failure := clone.Changes(ctx, from, to)
	shown := counting(std.err, changes)
	query.Changes = shown
	planned := rules.now.Plan
	if from == to {
		planned = rules.now.PlanRebuild
	}
	plan, err := planned(ctx, query)
	switch {
	case errors.Is(err, mapping.ErrUnknownEnvironment):
		return usage("no environment %q in the rules; there is: %s", c.Env, environmentNames(rules.now))
	case err != nil:
		return fmt.Errorf("plan %s: %w", c.Env, err)
	case failure() != nil:
		return failure()
	}
	report := newPlanReport(&plan, from, to, query.Rollback)
	if c.Explain {
		if report.reach, err = reachOf(ctx, clone, rules.now, to, std.err); err != nil {
			return err
		}
	}
	if err := c.print(std.out, report); err != nil {
		return fmt.Errorf("print plan: %w", err)
	}
	if report.failed > 0 {
		return failed()
	}
	return nil
}

// reachOf counts how many files of a commit each rule matches. It prints warnings for
// rules, excludes and tests that match none.
func reachOf(ctx context.Context, clone git.Clone, rules *mapping.File, commit string, messages io.Writer) ([]mapping.RuleReach, error) {
	files, err := clone.Files(ctx, commit)
	if err != nil {
		return nil, err
	}
	reach, warnings, err := rules.Reach(ctx, slices.Values(files))
	if err != nil {
		return nil, fmt.Errorf("hold the rules against the files of %.7s: %w", commit, err)
	}
	fmt.Fprint(messages, warnings.In(mapping.RootPlace))
	return reach, nil
}

// print writes the report in the format that the flags ask for.
func (c *planCmd) print(w io.Writer, report *planReport) error {
	if c.JSON {
		return report.json(w, c.Explain)
	}
	return report.text(w, c.Explain)
}

// planRules are the rules of both commits. now plans the changes. old decides what a
// removed file purges; nil means that now does that too.
type planRules struct{ now, old *mapping.File }

// readRules reads the rules of both commits as the server does. The new rules must be
// without errors. If the old ones have errors, the new ones replace them, and a message
// says so. With --rules that file replaces both: this is how to try rules that no commit
// has yet.
func (c *planCmd) readRules(ctx context.Context, clone git.Clone, messages io.Writer, from, to string) (planRules, error) {
	var rules planRules
	base, which, err := c.Extends.read(ctx)
	if err != nil {
		return rules, err
	}
	if clone.Base = base; which != "" {
		fmt.Fprintf(messages, "with the rules of %s\n", which)
	}
	if c.Rules != "" {
		src, err := os.ReadFile(c.Rules)
		if err != nil {
			return rules, usage("read rules: %w", err)
		}
		file, faults := clone.Parse(src)
		if file == nil {
			fmt.Fprint(messages, faults.Errors().In(c.Rules))
			return rules, failed()
		}
		return planRules{now: file}, whole(file)
	}
	place, now, faults, err := clone.Rules(ctx, to)
	switch {
	case err != nil:
		return rules, err
	case place == "":
		return rules, usage("%s has neither %s nor %s: nothing would be purged; --rules FILE gives rules to try",
			c.To, mapping.RootPlace, mapping.GitHubPlace)
	case now == nil:
		fmt.Fprint(messages, faults.Errors().In(place))
		return rules, failed()
	}
	place, old, faults, err := clone.Rules(ctx, from)
	if err != nil {
		return rules, err
	}
	if place != "" && old == nil {
		fmt.Fprintf(messages, "the rules at %s are broken, removed files go by those at %s: %s", c.From, c.To, faults.Errors()[:1].In(place))
	}
	return planRules{now: now, old: old}, whole(now)
}

// whole is an error for rules that extend a file that was not given. A plan without that
// file would miss targets.
func whole(file *mapping.File) error {
	if other := file.Extends(); other != "" {
		return usage("the rules extend those of %s: give a clone or folder of it with --extends DIR", other)
	}
	return nil
}

// environmentNames lists the environments of the rules, for a message.
func environmentNames(file *mapping.File) string {
	var names []string
	for _, e := range file.Environments() {
		names = append(names, e.Key)
	}
	return strings.Join(names, ", ")
}

// counting passes the changes on, and shows on a terminal how many were read. It writes
// to the terminal itself, past the [plainWriter]. Elsewhere it returns the sequence as it
// is.
func counting(messages io.Writer, changes iter.Seq[mapping.Change]) iter.Seq[mapping.Change] {
	terminal := screen(messages)
	if terminal == nil {
		return changes
	}
	const step = 10_000
	return func(yield func(mapping.Change) bool) {
		n := 0
		for c := range changes {
			if n++; n%step == 0 {
				fmt.Fprintf(terminal, "\r%d changed files", n)
			}
			if !yield(c) {
				return
			}
		}
		if n >= step {
			fmt.Fprint(terminal, "\r\x1b[K")
		}
	}
}
