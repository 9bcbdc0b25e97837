package github

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// A clock tells how GitHub's clock stands to this machine's, by the Date of
// GitHub's answers. Facts are ordered by the times that GitHub recorded, and
// no clock of ours, which may be wrong, be mended or differ between replicas,
// has a say in that.
//
// Each answer gives bounds: Date has whole seconds (RFC 9110, 6.6.1), and was
// written after the request left and before its answer came. Bounds that
// agree are narrowed; those that contradict what is known replace it, since a
// clock was set. A step of this machine's clock does no harm in between: the
// bounds hold for the monotonic clock.
type clock struct {
	mu    sync.Mutex
	known bool
	begun time.Time // our clock and the monotonic one when the first answer came
	// least and most bound how far GitHub's clock is ahead of begun plus the
	// time since.
	least, most time.Duration
}

// heed learns from an answer to a request that left at sent and was answered
// at received.
func (c *clock) heed(header http.Header, sent, received time.Time) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil || header.Get("Age") != "" { // a cache's, of another time
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun.IsZero() {
		c.begun = received
	}
	least, most := date.Sub(c.steady(received)), date.Add(time.Second).Sub(c.steady(sent))
	if c.known && least <= c.most && c.least <= most {
		least, most = max(least, c.least), min(most, c.most)
	}
	c.known, c.least, c.most = true, least, most
}

// steady is a moment as our clock would tell it had nobody set it since begun.
func (c *clock) steady(t time.Time) time.Time { return c.begun.Round(0).Add(t.Sub(c.begun)) }

// ahead bounds how far GitHub's clock is ahead of one that shows now.
func (c *clock) ahead(now time.Time) (least, most time.Duration, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		return 0, 0, false
	}
	ours := c.steady(time.Now()).Sub(now)
	return ours + c.least, ours + c.most, true
}

// Ahead bounds how far GitHub's clock is ahead of one that shows now. It is
// known from the first answer on; before, both are 0.
func (a *App) Ahead(now time.Time) (least, most time.Duration, known bool) { return a.clock.ahead(now) }

// AskTime learns GitHub's time where no answer has told it yet. Any answer
// does, a refusal too.
func (a *App) AskTime(ctx context.Context) {
	if _, _, known := a.clock.ahead(time.Now()); !known {
		_, _ = a.own.once(ctx, call{op: "ask GitHub for its time", path: "app"}, nil) // who can't ask goes by its own clock
	}
}
