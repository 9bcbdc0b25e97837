package pipeline

import (
	"context"
	"errors"
	"slices"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
)

// served plans the purge of what a commit served that was deployed and
// overtaken before its own was planned: rolled back before the server looked,
// or told by a webhook that came late. Caches may have taken up whatever
// differs between it and the live commit; what was purged since is left out.
// Its status speaks, if anything is left. A move without an environment means
// that there is no such commit.
func (p *Pipeline) served(ctx context.Context, repo ledger.Repository, env ledger.Environment) (store.Move, error) {
	point, err := p.Store.Served(ctx, env.ID)
	if errors.Is(err, store.ErrNotFound) || env.Live.IsZero() {
		return store.Move{}, nil
	}
	if err != nil {
		return store.Move{}, err
	}
	move := store.Move{Env: env, To: env.Live, Served: point}
	// Of the live commit, what is remembered of the environment says that it
	// lived: that alone makes no rollback.
	before := env
	before.ID, before.Live = "", point
	d, err := p.difference(ctx, repo, before, env.Live)
	if err != nil || !d.named || d.rules.fault != "" {
		return move, err
	}
	move.Context = report.Context(contextName(d.env))
	since, err := p.Store.PurgedSince(ctx, env.ID, point)
	if err != nil {
		return store.Move{}, err
	}
	left := slices.DeleteFunc(d.targets, func(t mapping.Target) bool {
		return since[store.Object{Kind: t.Kind, Name: t.Object, Action: t.Action}] ||
			since[store.Object{Kind: t.Kind, Name: t.Object, Action: mapping.Delete}]
	})
	if len(left) == 0 {
		return move, nil
	}
	by, err := p.Store.Creator(ctx, env.ID, point.Status)
	if err != nil {
		return store.Move{}, err
	}
	purge, err := p.Store.Begin(ctx, ledger.Purge{
		RepoID: repo.ID, EnvID: env.ID, Environment: contextName(d.env), Cause: ledger.CauseServed, By: by,
		From: point, To: env.Live, Network: d.env.Network, Note: "overtaken by " + report.Short(env.Live.SHA),
		Lane: ledger.Lane(ledger.CauseServed, len(left)), Unmatched: d.unmatch,
	})
	if err != nil {
		return store.Move{}, err
	}
	move.Purge, move.Hold = &purge, d.hold
	return move, p.Store.AddTargets(ctx, purge, left)
}
