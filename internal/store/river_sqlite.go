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

// jobsAtOnce bounds the jobs that River settles in one transaction on SQLite,
// where it does so one by one while all others wait.
const jobsAtOnce = 4

// inProcessDriver is River's driver for SQLite as one process needs it. Its
// transactions are short: River keeps the ends of jobs for a quarter of a second,
// and then writes all of them at once. And jobs are heard of by the doorbell.
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

// SupportsListenNotify implements riverdriver.Driver: nothing is told by way of
// the database.
func (inProcessDriver) SupportsListenNotify() bool { return false }

// doorbell tells the runner which queues have new jobs, once these are committed.
// River's own way on SQLite is a row for each and a look for new rows every 50 ms:
// a deployment would wait for three such looks, one after the other.
type doorbell struct {
	mu    sync.Mutex
	queue map[string]bool // that the runner was not told of yet
	rung  chan struct{}
}

func newDoorbell() *doorbell {
	return &doorbell{queue: map[string]bool{}, rung: make(chan struct{}, 1)}
}

func (b *doorbell) ring(queue string) {
	b.mu.Lock()
	b.queue[queue] = true
	b.mu.Unlock()
	select {
	case b.rung <- struct{}{}:
	default:
	}
}

func (b *doorbell) next() (queue string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for queue := range b.queue {
		delete(b.queue, queue)
		return queue, true
	}
	return "", false
}

// WaitForNotification implements riverdriver.Listener, with what River's clients
// say of jobs that they insert.
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

type smallBatchExecutor struct{ riverdriver.Executor }

// JobSetStateIfRunningMany implements riverdriver.Executor. Where one part
// fails, River comes with all of them again; those that are settled by then
// are left as they are.
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
