package github

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// A clock tells how far GitHub's clock is from this machine's. It learns that from the
// Date header of GitHub's answers. Events are ordered by the times that GitHub recorded.
// This machine's clock must not matter there: it may be wrong, be set, or differ between
// replicas.
//
// Each answer gives two bounds. Date has whole seconds (RFC 9110, 6.6.1), and GitHub
// wrote it after the request left and before the answer came. Bounds that agree with what
// is known narrow it. Bounds that contradict it replace it, because then a clock was set.
// A step of this machine's clock in between does no harm: the bounds hold for the
// monotonic clock.
//
// It is safe for concurrent use.
type clock struct {
	mu    sync.Mutex
	known bool
	begun time.Time // our time when the first answer came, with its monotonic reading
	// least and most bound how far GitHub's clock is ahead of begun plus the time since
	// then.
	least, most time.Duration
}

// heed learns from the answer to a request that left at sent and was answered at
// received. Both times need their monotonic reading.
func (c *clock) heed(header http.Header, sent, received time.Time) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil || header.Get("Age") != "" { // Age: from a proxy's cache, so Date is old
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

// steady is a time as our clock would show it if nobody had set it since begun. Round(0)
// drops the monotonic reading, so that the result compares with GitHub's times.
func (c *clock) steady(t time.Time) time.Time { return c.begun.Round(0).Add(t.Sub(c.begun)) }

// ahead bounds how far GitHub's clock is ahead of a clock that shows now.
func (c *clock) ahead(now time.Time) (least, most time.Duration, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		return 0, 0, false
	}
	ours := c.steady(time.Now()).Sub(now)
	return ours + c.least, ours + c.most, true
}

// Ahead bounds how far GitHub's clock is ahead of a clock that shows now. A negative
// bound means behind. Before the first answer known is false and both bounds are 0.
func (a *App) Ahead(now time.Time) (least, most time.Duration, known bool) { return a.clock.ahead(now) }

// AskTime makes one call to learn GitHub's time if no answer has told it yet. Any answer
// tells it, even a refusal. If the call fails, the caller goes by its own clock.
func (a *App) AskTime(ctx context.Context) {
	if _, _, known := a.clock.ahead(time.Now()); !known {
		_, _ = a.own.once(ctx, call{op: "ask GitHub for its time", path: "app"}, nil)
	}
}
