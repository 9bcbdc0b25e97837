package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// watched is an engine that counts transactions of deliveries, and fails those that a
// rule names.
type watched struct {
	engine
	mu    sync.Mutex
	sizes []int // deliveries in each transaction that was tried
	spoil func(guid string) error
}

func (w *watched) writeFirst(ctx context.Context, f func(*tx) error) error {
	return w.engine.writeFirst(ctx, func(t *tx) error { t.querier = watching{t.querier, w}; return f(t) })
}

type watching struct {
	querier
	w *watched
}

func (q watching) each(ctx context.Context, f func(row) error, query string, args ...any) error {
	const columns = 8 // of a delivery
	q.w.mu.Lock()
	q.w.sizes = append(q.w.sizes, len(args)/columns)
	q.w.mu.Unlock()
	for i := 0; i < len(args) && q.w.spoil != nil; i += columns {
		if err := q.w.spoil(args[i].(string)); err != nil {
			return err
		}
	}
	return q.querier.each(ctx, f, query, args...)
}

// crowd is a store in which deliveries wait for their turn.
type crowd struct {
	*Store
	t     *testing.T
	w     *watched
	mu    sync.Mutex
	got   map[string]string
	wg    sync.WaitGroup
	count int
}

func newCrowd(t *testing.T) *crowd {
	s := openFile(t, nil)
	w := &watched{engine: s.engine}
	s.engine = w
	s.intake.turns <- struct{}{} // another caller is storing
	return &crowd{Store: s, t: t, w: w, got: map[string]string{}}
}

// receive lets a delivery arrive, and waits until it is in line.
func (c *crowd) receive(ctx context.Context, name, guid string) {
	c.t.Helper()
	c.wg.Go(func() {
		fresh, err := c.Receive(ctx, Delivery{GUID: guid, Event: "push", Body: []byte(`{"ref":"` + name + `"}`), ReceivedAt: time.Now()})
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.got[name] = fmt.Sprint(fresh); err != nil {
			c.got[name] = err.Error()
		}
	})
	c.count++
	c.waits(c.count)
}

// waits waits until n deliveries are in line.
func (c *crowd) waits(n int) {
	c.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		c.intake.mu.Lock()
		have := len(c.intake.waiting)
		c.intake.mu.Unlock()
		if have == n {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%d deliveries wait, not %d", have, n)
		}
	}
}

// served lets the deliveries be stored, and returns what became of each.
func (c *crowd) served() map[string]string {
	<-c.intake.turns
	c.wg.Wait()
	return c.got
}

// want lets the deliveries be stored, and compares what became of each by a part of the
// text.
func (c *crowd) want(want map[string]string) {
	c.t.Helper()
	for name, answer := range c.served() {
		if !strings.Contains(answer, want[name]) {
			c.t.Errorf("%s: %s, not %s", name, answer, want[name])
		}
	}
	if len(c.got) != len(want) {
		c.t.Errorf("answers: %v", c.got)
	}
}

