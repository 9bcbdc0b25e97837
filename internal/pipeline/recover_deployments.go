package pipeline

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/webhook"
)

const (
	// comparedAtOnce bounds one round: each repository costs a call. Where
	// there are more, those that waited longest come first.
	comparedAtOnce = 1000
	comparers      = 4
)

// compare compares what GitHub says is deployed with the ledger, and takes
// what the ledger lacks for what a webhook would have told.
func (p *Pipeline) compare(ctx context.Context, c store.Chore, began time.Time) (done bool, after time.Duration, err error) {
	infos, err := p.follow(ctx)
	if err != nil {
		if _, waitable := github.RetryAfter(err); waitable || ctx.Err() != nil {
			return false, 0, err
		}
		// What the ledger knows can be compared all the same.
		p.Log.LogAttrs(ctx, slogWarn, "can't list what the App may see", errAttr(err))
	}
	repos, err := p.Store.Repositories(ctx)
	if err != nil {
		return false, 0, err
	}
	repos = repos[:min(len(repos), comparedAtOnce)]
	var found atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(comparers)
	for _, repo := range repos {
		group.Go(func() error {
			n, err := p.compareOne(ctx, repo, infos[repo.ID], began)
			found.Add(int64(n))
			return p.mayGoOn(ctx, repo, err)
		})
	}
	if err := group.Wait(); err != nil {
		return false, 0, err
	}
	p.Log.LogAttrs(ctx, slog.LevelInfo, "compared with GitHub", slog.Int("repositories", len(repos)),
		slog.Int64("recovered", found.Load()), slog.Duration("took", p.Now().Sub(began)), slog.Time("last", c.Last))
	return true, 0, nil
}

// mayGoOn tells trouble with one repository, which is logged and looked at
// again next time, from GitHub's own, which ends the round.
func (p *Pipeline) mayGoOn(ctx context.Context, repo ledger.Repository, err error) error {
	if _, waitable := github.RetryAfter(err); err == nil || waitable || ctx.Err() != nil {
		return err
	}
	p.Log.LogAttrs(ctx, slogWarn, "can't compare with GitHub", slog.String("repository", repo.FullName()), errAttr(err))
	return nil
}

// compareOne compares one repository, and gives how much it recovered.
func (p *Pipeline) compareOne(ctx context.Context, repo ledger.Repository, info github.Info, began time.Time) (found int, err error) {
	if info.Archived { // nothing can be deployed or pushed
		return 0, nil
	}
	since := repo.FirstSeen.Truncate(time.Second)
	if last := repo.Compared.Add(-overlap); last.After(since) {
		since = last
	}
	successes, err := p.repository(repo).Deployments(ctx, "", since)
	if err != nil {
		return 0, err
	}
	// The newest first: what it overtakes needs no purge of its own.
	for _, d := range slices.Backward(successes) {
		recovered, err := p.recoverSuccess(ctx, repo, d)
		if err != nil {
			return found, err
		}
		if recovered {
			found++
		}
	}
	if !info.PushedAt.Before(since) {
		n, err := p.recoverPushes(ctx, repo, info.PushedAt)
		found += n
		if err != nil {
			return found, err
		}
	}
	return found, p.Store.Compared(ctx, repo.ID, began)
}

// recoverSuccess does with a success what its webhook would have done.
func (p *Pipeline) recoverSuccess(ctx context.Context, repo ledger.Repository, d github.Deployment) (recovered bool, err error) {
	known, err := p.Store.KnownStatus(ctx, repo.ID, d.StatusID)
	if err != nil || known {
		return false, err
	}
	outcome, err := p.deployed(ctx, repo, &webhook.DeploymentStatus{
		ID: d.StatusID, State: d.State, Environment: d.Environment, CreatedAt: d.CreatedAt, Creator: d.Creator,
		DeploymentID: d.ID, SHA: d.SHA, Ref: d.Ref,
	}, d.CreatedAt)
	if err != nil {
		return false, err
	}
	if recovered, err = p.Store.KnownStatus(ctx, repo.ID, d.StatusID); recovered {
		p.Log.LogAttrs(ctx, slog.LevelInfo, "recovered: a deployment that no webhook told of",
			slog.String("repository", repo.FullName()), slog.String("environment", d.Environment),
			slog.String("sha", report.Short(d.SHA)), slog.Int64("deployment", d.ID), slog.Time("at", d.CreatedAt),
			slog.String("outcome", outcome))
	}
	return recovered, err
}

// recoverPushes compares the branches of the environments that a push deploys.
func (p *Pipeline) recoverPushes(ctx context.Context, repo ledger.Repository, pushed time.Time) (found int, err error) {
	envs, err := p.Store.PushedEnvironments(ctx, repo.ID)
	if err != nil || len(envs) == 0 {
		return 0, err
	}
	file, err := p.authority(ctx, repo)
	if err != nil || file.file == nil {
		return 0, err
	}
	for _, known := range envs {
		env, ok := file.file.Environment(known.Name)
		if !ok || env.Glob || env.Trigger.Kind != mapping.OnPush {
			continue
		}
		head, err := p.repository(repo).Head(ctx, branchOf(env, repo))
		if github.IsNotFound(err) || err == nil && head == known.Desired.SHA {
			continue
		}
		if err != nil {
			return found, err
		}
		// GitHub says when any branch moved last, which is this one at the latest.
		push := ledger.Push{RepoID: repo.ID, Branch: branchOf(env, repo), After: head, At: pushed}
		if err := p.pushDeploys(ctx, repo, env, push); err != nil {
			return found, err
		}
		found++
		p.Log.LogAttrs(ctx, slog.LevelInfo, "recovered: a push that no webhook told of",
			slog.String("repository", repo.FullName()), slog.String("environment", known.Name), slog.String("sha", report.Short(head)))
	}
	return found, nil
}
