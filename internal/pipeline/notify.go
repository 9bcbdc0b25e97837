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
	// noticeTime bounds one POST. It is shorter than noticeLease: after that, another
	// replica may tell the receiver. noticeLease is also how long the death of a replica
	// holds up the event that it was about to tell.
	noticeTime  = 10 * time.Second
	noticeLease = 15 * time.Second

	// choreHearing looks for installations whose webhooks have stopped; see listen.
	choreHearing = "hearing"
	hearingEvery = time.Hour
)

// notices count what receivers took, and what they did not.
type notices struct{ sent, refused prometheus.Counter }

// newNotices makes the counters; Metrics gives them to a registry.
func newNotices() notices {
	return notices{
		sent:    prometheus.NewCounter(prometheus.CounterOpts{Name: "purgebot_notifications_sent_total", Help: "Notifications that a receiver took."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "purgebot_notifications_refused_total", Help: "Attempts to tell a receiver that came to nothing; each is made again, for a day."}),
	}
}

// notify tells one receiver its next event. The claim is on the receiver, so only one
// worker tells it at a time: events of one subject come in order, and a receiver that
// does not answer holds one worker. There are as many workers as there may be receivers.
// If the process dies after the POST, the event is sent again: a receiver gets each event
// at least once.
func (p *Pipeline) notify(ctx context.Context, job store.NotifyJob) error {
	receivers := p.Receivers()
	at := slices.IndexFunc(receivers, func(r notify.Receiver) bool { return r.ID == job.Receiver })
	if at < 0 { // taken out of the configuration, or only another replica's configuration has it
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
	// What the receiver took must be stored even if the POST used up the time of ctx.
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

// listen stores which installations have had no webhook for longer than they ever had,
// and which are heard again. The store makes the events. Without receivers nobody would
// hear.
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

// failing counts the webhooks that GitHub could not deliver, by installation.
func failing(missed []github.Delivery) map[int64]int {
	count := map[int64]int{}
	for _, d := range missed {
		count[d.Installation]++
	}
	return count
}
