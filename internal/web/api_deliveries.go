package web

import (
	"context"
	"errors"
	"net/http"

	"github.com/purgebot/purgebot/internal/store"
)

// mostSetAside is how many of the set-aside deliveries the queue lists.
const mostSetAside = 20

// setAside lists the newest deliveries that were set aside, and counts all of them.
func (w *Web) setAside(ctx context.Context) (docs []SetAside, count int, err error) {
	all, count, err := w.Ledger.DeliveriesSetAside(ctx, mostSetAside)
	docs = []SetAside{}
	for _, d := range all {
		docs = append(docs, SetAside{Delivery: d.GUID, Event: d.Event, Repository: d.Repository, ReceivedAt: d.ReceivedAt.UTC(), Reason: d.Reason})
	}
	return docs, count, err
}

// replay has a delivery that was set aside handled again.
func (w *Web) replay(r *http.Request) (any, error) {
	guid := r.PathValue("id")
	err := w.Replay(r.Context(), guid)
	if errors.Is(err, store.ErrNothing) {
		return nil, problem(http.StatusConflict, "nothing was done: no delivery %q is set aside; purgebot queue lists those that are", guid)
	}
	return Replayed{Delivery: guid}, err
}
