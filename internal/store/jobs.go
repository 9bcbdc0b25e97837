package store

import (
	"context"
	"fmt"

	"github.com/riverqueue/river"
)

// The jobs, by their arguments. A job only wakes: it says where to look, never
// what to do, and waking twice costs a look.

// HandleJob reads one delivery.
type HandleJob struct {
	GUID string `json:"guid"`
}

// Kind names the job in River.
func (HandleJob) Kind() string { return "handle" }

// ReconcileJob closes the distance between live and desired.
type ReconcileJob struct {
	EnvID string `json:"env_id"`
}

// Kind names the job in River.
func (ReconcileJob) Kind() string { return "reconcile" }

// PurgeJob sends the next request of an account and a kind of object.
type PurgeJob struct {
	Objects string `json:"objects"`           // the kind: url, tag or cpcode
	Account string `json:"account,omitempty"` // as stored: "" is the default one
}

// Kind names the job in River.
func (PurgeJob) Kind() string { return "purge" }

// ReportJob writes one surface on GitHub.
type ReportJob struct {
	Surface string `json:"surface"`
}

// Kind names the job in River.
func (ReportJob) Kind() string { return "report" }

// maxAttempts is how often River tries a job that could not even reach the database. What
// GitHub or Akamai hold up is put off on its own row, and the sweep wakes it. So the end
// of a job is never the end of what it was enqueued for.
const maxAttempts = 25

// Enqueue enqueues one job.
func (s *Store) Enqueue(ctx context.Context, job river.JobArgs) error {
	err := s.writeSoon(ctx, func(t *tx) error {
		t.enqueue(job)
		return nil
	})
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", job.Kind(), err)
	}
	return nil
}
