package web

import (
	"errors"
	"net/http"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
)

// retry lets the failed objects of a purge go once more.
func (a *API) retry(r *http.Request) (any, error) { return a.act(r, store.Retry) }

// release lets a held purge go.
func (a *API) release(r *http.Request) (any, error) { return a.act(r, store.Release) }

// cancel drops what was not sent.
func (a *API) cancel(r *http.Request) (any, error) { return a.act(r, store.Cancel) }

// act does something with a purge and tells what it is then.
func (a *API) act(r *http.Request, deed store.Deed) (any, error) {
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
	freed, err := a.Act(ctx, repo, deed, store.Act{Purge: p.ID, By: by}, func(t ledger.Target) string {
		reason := policy(t)
		if refused == "" {
			refused = reason
		}
		return reason
	})
	switch {
	case errors.Is(err, store.ErrNothing):
		return nil, problem(http.StatusConflict, "%s", nothing(deed, p, refused))
	case err != nil:
		return nil, err
	}
	if p, err = a.Store.Purge(ctx, p.ID); err != nil {
		return nil, err
	}
	return Acted{Purge: a.purgeDoc(p, repo), Freed: freed}, nil
}

// nothing says why an act found nothing to do.
func nothing(deed store.Deed, p ledger.Purge, refused string) string {
	switch {
	case deed == store.Retry && refused != "":
		return "nothing was done: every failed object is still refused: " + report.Cut(refused, report.MaxDescription)
	case deed == store.Retry && (p.State == ledger.Open || p.State == ledger.Done):
		return "nothing was done: no object of this purge has failed"
	case deed == store.Retry:
		return "nothing was done: this purge is " + string(p.State) + ", only an open or done one is tried again"
	case deed == store.Release:
		return "nothing was done: this purge is " + string(p.State) + ", not held"
	default:
		return "nothing was done: this purge is " + string(p.State) + " already"
	}
}
