package fetch

import (
	"context"
	"sync"
	"time"
)

// lanes keep the requests to one host apart in time, and few at once.
type lanes struct {
	pace  time.Duration // between two requests to a host, on average; 0: none
	burst int           // requests that a host which was left alone gets at once
	width int           // requests to a host that are under way at most

	mu  sync.Mutex       // guards all, and next and users of each lane
	all map[string]*lane // by host; see drop
}

// lane is the turns of one host.
type lane struct {
	slots chan struct{} // has an element for each request under way
	next  time.Time     // when the next request may begin; zero: at once
	users int           // requests that wait or are under way: the lane must stay in all
}

// enter waits for a slot and then for the host's turn. After success the caller must call
// leave, once. After an error there is nothing to leave.
func (l *lanes) enter(ctx context.Context, host string) (leave func(), err error) {
	l.mu.Lock()
	x := l.all[host]
	if x == nil {
		x = &lane{slots: make(chan struct{}, l.width)}
		l.all[host] = x
	}
	// This keeps drop from forgetting the lane while the request waits.
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

// wait takes the host's next turn and waits for it. A turn that was taken is not given
// back if ctx ends.
func (l *lanes) wait(ctx context.Context, x *lane) error {
	if l.pace <= 0 {
		return nil
	}
	l.mu.Lock()
	// A host that was left alone has saved up turns, but not more than burst of them.
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

// saved returns how far back the next turn of a host may lie: so far that burst requests
// can begin at once.
func (l *lanes) saved(now time.Time) time.Time {
	return now.Add(-time.Duration(max(l.burst-1, 0)) * l.pace)
}

// drop lets go of a lane. If it was the last user, drop forgets every lane that nobody
// uses and whose saved turns are complete: a new one would be the same.
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
