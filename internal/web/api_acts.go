package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
)

// retry lets the failed objects of a purge go once more.
func (a *API) retry(r *http.Request) (any, error) {
	return a.act(r, "retry", func(ctx context.Context, act store.Act, judge store.Judge) (int, error) {
		return a.Store.Retry(ctx, act, judge)
	})
}

// release lets a held purge go.
func (a *API) release(r *http.Request) (any, error) {
	return a.act(r, "release", func(ctx context.Context, act store.Act, judge store.Judge) (int, error) {
		return 0, a.Store.Release(ctx, act, judge)
	})
}

// cancel drops what was not sent.
func (a *API) cancel(r *http.Request) (any, error) {
	return a.act(r, "cancel", func(ctx context.Context, act store.Act, _ store.Judge) (int, error) {
		return 0, a.Store.Cancel(ctx, act)
	})
}

// act does something with a purge and tells what it is then.
func (a *API) act(r *http.Request, verb string, do func(context.Context, store.Act, store.Judge) (int, error)) (any, error) {
	ctx := r.Context()
	by, err := actor(r)
	if err != nil {
		return nil, err
	}
	p, repo, err := a.find(r)
	if err != nil {
		return nil, err
	}
	refused := "" // why the first target stays refused
	policy := a.Judge(repo, p)
	freed, err := do(ctx, store.Act{Purge: p.ID, By: by}, func(t ledger.Target) string {
		reason := policy(t)
		if refused == "" {
			refused = reason
		}
		return reason
	})
	switch {
	case errors.Is(err, store.ErrNothing):
		return nil, problem(http.StatusConflict, "%s", nothing(verb, p, refused))
	case err != nil:
		return nil, err
	}
	a.Log.LogAttrs(ctx, slog.LevelInfo, "purge acted on", slog.String("purge", p.ID), slog.String("act", verb),
		slog.String("by", by), slog.String("repository", repo), slog.Int("freed", freed))
	if p, err = a.Store.Purge(ctx, p.ID); err != nil {
		return nil, err
	}
	return Acted{Purge: a.purgeDoc(p, repo), Freed: freed}, nil
}

// nothing says why an act found nothing to do.
func nothing(verb string, p ledger.Purge, refused string) string {
	switch {
	case verb == "retry" && refused != "":
		return "nothing was done: every failed object is still refused: " + report.Cut(refused, report.MaxDescription)
	case verb == "retry" && (p.State == ledger.Open || p.State == ledger.Done):
		return "nothing was done: no object of this purge has failed"
	case verb == "retry":
		return "nothing was done: this purge is " + string(p.State) + ", only an open or done one is tried again"
	case verb == "release":
		return "nothing was done: this purge is " + string(p.State) + ", not held"
	default:
		return "nothing was done: this purge is " + string(p.State) + " already"
	}
}
