package pipeline

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/mapping"
)

// followed is an environment that the rules of the default branch name, not by
// a glob, and what the ledger knows of it.
type followed struct {
	mapping.Environment
	known  ledger.Environment
	branch string
}

// followed lists the environments that follow a branch.
func (c *comparison) followed(ctx context.Context) (envs []followed, err error) {
	file, err := c.authority(ctx)
	if err != nil || file.File == nil {
		return nil, err
	}
	known, err := c.Store.Environments(ctx, c.repo.ID)
	if err != nil {
		return nil, err
	}
	for _, env := range file.File.Environments() {
		if env.Glob {
			continue
		}
		f := followed{Environment: env, branch: branchOf(env, c.repo)}
		if at := slices.IndexFunc(known, func(e ledger.Environment) bool { return strings.EqualFold(e.Name, env.Name) }); at >= 0 {
			f.known = known[at]
		}
		envs = append(envs, f)
	}
	return envs, nil
}

// headOf is a branch's head; "" if there is no such branch.
func (c *comparison) headOf(ctx context.Context, branch string) (string, error) {
	if branch == c.repo.DefaultBranch && c.read {
		return c.head, nil
	}
	head, err := c.repository(c.repo).Head(ctx, branch)
	if github.IsNotFound(err) {
		return "", nil
	}
	return head, err
}

// branches finds pushes that no webhook told of, where one moved a branch since:
// those that deploy, and those of which nothing was said yet.
func (c *comparison) branches(ctx context.Context, info github.Info, _ time.Time) (found int, err error) {
	// Where a branch stands needs no overlap, only clocks that may differ.
	since := c.repo.FirstSeen
	if last := c.repo.Compared.Add(-time.Minute); last.After(since) {
		since = last
	}
	if info.PushedAt.Before(since.Truncate(time.Second)) || !c.Policy().For(c.repo.FullName()).Listed() {
		return 0, nil
	}
	envs, err := c.followed(ctx)
	if err != nil {
		return 0, err
	}
	err = independently(ctx, slices.Values(envs), func(env followed) error {
		head, err := c.headOf(ctx, env.branch)
		if err != nil || head == "" || head == env.known.Desired.SHA || head == env.known.Live.SHA {
			return err
		}
		// GitHub says when any branch moved last, which is this one at the latest.
		push := ledger.Push{RepoID: c.repo.ID, Branch: env.branch, After: head, At: info.PushedAt}
		if env.Trigger.Kind != mapping.OnPush {
			return c.announceHead(ctx, env, push)
		}
		if err := c.pushDeploys(ctx, c.source(), c.repo, env.Environment, push, true); err != nil {
			return err
		}
		found++
		c.Log.LogAttrs(ctx, slog.LevelInfo, "recovered: a push that no webhook told of", c.foundAttrs(env.Name, head)...)
		return nil
	})
	return found, err
}

func (c *comparison) foundAttrs(environment, sha string) []slog.Attr {
	return []slog.Attr{
		slog.String("repository", c.repo.FullName()), slog.String("environment", environment), slog.String("sha", report.Short(sha)),
	}
}

// announceHead says what waits, unless something was said of the commit. An
// environment to which nothing was deployed yet is left out: where its first
// purge would start takes several calls to find.
func (c *comparison) announceHead(ctx context.Context, env followed, push ledger.Push) error {
	spoken, err := c.Store.Spoken(ctx, c.repo.ID, push.After, report.Context(contextName(env.Environment)))
	if err != nil || spoken || env.known.Live.IsZero() {
		return err
	}
	return c.announce(ctx, c.repo, env.Environment, push)
}

