package pipeline

import (
	"context"
	"errors"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
)

// planOvertaken plans the purge of what a commit served that was deployed and
// overtaken before its own was planned: rolled back before the server looked,
// or told by a webhook that came late. Caches may have taken up whatever
// differs between it and the live commit; what was purged since is left out,
// and what is left is held as a purge of its own. Its status speaks, if
// anything is left. A move without an environment means that there is no such
// commit.
func (p *Pipeline) planOvertaken(ctx context.Context, repo ledger.Repository, env ledger.Environment) (store.Move, error) {
	point, err := p.Store.Overtaken(ctx, env.ID)
	if errors.Is(err, store.ErrNotFound) || env.Live.IsZero() {
		return store.Move{}, nil
	}
	if err != nil {
		return store.Move{}, err
	}
	move := store.Move{Env: env, To: env.Live, Overtaken: point}
	since, err := p.Store.PurgedSince(ctx, env.ID, point)
	if err != nil {
		return store.Move{}, err
	}
	// Of the live commit, what is remembered of the environment says that it
	// lived: that alone makes no rollback.
	before := env
	before.ID, before.Live = "", point
	d, err := p.planner.Plan(ctx, repo, before, env.Live, since.Has)
	if err != nil || !d.Named || d.Rules.Fault != "" {
		move.Carries = report.Unnamed(env.Live.SHA, env.Name)
		return move, err
	}
	defer d.Release()
	if move.Context = report.Context(contextName(d.Env)); d.Len() == 0 {
		return move, nil
	}
	note := report.Overtaken(env.Live.SHA)
	if d.Held != "" {
		note = d.Held
	}
	return move, p.begin(ctx, repo, &move, &d.Targets, ledger.Purge{
		Environment: contextName(d.Env), Cause: ledger.CauseOvertaken, From: point, To: env.Live, Network: d.Env.Network, Note: note,
	}, point)
}
