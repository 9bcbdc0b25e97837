package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/planner"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
)

// Bounds of the merged pull requests that one deployment looks for: each may cost two
// calls to GitHub. An older one is not told.
const (
	pullsMost = 20
	pullsAge  = 14 * 24 * time.Hour
)

// pullsOf finds the merged pull requests that a plan makes live: their merge commit is in
// the desired commit and was not in the one before. It finds none where the environment's
// rules don't ask for the comment, or for a rollback.
func (p *Pipeline) pullsOf(ctx context.Context, repo ledger.Repository, env ledger.Environment, plan *planner.Plan) (numbers []int, err error) {
	if !plan.Env.AnnounceOnPullRequest || plan.Cause == ledger.CauseRollback {
		return nil, nil
	}
	merged, err := p.Store.NotLive(ctx, env, branchOf(plan.Env, repo), p.Now().Add(-pullsAge), pullsMost)
	if err != nil {
		return nil, err
	}
	// within reports whether a commit is another one, or an ancestor of it; a commit that
	// is gone is not.
	within := func(sha, of string) (bool, error) {
		if sha == of || of == "" {
			return sha == of, nil
		}
		is, err := p.repository(repo).Ancestor(ctx, sha, of)
		if github.IsNotFound(err) {
			return false, nil
		}
		return is, err
	}
	for _, m := range merged {
		is, err := within(m.SHA, env.Desired.SHA)
		if err == nil && is {
			var before bool
			before, err = within(m.SHA, plan.From.SHA)
			is = !before
		}
		if err != nil {
			return nil, err
		}
		if is {
			numbers = append(numbers, m.Number)
		}
	}
	return numbers, nil
}

const (
	// liveLinks is how many pages such a comment links to. To find the pages that the
	// pull request's own files caused, liveLooked of the purge's targets are read.
	liveLinks  = 20
	liveLooked = 20_000
)

// live renders the comment that tells a merged pull request that it is live. Until the
// purge has ended and its pages are judged, shows stays as posted, and nothing is
// written.
func (p *Pipeline) live(ctx context.Context, post store.Post, purge ledger.Purge, now time.Time) (w words, err error) {
	ended := purge.State == ledger.Done || purge.State == ledger.Cancelled
	if !ended || now.Before(purge.DoneAt) || purge.Proof.Checking() {
		if w.shows = post.Posted; ended {
			w.until = purge.DoneAt
		}
		return w, nil
	}
	repo, err := p.Store.Repository(ctx, post.RepoID)
	if err != nil {
		return w, err
	}
	// A pull request that is gone has no files; the comment then links to any of the
	// purge's pages.
	files, _, err := p.repository(repo).PullFiles(ctx, post.Number)
	if err != nil && !github.IsNotFound(err) {
		return w, err
	}
	l := report.Live{Purge: purge, Link: p.page(purge)}
	own := map[string]bool{}
	for _, f := range files {
		own[f.Path] = true
	}
	var others []string
	for from := int64(0); from < liveLooked && len(l.Pages) < liveLinks; {
		lines, err := p.Store.Targets(ctx, purge.ID, from, 1000)
		if err != nil {
			return w, err
		}
		for _, t := range lines {
			switch {
			case t.Fate == ledger.Failed && len(l.Failed) < liveLinks:
				l.Failed = append(l.Failed, t)
			case t.Kind != mapping.URL || t.Fate != ledger.Accepted:
			case own[t.Path]:
				l.Pages = append(l.Pages, t.Object)
			case len(others) < liveLinks:
				others = append(others, t.Object)
			}
		}
		if from += 1000; len(lines) < 1000 {
			break
		}
	}
	l.Pages = slices.Concat(l.Pages, others)
	l.Pages = l.Pages[:min(len(l.Pages), liveLinks)]
	w.body = l.Markdown(now) + "\n\n" + mark(post)
	sum := sha256.Sum256([]byte(w.body))
	w.shows = hex.EncodeToString(sum[:])
	return w, nil
}
