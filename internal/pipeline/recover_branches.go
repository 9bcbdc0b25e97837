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

// followed is an environment that the rules of the default branch name, not by a glob,
// with what the ledger knows of it.
type followed struct {
	mapping.Environment
	known  ledger.Environment
	branch string
}

// followed lists those environments, each with the branch that it follows. known is zero
// for an environment that nothing was heard of.
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

// headOf is a branch's head; "" if there is no such branch. The default branch's head was
// read with the rules.
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

// branches finds pushes that no webhook told of, where any branch was pushed to since the
// last look. A push that deploys moves desired. Any other is announced, unless something
// was said of its commit already. Only a branch's last push can be found: GitHub's API
// does not show the earlier ones.
func (c *comparison) branches(ctx context.Context, info github.Info, _ time.Time) (found int, err error) {
	// A branch's head needs no overlap, unlike the list of deployments: the head is what
	// it is. The minute is for clocks that differ.
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
		// PushedAt is when any branch of the repository moved last. This branch moved
		// then, or earlier.
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

// foundAttrs are the attributes of a log line about something that was recovered.
func (c *comparison) foundAttrs(environment, sha string) []slog.Attr {
	return []slog.Attr{
		slog.String("repository", c.repo.FullName()), slog.String("environment", environment), slog.String("sha", report.Short(sha)),
	}
}

// announceHead says what waits on a branch's head, unless something was said of the
// commit already. An environment to which nothing was deployed yet is left out: it takes
// several calls to find where its first purge would start.
func (c *comparison) announceHead(ctx context.Context, env followed, push ledger.Push) error {
	spoken, err := c.Store.Spoken(ctx, c.repo.ID, push.After, report.Context(contextName(env.Environment)))
	if err != nil || spoken || env.known.Live.IsZero() {
		return err
	}
	return c.announce(ctx, c.repo, env.Environment, push)
}

// signals finds the commit statuses, check runs and workflow runs that trigger an
// environment and that no webhook told of. They come at any time after a push, so
// PushedAt says nothing about them. It looks wherever such a signal once deployed
// something, and wherever the last good rules wait for one: the signal may be older than
// the App's permission to get its events.
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
		// The newest signal is what is desired already.
		case !ok, s.id == at.Status && s.sha == at.SHA && s.at.Truncate(time.Second).Equal(at.At):
			return nil
		case at.IsZero() && s.at.Before(c.repo.FirstSeen.Truncate(time.Second)): // what was deployed before purgebot came is not purged
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

// waitsForSignals reports whether a commit status, a check run or a workflow run may have
// deployed anything here. It asks GitHub nothing, so a repository without signals costs
// no call. A desired point without a deployment's id came from a signal or a push.
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

// signalCommits is how many commits are asked for a status or a check run, from the
// branch's head back towards the desired commit. Each costs a call.
const signalCommits = 10

// lastSignal finds the newest success that triggers an environment. For a workflow one
// call lists its runs. For a status or a check run each commit is asked, the newest
// first; the first that has one decides.
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
		// Only at the head, once: list the commits between the desired one and the head.
		// While a build goes on, the newest success may be on one of them.
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

// newest is the newest of some signals that deploys an environment: the one that ended
// last. The id does not decide, since a run that is run again keeps its id.
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

// endedAfter orders signals by when they ended, and within one of GitHub's seconds by id.
func (s signal) endedAfter(t signal) bool {
	return cmp.Or(s.at.Compare(t.at), cmp.Compare(s.id, t.id)) > 0
}
