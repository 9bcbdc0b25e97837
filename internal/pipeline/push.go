package pipeline

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/webhook"
)

// pushed announces what a deployment of the pushed commit would purge, in
// each environment whose branch moved, or purges at once where the push is
// the trigger.
func (p *Pipeline) pushed(ctx context.Context, repo ledger.Repository, e *webhook.Push, d store.Delivery) (string, error) {
	branch, isBranch := strings.CutPrefix(e.Ref, "refs/heads/")
	if !isBranch || e.Deleted || zeroSHA(e.After) {
		return "not a branch that moved", nil
	}
	push := ledger.Push{RepoID: repo.ID, Branch: branch, Before: e.Before, After: e.After, At: e.Repository.PushedAt, Delivery: d.GUID}
	if push.At.IsZero() {
		push.At = d.ReceivedAt.Truncate(time.Second)
	}
	fresh, err := p.Store.SeePush(ctx, push)
	if err != nil {
		return "", err
	}
	if branch == repo.DefaultBranch { // a mended rules file, or changed trust
		waiting, err := p.Store.Faulty(ctx, repo.ID)
		if err != nil {
			return "", err
		}
		if err := p.Store.Ring(ctx, waiting...); err != nil {
			return "", err
		}
	}
	envs, err := p.pushedTo(ctx, repo, push)
	if err != nil || len(envs) == 0 {
		return "no environment follows this branch", err
	}
	for _, env := range envs {
		if env.Trigger.Kind == mapping.OnPush {
			err = p.pushDeploys(ctx, p.told(repo), repo, env, push, fresh)
		} else {
			err = p.announce(ctx, repo, env, push)
		}
		if err != nil {
			return "", err
		}
	}
	return "announced", nil
}

// pushedTo lists the environments, named and not by glob, whose branch this
// push moved. Which they are stands on the default branch; where that has no
// good file, the pushed one's or the one before it tells.
func (p *Pipeline) pushedTo(ctx context.Context, repo ledger.Repository, push ledger.Push) ([]mapping.Environment, error) {
	file, err := p.authority(ctx, repo)
	if err != nil {
		return nil, err
	}
	for _, sha := range []string{push.After, push.Before} {
		if file.file != nil || zeroSHA(sha) {
			break
		}
		if file, err = p.rulesAt(ctx, repo, sha); err != nil && !github.IsNotFound(err) {
			return nil, err
		}
	}
	if file.file == nil {
		return nil, nil
	}
	var envs []mapping.Environment
	for _, env := range file.file.Environments() {
		if !env.Glob && branchOf(env, repo) == push.Branch {
			envs = append(envs, env)
		}
	}
	return envs, nil
}

// pushDeploys takes a push for a deployment.
func (p *Pipeline) pushDeploys(ctx context.Context, by telling, repo ledger.Repository, env mapping.Environment, push ledger.Push, fresh bool) error {
	desire := func(point ledger.Point) (ledger.Environment, error) {
		known, _, err := by.desire(ctx, repo.ID, env.Name,
			ledger.Deploy{Point: point, State: "success", Known: !fresh}, push.At.Add(env.Settle))
		return known, err
	}
	known, err := desire(ledger.Point{SHA: push.After, At: push.At})
	if err != nil || known.Desired.SHA == push.After || !known.Desired.At.Equal(push.At) {
		return err
	}
	// Two pushes within GitHub's second: the branch itself says which came
	// last. It is asked once more, since somebody else may have asked meanwhile,
	// and have noted a later answer with a lower number.
	for {
		head, err := p.repository(repo).Head(ctx, push.Branch)
		if err != nil || head == known.Desired.SHA {
			return err
		}
		known, err = desire(ledger.Point{SHA: head, At: push.At, Status: known.Desired.Status + 1})
		if err != nil || !known.Desired.At.Equal(push.At) {
			return err
		}
	}
}

// announce says on a pushed commit what its deployment will purge.
func (p *Pipeline) announce(ctx context.Context, repo ledger.Repository, env mapping.Environment, push ledger.Push) error {
	if env.Announce == mapping.AnnounceNone {
		return nil
	}
	known, err := p.known(ctx, repo, env.Name)
	if err != nil {
		return err
	}
	words, err := p.forecast(ctx, repo, known, ledger.Point{SHA: push.After}, func(c ledger.Counts) report.Status {
		s := report.Waits(c, contextName(env))
		if env.Announce == mapping.AnnouncePending && c.Total() > 0 {
			s.State = "pending"
		}
		return s
	})
	if err != nil || words == nil {
		return err
	}
	carried, err := p.carried(ctx, repo, known, push)
	if err != nil {
		return err
	}
	if carried {
		*words = report.Carried(known.Live.SHA)
	}
	return p.Store.Announce(ctx, store.Announcement{
		RepoID: repo.ID, EnvID: known.ID, SHA: push.After, Context: report.Context(contextName(env)),
		State: words.State, Words: words.Description,
		At:   push.At.Add(-time.Millisecond), // whatever deploys it within GitHub's second came later
		Ends: carried,
	})
}

// carried reports whether a push that is only heard of now went live with a
// later commit already.
func (p *Pipeline) carried(ctx context.Context, repo ledger.Repository, env ledger.Environment, push ledger.Push) (bool, error) {
	if env.Live.IsZero() || env.Live.SHA == push.After || !push.At.Before(env.Live.At) {
		return false, nil
	}
	is, err := p.repository(repo).Ancestor(ctx, push.After, env.Live.SHA)
	if github.IsNotFound(err) {
		return false, nil
	}
	return is, err
}

// known reads an environment, or the one that there would be.
func (p *Pipeline) known(ctx context.Context, repo ledger.Repository, name string) (ledger.Environment, error) {
	env, err := p.Store.FindEnvironment(ctx, repo.ID, name)
	if errors.Is(err, store.ErrNotFound) {
		return p.Store.EnsureEnvironment(ctx, repo.ID, name)
	}
	return env, err
}

// forecast is the status of a commit that is not deployed; nil says nothing.
func (p *Pipeline) forecast(ctx context.Context, repo ledger.Repository, env ledger.Environment, to ledger.Point, words func(ledger.Counts) report.Status) (*report.Status, error) {
	d, err := p.difference(ctx, repo, env, to)
	if err != nil {
		return nil, err
	}
	var s report.Status
	switch {
	case d.rules.fault != "":
		s = report.Fault(d.rules.fault)
	case d.rules.none() && d.had:
		s = report.NoRules()
	case d.rules.none(), !d.named:
		return nil, nil //nolint:nilnil // nothing to say
	default:
		s = words(d.counts())
	}
	return &s, nil
}
