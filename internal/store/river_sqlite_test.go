package store

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
)

// jobsWorked hands on the jobs that a runner works.
type jobsWorked struct {
	river.WorkerDefaults[HandleJob]
	guids chan string
}

func (w *jobsWorked) Work(_ context.Context, job *river.Job[HandleJob]) error {
	w.guids <- job.Args.GUID
	return nil
}

// On SQLite a job is worked once it is committed, though nobody polls for it. A job whose
// transaction fails is not worked.
func TestJobsAreHeardOfWithoutALook(t *testing.T) {
	s := openFile(t, nil)
	worked := &jobsWorked{guids: make(chan string)}
	workers := river.NewWorkers()
	river.AddWorker(workers, worked)
	runner, err := s.NewRunner(&river.Config{
		Logger: quiet(s.log), Workers: workers, Queues: map[string]river.QueueConfig{HandleJob{}.Kind(): {MaxWorkers: 1}},
		FetchCooldown: time.Millisecond, FetchPollInterval: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := runner.StopAndCancel(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	for _, guid := range []string{"first", "second", "third"} {
		if err := s.write(t.Context(), func(q *tx) error {
			q.enqueue(HandleJob{GUID: "never"})
			return context.Canceled
		}); err == nil {
			t.Fatal("it is committed all the same")
		}
		if err := s.Enqueue(t.Context(), HandleJob{GUID: guid}); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-worked.guids:
			if got != guid {
				t.Fatalf("worked %s, want %s", got, guid)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s is not worked", guid)
		}
	}
	if n := count(t, s, `SELECT COUNT(*) FROM river_notification`); n > 0 {
		t.Errorf("%d rows tell of jobs", n)
	}
}

// On SQLite River settles jobs a few at a time. A job that can't be settled holds up only
// its own few, and all can be tried again.
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
		rows, err := newInProcessDriver(e.db, e.bell).GetExecutor().JobSetStateIfRunningMany(t.Context(), p)
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
