package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/git"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/mapping"
)

// rulesTryCmd is purgebot rules try: it shows what the rules make of the last commits,
// and again whenever the file is saved or a commit is made.
type rulesTryCmd struct {
	Rules      string      `placeholder:"FILE" help:"The rules file to watch. Default: that of the clone's working tree."`
	Repo       string      `default:"." placeholder:"DIR" help:"The local clone."`
	Env        string      `help:"The environment, as GitHub names it. Default: the rules' first."`
	Last       int         `default:"5" placeholder:"N" help:"How many commits to show (default: 5)."`
	Extends    sharedRules `placeholder:"DIR" help:"A clone or folder of the repository whose rules this file extends, or that rules file."`
	Repository string      `placeholder:"OWNER/NAME" help:"What {owner} and {repo} stand for. Default: the clone's remote."`
}

// tryEvery is how often the file and the clone are read. A change is shown once two reads
// in a row agree.
const tryEvery = 200 * time.Millisecond

// tryMost is how many objects of a commit are listed.
const tryMost = 20

// tried is everything that a round depends on. Two equal values give the same round.
type tried struct {
	src  string // content of the rules file
	head string // id of the commit of HEAD
	err  string // why the file can't be read; it may become readable later
}

// Run shows a round after each change until it is interrupted. That is its regular end,
// and exits with 0. After the start nothing but a failing output ends it otherwise: it
// shows faults and goes on, since the file is being edited.
func (c *rulesTryCmd) Run(ctx context.Context, std streams) error {
	clone := git.Clone{Dir: c.Repo}
	if c.Last < 1 {
		return usage("--last takes a number from 1 on, not %d", c.Last)
	}
	if _, err := clone.Revision(ctx, "HEAD"); err != nil {
		return usage("%w", err)
	}
	if c.Rules == "" {
		place, both, err := rulesPlace(c.Repo)
		switch {
		case err != nil:
			return err
		case both:
			return usage("%s", mapping.BothPlaces()[0].Message)
		}
		c.Rules = filepath.Join(c.Repo, place)
	}
	var shown, seen tried // shown: of the last round; seen: at the last look
	if seen = c.look(ctx, clone); seen.err != "" {
		return usage("read rules: %s", seen.err)
	}
	ticks := time.NewTicker(tryEvery)
	defer ticks.Stop()
	for {
		now := c.look(ctx, clone)
		if now != shown && now == seen { // two equal looks: an editor may be in the middle of writing
			text := c.round(ctx, clone, now)
			if ctx.Err() != nil {
				return nil
			}
			if terminal := screen(std.out); terminal != nil {
				fmt.Fprint(terminal, "\x1b[H\x1b[2J")
			} else if shown != (tried{}) {
				text = "\n" + text
			}
			if _, err := fmt.Fprint(std.out, text); err != nil {
				return fmt.Errorf("print what the rules make of the commits: %w", err)
			}
			shown = now
		}
		seen = now
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// look reads the state that a round depends on.
func (c *rulesTryCmd) look(ctx context.Context, clone git.Clone) tried {
	src, err := os.ReadFile(c.Rules)
	if err != nil {
		return tried{err: err.Error()}
	}
	return tried{src: string(src), head: clone.Line(ctx, "rev-parse", "--verify", "--quiet", "HEAD")}
}

// round is the whole text for one state: the faults of the rules, and what each commit
// purges, as far as that is known. Errors become part of the text.
func (c *rulesTryCmd) round(ctx context.Context, clone git.Clone, now tried) string {
	if now.err != "" {
		return "The rules can't be read: " + now.err + "\n"
	}
	check := rulesCheckCmd{Extends: c.Extends, Repository: c.Repository}
	if owner, repo, err := clone.Repository(ctx, c.Repository); err == nil && owner != "" {
		check.Repository = owner + "/" + repo
	}
	checked, err := check.checkSource(ctx, checkReport{File: c.Rules}, []byte(now.src))
	if err != nil {
		return err.Error() + "\n"
	}
	text := checked.Faults.In(c.Rules)
	switch {
	case checked.rules == nil:
		return text + "What the commits purge is shown once these errors are corrected.\n"
	case checked.extends != "":
		return text + whole(checked.rules).Error() + "\n"
	}
	s, err := newSite(ctx, clone, checked.rules, c.Env, c.Repository)
	if err != nil {
		return text + err.Error() + "\n"
	}
	commits, err := lastCommits(ctx, clone, c.Last)
	if err != nil {
		return text + err.Error() + "\n"
	}
	text += fmt.Sprintf("By %s, in %s:\n", c.Rules, s.env.Name)
	if len(commits) == 0 {
		text += "The clone has no commit with one before it.\n"
	}
	for _, commit := range commits {
		text += commit.purges(ctx, s)
	}
	return text
}

// commit is a commit with its first parent.
type commit struct{ id, parent, subject string }

// lastCommits lists the newest commits along the first parents of HEAD. It leaves out a
// commit without a parent in this clone, such as the oldest one of a shallow clone: it
// would seem to change every file.
func lastCommits(ctx context.Context, clone git.Clone, most int) (all []commit, err error) {
	out, err := clone.Output(ctx, "log", "-z", "--first-parent", fmt.Sprintf("--max-count=%d", most), "--format=%H %P%n%s", "HEAD")
	if err != nil {
		return nil, err
	}
	for entry := range strings.SplitSeq(string(out), "\x00") {
		ids, subject, _ := strings.Cut(entry, "\n")
		if ids := strings.Fields(ids); len(ids) > 1 {
			all = append(all, commit{ids[0], ids[1], strings.TrimSpace(subject)})
		}
	}
	return all, nil
}

// purges says what a deployment of the commit over its parent would purge. The rules on
// disk count for both commits.
func (m commit) purges(ctx context.Context, s *site) string {
	head := fmt.Sprintf("\n%s %s: ", report.Short(m.id), oneLine(m.subject))
	q := s.query
	var failure func() error
	q.Changes, failure = s.clone.Changes(ctx, m.parent, m.id)
	plan, err := s.rules.Plan(ctx, q)
	if err = errors.Join(err, failure()); err != nil {
		return head + err.Error() + "\n"
	}
	r := newPlanReport(&plan, m.parent, m.id, false)
	var b strings.Builder
	b.WriteString(head + r.counts() + "\n")
	if l := r.Limit; l != nil {
		fmt.Fprintf(&b, "  more than the limit of %s URLs: %s\n", report.Number(l.Over), limitWords(*l))
	}
	n := 0
	for t := range plan.Targets() {
		if n++; n > tryMost {
			continue
		}
		fmt.Fprintf(&b, "  %s%s", oneLine(t.String()), because(true, t.Rule, t.Path))
		if t.Reason != "" {
			fmt.Fprintf(&b, "  can't be sent: %s", t.Reason)
		}
		b.WriteByte('\n')
	}
	if n > tryMost {
		fmt.Fprintf(&b, "  … and %d more\n", n-tryMost)
	}
	if n := len(r.Unmatched); n > 0 {
		fmt.Fprintf(&b, "  no rule matches %s, such as %s\n", plural(n, "changed file"), oneLine(r.Unmatched[0]))
	}
	return b.String()
}
