package store

import (
	"context"
	"database/sql"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivertype"
)

// jobsAtOnce bounds the jobs that River settles in one transaction on SQLite,
// where it does so one by one while all others wait.
const jobsAtOnce = 4

// smallBatchDriver is River's driver for SQLite, whose transactions are short:
// River keeps the ends of jobs for a quarter of a second, and then writes all
// of them at once.
type smallBatchDriver struct{ *riversqlite.Driver }

func newSmallBatchDriver(db *sql.DB) smallBatchDriver { return smallBatchDriver{riversqlite.New(db)} }

// GetExecutor implements riverdriver.Driver.
func (d smallBatchDriver) GetExecutor() riverdriver.Executor {
	return smallBatchExecutor{d.Driver.GetExecutor()}
}

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
