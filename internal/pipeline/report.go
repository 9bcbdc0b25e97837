package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
)

// postLease is how long a surface is held while GitHub is asked.
const postLease = 90 * time.Second

// report writes one surface on GitHub: the words of this moment, if they are
// not there yet.
func (p *Pipeline) report(ctx context.Context, job store.ReportJob) error {
	post, err := p.Store.ClaimPost(ctx, job.Surface, postLease)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now := p.Now()
	if wait := post.NextAt.Sub(now); wait > 0 {
		return again{wait}
	}
	words, link, err := p.words(ctx, post, now)
	if err != nil {
		return err
	}
	next := now.Add(p.StatusEvery)
	if !words.Until.IsZero() && words.Until.After(now) {
		next = words.Until
	}
	shows := words.State + " " + words.Description
	if shows == post.Posted {
		return p.Store.Posted(ctx, post, shows, words.Until.IsZero(), next)
	}
	repo, err := p.Store.Repository(ctx, post.RepoID)
	if err != nil {
		return err
	}
	err = p.repository(repo).PostStatus(ctx, post.SHA, github.Status{
		State: github.State(words.State), Context: post.Context, Description: words.Description, TargetURL: link,
	})
	if err != nil {
		return p.notPosted(ctx, post, err)
	}
	p.Log.LogAttrs(ctx, slog.LevelInfo, "status posted", slog.String("repository", repo.FullName()),
		slog.String("sha", report.Short(post.SHA)), slog.String("context", post.Context),
		slog.String("state", words.State), slog.String("words", words.Description))
	return p.Store.Posted(ctx, post, shows, words.Until.IsZero(), next)
}

// words renders a surface at a moment: a purge's own words, or those that
// were announced.
func (p *Pipeline) words(ctx context.Context, post store.Post, now time.Time) (report.Status, string, error) {
	if post.PurgeID == "" {
		return report.Status{State: post.State, Description: report.Cut(post.Words, report.MaxDescription)}, "", nil
	}
	purge, err := p.Store.Purge(ctx, post.PurgeID)
	if err != nil {
		return report.Status{}, "", err
	}
	link := ""
	if p.PublicURL != "" {
		link = p.PublicURL + "/purges/" + purge.Key
	}
	return report.Purge(purge, now), link, nil
}

// notPosted gives the surface back. Statuses are best effort: GitHub's
// trouble is waited for, and what GitHub will never take is given up.
func (p *Pipeline) notPosted(ctx context.Context, post store.Post, err error) error {
	after, waitable := github.RetryAfter(err)
	_, mendable := github.OperatorFault(err)
	p.Log.LogAttrs(ctx, slogWarn, "status not posted", slog.String("surface", post.Surface), errAttr(err))
	if !waitable && !mendable {
		return p.Store.GiveUpPost(context.WithoutCancel(ctx), post)
	}
	next := p.Now().Add(max(after, backoff(post.Tries)))
	if err := p.Store.NotPosted(context.WithoutCancel(ctx), post, next); err != nil {
		return err
	}
	return again{next.Sub(p.Now())}
}
