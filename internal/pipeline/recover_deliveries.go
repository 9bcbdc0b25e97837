package pipeline

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/store"
)

const (
	// deliveriesKept is how long GitHub remembers a delivery at most: 3 days on
	// github.com, 7 days on GitHub Enterprise Server.
	deliveriesKept = 7 * 24 * time.Hour

	// deliveriesOverlap is how far before the last look the next one begins: GitHub lists
	// an attempt only after it has failed, and clocks differ.
	deliveriesOverlap = 2 * time.Minute

	// redeliveriesAtOnce bounds what one round asks for: each is a write, which costs 5
	// of the 900 points that GitHub allows a minute. The rest follows after
	// redeliveriesAgain.
	redeliveriesAtOnce = 60
	redeliveriesAgain  = time.Minute

	// redeliveriesFound is how many of those deliveries a round asks for that a
	// comparison finds as well. Each brings a few calls of its own. If there are more,
	// all of them are left to the comparison, which is cheaper.
	redeliveriesFound = 15

	// redeliveriesMost is how often GitHub is asked for one delivery. A delivery that
	// this server did not take five times will not be taken the sixth time.
	redeliveriesMost = 5
)

// rank orders the events that purgebot uses, the most urgent first: what a person or a
// merge queue waits for, what decides which repositories can be reached, what else no
// comparison finds, and last, from rankFound on, what a comparison finds as well. 0: no
// use for it.
func rank(d github.Delivery) int {
	switch d.Event + " " + d.Action {
	case "issue_comment created", "check_run rerequested", "check_run requested_action", "check_suite rerequested", "merge_group checks_requested":
		return 1
	case "pull_request opened", "pull_request reopened", "pull_request synchronize", "pull_request edited":
		return 3
	case "check_run completed", "workflow_run completed":
		return rankFound + 2
	}
	switch d.Event {
	case "installation", "installation_repositories", "repository":
		return 2
	case "deployment_status":
		return rankFound
	case "push":
		return rankFound + 1
	case "status":
		return rankFound + 2
	default:
		return 0
	}
}

// rankFound is the first rank of events that a comparison with GitHub finds as well.
const rankFound = 4

// redeliver asks GitHub to deliver again what it could not deliver. It is not done as
// long as it leaves something out, so the next round lists the same time span again.
func (p *Pipeline) redeliver(ctx context.Context, c store.Chore, began time.Time) (done bool, after time.Duration, err error) {
	since := began.Add(-deliveriesKept)
	if last := c.Last.Add(-deliveriesOverlap); last.After(since) {
		since = last
	}
	failed, more, err := p.GitHub.FailedDeliveries(ctx, since)
	if err != nil {
		return false, 0, err
	}
	if more {
		p.Log.LogAttrs(ctx, slog.LevelWarn, "GitHub has more deliveries than are read: comments and buttons of the oldest are not recovered",
			slog.Time("since", since))
	}
	missed, err := p.missed(ctx, failed)
	if err != nil {
		return false, 0, err
	}
	if err := p.Store.Failing(ctx, failing(missed)); err != nil {
		return false, 0, err
	}
	now, left := atOnce(missed)
	err = independently(ctx, slices.Values(now), func(d github.Delivery) error { return p.ask(ctx, d, began) })
	if err != nil {
		return false, 0, err
	}
	switch {
	case left > 0:
		p.Log.LogAttrs(ctx, slog.LevelInfo, "many deliveries failed: what is deployed is compared instead", slog.Int("deliveries", left))
		return false, 0, p.Store.HastenIdle(ctx, choreDeployments)
	case len(now) < len(missed):
		return false, redeliveriesAgain, nil
	}
	return true, 0, nil
}

// ask asks GitHub to repeat one attempt. A delivery that GitHub has forgotten is no
// error.
func (p *Pipeline) ask(ctx context.Context, d github.Delivery, began time.Time) error {
	// The request is stored first. If it were stored after the call, a crash between
	// would ask for the same attempt again, and never count it.
	if err := p.Store.Ask(ctx, d.GUID, d.ID, began.Add(-deliveriesKept)); err != nil {
		return err
	}
	if err := p.GitHub.Redeliver(ctx, d.ID); err != nil && !github.IsNotFound(err) {
		return err
	}
	p.Log.LogAttrs(ctx, slog.LevelInfo, "recovered: redelivery asked for", slog.String("delivery", d.GUID),
		slog.String("event", d.Event), slog.Int64("repository_id", d.Repository), slog.Time("failed_at", d.DeliveredAt))
	return nil
}

// atOnce is what one round asks for. missed must be sorted by rank. left is how many
// deliveries are left to the comparison.
func atOnce(missed []github.Delivery) (now []github.Delivery, left int) {
	found := slices.IndexFunc(missed, func(d github.Delivery) bool { return rank(d) >= rankFound })
	if found < 0 {
		found = len(missed)
	}
	if len(missed)-found > redeliveriesFound {
		missed, left = missed[:found], len(missed)-found
	}
	return missed[:min(len(missed), redeliveriesAtOnce)], left
}

// missed keeps the failed deliveries that are of use, that never came here, that no later
// comparison covers, and whose last attempt was not asked to be repeated already. The
// most urgent come first.
func (p *Pipeline) missed(ctx context.Context, failed []github.Delivery) (missed []github.Delivery, err error) {
	for _, d := range failed {
		if rank(d) == 0 {
			continue
		}
		arrived, err := p.Store.Arrived(ctx, d.GUID)
		if err != nil {
			return nil, err
		}
		attempt, times, err := p.Store.Asked(ctx, d.GUID)
		if err != nil {
			return nil, err
		}
		if arrived || attempt == d.ID || times >= redeliveriesMost {
			continue
		}
		covered := false
		if rank(d) >= rankFound {
			if covered, err = p.Store.Covered(ctx, d.Repository, d.DeliveredAt); err != nil {
				return nil, err
			}
		}
		if !covered {
			missed = append(missed, d)
		}
	}
	slices.SortStableFunc(missed, func(a, b github.Delivery) int { return cmp.Compare(rank(a), rank(b)) })
	return missed, nil
}
