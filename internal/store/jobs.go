package store

// The jobs, by their arguments. A job is a doorbell: it says where to look,
// never what to do, and ringing twice costs a look.

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

// PurgeJob sends the next request of a kind of object.
type PurgeJob struct {
	Objects string `json:"objects"` // url, tag or cpcode
}

// Kind names the job in River.
func (PurgeJob) Kind() string { return "purge" }

// ReportJob writes one surface on GitHub.
type ReportJob struct {
	Surface string `json:"surface"`
}

// Kind names the job in River.
func (ReportJob) Kind() string { return "report" }

// maxAttempts bounds River's own retries, of jobs that could not even reach
// the database. What GitHub or Akamai hold up is put off on its own row, and
// the sweep rings for it: no job's end is the end of what it was rung for.
const maxAttempts = 25
