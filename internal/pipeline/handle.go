package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/webhook"
)

const slogWarn = slog.LevelWarn

// sideBySide is for how long a delivery that this release can't read is left to another
// release, which runs beside this one while replicas are replaced.
const sideBySide = 24 * time.Hour

func errAttr(err error) slog.Attr { return slog.Any("err", err) }

// handle reads one delivery and turns it into facts: what was pushed, what is deployed,
// what a person asks for. It may run twice for one delivery, so every fact is stored by
// its own id and changes nothing the second time.
//
// TakeDelivery counts a beginning before any work, and PutBack takes it back. A beginning
// that nobody took back means that the process died over the delivery. After mostFailed
// deaths, panics and timeouts the delivery is set aside, since it may itself be the
// cause.
func (p *Pipeline) handle(ctx context.Context, job store.HandleJob) error {
	// Handlings that came back while the database took no word of it. TakeDelivery takes
	// them off, so that they don't count as deaths of the process.
	back := p.owed.pay(job.GUID)
	d, before, err := p.Store.TakeDelivery(ctx, job.GUID, back)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		p.owed.add(job.GUID, back)
		return err
	}
	if before.Failed+before.Lost >= mostFailed {
		return p.setAside(ctx, d, before, nil)
	}
	handled := false
	// caught here as well as in Work: a panic must still be counted below.
	err = p.caught(ctx, job, func() (err error) {
		handled, err = p.attempt(ctx, d)
		return err
	})
	if handled {
		return err
	}
	// Before WithoutCancel: it asks whether ctx ran out of time.
	wrong := wrongly(ctx, err, p.HandleTime)
	ctx = context.WithoutCancel(ctx)
	after, failure := p.Store.PutBack(ctx, d.GUID, wrong != nil)
	switch {
	case errors.Is(failure, store.ErrNotFound): // somebody else has handled it
	case failure != nil:
		p.owed.add(d.GUID, 1)
		return errors.Join(err, failure)
	case wrong != nil && after.Failed+after.Lost >= mostFailed:
		return p.setAside(ctx, d, after, wrong)
	}
	return err
}

// attempt handles a delivery. It reports false where the delivery is still to be handled:
// an error came up, or another release has to read it.
func (p *Pipeline) attempt(ctx context.Context, d store.Delivery) (handled bool, err error) {
	event, err := webhook.Parse(d.Event, d.Body)
	// The webhook's receiver stores only deliveries that it can read and use. So another
	// release stored this one, and the sweep wakes jobs until that release takes it.
	_, useless := event.(*webhook.Ignored)
	if (err != nil || useless) && p.Now().Sub(d.ReceivedAt) < sideBySide {
		return false, nil
	}
	if err != nil {
		p.Log.LogAttrs(ctx, slog.LevelError, "delivery can't be read", slog.String("delivery", d.GUID), errAttr(err))
		err = p.Store.Handled(ctx, d.GUID, "unreadable")
		return err == nil, err
	}
	outcome, err := p.fact(ctx, event, d)
	// Somebody has to repair the App's key or permissions. The commit says so; the
	// delivery waits, because the error puts it off.
	if words, mendable := github.OperatorFault(err); mendable {
		err = errors.Join(err, p.Store.Explain(ctx, event.Source().Repository.ID, commitOf(event), report.Fault("waiting: "+words).Description))
	}
	if err != nil {
		return false, fmt.Errorf("handle %s %s: %w", d.Event, d.GUID, err)
	}
	p.Log.LogAttrs(ctx, slog.LevelInfo, "delivery handled", slog.String("delivery", d.GUID),
		slog.String("event", d.Event), slog.String("repository", event.Source().Repository.FullName()),
		slog.String("outcome", outcome.String()))
	err = p.Store.Handled(ctx, d.GUID, outcome.String())
	return err == nil, err
}

// commitOf is the commit whose deployment an event may tell of; "": the event tells of
// none.
func commitOf(event webhook.Event) string {
	switch e := event.(type) {
	case *webhook.DeploymentStatus:
		return e.SHA
	case *webhook.Status:
		return e.SHA
	case *webhook.WorkflowRun:
		return e.HeadSHA
	case *webhook.CheckRun:
		return e.HeadSHA
	}
	return ""
}

// fact stores what an event tells. Events about the App's reach come first: they may have
// no repository, or one that is gone and comes back through this very event. All others
// are about a repository. It is looked up by its id, since its name may belong to another
// repository by now.
func (p *Pipeline) fact(ctx context.Context, event webhook.Event, d store.Delivery) (outcome Outcome, err error) {
	source := event.Source()
	if outcome, is, err := p.reach(ctx, event); is || err != nil {
		return otherwise("%s", outcome), err
	}
	if source.Repository.ID == 0 {
		return otherwise("no repository"), nil
	}
	// The replica that received the delivery noted GitHub's time, if it knew it.
	// Otherwise the moment is translated here, with this replica's clock, which may
	// differ.
	if d.At.IsZero() {
		d.At = p.githubTime(ctx, d.ReceivedAt)
	}
	repo, err := p.heardOf(ctx, ledger.Repository{
		ID: source.Repository.ID, Owner: source.Repository.Owner, Name: source.Repository.Name,
		Installation: source.Installation, DefaultBranch: source.Repository.DefaultBranch, FirstSeen: d.At,
	})
	if err != nil {
		return outcome, err
	}
	// An event about a repository that is gone: the repository may be back, or the event
	// late.
	if repo.Gone != "" {
		if repo, err = p.reached(ctx, repo); err != nil || repo.Gone != "" {
			return otherwise("%s", repo.Gone), err
		}
	}
	switch e := event.(type) {
	case *webhook.Push:
		return p.pushed(ctx, repo, e, d)
	case *webhook.DeploymentStatus:
		return p.deployed(ctx, p.fromWebhook(repo), repo, e, d.At)
	case *webhook.IssueComment:
		return saidAs(p.commented(ctx, repo, e, d))
	case *webhook.Status:
		return p.statusSet(ctx, repo, e, d.At)
	case *webhook.WorkflowRun:
		return p.workflowRan(ctx, repo, e, d.At)
	case *webhook.CheckRun:
		return p.checked(ctx, repo, e, d)
	case *webhook.CheckSuite:
		return saidAs(p.suiteAgain(ctx, repo, e, d))
	case *webhook.PullRequest:
		return saidAs(p.pullChanged(ctx, repo, e))
	case *webhook.MergeGroup:
		return saidAs(p.queued(ctx, repo, e))
	default:
		return otherwise("no use for it"), nil
	}
}

// zeroSHA reports whether a commit id is all zeros, which is how GitHub says "no commit",
// or empty.
func zeroSHA(sha string) bool { return strings.Trim(sha, "0") == "" }
