package web

import (
	"errors"
	"net/http"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
)

// retry sends the failed objects of a purge again.
func (w *Web) retry(r *http.Request) (any, error) { return w.act(r, store.Retry) }

// release sends a held purge.
func (w *Web) release(r *http.Request) (any, error) { return w.act(r, store.Release) }

// cancel drops the objects that were not sent.
func (w *Web) cancel(r *http.Request) (any, error) { return w.act(r, store.Cancel) }

// act applies a verb to a purge and answers with the purge as it is after that. If there
// is nothing to do it answers 409 with the reason.
func (w *Web) act(r *http.Request, verb store.Verb) (any, error) {
	ctx := r.Context()
	ask, err := readAsk(r)
	if err == nil && ask.Reason != "" && verb != store.Retry {
		err = problem(http.StatusBadRequest, "reason is for a retry, not for a %s", verb)
	}
	if err != nil {
		return nil, err
	}
	p, repo, err := w.find(r)
	if err != nil {
		return nil, err
	}
	freed, refused, err := w.Act(ctx, repo, verb, p, store.Act{By: ask.By, Only: about(ask.Reason)})
	switch {
	case errors.Is(err, store.ErrNothing):
		return nil, problem(http.StatusConflict, "%s", nothing(verb, p, ask.Reason, refused))
	case err != nil:
		return nil, err
	}
	if p, err = w.Ledger.Purge(ctx, p.ID); err != nil {
		return nil, err
	}
	return Acted{Purge: w.purgeDoc(p, repo), Freed: freed, Refused: refused}, nil
}

// nothing says why a verb found nothing to do. The purge is as it was before.
func nothing(verb store.Verb, p ledger.Purge, words, refused string) string {
	switch {
	case verb == store.Retry && refused != "":
		return "nothing was done: every refused object is still refused: " + report.Cut(refused, report.MaxDescription)
	case verb == store.Retry && words != "" && p.Counts.Failed > 0:
		return "nothing was done: no object of this purge was refused for such a reason"
	case verb == store.Retry && (p.State == ledger.Open || p.State == ledger.Done):
		return "nothing was done: no object of this purge was refused"
	case verb == store.Retry:
		return "nothing was done: this purge is " + string(p.State) + ", and only an open or done one can be retried"
	case verb == store.Release:
		return "nothing was done: this purge is " + string(p.State) + ", not held"
	default:
		return "nothing was done: this purge is " + string(p.State) + " already"
	}
}