// stored lists the deliveries that are stored with their jobs.
func (c *crowd) stored() string {
	c.t.Helper()
	var guids []string
	err := c.read(c.t.Context(), func(t *tx) error {
		return t.each(c.t.Context(), func(r row) error {
			var guid string
			err := r.Scan(&guid)
			guids = append(guids, guid)
			return err
		}, `SELECT d.guid FROM delivery d, river_job j WHERE j.kind = 'handle' AND json_extract(j.args, '$.guid') = d.guid ORDER BY d.guid`)
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.Join(guids, " ")
}

func TestReceiveTogether(t *testing.T) {
	c := newCrowd(t)
	for _, guid := range []string{"d", "b", "a", "c"} {
		c.receive(t.Context(), guid, guid)
	}
	c.receive(t.Context(), "twin", "a")
	answers := c.served()
	for _, name := range []string{"b", "c", "d"} {
		if answers[name] != "true" {
			t.Errorf("%s: %s", name, answers[name])
		}
	}
	if one, other := answers["a"], answers["twin"]; (one == "true") == (other == "true") {
		t.Errorf("two with one id: %s and %s", one, other)
	}
	if !slices.Equal(c.w.sizes, []int{5}) {
		t.Errorf("transactions of %v deliveries, not one of 5", c.w.sizes)
	}
	if got := c.stored(); got != "a b c d" {
		t.Errorf("stored with their jobs: %s", got)
	}
}

// What is wrong with one delivery fails only that one.
func TestReceiveOneBad(t *testing.T) {
	c := newCrowd(t)
	c.w.spoil = func(guid string) error {
		if guid == "bad" {
			return errors.New("a row like this can't be")
		}
		return nil
	}
	for _, guid := range []string{"a", "bad", "c"} {
		c.receive(t.Context(), guid, guid)
	}
	c.want(map[string]string{"a": "true", "bad": "store delivery bad: a row like this can't be", "c": "true"})
	if got := c.stored(); got != "a c" {
		t.Errorf("stored: %s", got)
	}
}

// A database that takes nothing is asked once for all deliveries, not once for each.
func TestReceiveDatabaseAway(t *testing.T) {
	c := newCrowd(t)
	c.w.spoil = func(string) error { return fmt.Errorf("write: %w", errMoved) }
	for _, guid := range []string{"a", "b", "c"} {
		c.receive(t.Context(), guid, guid)
	}
	c.want(map[string]string{"a": whyMoved, "b": whyMoved, "c": whyMoved})
	if !slices.Equal(c.w.sizes, []int{3}) {
		t.Errorf("transactions of %v deliveries", c.w.sizes)
	}
}

// A caller whose time ends while it waits leaves alone.
func TestReceiveTimeEndsInLine(t *testing.T) {
	c := newCrowd(t)
	ctx, giveUp := context.WithCancel(t.Context())
	c.receive(ctx, "impatient", "i")
	c.receive(t.Context(), "patient", "p")
	giveUp()
	c.waits(1)
	c.want(map[string]string{"impatient": "context canceled", "patient": "true"})
	if got := c.stored(); got != "p" {
		t.Errorf("stored: %s", got)
	}
}

// A caller whose time ends while it stores for all takes no other with it.
func TestReceiveTimeEndsAtTheTurn(t *testing.T) {
	c := newCrowd(t)
	for _, guid := range []string{"a", "b", "c"} {
		c.receive(t.Context(), guid, guid)
	}
	ctx, end := context.WithCancel(t.Context())
	c.w.spoil = func(string) error {
		end()
		return ctx.Err()
	}
	c.storeWaiting(ctx, c.intake.waiting[0])
	c.waits(3)
	c.w.spoil = nil
	c.want(map[string]string{"a": "true", "b": "true", "c": "true"})
	if got := c.stored(); got != "a b c" {
		t.Errorf("stored: %s", got)
	}
}

func TestReceiveIsBounded(t *testing.T) {
	c := newCrowd(t)
	for range intakeWaits {
		c.intake.waiting = append(c.intake.waiting, &arrival{})
	}
	if _, err := c.Receive(t.Context(), Delivery{GUID: "one too many"}); !errors.Is(err, errIntakeFull) {
		t.Errorf("a full line: %v", err)
	}
	large := &arrival{packed: make([]byte, intakeBytes)}
	c.intake.waiting = []*arrival{large, large, {}}
	for _, want := range []int{1, 2} {
		if got, mine := c.intake.take(large); len(got) != want || !mine {
			t.Errorf("%d deliveries in one transaction, not %d", len(got), want)
		}
	}
	if got, mine := c.intake.take(large); len(got) != 0 || mine {
		t.Errorf("%d deliveries for whom somebody else has", len(got))
	}
	c.intake.waiting = make([]*arrival, 300)
	for i := range c.intake.waiting {
		c.intake.waiting[i] = &arrival{}
	}
	if got, _ := c.intake.take(c.intake.waiting[299]); len(got) != intakeAtOnce {
		t.Errorf("%d small deliveries in one transaction", len(got))
	}
}

// gated is an engine whose first transaction of deliveries waits.
type gated struct {
	engine
	later         atomic.Bool
	entered, open chan struct{}
}

func (g *gated) writeFirst(ctx context.Context, f func(*tx) error) error {
	if !g.later.Swap(true) {
		close(g.entered)
		<-g.open
	}
	return g.engine.writeFirst(ctx, f)
}

// With two turns, what comes while one transaction waits for the disk goes to the disk
// meanwhile. A caller whose delivery is in the first transaction takes no other turn.
func TestReceiveInTwoTurns(t *testing.T) {
	c := newCrowd(t)
	g := &gated{engine: c.engine, entered: make(chan struct{}), open: make(chan struct{})}
	c.engine, c.intake.turns = g, make(chan struct{}, 2)
	c.intake.turns <- struct{}{}
	c.intake.turns <- struct{}{}
	for i := range 10 {
		c.receive(t.Context(), fmt.Sprint(i), fmt.Sprint("guid-", i))
	}
	<-c.intake.turns
	<-g.entered
	<-c.intake.turns
	c.waits(0)
	if fresh, err := c.Receive(t.Context(), Delivery{GUID: "late", Event: "push", Body: []byte(`{}`)}); !fresh || err != nil {
		t.Errorf("beside the first: fresh %v, %v", fresh, err)
	}
	inVain := 0
	for range 1000 { // the nine may each look once
		inVain += len(c.intake.turns) - 1
		runtime.Gosched()
	}
	if inVain > 500 {
		t.Errorf("beside the one, a turn was taken at %d of 1000 looks", inVain)
	}
	close(g.open)
	c.wg.Wait()
	for name, fresh := range c.got {
		if fresh != "true" {
			t.Errorf("%s: %s", name, fresh)
		}
	}
	if n := count(t, c.Store, `SELECT COUNT(*) FROM delivery`); n != 11 {
		t.Errorf("%d deliveries are stored", n)
	}
}
