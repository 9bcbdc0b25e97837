package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/webhook"
)

// proposal is a change that is not merged: a pull request's, or a merge
// queue's group.
type proposal struct {
	head  string // its commit, which gets the check run
	base  string // the branch that it goes to
	files []mapping.Change
	cut   bool // GitHub lists no more files than those
}

// pullChanged previews a pull request that was opened or got new commits.
func (p *Pipeline) pullChanged(ctx context.Context, repo ledger.Repository, e *webhook.PullRequest) (string, error) {
	if e.Action == "closed" {
		return "closed", nil
	}
	return p.previewPull(ctx, repo, e.Number, e.Head.SHA, false)
}

// previewPull previews a pull request at a head; one that has moved on gets
// another event. afresh writes even words that GitHub shows already.
func (p *Pipeline) previewPull(ctx context.Context, repo ledger.Repository, number int, head string, afresh bool) (string, error) {
	r := p.repository(repo)
	pull, err := r.Pull(ctx, number)
	switch {
	case github.IsNotFound(err):
		return "the pull request is gone", nil
	case err != nil:
		return "", err
	case !pull.Open || pull.HeadSHA != head:
		return "the pull request has moved on", nil
	}
	concerns, err := p.concerns(ctx, repo, pull.BaseRef)
	if err != nil {
		return "", err
	}
	files, complete, err := r.PullFiles(ctx, number)
	if err != nil {
		return "", err
	}
	return p.preview(ctx, repo, concerns, proposal{head: head, base: pull.BaseRef, files: files, cut: !complete}, number, afresh)
}

// queued previews a merge queue's group, whose check run has the same name:
// whoever requires the one needs the other.
func (p *Pipeline) queued(ctx context.Context, repo ledger.Repository, e *webhook.MergeGroup) (string, error) {
	base := cutRef(e.BaseRef)
	concerns, err := p.concerns(ctx, repo, base)
	if err != nil {
		return "", err
	}
	changes, err := p.repository(repo).Changes(ctx, e.BaseSHA, e.HeadSHA, nil)
	if errors.Is(err, github.ErrGone) || github.IsNotFound(err) {
		return "the group is gone", nil
	}
	if err != nil {
		return "", err
	}
	return p.preview(ctx, repo, concerns, proposal{head: e.HeadSHA, base: base, files: changes.Files}, 0, false)
}

// concern is what a change to a branch concerns: the environments that
// follow the branch, and the rules at its head.
type concern struct {
	head  string
	rules rules
	envs  []string
}

// concerns finds the environments, named and not by glob, that follow a
// branch by the default branch's word.
func (p *Pipeline) concerns(ctx context.Context, repo ledger.Repository, branch string) (c concern, err error) {
	c.head, err = p.repository(repo).Head(ctx, branch)
	if github.IsNotFound(err) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if c.rules, err = p.rulesAt(ctx, repo, c.head); err != nil {
		return c, err
	}
	authority, err := p.authority(ctx, repo)
	if err != nil || authority.file == nil {
		return c, err
	}
	for _, env := range authority.file.Environments() {
		if !env.Glob && branchOf(env, repo) == branch {
			c.envs = append(c.envs, env.Name)
		}
	}
	return c, nil
}

// preview wants the check run of a proposal; where neither the branch nor the
// proposal has rules for it there is none.
func (p *Pipeline) preview(ctx context.Context, repo ledger.Repository, c concern, to proposal, number int, afresh bool) (string, error) {
	view := report.Preview{Base: to.base, Files: len(to.files), Cut: to.cut, Fault: c.rules.fault}
	grant := p.Policy.For(repo.FullName())
	view.Fails.Refused, view.Fails.Held = grant.PreviewFails(policy.Refused), grant.PreviewFails(policy.Held)
	view.Fails.Unmatched = grant.PreviewFails(policy.Unmatched)
	if c.rules.file != nil {
		view.SHA = c.head
		p.previewEnvironments(repo, &view, c, to)
	}
	place, touched := rulesTouched(to.files)
	if touched {
		own, err := p.previewRules(ctx, repo, c, to, place)
		if err != nil {
			return "", err
		}
		view.Rules = own
	}
	if len(view.Environments) == 0 && view.Fault == "" && !touched {
		return "no environment follows " + to.base, nil
	}
	words, err := p.previewWords(ctx, repo, &view, to.head)
	if err != nil {
		return "", err
	}
	return "previewed", p.Store.WantCheck(ctx, store.Check{
		RepoID: repo.ID, SHA: to.head, Name: report.PreviewName, Number: number, Words: words,
	}, afresh)
}

// previewWords writes down what the check run shows. Where GitHub takes less
// than all of it, it links to a page with the whole.
func (p *Pipeline) previewWords(ctx context.Context, repo ledger.Repository, view *report.Preview, head string) (string, error) {
	check := view.Check()
	if check.Cut() && p.PublicURL != "" {
		key, err := p.Store.KeepPreview(ctx, repo.ID, head, []byte(view.Listing()))
		if err != nil {
			return "", err
		}
		view.Link = p.PublicURL + "/previews/" + key
		check = view.Check()
	}
	words, err := json.Marshal(check)
	return string(words), err
}

