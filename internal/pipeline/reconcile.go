package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
)

// reconcile closes the distance between what is live and what is desired in
// one environment.
func (p *Pipeline) reconcile(ctx context.Context, job store.ReconcileJob) error {
	env, err := p.Store.Environment(ctx, job.EnvID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now := p.Now()
	step := env.Next(now)
	if step == ledger.StepWait {
		return again{env.DueAt.Sub(now)}
	}
	repo, err := p.Store.Repository(ctx, env.RepoID)
	if err != nil || repo.Gone != "" { // it goes on when that comes back
		return err
	}
	var move store.Move
	switch step {
	case ledger.StepPlan:
		move, err = p.plan(ctx, repo, env)
	case ledger.StepResend:
		move, err = p.resend(ctx, repo, env)
	case ledger.StepNone, ledger.StepWait:
		move, err = p.served(ctx, repo, env)
	}
	if err != nil || move.Env.ID == "" {
		return err
	}
	move.Carries, move.Overtakes = report.Carried(move.To.SHA).Description, report.Overtaken(move.To.SHA)
	ok, err := p.Store.Commit(ctx, move)
	if err != nil {
		return err
	}
	if !ok { // a newer fact came meanwhile: plan anew
		return again{time.Millisecond}
	}
	p.logMove(ctx, repo, move)
	return nil
}

// plan plans the difference. A move without an environment means that the
// purge waits: a fault was noted.
func (p *Pipeline) plan(ctx context.Context, repo ledger.Repository, env ledger.Environment) (store.Move, error) {
	d, err := p.difference(ctx, repo, env, env.Desired)
	if err != nil {
		return store.Move{}, err
	}
	move := store.Move{Env: env, To: env.Desired}
	if d.tree != nil {
		if move.Tree, err = d.tree.MarshalBinary(); err != nil {
			return store.Move{}, err
		}
	}
	if move.Rules, err = p.remember(ctx, repo, env.Desired.SHA, d.rules); err != nil {
		return store.Move{}, err
	}
	switch {
	case d.rules.fault != "":
		name, err := p.contextOf(ctx, repo, env)
		if err != nil {
			return store.Move{}, err
		}
		words := report.Fault(d.rules.fault)
		return store.Move{}, p.Store.SetFault(ctx, env, report.Context(name), words.Description)
	case d.rules.none():
		if d.had {
			name, err := p.contextOf(ctx, repo, env)
			if err != nil {
				return store.Move{}, err
			}
			move.Context, move.Words = report.Context(name), report.NoRules().Description
		}
		return move, nil
	case !d.named:
		return move, nil
	}
	if d.env.Trigger.Kind == mapping.OnPush && d.cause == ledger.CauseDeploy && env.Desired.Deploy == 0 {
		d.cause = ledger.CausePush
	}
	if move.Carried, err = p.carriedBy(ctx, repo, env); err != nil {
		return store.Move{}, err
	}
	move.Context, move.Hold = report.Context(contextName(d.env)), d.hold
	by, err := p.Store.Creator(ctx, env.ID, env.Desired.Status)
	if err != nil {
		return store.Move{}, err
	}
	purge, err := p.Store.Begin(ctx, ledger.Purge{
		RepoID: repo.ID, EnvID: env.ID, Environment: contextName(d.env), Cause: d.cause, By: by,
		From: d.from, To: env.Desired, Network: d.env.Network, Start: d.start, Note: d.note,
		Lane: ledger.Lane(d.cause, len(d.targets)), Unmatched: d.unmatch,
	})
	if err != nil {
		return store.Move{}, err
	}
	move.Purge = &purge
	return move, p.Store.AddTargets(ctx, purge, d.targets)
}

// carriedMost bounds how many announced commits are asked for.
const carriedMost = 10

// carriedBy finds the announced commits that the desired one carries, where no
// push brought it: a merge that GitHub made for the deployment, or a commit
// from the middle of a push. Where a push did, the ledger knows.
func (p *Pipeline) carriedBy(ctx context.Context, repo ledger.Repository, env ledger.Environment) (carried []string, err error) {
	if _, err := p.Store.PushOf(ctx, repo.ID, env.Desired.SHA); !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	announced, err := p.Store.Announced(ctx, env.ID, carriedMost)
	if err != nil {
		return nil, err
	}
	for _, sha := range announced {
		is, err := p.repository(repo).Ancestor(ctx, sha, env.Desired.SHA)
		if err != nil && !github.IsNotFound(err) {
			return nil, err
		}
		if is {
			carried = append(carried, sha)
		}
	}
	return carried, nil
}

// contextOf names an environment in its statuses where its own commit's rules
// can't be read.
func (p *Pipeline) contextOf(ctx context.Context, repo ledger.Repository, env ledger.Environment) (string, error) {
	file, err := p.authority(ctx, repo)
	if err != nil {
		return "", err
	}
	if file.file == nil && !env.Live.IsZero() {
		if file, err = p.rulesAt(ctx, repo, env.Live.SHA); err != nil && !github.IsNotFound(err) {
			return "", err
		}
	}
	if file.file != nil {
		if named, ok := file.file.Environment(env.Name); ok {
			return contextName(named), nil
		}
	}
	return env.Name, nil
}

// resend moves to another deployment of the live commit. If any target went
// out before its success was recorded, all go out once more: the deployment
// that rang first may only have built.
func (p *Pipeline) resend(ctx context.Context, repo ledger.Repository, env ledger.Environment) (store.Move, error) {
	move := store.Move{Env: env, To: env.Desired}
	last, first, err := p.Store.LastPurge(ctx, env.ID, env.Live.SHA)
	if errors.Is(err, store.ErrNotFound) {
		return move, nil
	}
	if err != nil {
		return store.Move{}, err
	}
	if !ledger.Resend(env.Live, env.Desired, first) {
		return move, nil
	}
	old, err := p.Store.Purge(ctx, last)
	if err != nil {
		return store.Move{}, err
	}
	by, err := p.Store.Creator(ctx, env.ID, env.Desired.Status)
	if err != nil {
		return store.Move{}, err
	}
	purge, err := p.Store.Begin(ctx, ledger.Purge{
		RepoID: repo.ID, EnvID: env.ID, Environment: old.Environment, Cause: ledger.CauseAgain, By: by,
		From: old.From, To: env.Desired, Network: old.Network, Note: "deployed again",
		Lane: old.Lane, Unmatched: old.Unmatched,
	})
	if err != nil {
		return store.Move{}, err
	}
	move.Purge, move.Context = &purge, report.Context(old.Environment)
	return move, p.Store.CopyTargets(ctx, purge.ID, old.ID)
}

func (p *Pipeline) logMove(ctx context.Context, repo ledger.Repository, m store.Move) {
	attrs := []slog.Attr{
		slog.String("repository", repo.FullName()), slog.String("environment", m.Env.Name),
		slog.String("from", report.Short(m.Env.Live.SHA)), slog.String("to", report.Short(m.To.SHA)),
	}
	if m.Purge != nil {
		attrs = append(attrs, slog.String("purge", m.Purge.ID), slog.String("cause", string(m.Purge.Cause)))
	}
	p.Log.LogAttrs(ctx, slog.LevelInfo, "live moved", attrs...)
}
