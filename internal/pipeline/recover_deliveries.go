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
	// deliveriesKept is how long GitHub remembers a delivery: 3 days on
	// github.com, 7 on GitHub Enterprise Server.
	deliveriesKept = 7 * 24 * time.Hour

	// redeliveriesAtOnce bounds what is asked for in one round: a write costs
	// 5 of the 900 points that GitHub allows a minute.
	redeliveriesAtOnce = 60
	redeliveriesAgain  = time.Minute

	// redeliveriesFound bounds, within that, what the comparison of
	// deployments finds as well: each brings a few calls of its own.
	redeliveriesFound = 15

	// redeliveriesMost is how often one delivery is asked for: one that this
	// server can't take the first times is no use.
	redeliveriesMost = 5
)

// rank orders the events that purgebot has a use for: first what a person
// waits for, then what decides what can be reached, then what else no
// comparison finds, then what one does find. 0: no use for it.
func rank(event string) int {
	switch event {
	case "issue_comment", "check_run", "check_suite":
		return 1
	case "installation", "installation_repositories", "repository":
		return 2
	case "status", "workflow_run":
		return 3
	case "deployment_status":
		return 4
	case "push":
		return 5
	default:
		return 0
	}
}

// redeliver has GitHub deliver again what it could not deliver.
func (p *Pipeline) redeliver(ctx context.Context, c store.Chore, began time.Time) (done bool, after time.Duration, err error) {
	since := began.Add(-deliveriesKept)
	if last := c.Last.Add(-overlap); last.After(since) {
		since = last
	}
	failed, err := p.GitHub.FailedDeliveries(ctx, since)
	if err != nil {
		return false, 0, err
	}
	missed, err := p.missed(ctx, failed)
	if err != nil {
		return false, 0, err
	}
	now := atOnce(missed)
	for _, d := range now {
		// Noted first: if GitHub's answer is lost, it may have been asked.
		if err := p.Store.Ask(ctx, d.GUID, d.ID, began.Add(-deliveriesKept)); err != nil {
			return false, 0, err
		}
		if err := p.GitHub.Redeliver(ctx, d.ID); err != nil && !github.IsNotFound(err) {
			return false, 0, err
		}
		p.Log.LogAttrs(ctx, slog.LevelInfo, "recovered: redelivery asked for", slog.String("delivery", d.GUID),
			slog.String("event", d.Event), slog.Int64("repository_id", d.Repository), slog.Time("failed_at", d.DeliveredAt))
	}
	if len(now) < len(missed) {
		return false, redeliveriesAgain, nil
	}
	return true, 0, nil
}

// atOnce is what one round asks for, of deliveries that are sorted by rank.
func atOnce(missed []github.Delivery) []github.Delivery {
	urgent := 0
	for _, d := range missed {
		if rank(d.Event) < rank("deployment_status") {
			urgent++
		}
	}
	return missed[:min(len(missed), redeliveriesAtOnce, urgent+redeliveriesFound)]
}

// missed leaves of failed deliveries those that are of use, that never came
// here and that GitHub was not asked for already, the most urgent first.
func (p *Pipeline) missed(ctx context.Context, failed []github.Delivery) (missed []github.Delivery, err error) {
	for _, d := range failed {
		if rank(d.Event) == 0 {
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
		if !arrived && attempt != d.ID && times < redeliveriesMost {
			missed = append(missed, d)
		}
	}
	slices.SortStableFunc(missed, func(a, b github.Delivery) int { return cmp.Compare(rank(a.Event), rank(b.Event)) })
	return missed, nil
}
