package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
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
	// comparedAtOnce bounds one round: each repository costs at least one call. Where
	// there are more, those that were compared longest ago come first. comparers is how
	// many are compared side by side.
	comparedAtOnce = 1000
	comparers      = 4

	// limitWait is how long a round waits for one of GitHub's limits. For a longer limit
	// the round ends, and the next one goes on where it stopped: see compared.
	limitWait = 2 * time.Minute
)

// comparing is the chore that compares what GitHub says is deployed with the ledger. What
// the ledger lacks it handles like the webhook that did not come. The fields are for the
// life of this process. One replica compares at a time, since it has to claim the chore.
type comparing struct {
	*Pipeline
	began    time.Time // when this process began to watch, by GitHub's clock
	archived sync.Map  // ids of archived repositories that were compared once: nothing happens there any more
	told     sync.Map  // by repository's id, 0 for the lists: the fault that was logged last
}

// compare is one round over all repositories. It first learns their names: GitHub
// redirects an old name only until another repository takes it. If the lists fail, what
// the ledger knows is compared all the same. Trouble with one repository does not end the
// round; only GitHub's rate limit and the end of the server do.
func (c *comparing) compare(ctx context.Context, chore store.Chore, began time.Time) (done bool, after time.Duration, err error) {
	infos, err := c.follow(ctx)
	if _, waitable := github.RetryAfter(err); waitable || ctx.Err() != nil {
		return false, 0, err
	}
	// The fault is logged, and the repositories that the ledger knows are compared.
	c.tell(ctx, 0, err, slog.String("what", "the lists of what the App may see"))
	start := c.Now()
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
		slog.Int64("recovered", found.Load()), slog.Duration("took", c.Now().Sub(start)), slog.Time("last", chore.Last))
	return true, 0, nil
}

// compared reports whether a round that was cut short has compared a repository a short
// while ago. The next round leaves such repositories out, so it goes on where the other
// one stopped. The comparison must be later than the last complete round (Last), and than
// the start of this process, which compares every repository once.
func (c *comparing) compared(repo ledger.Repository, chore store.Chore, began time.Time) bool {
	at := repo.Compared
	since := began.Sub(at)
	return at.After(chore.Last) && at.After(c.began) && 0 <= since && since < deploymentsEvery
}

// untilDone compares one repository, and waits for GitHub's short limits. An error ends
// the whole round: it is returned only for a limit that is longer or names no time, and
// for the end of ctx. Trouble with the repository alone is logged, and looked at again in
// the next round.
func (c *comparing) untilDone(ctx context.Context, repo ledger.Repository, info github.Info, began time.Time) (found int, err error) {
	for {
		n, err := c.one(ctx, repo, info, began)
		found += n
		after, waitable := github.RetryAfter(err)
		switch {
		case ctx.Err() != nil:
			return found, err
		case !waitable:
			c.tell(ctx, repo.ID, err, slog.String("repository", repo.FullName()))
			return found, nil
		case after == 0 || after > limitWait:
			return found, err
		}
		if !sleep(ctx, after) {
			return found, err
		}
	}
}

// tell logs a fault that stays until somebody fixes it: once, and again only after it has
// changed or was gone. A nil error ends the fault.
func (c *comparing) tell(ctx context.Context, of int64, err error, attrs ...slog.Attr) {
	if err == nil {
		c.told.Delete(of)
		return
	}
	if before, _ := c.told.Swap(of, err.Error()); before != err.Error() {
		c.Log.LogAttrs(ctx, slogWarn, "can't compare all with GitHub", append(attrs, errAttr(err))...)
	}
}

// one compares one repository, and gives how many facts it recovered. After a fault the
// repository does not count as compared: the next round looks at the same time span
// again, so what the fault hides is not lost.
func (c *comparing) one(ctx context.Context, repo ledger.Repository, info github.Info, began time.Time) (found int, err error) {
	if _, done := c.archived.Load(repo.ID); done && info.Archived {
		return 0, nil
	}
	if info.ID == 0 { // no list has it: it may be another repository of that name
		if info, err = c.repository(repo).Info(ctx); err != nil || info.ID != repo.ID {
			return 0, err
		}
	}
	// Deployments from before FirstSeen are none of purgebot's. GitHub records whole
	// seconds, so FirstSeen is cut down to one.
	since := repo.FirstSeen.Truncate(time.Second)
	if last := repo.Compared.Add(-overlap); last.After(since) {
		since = last
	}
	r := &comparison{Pipeline: c.Pipeline, repo: repo, moved: map[string]bool{}}
	type look = func(context.Context, github.Info, time.Time) (int, error)
	err = independently(ctx, slices.Values([]look{r.deployments, r.branches, r.signals}), func(look look) error {
		n, err := look(ctx, info, since)
		found += n
		// After each look, what it found is planned at once, even if the look failed
		// later on: the environments in moved were left to this process.
		if planned := r.reconcile(ctx); err == nil || planned != nil && concernsAll(ctx, planned) {
			return planned
		}
		return err
	})
	if err != nil {
		return found, err
	}
	if info.Archived {
		c.archived.Store(repo.ID, true)
	} else {
		c.archived.Delete(repo.ID)
	}
	return found, c.Store.Compared(ctx, repo.ID, began)
}