// signals finds the commit statuses, check runs and workflow runs that trigger
// an environment and that no webhook told of. They come at any time after a
// push, so it looks wherever one was ever taken for a deployment, and where the
// last good rules wait for one: what set it off may be older than the
// permission to hear it.
func (c *comparison) signals(ctx context.Context, _ github.Info, _ time.Time) (found int, err error) {
	if waits, err := c.waitsForSignals(ctx); err != nil || !waits {
		return 0, err
	}
	envs, err := c.followed(ctx)
	if err != nil {
		return 0, err
	}
	err = independently(ctx, slices.Values(envs), func(env followed) error {
		s, ok, err := c.lastSignal(ctx, env)
		if err != nil {
			return err
		}
		at := env.known.Desired
		switch {
		case !ok, s.id == at.Status && s.sha == at.SHA && s.at.Truncate(time.Second).Equal(at.At):
			return nil
		case at.IsZero() && s.at.Before(c.repo.FirstSeen.Truncate(time.Second)): // what is deployed before is nobody's to purge
			return nil
		}
		outcome, err := c.signalled(ctx, c.source(), c.repo, s, s.at)
		if outcome.result == desired {
			found++
			c.Log.LogAttrs(ctx, slog.LevelInfo, "recovered: a trigger that no webhook told of",
				append(c.foundAttrs(env.Name, s.sha), slog.String("trigger", string(env.Trigger.Kind)))...)
		}
		return err
	})
	return found, err
}

// waitsForSignals reports whether a commit status, a check or a workflow run may
// have deployed anything here; it asks GitHub nothing.
func (c *comparison) waitsForSignals(ctx context.Context) (bool, error) {
	if c.read {
		return true, nil
	}
	known, err := c.Store.Environments(ctx, c.repo.ID)
	signalled := func(e ledger.Environment) bool { return !e.Desired.IsZero() && e.Desired.Deploy == 0 }
	if err != nil || slices.ContainsFunc(known, signalled) {
		return true, err
	}
	last, err := c.planner.LastGood(ctx, c.repo)
	if err != nil || last.File == nil {
		return false, err
	}
	return slices.ContainsFunc(last.File.Environments(), func(e mapping.Environment) bool {
		return e.Trigger.Kind != mapping.OnDeployment && e.Trigger.Kind != mapping.OnPush
	}), nil
}

// signalCommits is how many commits are asked for a status or a check, from
// the branch's head back to what is desired: each costs a call.
const signalCommits = 10

// lastSignal is the newest success that triggers an environment.
func (c *comparison) lastSignal(ctx context.Context, env followed) (s signal, ok bool, err error) {
	r := c.repository(c.repo)
	var ask func(context.Context, string, string) ([]github.Signal, error)
	switch env.Trigger.Kind {
	case mapping.OnWorkflow:
		runs, err := r.WorkflowRuns(ctx, env.Trigger.Name, env.branch)
		if github.IsNotFound(err) {
			err = nil
		}
		s, ok = newest(env, runs)
		return s, ok, err
	case mapping.OnStatus:
		ask = r.CommitStatuses
	case mapping.OnCheck:
		ask = r.CheckRuns
	case mapping.OnDeployment, mapping.OnPush:
		return s, false, nil
	}
	head, err := c.headOf(ctx, env.branch)
	if err != nil || head == "" {
		return s, false, err
	}
	commits := []string{head}
	for n := 0; n < min(len(commits), signalCommits); n++ {
		all, err := ask(ctx, commits[n], env.Trigger.Name)
		if err != nil {
			return s, false, err
		}
		if s, ok = newest(env, all); ok {
			return s, true, nil
		}
		if n > 0 || env.known.Desired.IsZero() || env.known.Desired.SHA == head {
			continue
		}
		between, err := r.Compare(ctx, env.known.Desired.SHA, head)
		if err != nil && !github.IsNotFound(err) {
			return s, false, err
		}
		for _, sha := range slices.Backward(between.Commits) {
			if sha != head { // nor is what is desired among them
				commits = append(commits, sha)
			}
		}
	}
	return s, false, nil
}

// newest is the newest of some signals that deploys an environment: what ended
// last, since a run that is run again keeps its id.
func newest(env followed, all []github.Signal) (s signal, ok bool) {
	for _, g := range all {
		next := signal{
			kind: env.Trigger.Kind, name: g.Name, result: g.Result, by: g.By, sha: g.SHA,
			branches: []string{env.branch}, only: env.Trigger.Kind != mapping.OnStatus, id: g.ID, began: g.Began, at: g.At,
		}
		if next.state() == "success" && next.triggers(env.Trigger) && (!ok || next.endedAfter(s)) {
			s, ok = next, true
		}
	}
	return s, ok
}

func (s signal) endedAfter(t signal) bool {
	return cmp.Or(s.at.Compare(t.at), cmp.Compare(s.id, t.id)) > 0
}
