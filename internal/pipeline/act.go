package pipeline

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/store"
)

// act retries, releases or cancels a purge of a repository, OWNER/NAME. Comments, buttons
// and the operator's commands all come through here. Every target is judged by the policy
// of now, not by that of the time when it was planned. freed is how many targets a retry
// lets wait again. The error is the store's: ErrNothing means that there was nothing to
// act on, and the judge then says whether a role or the policy was in the way.
func (p *Pipeline) act(ctx context.Context, repository string, verb store.Verb, purge ledger.Purge, by policy.By, act store.Act) (judge *policy.Judge, freed int, err error) {
	// What policy says of deployments binds a deployment's purge also in a person's
	// hands: a retry must not let through what the deployment was denied.
	if purge.Cause != ledger.CauseComment {
		by = by.Deployed()
	}
	judge = p.Policy().For(repository).Judge(by)
	act.Account = p.accountOf(repository)
	switch act.Purge = purge.ID; verb {
	case store.Retry:
		freed, err = p.Store.Retry(ctx, act, judge.Again)
	case store.Release:
		err = p.Store.Release(ctx, act, judge.Again)
	case store.Cancel:
		err = p.Store.Cancel(ctx, act)
	default:
		err = fmt.Errorf("unknown verb %q", verb)
	}
	if err == nil {
		p.Log.LogAttrs(ctx, slog.LevelInfo, "purge acted on", slog.String("repository", repository), slog.String("purge", act.Purge),
			slog.String("verb", string(verb)), slog.String("by", act.By), slog.Int("freed", freed), slog.Any("judged", judge))
	}
	return judge, freed, err
}

// Act is act for the operator, whom no role binds; see web.APIConfig. refused is the
// first reason why a target stayed refused, in public words; "": none did.
func (p *Pipeline) Act(ctx context.Context, repository string, verb store.Verb, purge ledger.Purge, act store.Act) (freed int, refused string, err error) {
	judge, freed, err := p.act(ctx, repository, verb, purge, policy.Operator(), act)
	return freed, judge.Reason, err
}
