package pipeline

import (
	"context"
	"errors"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
)

// planOvertaken plans a purge for a commit that was deployed and overtaken before its own
// purge was planned: it was rolled back while the server was down, or its webhook came
// late. Caches may hold what it served. So the difference between it and the live commit
// is purged, without what was purged since: usually nothing is left. live itself does not
// move. See docs/decisions/0007-what-an-overtaken-commit-served.md.
//
// One call handles one such commit; Commit strikes it off the list. A move without an
// environment means that none is left.
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
	// The environment's record says of the live commit that it was live before, which
	// would make this plan a rollback. So the plan gets an environment without an id.
	before := env
	before.ID, before.Live = "", point
	d, err := p.planner.Plan(ctx, repo, before, env.Live, since.Has)
	// Rules that are broken or silent now purge nothing more; the commit's status says
	// that.
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
