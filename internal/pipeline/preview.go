package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/planner"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/webhook"
)

// proposal is a change that is not merged yet: that of a pull request, or of a merge
// queue's group.
type proposal struct {
	head  string // the commit that gets the check run
	base  string // the branch that it goes to
	files []mapping.Change
	cut   bool // there are more files, which GitHub does not list
}

// pullChanged previews a pull request that was opened or got new commits. For one that
// was merged it stores the merge commit: pullsOf finds it when a deployment carries it.
func (p *Pipeline) pullChanged(ctx context.Context, repo ledger.Repository, e *webhook.PullRequest) (string, error) {
	if e.Action == "closed" {
		if err := p.Store.ClosePreview(ctx, repo.ID, e.Number); err != nil {
			return "", err
		}
	}
	if e.Action == "closed" && e.Merge != "" {
		return "merged", p.Store.SeeMerged(ctx, store.Merged{RepoID: repo.ID, Number: e.Number, Branch: e.Base.Ref, SHA: e.Merge, At: p.Now()})
	}
	if e.Action == "closed" {
		return "closed", nil
	}
	return p.previewPull(ctx, repo, e.Number, e.Head.SHA, false)
}

// previewPull previews a pull request at a head. If its head is another one by now,
// nothing is done: GitHub sent another event for that. afresh writes the check run again
// even if GitHub shows the same words already.
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
	branch, err := p.branchRules(ctx, repo, pull.BaseRef)
	if err != nil {
		return "", err
	}
	files, complete, err := r.PullFiles(ctx, number)
	if err != nil {
		return "", err
	}
	return p.preview(ctx, repo, branch, proposal{head: head, base: pull.BaseRef, files: files, cut: !complete}, number, afresh)
}

// queued previews a merge queue's group. Its check run has the same name as a pull
// request's: where a branch requires that check, GitHub waits for it in the queue too.
func (p *Pipeline) queued(ctx context.Context, repo ledger.Repository, e *webhook.MergeGroup) (string, error) {
	base := cutRef(e.BaseRef)
	branch, err := p.branchRules(ctx, repo, base)
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
	return p.preview(ctx, repo, branch, proposal{head: e.HeadSHA, base: base, files: changes.Files}, 0, false)
}

// branchRules are the rules at a branch's head, and the environments that follow the
// branch. The value is empty where there is no such branch.
type branchRules struct {
	head  string
	rules rules
	envs  []mapping.Environment
}

// branchRules reads them. The rules of the default branch say which environments follow a
// branch; environments that are named by a glob are left out, since no preview can know
// their names.
func (p *Pipeline) branchRules(ctx context.Context, repo ledger.Repository, branch string) (c branchRules, err error) {
	c.head, err = p.repository(repo).Head(ctx, branch)
	if github.IsNotFound(err) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if c.rules, err = p.planner.RulesAt(ctx, repo, c.head); err != nil {
		return c, err
	}
	authority, err := p.planner.Authority(ctx, repo)
	if err != nil || authority.File == nil {
		return c, err
	}
	for _, env := range authority.File.Environments() {
		if !env.Glob && branchOf(env, repo) == branch {
			c.envs = append(c.envs, env)
		}
	}
	return c, nil
}

