package glob

import (
	"context"
	"errors"
)

// ErrTooMuch says that matching would take more steps than its Work had.
var ErrTooMuch = errors.New("the globs take too long to match")

// Work is how many steps matching may still take. A step is a few nanoseconds of
// processor time: one comparison of a part of a glob with a part of a path.
//
// Matching gives up when no steps are left, or when the context that the Work was made
// with is done. The context is looked at every so many steps, not once for each path,
// because a single path may take long. Callers check Err: after that no answer means
// anything.
//
// Only one goroutine may use a Work. A nil Work has no bound except those of Compile: use
// it only for short texts, such as names.
type Work struct {
	Left int // steps left; below 0: none, and no answer means anything

	done    <-chan struct{}
	ask     int  // steps until done is looked at
	stopped bool // done was closed
}

// over reports whether the work has run out.
func (w *Work) over() bool { return w != nil && w.Left < 0 }

// askEvery is how many steps pass between two looks at the context: a fraction of a
// millisecond.
const askEvery = 1 << 16

// NewWork returns that many steps of work, which end early if ctx is done.
func NewWork(ctx context.Context, steps int) *Work {
	return &Work{Left: steps, done: ctx.Done(), ask: askEvery}
}

// Err returns nil while there is work left and ErrTooMuch if there is none. If the
// context ended first, it returns context.Canceled, also for a deadline.
func (w *Work) Err() error {
	switch {
	case w == nil:
		return nil
	case w.stopped:
		return context.Canceled
	case w.Left < 0:
		return ErrTooMuch
	}
	return nil
}

// Take uses n steps and reports whether that many were left.
func (w *Work) Take(n int) bool {
	if w == nil {
		return true
	}
	w.Left -= n
	if w.ask -= n; w.ask < 0 {
		w.look()
	}
	return w.Left >= 0
}

// look checks the context without waiting. It makes Left negative, so that every later
// Take fails as well.
func (w *Work) look() {
	w.ask = askEvery
	select {
	case <-w.done:
		w.stopped, w.Left = true, -1
	default:
	}
}
