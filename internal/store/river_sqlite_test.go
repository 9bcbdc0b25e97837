package store

import (
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river/riverdriver"
)

// River settles jobs on SQLite a few at a time: one that can't be settled
// holds up those of its own few alone, and all can be tried again.
func TestRiverSettlesAFewAtATime(t *testing.T) {
	s := openFile(t, nil)
	e := s.engine.(*sqliteEngine)
	const n = 2*jobsAtOnce + 1
	err := s.write(t.Context(), func(q *tx) error {
		for id := range n {
			q.enqueue(HandleJob{GUID: strings.Repeat("x", id+1)})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.db.ExecContext(t.Context(), `UPDATE river_job SET state = 'running'`); err != nil {
		t.Fatal(err)
	}
	settle := func(spoilt int, metadata string) (int, error) {
		p := &riverdriver.JobSetStateIfRunningManyParams{}
		now := time.Now()
		for id := range n {
			one := riverdriver.JobSetStateCompleted(int64(id+1), now, nil)
			p.ID, p.Attempt, p.ErrData = append(p.ID, one.ID), append(p.Attempt, one.Attempt), append(p.ErrData, one.ErrData)
			p.FinalizedAt, p.ScheduledAt = append(p.FinalizedAt, one.FinalizedAt), append(p.ScheduledAt, one.ScheduledAt)
			p.MetadataDoMerge, p.MetadataUpdates = append(p.MetadataDoMerge, id == spoilt), append(p.MetadataUpdates, []byte(metadata))
			p.State = append(p.State, one.State)
		}
		rows, err := newSmallBatchDriver(e.db).GetExecutor().JobSetStateIfRunningMany(t.Context(), p)
		return len(rows), err
	}
	done := func() int { return count(t, s, `SELECT COUNT(*) FROM river_job WHERE state = 'completed'`) }

	if _, err := settle(jobsAtOnce+1, `no JSON`); err == nil || done() != jobsAtOnce {
		t.Errorf("with one spoilt: %v, %d are settled", err, done())
	}
	if rows, err := settle(jobsAtOnce+1, `{}`); rows != n || err != nil || done() != n {
		t.Errorf("then: %d rows, %v, %d are settled", rows, err, done())
	}
}
