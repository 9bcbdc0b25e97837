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

// shares let no repository and no person hold more than a share of the
// workers of a kind of job, whatever they send: the others are for others.
// A job beyond the share is parked, and woken when one of its owner's ends.
type shares struct {
	most int // workers for one owner

	mu      sync.Mutex
	working map[owner]int
	parked  []parkedJob // in the order in which they came
}

// owner is a repository or a person, or all that are suspected.
type owner struct {
	person bool
	id     int64 // GitHub's; 0: the suspects
}

// suspects own the deliveries in whose handling the process ended. They are
// handled one at a time, so that of many only the one that did it ends it again.
func suspects() owner { return owner{} }

// most is how many workers an owner may hold, of a share: a person less than a
// repository, so that nobody takes all that a repository's other people have.
func (o owner) most(share int) int {
	switch {
	case o == suspects():
		return 1
	case o.person:
		return max(1, share-1)
	}
	return share
}

// parkedJob is a job that found no room: the next of its owners that leaves hands
// it on, so that it needs no timer and loses no place to the sweep.
type parkedJob struct {
	job    river.JobArgs // comparable
	owners []owner
}

// mostParked bounds those that are remembered; the sweep wakes the rest.
const mostParked = 10_000

func newShares(most int) *shares { return &shares{most: most, working: map[owner]int{}} } //nolint:unparam // each kind of job has its own number

// enter reports whether a job may be worked on now, and parks it where not.
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
	if at >= 0 {
		s.parked = slices.Delete(s.parked, at, at+1)
	}
	for _, o := range owners {
		s.working[o]++
	}
	return true
}

// leave ends a job, and gives one that was parked and has room now; nil if
// none has.
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

func (s *shares) room(owners []owner) bool {
	return !slices.ContainsFunc(owners, func(o owner) bool { return s.working[o] >= o.most(s.most) })
}

// shared works on a job within its owners' shares.
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

// wake wakes a parked job. Where that fails, the sweep does.
func (p *Pipeline) wake(ctx context.Context, job river.JobArgs) {
	if err := p.Store.Enqueue(ctx, job); err != nil && !inTrouble(err) {
		p.Log.LogAttrs(ctx, slogWarn, "a parked job waits for the sweep", errAttr(err))
	}
}

// ownersOf leaves out who is nobody.
func ownersOf(repo, person int64) (all []owner) {
	if repo != 0 {
		all = append(all, owner{id: repo})
	}
	if person != 0 {
		all = append(all, owner{person: true, id: person})
	}
	return all
}

func (p *Pipeline) whoseDelivery(ctx context.Context, job store.HandleJob) ([]owner, error) {
	repo, person, lost, err := p.Store.Whose(ctx, job.GUID)
	owners := ownersOf(repo, person)
	if lost > 0 {
		owners = append(owners, suspects())
	}
	return owners, err
}

func (p *Pipeline) whoseEnvironment(ctx context.Context, job store.ReconcileJob) ([]owner, error) {
	repo, err := p.Store.RepositoryOf(ctx, job.EnvID)
	return ownersOf(repo, 0), err
}

// whosePost reads the repository off a surface: status/REPO/….
func (p *Pipeline) whosePost(_ context.Context, job store.ReportJob) ([]owner, error) {
	_, rest, _ := strings.Cut(job.Surface, "/")
	text, _, _ := strings.Cut(rest, "/")
	repo, _ := strconv.ParseInt(text, 10, 64) // a surface of another kind is nobody's
	return ownersOf(repo, 0), nil
}
