package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/purgebot/purgebot/mapping"
)

type planCmd struct {
	Env        string `required:"" help:"The environment, as GitHub names it."`
	From       string `required:"" placeholder:"REV" help:"The commit that is live."`
	To         string `required:"" placeholder:"REV" help:"The commit to deploy. An ancestor of FROM is a rollback."`
	Rules      string `placeholder:"FILE" help:"Rules to use for both commits. Default: the file in each commit, as the server reads it."`
	Repo       string `default:"." placeholder:"DIR" help:"The local clone."`
	Repository string `placeholder:"OWNER/NAME" help:"What {owner} and {repo} stand for. Default: the clone's remote."`
	JSON       bool   `name:"json" help:"Print JSON."`
	Explain    bool   `help:"Say for each object which rule and which file caused it."`
}

// Run prints what the deploy would purge. It fails if something could not be
// sent as written.
func (c *planCmd) Run(ctx context.Context, std streams) error {
	clone := gitClone{dir: c.Repo}
	from, err := clone.revision(ctx, c.From)
	if err != nil {
		return err
	}
	to, err := clone.revision(ctx, c.To)
	if err != nil {
		return err
	}
	rules, err := c.readRules(ctx, clone, std.err, from, to)
	if err != nil {
		return err
	}
	query := mapping.Query{
		Environment: c.Env, DefaultBranch: clone.defaultBranch(ctx), Old: rules.old,
		Rollback: clone.isRollback(ctx, from, to),
	}
	query.Owner, query.Repo, err = clone.repository(ctx, c.Repository)
	if err != nil {
		return err
	}
	if query.Owner == "" && (rules.now.UsesRepository() || rules.old != nil && rules.old.UsesRepository()) {
		return usage("the rules use {owner} or {repo} and the clone has no remote: add --repository OWNER/NAME")
	}
	changes, failure := clone.changes(ctx, from, to)
	shown := counting(std.err, changes)
	query.Changes = shown
	plan, err := rules.now.Plan(query)
	switch {
	case errors.Is(err, mapping.ErrUnknownEnvironment):
		return usage("the rules name no environment %q: there are %s", c.Env, environmentNames(rules.now))
	case err != nil:
		return fmt.Errorf("plan %s: %w", c.Env, err)
	case failure() != nil:
		return failure()
	}
	report := newPlanReport(plan, from, to, query.Rollback)
	if err := c.print(std.out, report); err != nil {
		return fmt.Errorf("print plan: %w", err)
	}
	if len(report.Failed) > 0 {
		return failed()
	}
	return nil
}

func (c *planCmd) print(w io.Writer, report planReport) error {
	if !c.JSON {
		_, err := io.WriteString(w, report.text(c.Explain))
		return err
	}
	if !c.Explain {
		report.Explain = nil
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(report)
}

// planRules are the rules of both commits; old is nil where now counts for
// both.
type planRules struct{ now, old *mapping.File }

func (c *planCmd) readRules(ctx context.Context, clone gitClone, messages io.Writer, from, to string) (planRules, error) {
	var rules planRules
	if c.Rules != "" {
		src, err := os.ReadFile(c.Rules)
		if err != nil {
			return rules, usage("read rules: %w", err)
		}
		file, faults := mapping.Parse(src)
		if file == nil {
			fmt.Fprint(messages, faults.Errors().In(c.Rules))
			return rules, failed()
		}
		return planRules{now: file}, nil
	}
	place, now, faults, err := rulesAt(ctx, clone, to)
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
	place, old, faults, err := rulesAt(ctx, clone, from)
	if err != nil {
		return rules, err
	}
	if place != "" && old == nil {
		fmt.Fprintf(messages, "the rules at %s are broken, removed files go by those at %s: %s", c.From, c.To, faults.Errors()[:1].In(place))
	}
	return planRules{now: now, old: old}, nil
}

// rulesAt reads the rules of a commit. No place: there are none.
func rulesAt(ctx context.Context, clone gitClone, commit string) (place string, file *mapping.File, faults mapping.Faults, err error) {
	for _, p := range []string{mapping.RootPlace, mapping.GitHubPlace} {
		src, ok, err := clone.file(ctx, commit, p)
		switch {
		case err != nil:
			return "", nil, nil, fmt.Errorf("read %s at %s: %w", p, short(commit), err)
		case ok && place != "":
			return place, nil, mapping.BothPlaces(), nil
		case ok:
			place = p
			file, faults = mapping.Parse(src)
		}
	}
	return place, file, faults, nil
}

func environmentNames(file *mapping.File) string {
	var names []string
	for _, e := range file.Environments() {
		names = append(names, e.Key)
	}
	return strings.Join(names, ", ")
}

// counting shows on a terminal how far a long list has come.
func counting(messages io.Writer, changes iter.Seq[mapping.Change]) iter.Seq[mapping.Change] {
	if !terminal(messages) {
		return changes
	}
	const step = 10_000
	return func(yield func(mapping.Change) bool) {
		n := 0
		for c := range changes {
			if n++; n%step == 0 {
				fmt.Fprintf(messages, "\r%d changed files", n)
			}
			if !yield(c) {
				return
			}
		}
		if n >= step {
			fmt.Fprint(messages, "\r\x1b[K")
		}
	}
}

func short(id string) string { return id[:min(len(id), 7)] }
