package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// A difference is what a deployment of one commit over another would purge in
// an environment, with its reasons.
type difference struct {
	from    ledger.Point
	start   string // where from came from, in public words, when it was not the ledger
	rules   rules  // of the new commit
	named   bool   // its file names the environment
	had     bool   // the old commit had a rules file
	env     mapping.Environment
	cause   ledger.Cause
	targets []mapping.Target
	unmatch []string
	hold    bool
	note    string
	tree    *github.Tree // of the new commit, if it was read
}

// counts counts the targets that can be sent.
func (d *difference) counts() (c ledger.Counts) {
	for _, t := range d.targets {
		if t.Reason == "" {
			c.Add(t.Kind)
		}
	}
	return c
}

// difference maps the exact difference between what is live in an environment
// and a commit by that commit's rules. It changes nothing.
func (p *Pipeline) difference(ctx context.Context, repo ledger.Repository, env ledger.Environment, to ledger.Point) (*difference, error) {
	d := &difference{cause: ledger.CauseDeploy}
	old, remembered, err := p.oldRemembered(ctx, repo, env)
	if err != nil {
		return nil, err
	}
	if !remembered || old.none() {
		d.rules, err = p.rulesAt(ctx, repo, to.SHA)
		if err != nil || d.settled(env) || remembered && d.rules.none() {
			return d, err
		}
	}
	if d.from, d.start, err = p.start(ctx, repo, env, to); err != nil {
		return nil, err
	}
	var changes github.Changes
	if !d.rules.none() || remembered {
		if changes, err = p.changes(ctx, repo, env, d, to); err != nil {
			return nil, err
		}
	}
	if remembered {
		d.rules, err = p.newRules(ctx, repo, to.SHA, old, changes)
	} else {
		old, err = p.oldRules(ctx, repo, d, to.SHA, changes)
	}
	if d.had = !old.none(); err != nil || d.settled(env) || d.rules.none() {
		return d, err
	}
	return d, p.mapChanges(ctx, repo, env, d, to, old, changes)
}

// settled finds the environment in the rules. It reports true where nothing
// is left to find out: they are broken, or don't name it.
func (d *difference) settled(env ledger.Environment) bool {
	if d.rules.file != nil {
		d.env, d.named = d.rules.file.Environment(env.Name)
	}
	return d.rules.fault != "" || d.rules.file != nil && !d.named
}

// oldRemembered gives the rules of the live commit, if they are remembered:
// then what changed since tells whether the new commit has the same.
func (p *Pipeline) oldRemembered(ctx context.Context, repo ledger.Repository, env ledger.Environment) (rules, bool, error) {
	if env.ID == "" || env.Live.IsZero() {
		return rules{}, false, nil
	}
	sha, old, ok, err := p.liveRules(ctx, repo, env.ID)
	return old, ok && sha == env.Live.SHA, err
}

func (p *Pipeline) newRules(ctx context.Context, repo ledger.Repository, sha string, old rules, changes github.Changes) (rules, error) {
	if r, ok := p.same(repo, sha, old, changes); ok {
		return r, nil
	}
	return p.rulesAt(ctx, repo, sha)
}

// start is what an environment's first purge starts from.
func (p *Pipeline) start(ctx context.Context, repo ledger.Repository, env ledger.Environment, to ledger.Point) (ledger.Point, string, error) {
	if !env.Live.IsZero() {
		return env.Live, "", nil
	}
	last, first, err := p.began(ctx, repo, env, to)
	if err != nil {
		return ledger.Point{}, "", err
	}
	if last != nil {
		return ledger.Point{SHA: last.SHA, Deploy: last.ID, Status: last.StatusID, At: last.CreatedAt},
			"first seen, since deployment " + report.Short(last.SHA), nil
	}
	push, err := p.Store.PushOf(ctx, repo.ID, first)
	if err == nil && !zeroSHA(push.Before) {
		return ledger.Point{SHA: push.Before}, "first seen, since push from " + report.Short(push.Before), nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return ledger.Point{}, "", err
	}
	commit, err := p.repository(repo).Commit(ctx, first)
	if err != nil {
		return ledger.Point{}, "", err
	}
	if len(commit.Parents) == 0 {
		return ledger.Point{}, "first seen, every file", nil
	}
	return ledger.Point{SHA: commit.Parents[0]}, "first seen, since parent " + report.Short(commit.Parents[0]), nil
}

// oldRules reads the rules of the commit that the difference starts from; one
// that is gone has none.
func (p *Pipeline) oldRules(ctx context.Context, repo ledger.Repository, d *difference, to string, changes github.Changes) (rules, error) {
	if d.from.SHA == "" {
		return rules{}, nil
	}
	var err error
	if d.rules, err = p.plain(ctx, repo, to, d.rules); err != nil {
		return rules{}, err
	}
	if old, ok := p.same(repo, d.from.SHA, d.rules, changes); ok {
		return old, nil
	}
	old, err := p.rulesAt(ctx, repo, d.from.SHA)
	if github.IsNotFound(err) {
		return rules{}, nil
	}
	return old, err
}

