package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/webhook"
)

const (
	// comparedAtOnce bounds one round: each repository costs a call. Where
	// there are more, those that waited longest come first.
	comparedAtOnce = 1000
	comparers      = 4

	// limitWait is how long a round waits for one of GitHub's limits; for a
	// longer one it ends, and goes on later where it was.
	limitWait = 2 * time.Minute
)

// comparing is the chore that compares what GitHub says is deployed with the
// ledger, and takes what the ledger lacks for what a webhook would have told.
type comparing struct {
	*Pipeline
	began    time.Time // of this process's watch
	archived sync.Map  // ids of archived repositories that were compared: nothing happens there
}

func (c *comparing) compare(ctx context.Context, chore store.Chore, began time.Time) (done bool, after time.Duration, err error) {
	infos, err := c.follow(ctx)
	if err != nil {
		if _, waitable := github.RetryAfter(err); waitable || ctx.Err() != nil {
			return false, 0, err
		}
		// What the ledger knows can be compared all the same.
		c.Log.LogAttrs(ctx, slogWarn, "can't list what the App may see", errAttr(err))
	}
	repos, err := c.Store.Repositories(ctx)
	if err != nil {
		return false, 0, err
	}
	repos = repos[:min(len(repos), comparedAtOnce)]
	var found atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(comparers)
	for _, repo := range repos {
		if c.compared(repo, chore, began) {
			continue
		}
		group.Go(func() error {
			n, err := c.untilDone(ctx, repo, infos[repo.ID], began)
			found.Add(int64(n))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return false, 0, err
	}
	c.Log.LogAttrs(ctx, slog.LevelInfo, "compared with GitHub", slog.Int("repositories", len(repos)),
		slog.Int64("recovered", found.Load()), slog.Duration("took", c.Now().Sub(began)), slog.Time("last", chore.Last))
	return true, 0, nil
}

// compared reports whether a round that was cut short compared a repository
// already, a short while ago: a new one goes on where it was.
func (c *comparing) compared(repo ledger.Repository, chore store.Chore, began time.Time) bool {
	at := repo.Compared
	return at.After(chore.Last) && at.After(c.began) && began.Sub(at) < deploymentsEvery
}

// untilDone compares one repository, and waits for GitHub's short limits.
// Trouble with the repository alone is logged, and looked at again next time.
func (c *comparing) untilDone(ctx context.Context, repo ledger.Repository, info github.Info, began time.Time) (found int, err error) {
	for {
		n, err := c.one(ctx, repo, info, began)
		found += n
		after, waitable := github.RetryAfter(err)
		switch {
		case err == nil || ctx.Err() != nil:
			return found, err
		case !waitable:
			c.Log.LogAttrs(ctx, slogWarn, "can't compare with GitHub", slog.String("repository", repo.FullName()), errAttr(err))
			return found, nil
		case after == 0 || after > limitWait:
			return found, err
		}
		if !sleep(ctx, after) {
			return found, err
		}
	}
}

// one compares one repository, and gives how much it recovered.
func (c *comparing) one(ctx context.Context, repo ledger.Repository, info github.Info, began time.Time) (found int, err error) {
	if _, done := c.archived.Load(repo.ID); done && info.Archived {
		return 0, nil
	}
	since := repo.FirstSeen.Truncate(time.Second)
	if last := repo.Compared.Add(-overlap); last.After(since) {
		since = last
	}
	r := &comparison{Pipeline: c.Pipeline, repo: repo, moved: map[string]bool{}}
	for _, look := range []func(context.Context, github.Info, time.Time) (int, error){r.deployments, r.branches, r.signals} {
		n, err := look(ctx, info, since)
		found += n
		if err = errors.Join(err, r.reconcile(ctx)); err != nil {
			return found, err
		}
	}
	if info.Archived {
		c.archived.Store(repo.ID, true)
	} else {
		c.archived.Delete(repo.ID)
	}
	return found, c.Store.Compared(ctx, repo.ID, began)
}

// comparison is what one round finds out about one repository.
type comparison struct {
	*Pipeline
	repo  ledger.Repository
	read  bool // head and rules are known
	head  string
	rules rules
	moved map[string]bool // environments that are to be reconciled, by id
}

// authority is read once for all that a round finds.
func (c *comparison) authority(ctx context.Context) (rules, error) {
	if c.read {
		return c.rules, nil
	}
	var err error
	c.head, c.rules, err = c.authorityNear(ctx, c.repo)
	c.read = err == nil
	return c.rules, err
}

// desire leaves what moved to this process: it has just read what the plan
// needs, and another replica would ask GitHub for all of it again.
func (c *comparison) desire(ctx context.Context, repo int64, name string, d ledger.Deploy, due time.Time) (ledger.Environment, bool, error) {
	env, moved, err := c.Store.DesireHere(ctx, repo, name, d, due)
	if moved {
		c.moved[env.ID] = true
	}
	return env, moved, err
}

func (c *comparison) telling() telling { return telling{c.authority, c.desire} }

// reconcile plans what moved. What can't be planned now is rung for.
func (c *comparison) reconcile(ctx context.Context) error {
	for env := range c.moved {
		delete(c.moved, env)
		err := c.Pipeline.reconcile(ctx, store.ReconcileJob{EnvID: env})
		if err == nil {
			continue
		}
		if rung := c.Store.Ring(context.WithoutCancel(ctx), env); rung != nil {
			return rung
		}
		if wait := new(again); !errors.As(err, wait) {
			return err
		}
	}
	return nil
}

// deployments finds deployments that no webhook told of, and takes them in the
// order in which they ended.
func (c *comparison) deployments(ctx context.Context, _ github.Info, since time.Time) (found int, err error) {
	seen, err := c.Store.SeenDeployments(ctx, c.repo.ID, since)
	if err != nil {
		return 0, err
	}
	all, err := c.repository(c.repo).Deployments(ctx, "", since, func(id int64) time.Time { return seen[id] })
	if err != nil {
		return 0, err
	}
	last := map[string]int{}
	for i, d := range all {
		last[strings.ToLower(d.Environment)] = i
	}
	for i, d := range all {
		if d.State != "success" && last[strings.ToLower(d.Environment)] != i {
			continue // a later one says how it stands
		}
		recovered, err := c.deployment(ctx, d)
		if err != nil {
			return found, err
		}
		if recovered {
			found++
		}
	}
	return found, nil
}

// statusOf is what the webhook of a deployment's status tells.
func statusOf(d github.Deployment) *webhook.DeploymentStatus {
	return &webhook.DeploymentStatus{
		ID: d.StatusID, State: d.State, Environment: d.Environment, CreatedAt: d.CreatedAt, Creator: d.Creator,
		DeploymentID: d.ID, SHA: d.SHA, Ref: d.Ref,
	}
}

// deployment does with a deployment's status what its webhook would have done.
func (c *comparison) deployment(ctx context.Context, d github.Deployment) (recovered bool, err error) {
	known, err := c.Store.KnownStatus(ctx, c.repo.ID, d.StatusID)
	if err != nil || known {
		return false, err
	}
	outcome, err := c.deployedBy(ctx, c.telling(), c.repo, statusOf(d), d.CreatedAt)
	if err != nil {
		return false, err
	}
	if outcome == "known already" { // its webhook came at this very moment
		return false, nil
	}
	if recovered, err = c.Store.KnownStatus(ctx, c.repo.ID, d.StatusID); recovered {
		c.Log.LogAttrs(ctx, slog.LevelInfo, "recovered: a deployment that no webhook told of",
			slog.String("repository", c.repo.FullName()), slog.String("environment", d.Environment),
			slog.String("sha", report.Short(d.SHA)), slog.Int64("deployment", d.ID), slog.Time("at", d.CreatedAt),
			slog.String("outcome", outcome))
	}
	return recovered, err
}
