package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/notify"
	"github.com/purgebot/purgebot/internal/store"
)

const (
	// noticeTime bounds one POST; it is below the lease, which is how long a
	// replica's death holds up what it was about to tell.
	noticeTime  = 10 * time.Second
	noticeLease = 15 * time.Second

	// choreHearing looks whether installations are unheard.
	choreHearing = "hearing"
	hearingEvery = time.Hour
)

// notices count what was told, and what was not.
type notices struct{ sent, refused prometheus.Counter }

func newNotices() notices {
	return notices{
		sent:    prometheus.NewCounter(prometheus.CounterOpts{Name: "purgebot_notifications_sent_total", Help: "Notifications that a receiver took."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "purgebot_notifications_refused_total", Help: "Attempts to tell a receiver that came to nothing; each is made again, for a day."}),
	}
}

// notify tells one receiver the next thing. While one worker tells it, no other
// does: a receiver that does not answer keeps one of as many workers as there
// may be receivers, and its events come in their order.
func (p *Pipeline) notify(ctx context.Context, job store.NotifyJob) error {
	receivers := p.Receivers()
	at := slices.IndexFunc(receivers, func(r notify.Receiver) bool { return r.ID == job.Receiver })
	if at < 0 { // it was taken out of the configuration, or another replica has it alone
		return nil
	}
	n, err := p.Store.ClaimNotice(ctx, job.Receiver, noticeLease)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if n.Wait > 0 {
		return snooze{n.Wait}
	}
	sending, cancel := context.WithTimeout(ctx, noticeTime)
	defer cancel()
	after, err := receivers[at].Send(sending, p.Poster, notify.Message{Event: n.Event, Attempt: n.Attempt, Missed: n.Missed, PublicURL: p.PublicURL})
	ctx = context.WithoutCancel(ctx)
	attrs := []slog.Attr{slog.String("to", receivers[at].Name), slog.String("event", string(n.Kind)), slog.String("id", n.ID), slog.Int("attempt", n.Attempt)}
	if err == nil {
		p.notices.sent.Inc()
		p.Log.LogAttrs(ctx, slog.LevelInfo, "notified", append(attrs, slog.Int("missed", n.Missed))...)
		return p.Store.Told(ctx, n)
	}
	p.notices.refused.Inc()
	p.Log.LogAttrs(ctx, slogWarn, "not notified; it is tried again for a day", append(attrs, errAttr(err))...)
	wait := pause(after, n.Failures)
	if err := p.Store.NotTold(ctx, n, wait); err != nil {
		return err
	}
	return snooze{wait}
}

// listen tells which installations no webhook came of for longer than is their
// habit, and which are heard again.
func (p *Pipeline) listen(ctx context.Context, _ store.Chore, _ time.Time) (done bool, after time.Duration, err error) {
	if len(p.Receivers()) == 0 {
		return true, 0, nil
	}
	all, err := p.Store.Hearings(ctx)
	now := p.Now()
	for _, h := range all {
		unheard := h.Unheard(now)
		if err == nil && unheard != h.Told {
			err = p.Store.Silent(ctx, ledger.Silence{Installation: h.Installation, Last: h.Last, Habit: h.Longest}, unheard)
		}
	}
	return err == nil, 0, err
}

// failing counts, by installation, webhooks that GitHub could not deliver.
func failing(missed []github.Delivery) map[int64]int {
	count := map[int64]int{}
	for _, d := range missed {
		count[d.Installation]++
	}
	return count
}