// comparison is one round's work on one repository. One goroutine uses it.
type comparison struct {
	*Pipeline
	repo  ledger.Repository
	read  bool // head and rules are read
	head  string
	rules rules
	moved map[string]bool // ids of environments that this process has to reconcile
}

// authority gives the rules of the default branch that count. It reads them once for all
// that the round finds; an error is not kept.
func (c *comparison) authority(ctx context.Context) (rules, error) {
	if c.read {
		return c.rules, nil
	}
	var err error
	c.head, c.rules, err = c.planner.AuthorityNear(ctx, c.repo)
	if err == nil {
		c.rules, err = c.planner.Trust(ctx, c.repo, c.rules)
	}
	c.read = err == nil
	return c.rules, err
}

// desire moves desired, and leaves the reconciling to this process: it has just read what
// the plan needs, and another replica would ask GitHub for it again. If this process dies
// first, the sweep wakes the environment (see Store.DesireHere).
func (c *comparison) desire(ctx context.Context, repo int64, name string, d ledger.Deploy, due time.Time) (ledger.Environment, bool, error) {
	env, moved, err := c.Store.DesireHere(ctx, repo, name, d, due)
	if moved {
		c.moved[env.ID] = true
	}
	return env, moved, err
}

// source has the comparison's own authority and desire.
func (c *comparison) source() factSource { return factSource{c.authority, c.desire} }

// reconcile plans what moved. An environment that can't be planned now gets a job, even
// where ctx has ended: nobody else was woken for it.
func (c *comparison) reconcile(ctx context.Context) error {
	return independently(ctx, maps.Keys(c.moved), func(env string) error {
		delete(c.moved, env)
		err := c.Pipeline.reconcile(ctx, store.ReconcileJob{EnvID: env})
		if err == nil {
			return nil
		}
		if wake := c.Store.Wake(context.WithoutCancel(ctx), env); wake != nil {
			return wake
		}
		if wait := new(snooze); errors.As(err, wait) {
			return nil
		}
		return err
	})
}

// deployments finds deployments that no webhook told of, and handles them in the order in
// which they ended. Of each environment it takes every success, since one that another
// overtook still served pages, and the last deployment, whatever its state.
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
	var tell []github.Deployment
	for i, d := range all {
		if d.State == "success" || last[strings.ToLower(d.Environment)] == i { // else a later one tells the environment's state
			tell = append(tell, d)
		}
	}
	err = independently(ctx, slices.Values(tell), func(d github.Deployment) error {
		recovered, err := c.deployment(ctx, d)
		if recovered {
			found++
		}
		return err
	})
	return found, err
}

// statusOf is the webhook of a deployment's last status, made from what GitHub's API
// says.
func statusOf(d github.Deployment) *webhook.DeploymentStatus {
	return &webhook.DeploymentStatus{
		ID: d.StatusID, State: d.State, Environment: d.Environment, CreatedAt: d.CreatedAt, Creator: d.Creator,
		DeploymentID: d.ID, SHA: d.SHA, Ref: d.Ref,
	}
}

// deployment does with a deployment's status what its webhook would have done. It reports
// true only if the status is stored now and was not before: a webhook may come at any
// moment, and both use the status's id.
func (c *comparison) deployment(ctx context.Context, d github.Deployment) (recovered bool, err error) {
	told, err := c.Store.KnownStatus(ctx, c.repo.ID, d.StatusID)
	if err != nil || told {
		return false, err
	}
	outcome, err := c.deployed(ctx, c.source(), c.repo, statusOf(d), d.CreatedAt)
	if err != nil {
		return false, err
	}
	if outcome.result == known { // its webhook came meanwhile
		return false, nil
	}
	if recovered, err = c.Store.KnownStatus(ctx, c.repo.ID, d.StatusID); recovered {
		c.Log.LogAttrs(ctx, slog.LevelInfo, "recovered: a deployment that no webhook told of",
			slog.String("repository", c.repo.FullName()), slog.String("environment", d.Environment),
			slog.String("sha", report.Short(d.SHA)), slog.Int64("deployment", d.ID), slog.Time("at", d.CreatedAt),
			slog.String("outcome", outcome.String()))
	}
	return recovered, err
}
