package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/webhook"
)

const slogWarn = slog.LevelWarn

// sideBySide is how long a delivery that this release can't read is left to
// another one.
const sideBySide = 24 * time.Hour

func errAttr(err error) slog.Attr { return slog.Any("err", err) }

// handle reads one delivery and turns it into facts: what was pushed, what is
// deployed, what is asked for.
func (p *Pipeline) handle(ctx context.Context, job store.HandleJob) error {
	d, err := p.Store.Delivery(ctx, job.GUID)
	if errors.Is(err, store.ErrNotFound) || (err == nil && !d.HandledAt.IsZero()) {
		return nil
	}
	if err != nil {
		return err
	}
	event, err := webhook.Parse(d.Event, d.Body)
	// Only what can be read and is of use is stored: another release did it.
	// Where two run side by side the sweep rings until that one hears.
	_, useless := event.(*webhook.Ignored)
	if (err != nil || useless) && p.Now().Sub(d.ReceivedAt) < sideBySide {
		return nil
	}
	if err != nil {
		p.Log.LogAttrs(ctx, slog.LevelError, "delivery can't be read", slog.String("delivery", d.GUID), errAttr(err))
		return p.Store.Handled(ctx, d.GUID, "unreadable")
	}
	outcome, err := p.fact(ctx, event, d)
	if err != nil {
		return fmt.Errorf("handle %s %s: %w", d.Event, d.GUID, err)
	}
	p.Log.LogAttrs(ctx, slog.LevelInfo, "delivery handled", slog.String("delivery", d.GUID),
		slog.String("event", d.Event), slog.String("repository", event.Source().Repository.FullName()),
		slog.String("outcome", outcome))
	return p.Store.Handled(ctx, d.GUID, outcome)
}

func (p *Pipeline) fact(ctx context.Context, event webhook.Event, d store.Delivery) (outcome string, err error) {
	source := event.Source()
	if outcome, is, err := p.reach(ctx, event); is || err != nil {
		return outcome, err
	}
	if source.Repository.ID == 0 {
		return "no repository", nil
	}
	repo, err := p.Store.SeeRepository(ctx, ledger.Repository{
		ID: source.Repository.ID, Owner: source.Repository.Owner, Name: source.Repository.Name,
		Installation: source.Installation, DefaultBranch: source.Repository.DefaultBranch, FirstSeen: d.ReceivedAt,
	})
	if err != nil {
		return "", err
	}
	if repo.Gone != "" {
		if repo, err = p.reached(ctx, repo); err != nil || repo.Gone != "" {
			return repo.Gone, err
		}
	}
	switch e := event.(type) {
	case *webhook.Push:
		return p.pushed(ctx, repo, e, d)
	case *webhook.DeploymentStatus:
		return p.deployed(ctx, repo, e, d.ReceivedAt)
	case *webhook.IssueComment:
		return p.commented(ctx, repo, e, d)
	case *webhook.Status:
		return p.statusSet(ctx, repo, e, d.ReceivedAt)
	case *webhook.WorkflowRun:
		return p.workflowRan(ctx, repo, e, d.ReceivedAt)
	case *webhook.CheckRun:
		return p.checked(ctx, repo, e, d)
	case *webhook.CheckSuite:
		return p.suiteAgain(ctx, repo, e, d)
	case *webhook.PullRequest:
		return p.pullChanged(ctx, repo, e)
	case *webhook.MergeGroup:
		return p.queued(ctx, repo, e)
	default:
		return "no use for it", nil
	}
}

func zeroSHA(sha string) bool { return strings.Trim(sha, "0") == "" }
