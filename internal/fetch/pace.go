package fetch

import (
	"context"
	"sync"
	"time"
)

// lanes keep requests to one host apart in time and few at once.
type lanes struct {
	pace  time.Duration
	burst int // requests that a host which was left alone may get at once
	width int

	mu  sync.Mutex
	all map[string]*lane
}

type lane struct {
	slots chan struct{}
	next  time.Time
	users int
}

// enter waits for a turn; leave must be called.
func (l *lanes) enter(ctx context.Context, host string) (leave func(), err error) {
	l.mu.Lock()
	x := l.all[host]
	if x == nil {
		x = &lane{slots: make(chan struct{}, l.width)}
		l.all[host] = x
	}
	x.users++
	l.mu.Unlock()
	select {
	case x.slots <- struct{}{}:
	case <-ctx.Done():
		l.drop(x)
		return nil, ctx.Err()
	}
	leave = func() { <-x.slots; l.drop(x) }
	if err := l.wait(ctx, x); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// wait takes the host's next moment and waits for it.
func (l *lanes) wait(ctx context.Context, x *lane) error {
	if l.pace <= 0 {
		return nil
	}
	l.mu.Lock()
	now := time.Now()
	turn := x.next
	if saved := l.saved(now); turn.Before(saved) {
		turn = saved
	}
	x.next = turn.Add(l.pace)
	l.mu.Unlock()
	if !turn.After(now) {
		return nil
	}
	timer := time.NewTimer(turn.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// saved is how far behind now a host's next moment may lie: as many requests
// as it gets at once.
func (l *lanes) saved(now time.Time) time.Time {
	return now.Add(-time.Duration(max(l.burst-1, 0)) * l.pace)
}

// drop lets go of a lane, and forgets those that nobody waits for and whose
// pace has passed.
func (l *lanes) drop(x *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x.users--
	if x.users > 0 {
		return
	}
	now := time.Now()
	for name, other := range l.all {
		if other.users == 0 && !other.next.After(l.saved(now)) {
			delete(l.all, name)
		}
	}
}