// changes finds what differs. Where that can't be known it is every file of
// the new tree, never nothing.
func (p *Pipeline) changes(ctx context.Context, repo ledger.Repository, env ledger.Environment, d *difference, to ledger.Point) (github.Changes, error) {
	r := p.repository(repo)
	if d.from.SHA != "" {
		remembered, err := p.remembered(ctx, env)
		if err != nil {
			return github.Changes{}, err
		}
		changes, err := r.Changes(ctx, d.from.SHA, to.SHA, remembered)
		if err == nil || !errors.Is(err, github.ErrGone) {
			d.tree = changes.Tree
			return changes, err
		}
		d.note = "commit " + report.Short(d.from.SHA) + " is gone: every file"
	}
	tree, err := r.Tree(ctx, to.SHA)
	if err != nil {
		return github.Changes{}, err
	}
	d.tree = tree
	all := github.Changes{Tree: tree, Relation: github.Unrelated}
	for path := range tree.Paths() {
		all.Files = append(all.Files, mapping.Change{Path: path, Op: mapping.Modified})
	}
	return all, nil
}

// remembered is the listing that was stored last for an environment, or nil.
func (p *Pipeline) remembered(ctx context.Context, env ledger.Environment) (*github.Tree, error) {
	if env.ID == "" {
		return nil, nil //nolint:nilnil // nothing remembered is an answer
	}
	listing, err := p.Store.Tree(ctx, env.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil //nolint:nilnil // nothing remembered is an answer
	}
	if err != nil {
		return nil, err
	}
	tree := new(github.Tree)
	if err := tree.UnmarshalBinary(listing); err != nil {
		p.Log.LogAttrs(ctx, slogWarn, "remembered tree can't be read; GitHub is asked instead", errAttr(err))
		return nil, nil //nolint:nilnil // it is only a shortcut
	}
	return tree, nil
}

func (p *Pipeline) mapChanges(ctx context.Context, repo ledger.Repository, env ledger.Environment, d *difference, to ledger.Point, old rules, changes github.Changes) error {
	rollback, err := p.rollback(ctx, repo, env, d, to, changes.Relation)
	if err != nil {
		return err
	}
	if rollback {
		d.cause = ledger.CauseRollback
	}
	q := mapping.Query{
		Environment: env.Name, Owner: repo.Owner, Repo: repo.Name, DefaultBranch: repo.DefaultBranch,
		Rollback: rollback, Old: old.file, Changes: slices.Values(changes.Files),
	}
	plan, err := d.rules.file.Plan(q)
	if errors.Is(err, mapping.ErrTooLarge) || errors.Is(err, mapping.ErrTooSlow) { // waits for better rules, like a broken file
		d.rules = rules{path: d.rules.path, fault: d.rules.path + ": " + err.Error()}
		return nil
	}
	if err != nil {
		return err
	}
	grant := p.Policy.For(repo.FullName())
	if rollback && !rollbackAllowed(grant, plan.Targets) {
		// A rollback's delete is a default that nobody asked for, and it is
		// never held: where the operator has a bound it goes by `action`.
		q.Rollback = false
		if plan, err = d.rules.file.Plan(q); err != nil {
			return err
		}
	}
	d.targets, d.unmatch = judge(grant, plan.Targets), plan.Unmatched
	held, why := hold(grant, plan, d.targets, rollback)
	switch d.hold = held; {
	case held:
		d.note = why
	case plan.WarnUnmatched && len(plan.Unmatched) > 0 && d.note == "":
		d.note = report.NoRuleMatches(len(plan.Unmatched))
	}
	return nil
}

// rollback tells a rollback from a deployment that goes forward.
func (p *Pipeline) rollback(ctx context.Context, repo ledger.Repository, env ledger.Environment, d *difference, to ledger.Point, relation github.Relation) (bool, error) {
	if env.Live.IsZero() || env.Live.SHA != d.from.SHA || to.SHA == d.from.SHA {
		return false, nil
	}
	lived, err := p.Store.Lived(ctx, env.ID, to.SHA)
	if err != nil {
		return false, err
	}
	ancestor := relation == github.Behind
	if relation == "" && !lived && ledger.Rollback(env.Live, to, true, false) {
		ancestor, err = p.repository(repo).Ancestor(ctx, to.SHA, env.Live.SHA)
		if err != nil && !github.IsNotFound(err) {
			return false, err
		}
	}
	return ledger.Rollback(env.Live, to, ancestor, lived), nil
}

// judge adds the operator's word to what the rules ask for.
func judge(grant policy.Grant, targets []mapping.Target) []mapping.Target {
	out := slices.Clone(targets)
	for i, t := range out {
		if t.Reason != "" {
			continue
		}
		if reason := grant.Refusal(t.Kind, t.Object, t.Action); reason != "" {
			out[i].Reason = reason
			continue
		}
		if garbled(t.Path, t.Object) {
			out[i].Reason = garbledReason
			continue
		}
		if err := purger.Check(purger.Kind(t.Kind), t.Object); err != nil {
			out[i].Reason = err.Error()
		}
	}
	return out
}

const garbledReason = "the file's name is not UTF-8, and GitHub does not tell its bytes"

// garbled reports whether an object holds part of a file's name that JSON
// could not hold, and in whose place GitHub sent a replacement character.
func garbled(path, object string) bool {
	const replacement, encoded = "\ufffd", "%EF%BF%BD"
	return strings.Contains(path, replacement) &&
		(strings.Contains(object, encoded) || strings.Contains(object, replacement))
}
