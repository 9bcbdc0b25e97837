package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
)

// pauses lists the pauses that operators made.
func (w *Web) pauses(r *http.Request) (any, error) {
	docs, err := w.pauseDocs(r.Context())
	return Pauses{At: w.Now().UTC(), Pauses: docs}, err
}

func (w *Web) pauseDocs(ctx context.Context) ([]Paused, error) {
	all, err := w.Ledger.Pauses(ctx)
	return pausedDocs(all...), err
}

// pausedDocs never returns nil: the API's lists are never null.
func pausedDocs(all ...store.Paused) []Paused {
	docs := []Paused{}
	for _, p := range all {
		docs = append(docs, Paused{
			ID: p.ID, Repositories: p.Repositories, Environment: p.Environment, Account: p.Account, All: p.All, Covers: report.PauseScope(p.Pause),
			By: p.By, Reason: p.Reason, Since: p.Since, Until: p.Until, Purges: p.Purges, Objects: p.Objects,
		})
	}
	return docs
}

// longestPause bounds a pause with an end; a longer one is most likely a mistyped number.
// longestReason is in bytes.
const (
	longestPause  = 90 * 24 * time.Hour
	longestReason = 200
)

// pause begins a pause. It logs who made it and why, as a warning: purges wait from now
// on.
func (w *Web) pause(r *http.Request) (any, error) {
	var ask PauseAsk
	err := body(r, &ask, `{"reason": "TEXT", "by": "NAME", "repo": "GLOB", "env": "NAME", "account": "NAME", "seconds": NUMBER, "all": false}`)
	if err != nil {
		return nil, err
	}
	p := ledger.Pause{Scope: ledger.Scope{Repositories: ask.Repo, Environment: ask.Env, Account: ask.Account}, All: ask.All, Reason: strings.TrimSpace(ask.Reason)}
	if p.By, err = nameOf(ask.By); err != nil {
		return nil, err
	}
	switch fault := p.Fault(w.Ledger.Accounts()...); {
	case fault != "":
		return nil, problem(http.StatusBadRequest, "%s", fault)
	case p.Reason == "" || len(p.Reason) > longestReason || !oneLine(p.Reason):
		return nil, problem(http.StatusBadRequest, "reason must be at most %d bytes on one line, and not empty: commit statuses show it", longestReason)
	case ask.Seconds < 0 || ask.Seconds > int64(longestPause/time.Second):
		return nil, problem(http.StatusBadRequest, "seconds must be at most %d; 0 is until it is resumed", int64(longestPause/time.Second))
	case ask.Seconds > 0:
		p.Until = w.Now().Add(time.Duration(ask.Seconds) * time.Second)
	}
	begun, err := w.Pause(r.Context(), p)
	if err != nil {
		return nil, err
	}
	w.Log.LogAttrs(r.Context(), slog.LevelWarn, "paused", slog.String("by", p.By), slog.String("reason", p.Reason),
		slog.String("covers", report.PauseScope(p)), slog.Time("until", p.Until))
	return Pauses{At: w.Now().UTC(), Pauses: pausedDocs(begun)}, nil
}

// resume ends the pauses that were made for exactly this scope.
func (w *Web) resume(r *http.Request) (any, error) {
	var ask ResumeAsk
	if err := body(r, &ask, `{"by": "NAME", "repo": "GLOB", "env": "NAME", "account": "NAME"}`); err != nil {
		return nil, err
	}
	by, err := nameOf(ask.By)
	if err != nil {
		return nil, err
	}
	ended, err := w.Resume(r.Context(), ledger.Scope{Repositories: ask.Repo, Environment: ask.Env, Account: ask.Account}, by)
	if errors.Is(err, store.ErrNothing) {
		return nil, problem(http.StatusConflict, "nothing was done: no pause was made for exactly this; purgebot pauses lists those that there are, and the command that ends each")
	}
	if err != nil {
		return nil, err
	}
	for _, p := range ended {
		w.Log.LogAttrs(r.Context(), slog.LevelWarn, "resumed", slog.String("by", by), slog.String("covers", report.PauseScope(p.Pause)), slog.Int("objects", p.Objects))
	}
	return Pauses{At: w.Now().UTC(), Pauses: pausedDocs(ended...)}, nil
}