// preview wants the check run of a proposal. There is none where no environment follows
// the branch, the branch's rules have no fault, and the proposal does not touch the rules
// file. number is the pull request's; 0: a merge queue's group.
func (p *Pipeline) preview(ctx context.Context, repo ledger.Repository, c branchRules, to proposal, number int, afresh bool) (string, error) {
	view := report.Preview{Base: to.base, Files: len(to.files), Cut: to.cut, Fault: c.rules.Fault}
	grant := p.Policy().For(repo.FullName())
	view.Fails.Refused, view.Fails.Held = grant.PreviewFails(policy.Refused), grant.PreviewFails(policy.Held)
	view.Fails.Unmatched = grant.PreviewFails(policy.Unmatched)
	if c.rules.File != nil {
		view.SHA, view.Shared = c.head, c.rules.Shared
		if err := p.previewEnvironments(ctx, repo, &view, c, to); err != nil {
			return "", err
		}
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
	words, err := p.previewWords(ctx, repo, &view, number, to.head)
	if err != nil {
		return "", err
	}
	return "previewed", p.Store.WantCheck(ctx, store.Check{
		RepoID: repo.ID, SHA: to.head, Name: report.PreviewName, Number: number, Words: words,
	}, afresh)
}

// previewWords makes the JSON of what the check run shows; it is kept in the surface
// until it is posted. If GitHub takes less than the whole, the whole is stored for a
// page, and the check run is rendered once more with the link to it.
func (p *Pipeline) previewWords(ctx context.Context, repo ledger.Repository, view *report.Preview, number int, head string) (string, error) {
	check := view.Check()
	if check.Cut() && p.PublicURL != "" {
		key, err := p.Store.KeepPreview(ctx, repo.ID, number, head, []byte(view.Listing()))
		if err != nil {
			return "", err
		}
		view.Link = p.PublicURL + "/previews/" + key
		check = view.Check()
	}
	words, err := json.Marshal(check)
	return string(words), err
}

// previewEnvironments maps the files by the branch's rules, in each environment that
// follows the branch, and collects the files that no rule of any of them matches.
func (p *Pipeline) previewEnvironments(ctx context.Context, repo ledger.Repository, view *report.Preview, c branchRules, to proposal) error {
	unmatched := map[string]bool{}
	for _, follows := range c.envs {
		if _, ok := c.rules.File.Environment(follows.Name); !ok {
			continue
		}
		env, files, err := p.previewOf(ctx, repo, c.rules.File, follows.Name, to)
		if err != nil {
			return err
		}
		env.Unheard = p.unheard(ctx, repo, follows.Trigger)
		view.Environments = append(view.Environments, env)
		for _, file := range files {
			if !unmatched[file] {
				unmatched[file] = true
				view.Unmatched = append(view.Unmatched, file)
			}
		}
	}
	slices.Sort(view.Unmatched)
	return nil
}

// previewSteps bounds the work of one preview's mapping: about a second of processor
// time. Anybody may open a pull request with rules that are made to be slow.
const previewSteps = 250_000_000

// previewMost is how many objects a preview of one environment lists.
const previewMost = 50_000

// previewOf is what one environment would purge by a file's rules. Rules that can't be
// mapped within bounds are a Fault of the preview and no error: waiting would not help.
func (p *Pipeline) previewOf(ctx context.Context, repo ledger.Repository, file *mapping.File, name string, to proposal) (env report.PreviewEnvironment, unmatched []string, err error) {
	plan, err := p.planner.Map(ctx, repo, file, planner.Change{Environment: name, Files: to.files, Steps: previewSteps, By: policy.Deployment()})
	if err == nil {
		defer plan.Release()
	}
	named, _ := file.Environment(name)
	env = report.PreviewEnvironment{Name: contextName(named), Network: named.Network}
	if fault, ok := planner.Unplannable(err); ok {
		env.Fault, err = fault, nil
	}
	if env.Fault != "" || err != nil {
		return env, nil, err
	}
	env.Limit, env.URLs, env.Held = plan.Limit, plan.URLs, plan.Held
	if plan.Len() > previewMost {
		env.Fault = fmt.Sprintf("this gives %d objects, and a preview lists at most %d", plan.Len(), previewMost)
		return env, plan.Unmatched, nil
	}
	env.Targets = slices.Collect(plan.Judged())
	return env, plan.Unmatched, nil
}

// rulesTouched finds the rules file among the changed files. If the file moves from one
// of its two places to the other, place is the new one.
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

// previewRules reads a proposal's own rules file: its faults, and what it would change
// for the same files. Nothing in it is trusted: it decides neither what is purged nor who
// may.
func (p *Pipeline) previewRules(ctx context.Context, repo ledger.Repository, c branchRules, to proposal, place string) (*report.PreviewRules, error) {
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
	parsed, faults, err := p.planner.Extend(ctx, repo, file.Path, file.Source)
	if err != nil {
		return nil, err
	}
	own.Faults = faults
	if parsed == nil {
		return own, nil
	}
	own.Faults = append(slices.Clone(faults), p.unheardOf(ctx, repo, parsed)...)
	own.Faults = append(own.Faults, parsed.Check(ctx, repo.Owner, repo.Name, repo.DefaultBranch)...)
	if tree, err := p.repository(repo).Tree(ctx, to.head); err == nil { // it only warns and counts: without the tree the preview is as good
		if reach, warnings, err := parsed.Reach(ctx, tree.Paths()); err == nil {
			own.Reach, own.Faults = reach, append(own.Faults, warnings...)
		}
	}
	own.Changes, err = p.rulesChanges(ctx, repo, c, parsed, to)
	return own, err
}

// unheardOf warns of those triggers of a file whose events the App does not get.
func (p *Pipeline) unheardOf(ctx context.Context, repo ledger.Repository, file *mapping.File) (faults mapping.Faults) {
	for _, env := range file.Environments() {
		if words := p.unheard(ctx, repo, env.Trigger); words != "" {
			faults = append(faults, mapping.Fault{Line: env.Line, Column: env.Column, Severity: mapping.Warning, Message: env.Key + " would not be purged: " + words})
		}
	}
	return faults
}

// rulesChanges compares what the branch's rules and the proposal's own rules give for the
// same files, in every environment that follows the branch by either of them.
func (p *Pipeline) rulesChanges(ctx context.Context, repo ledger.Repository, c branchRules, own *mapping.File, to proposal) (changes []report.RulesChange, err error) {
	var names []string
	for _, env := range c.envs {
		names = append(names, env.Name)
	}
	for _, env := range own.Environments() {
		if !env.Glob && branchOf(env, repo) == to.base && !slices.Contains(names, env.Name) {
			names = append(names, env.Name)
		}
	}
	for _, name := range names {
		change := report.RulesChange{Environment: name}
		var today, then report.PreviewEnvironment
		known := false
		if c.rules.File != nil {
			if _, known = c.rules.File.Environment(name); known {
				if today, _, err = p.previewOf(ctx, repo, c.rules.File, name, to); err != nil {
					return nil, err
				}
			}
		}
		_, stays := own.Environment(name)
		if stays {
			if then, _, err = p.previewOf(ctx, repo, own, name, to); err != nil {
				return nil, err
			}
		}
		change.Added, change.Dropped = !known && stays, known && !stays
		change.More, change.Less = targetsWithout(then.Targets, today.Targets), targetsWithout(today.Targets, then.Targets)
		change.BeyondCompare = then.Fault
		if change.Added || change.Dropped || change.BeyondCompare != "" || len(change.More)+len(change.Less) > 0 {
			changes = append(changes, change)
		}
	}
	return changes, nil
}

// targetsWithout lists the targets that could be sent and that others does not have, or
// has only as refused.
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

// cutRef cuts refs/heads/ off a ref; any other text stays as it is.
func cutRef(ref string) string {
	const heads = "refs/heads/"
	if len(ref) > len(heads) && ref[:len(heads)] == heads {
		return ref[len(heads):]
	}
	return ref
}
