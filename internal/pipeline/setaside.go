package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/purgebot/purgebot/internal/command"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/webhook"
)

// mostFailed is how often the handling of a delivery may go wrong in a way that the
// delivery itself may cause (a panic, a timeout, the death of the process) before the
// delivery is set aside. Somebody may have made it for that: without the bound, one
// comment could stop the server again and again.
const mostFailed = 3

// wrong is how the handling of a delivery went wrong.
type wrong struct {
	reason string // for the operator: "its handling …"
	reply  string // for the author of the comment, in public words
}

// wrongly says how a handling went wrong, if the delivery may have caused it; nil: the
// error is trouble of GitHub's or the database's, and the next try may do better. ctx
// must be the one that the handling ran in: its deadline tells a timeout.
func wrongly(ctx context.Context, err error, limit time.Duration) *wrong {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errPanicked):
		return &wrong{"its handling failed inside purgebot", "purgebot failed at it, three times. The operator can find out why, and have it replayed."}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &wrong{
			fmt.Sprintf("its handling took more than %s", limit),
			"it took more than " + limit.String() + ", three times. Ask for less at once, or have the operator replay it.",
		}
	}
	return nil
}

// owed counts, by delivery, the handlings that came back while the database could not
// store that they did. The next TakeDelivery subtracts them: they are no deaths of the
// process. They are lost with the process; then they count as deaths, which is the safe
// side.
type owed struct {
	mu sync.Mutex
	n  map[string]int
}

// add notes n more handlings of a delivery.
func (o *owed) add(guid string, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n == 0 {
		return
	}
	if o.n == nil {
		o.n = map[string]int{}
	}
	o.n[guid] += n
}

// pay gives what is noted for a delivery, and forgets it. If it can't be stored, the
// caller adds it again.
func (o *owed) pay(guid string) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n = o.n[guid]
	delete(o.n, guid)
	return n
}

// setAside closes a delivery that can't be handled, and tells the author of the comment,
// if it is one. w is how its last handling went wrong; nil: the process ended. The answer
// comes first: if it is stored and the delivery is not, both are done again, and the
// answer's Once keeps it to one reply.
func (p *Pipeline) setAside(ctx context.Context, d store.Delivery, a store.Attempts, w *wrong) error {
	if w == nil {
		w = &wrong{"purgebot ended in its handling", "purgebot itself ended over it, three times. The operator can find out why, and have it replayed."}
	}
	reason := fmt.Sprintf("%s, %d times", w.reason, a.Failed+a.Lost)
	if err := p.answerSetAside(ctx, d, w.reply); err != nil {
		return err
	}
	if err := p.Store.SetAside(ctx, d.GUID, reason); err != nil {
		return err
	}
	p.Log.LogAttrs(ctx, slog.LevelError, "delivery is set aside; purgebot replay takes it up again",
		slog.String("delivery", d.GUID), slog.String("event", d.Event), slog.Int64("repository_id", d.RepoID), slog.String("reason", reason))
	return nil
}

// answerSetAside answers a command in a comment that will not be carried out. Every other
// delivery has no author who waits.
func (p *Pipeline) answerSetAside(ctx context.Context, d store.Delivery, why string) error {
	event, err := webhook.Parse(d.Event, d.Body)
	comment, ok := event.(*webhook.IssueComment)
	if err != nil || !ok || !comment.IsPullRequest {
		return nil //nolint:nilerr // what can't be read asks for nothing
	}
	// Talk without a command gets no answer.
	if _, mistake := command.Parse(comment.Body); errors.Is(mistake, command.ErrNone) {
		return nil
	}
	_, err = p.Store.Answer(ctx, store.Answer{
		Command: store.Command{
			RepoID: comment.Repository.ID, Comment: comment.ID, Number: comment.Number,
			Person: comment.Sender.ID, Login: comment.Sender.Login,
		},
		Outcome: store.OutcomeSetAside, Reaction: "confused", Once: fmt.Sprintf("aside-%d", comment.ID), // a replay has its own reply
		Words: report.Refusal(why),
	})
	return err
}
