package store

import (
	"context"
	"database/sql"
	"fmt"
	"sync"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivertype"
)

// jobsAtOnce is how many jobs River ends in one transaction on SQLite. It ends them one
// by one there, while all other writes wait.
const jobsAtOnce = 4

// inProcessDriver is River's driver for SQLite, changed for one process. Its transactions
// are short: River itself collects the ends of jobs for a quarter of a second and then
// writes all of them at once. And jobs are heard of by the doorbell.
type inProcessDriver struct {
	*riversqlite.Driver
	bell *doorbell
}

func newInProcessDriver(db *sql.DB, bell *doorbell) inProcessDriver {
	return inProcessDriver{riversqlite.New(db), bell}
}

// GetExecutor implements riverdriver.Driver.
func (d inProcessDriver) GetExecutor() riverdriver.Executor {
	return smallBatchExecutor{d.Driver.GetExecutor()}
}

// GetListener implements riverdriver.Driver.
func (d inProcessDriver) GetListener(*riverdriver.GetListenenerParams) riverdriver.Listener {
	return d.bell
}

// SupportsListenNotify implements riverdriver.Driver: nothing is told through the
// database.
func (inProcessDriver) SupportsListenNotify() bool { return false }

// doorbell tells the runner which queues have new jobs, once these are committed. River's
// own way on SQLite is a row for each job and a look for new rows every 50 ms: a
// deployment would wait for three such looks, one after the other. It may be in memory
// because only this process writes the file. If it is lost with the process, Takeover and
// the sweep find the jobs.
type doorbell struct {
	mu    sync.Mutex
	queue map[string]bool // names that the runner was not told of yet; guarded by mu
	rung  chan struct{}   // holds one: something is in queue
}

func newDoorbell() *doorbell {
	return &doorbell{queue: map[string]bool{}, rung: make(chan struct{}, 1)}
}

// ring marks a queue first and signals then, so that a waiter that sees the signal sees
// the queue. One signal is enough for several queues: the waiter empties the map.
func (b *doorbell) ring(queue string) {
	b.mu.Lock()
	b.queue[queue] = true
	b.mu.Unlock()
	select {
	case b.rung <- struct{}{}:
	default:
	}
}

// next takes one queue out, in no order.
func (b *doorbell) next() (queue string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for queue := range b.queue {
		delete(b.queue, queue)
		return queue, true
	}
	return "", false
}

// WaitForNotification implements riverdriver.Listener. It says what River's own clients
// say when they insert jobs.
func (b *doorbell) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	for {
		if queue, ok := b.next(); ok {
			return &riverdriver.Notification{Topic: "river_insert", Payload: fmt.Sprintf(`{"queue": %q}`, queue)}, nil
		}
		select {
		case <-b.rung:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// There is nothing to connect to.

func (*doorbell) Connect(context.Context) error          { return nil }
func (*doorbell) Close(context.Context) error            { return nil }
func (*doorbell) Listen(context.Context, string) error   { return nil }
func (*doorbell) Unlisten(context.Context, string) error { return nil }
func (*doorbell) Ping(context.Context) error             { return nil }
func (*doorbell) Schema() string                         { return "" }
func (*doorbell) SetAfterConnectExec(string)             {}

// smallBatchExecutor ends jobs in small transactions.
type smallBatchExecutor struct{ riverdriver.Executor }

// JobSetStateIfRunningMany implements riverdriver.Executor. If one part fails, River
// comes again with all of them. Those that have ended by then are not running, so they
// stay as they are.
func (e smallBatchExecutor) JobSetStateIfRunningMany(ctx context.Context, all *riverdriver.JobSetStateIfRunningManyParams) ([]*rivertype.JobRow, error) {
	settled := make([]*rivertype.JobRow, 0, len(all.ID))
	for from := 0; from < len(all.ID); from += jobsAtOnce {
		to := min(from+jobsAtOnce, len(all.ID))
		rows, err := e.Executor.JobSetStateIfRunningMany(ctx, &riverdriver.JobSetStateIfRunningManyParams{
			ID: all.ID[from:to], Attempt: all.Attempt[from:to], ErrData: all.ErrData[from:to], FinalizedAt: all.FinalizedAt[from:to],
			MetadataDoMerge: all.MetadataDoMerge[from:to], MetadataUpdates: all.MetadataUpdates[from:to], Now: all.Now,
			ScheduledAt: all.ScheduledAt[from:to], Schema: all.Schema, State: all.State[from:to],
		})
		if err != nil {
			return nil, err
		}
		settled = append(settled, rows...)
	}
	return settled, nil
}
