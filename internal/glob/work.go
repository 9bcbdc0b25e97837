package glob

import (
	"context"
	"errors"
)

// ErrTooMuch says that matching would take more steps than it was given.
var ErrTooMuch = errors.New("the globs take too long to match")

// Work is what matching may still cost, in steps. A step is a few nanoseconds
// of processor time: one comparison of a part of a glob with a part of a path.
// What takes steps gives up when there are none left, or when the context that
// the Work was made with is done, which is looked at by steps and not by
// paths. One goroutine may use it. A nil Work has no bound but those of
// Compile: it is for names, which are short.
type Work struct {
	Left int // below 0: there is none, and no answer means anything

	done    <-chan struct{}
	ask     int // steps until done is looked at
	stopped bool
}

func (w *Work) over() bool { return w != nil && w.Left < 0 }

// askEvery is how many steps pass between two looks at the context.
const askEvery = 1 << 16

// NewWork gives so many steps to what is done for ctx.
func NewWork(ctx context.Context, steps int) *Work {
	return &Work{Left: steps, done: ctx.Done(), ask: askEvery}
}

// Err is nil while there is work left; ErrTooMuch if there is none, and
// context.Canceled if the context was done before.
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

// Take takes n steps and reports whether there were as many.
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

func (w *Work) look() {
	w.ask = askEvery
	select {
	case <-w.done:
		w.stopped, w.Left = true, -1
	default:
	}
}