// previewEnvironments maps the files by the rules of the branch.
func (p *Pipeline) previewEnvironments(repo ledger.Repository, view *report.Preview, c concern, to proposal) {
	grant := p.Policy.For(repo.FullName())
	unmatched := map[string]bool{}
	for _, name := range c.envs {
		if _, ok := c.rules.file.Environment(name); !ok {
			continue
		}
		env, plan := previewOf(repo, grant, c.rules.file, name, to)
		view.Environments = append(view.Environments, env)
		for _, file := range plan.Unmatched {
			if !unmatched[file] {
				unmatched[file] = true
				view.Unmatched = append(view.Unmatched, file)
			}
		}
	}
	slices.Sort(view.Unmatched)
}

// previewOf is what one environment would purge by a file's rules. It is pure.
func previewOf(repo ledger.Repository, grant policy.Grant, file *mapping.File, name string, to proposal) (report.PreviewEnvironment, mapping.Plan) {
	plan, err := file.Plan(mapping.Query{
		Environment: name, Owner: repo.Owner, Repo: repo.Name, DefaultBranch: repo.DefaultBranch,
		Changes: slices.Values(to.files),
	})
	env := report.PreviewEnvironment{Name: contextName(plan.Environment), Network: plan.Environment.Network}
	if err != nil {
		env.Fault = err.Error()
		return env, plan
	}
	env.Targets, env.Limit, env.URLs = judge(grant, plan.Targets), plan.Limit, plan.URLs
	_, env.Held = hold(grant, plan, env.Targets, false)
	return env, plan
}

// rulesTouched finds the rules file among the changed files.
func rulesTouched(files []mapping.Change) (place string, touched bool) {
	for _, f := range files {
		if f.Path != mapping.RootPlace && f.Path != mapping.GitHubPlace {
			continue
		}
		if place = f.Path; f.Op != mapping.Removed {
			return place, true
		}
		touched = true
	}
	return place, touched
}

// previewRules reads a proposal's own rules file: its faults, and what it
// would change for the same files. It is trusted for nothing.
func (p *Pipeline) previewRules(ctx context.Context, repo ledger.Repository, c concern, to proposal, place string) (*report.PreviewRules, error) {
	own := &report.PreviewRules{Path: place}
	file, found, err := p.repository(repo).RulesFile(ctx, to.head)
	var unusable *github.RulesFileError
	switch {
	case errors.As(err, &unusable):
		own.Fault = unusable.Public()
		return own, nil
	case err != nil:
		return nil, err
	case !found:
		own.Gone = true
		return own, nil
	}
	own.Path = file.Path
	parsed, faults := mapping.Parse(file.Source)
	own.Faults = faults
	if parsed == nil {
		return own, nil
	}
	own.Faults = append(slices.Clone(faults), parsed.Check(repo.Owner, repo.Name, repo.DefaultBranch)...)
	own.Changes = rulesChanges(repo, p.Policy.For(repo.FullName()), c, parsed, to)
	return own, nil
}

// rulesChanges compares what today's rules and a proposal's own give for the
// same files, in every environment of either that follows the branch. It is
// pure.
func rulesChanges(repo ledger.Repository, grant policy.Grant, c concern, own *mapping.File, to proposal) (changes []report.RulesChange) {
	names := slices.Clone(c.envs)
	for _, env := range own.Environments() {
		if !env.Glob && branchOf(env, repo) == to.base && !slices.Contains(names, env.Name) {
			names = append(names, env.Name)
		}
	}
	for _, name := range names {
		change := report.RulesChange{Environment: name}
		var today, then report.PreviewEnvironment
		known := false
		if c.rules.file != nil {
			if _, known = c.rules.file.Environment(name); known {
				today, _ = previewOf(repo, grant, c.rules.file, name, to)
			}
		}
		_, stays := own.Environment(name)
		if stays {
			then, _ = previewOf(repo, grant, own, name, to)
		}
		change.Added, change.Dropped = !known && stays, known && !stays
		change.More, change.Less = targetsWithout(then.Targets, today.Targets), targetsWithout(today.Targets, then.Targets)
		change.BeyondCompare = then.Fault
		if change.Added || change.Dropped || change.BeyondCompare != "" || len(change.More)+len(change.Less) > 0 {
			changes = append(changes, change)
		}
	}
	return changes
}

// targetsWithout lists the targets that could be sent and that others lack.
func targetsWithout(targets, others []mapping.Target) (rest []mapping.Target) {
	type object struct {
		name   string
		action mapping.Action
	}
	known := map[object]bool{}
	for _, t := range others {
		known[object{t.String(), t.Action}] = t.Reason == ""
	}
	for _, t := range targets {
		if t.Reason == "" && !known[object{t.String(), t.Action}] {
			rest = append(rest, t)
		}
	}
	return rest
}

func cutRef(ref string) string {
	const heads = "refs/heads/"
	if len(ref) > len(heads) && ref[:len(heads)] == heads {
		return ref[len(heads):]
	}
	return ref
}
