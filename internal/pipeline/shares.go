package pipeline

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/riverqueue/river"

	"github.com/purgebot/purgebot/internal/store"
)

// shares let no repository and no person hold more than a share of the workers for one
// kind of job in this process: the other workers are for others. A job beyond the share
// is parked, and its River job ends. It is woken when a job of one of its owners ends.
type shares struct {
	most int // workers that one repository may hold

	mu      sync.Mutex
	working map[owner]int
	parked  []parkedJob // in the order in which they came; at most mostParked
}

// owner is a repository, a person, or all deliveries that are suspected together.
type owner struct {
	person bool
	id     int64 // GitHub's id; 0: the suspects
}

// suspects own the deliveries over which the process died before. They are handled one at
// a time: if the process dies again, only the one that was being handled is to blame.
func suspects() owner { return owner{} }

// most is how many workers an owner may hold. A person may hold one less than a
// repository, but at least one, so that one person can't take all that the repository's
// other people have.
func (o owner) most(share int) int {
	switch {
	case o == suspects():
		return 1
	case o.person:
		return max(1, share-1)
	}
	return share
}

// parkedJob is a job that found no room. The next job that ends and makes room for it
// wakes it, so it needs no timer and keeps its place.
type parkedJob struct {
	job    river.JobArgs // comparable
	owners []owner
}

// mostParked bounds the memory for parked jobs. The sweep wakes the others: their rows
// are still due.
const mostParked = 10_000

// newShares makes shares of so many workers for one repository.
func newShares(most int) *shares { return &shares{most: most, working: map[owner]int{}} } //nolint:unparam // each kind of job has its own number

// enter reports whether a job may be worked on now, and parks it where it may not. A job
// that is parked already is parked once. After true the caller must call leave.
func (s *shares) enter(job river.JobArgs, owners []owner) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.parked, func(p parkedJob) bool { return p.job == job })
	if !s.room(owners) {
		if at < 0 && len(s.parked) < mostParked {
			s.parked = append(s.parked, parkedJob{job, owners})
		}
		return false
	}
	// The job came another way, such as by the sweep: its parked entry must not wake it
	// again.
	if at >= 0 {
		s.parked = slices.Delete(s.parked, at, at+1)
	}
	for _, o := range owners {
		s.working[o]++
	}
	return true
}

// leave ends a job, and takes from the parked ones the first that has room now; nil if
// none has. The caller must wake that job: it is parked no longer.
func (s *shares) leave(owners []owner) river.JobArgs {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range owners {
		if s.working[o]--; s.working[o] == 0 {
			delete(s.working, o)
		}
	}
	at := slices.IndexFunc(s.parked, func(p parkedJob) bool { return s.room(p.owners) })
	if at < 0 {
		return nil
	}
	job := s.parked[at].job
	s.parked = slices.Delete(s.parked, at, at+1)
	return job
}

// room reports whether all owners of a job are below their shares. The caller holds mu.
func (s *shares) room(owners []owner) bool {
	return !slices.ContainsFunc(owners, func(o owner) bool { return s.working[o] >= o.most(s.most) })
}

// shared makes of work a verb that keeps to its owners' shares. For a parked job it
// returns nil, and River forgets that job: the parked entry, or the sweep, wakes it. If
// the process dies, the sweep does.
func shared[T river.JobArgs](p *Pipeline, s *shares, whose func(context.Context, T) ([]owner, error), work func(context.Context, T) error) func(context.Context, T) error {
	return func(ctx context.Context, job T) error {
		owners, err := whose(ctx, job)
		if err != nil {
			return err
		}
		if !s.enter(job, owners) {
			return nil
		}
		defer func() {
			if next := s.leave(owners); next != nil {
				p.wake(context.WithoutCancel(ctx), next)
			}
		}()
		return work(ctx, job)
	}
}

// wake wakes a parked job. If that fails, the sweep does it later.
func (p *Pipeline) wake(ctx context.Context, job river.JobArgs) {
	if err := p.Store.Enqueue(ctx, job); err != nil && !inTrouble(err) {
		p.Log.LogAttrs(ctx, slogWarn, "a parked job waits for the sweep", errAttr(err))
	}
}

// ownersOf lists the owners of a job; an id of 0 is nobody.
func ownersOf(repo, person int64) (all []owner) {
	if repo != 0 {
		all = append(all, owner{id: repo})
	}
	if person != 0 {
		all = append(all, owner{person: true, id: person})
	}
	return all
}

// whoseDelivery also makes a delivery a suspect if the process died over it before.
func (p *Pipeline) whoseDelivery(ctx context.Context, job store.HandleJob) ([]owner, error) {
	repo, person, lost, err := p.Store.Whose(ctx, job.GUID)
	owners := ownersOf(repo, person)
	if lost > 0 {
		owners = append(owners, suspects())
	}
	return owners, err
}

// whoseEnvironment is the environment's repository: no person asks for a plan.
func (p *Pipeline) whoseEnvironment(ctx context.Context, job store.ReconcileJob) ([]owner, error) {
	repo, err := p.Store.RepositoryOf(ctx, job.EnvID)
	return ownersOf(repo, 0), err
}

// whosePost reads the repository's id off the surface's name, KIND/REPO/…, without asking
// the database.
func (p *Pipeline) whosePost(_ context.Context, job store.ReportJob) ([]owner, error) {
	_, rest, _ := strings.Cut(job.Surface, "/")
	text, _, _ := strings.Cut(rest, "/")
	repo, _ := strconv.ParseInt(text, 10, 64) // a surface of another kind is nobody's
	return ownersOf(repo, 0), nil
}
