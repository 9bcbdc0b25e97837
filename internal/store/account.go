package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/riverqueue/river"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/purger"
)

// accounts are the Akamai accounts that this process has credentials of. Each has a job
// queue of its own with its own workers, so that an account that does not answer holds up
// no other.
type accounts struct {
	mu     sync.Mutex                   // guards all fields
	names  []string                     // as stored; the default account's comes first; nil: only the default one
	queues *river.QueueBundle           // of the runner; nil until NewRunner
	worked map[string]river.QueueConfig // the queues that the runner has, by name; nil until NewRunner
}

// accountColumn is an account's name as rows have it. The default account's is "": the
// column has that value too where a release that knows no accounts writes.
func accountColumn(account string) string {
	if account == ledger.DefaultAccount {
		return ""
	}
	return account
}

// accountName is the reverse of accountColumn.
func accountName(column string) string { return cmp.Or(column, ledger.DefaultAccount) }

// ofAccount names what each account has of its own: a bucket, or what is known of a host.
// The default account's has the bare name, as an older release writes it.
func ofAccount(name, account string) string {
	if account == "" {
		return name
	}
	return name + "@" + account
}

// allAccounts are the names as stored, the default account's first. Nobody changes the
// slice: SetAccounts replaces it.
func (s *Reader) allAccounts() []string {
	s.accounts.mu.Lock()
	defer s.accounts.mu.Unlock()
	if s.accounts.names == nil {
		return []string{""}
	}
	return s.accounts.names
}

// Accounts lists the names of the accounts that this process has credentials of, the
// default one first.
func (s *Reader) Accounts() []string {
	var names []string
	for _, account := range s.allAccounts() {
		names = append(names, accountName(account))
	}
	return names
}

// SetAccounts says which accounts this process has credentials of from now on, beside the
// default one. Nothing is claimed for other accounts. The names may be in any order.
func (s *Store) SetAccounts(ctx context.Context, names []string) error {
	all := []string{""}
	for _, name := range slices.Sorted(slices.Values(names)) {
		if accountColumn(name) != "" {
			all = append(all, name)
		}
	}
	if slices.Equal(all, s.allAccounts()) {
		return nil
	}
	err := s.write(ctx, func(t *tx) error {
		// An account must have its budget row before it is claimed for:
		// whileNothingIsClaimed locks only the rows that exist. Sorted names give the
		// locks one order.
		for _, account := range all {
			if _, err := s.loadBudget(ctx, t, account, purger.URL); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("begin with Akamai accounts: %w", err)
	}
	s.accounts.mu.Lock()
	defer s.accounts.mu.Unlock()
	s.accounts.names = all
	return s.accounts.work()
}

// NewRunner makes the River client that works the jobs. The purge jobs of each account
// get a queue with the same settings as the queue of their kind. Call it once.
func (s *Store) NewRunner(cfg *river.Config) (Runner, error) {
	s.accounts.mu.Lock()
	defer s.accounts.mu.Unlock()
	runner, err := s.runner(cfg)
	if err != nil {
		return nil, err
	}
	s.accounts.queues, s.accounts.worked = runner.Queues(), maps.Clone(cfg.Queues)
	return runner, s.accounts.work()
}

// work adds the queues that the runner lacks. The queue of an account that is gone stays
// until the process ends, and stays empty. The caller holds mu.
func (a *accounts) work() error {
	like, ok := a.worked[PurgeJob{}.Kind()]
	if !ok {
		return nil
	}
	for _, account := range a.names {
		name := queueOf(PurgeJob{Account: account})
		if _, ok := a.worked[name]; ok {
			continue
		}
		if err := a.queues.Add(name, like); err != nil {
			return fmt.Errorf("work the queue of account %s: %w", account, err)
		}
		a.worked[name] = like
	}
	return nil
}

// queueOf is the River queue of a job: its kind, and for a purge job of another account
// than the default one also the account.
func queueOf(job river.JobArgs) string {
	if p, ok := job.(PurgeJob); ok && p.Account != "" {
		return p.Kind() + "-" + p.Account
	}
	return job.Kind()
}

// wakeAll wakes the purge jobs of an account, one for each kind of object.
func wakeAll(t *tx, account string) {
	for _, kind := range []purger.Kind{purger.URL, purger.Tag, purger.CPCode} {
		t.enqueue(PurgeJob{Objects: string(kind), Account: account})
	}
}

// Assign has the purges that have not ended sent with the account that their repository
// has now. accountOf gives that by OWNER/NAME. Assign returns how many purges moved. A
// request that is on its way ends with the account that it was sent with.
//
// It moves rowsAtOnce purges in one transaction, under the budget lock of the account
// that they leave. If it breaks off, the next call moves the rest.
func (s *Store) Assign(ctx context.Context, accountOf func(repository string) string) (moved int, err error) {
	type move struct {
		repo     int64
		from, to string
	}
	var moves []move
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var m move
			var owner, name string
			err := r.Scan(&m.repo, &owner, &name, &m.from)
			if m.to = accountColumn(accountOf(owner + "/" + name)); m.to != m.from {
				moves = append(moves, m)
			}
			return err
		}, `SELECT DISTINCT r.id, r.owner, r.name, p.account FROM purge p JOIN repo r ON r.id = p.repo_id
			WHERE p.state IN ('planning', 'held', 'open')`)
	})
	for _, m := range moves {
		for n := rowsAtOnce; err == nil && n == rowsAtOnce; {
			err = s.write(ctx, func(t *tx) error {
				if _, err := s.loadBudget(ctx, t, m.from, purger.URL); err != nil {
					return err
				}
				ids, err := t.texts(ctx, `SELECT id FROM purge WHERE state IN ('planning', 'held', 'open') AND repo_id = $1 AND account = $2 LIMIT $3`,
					m.repo, m.from, rowsAtOnce)
				n = len(ids)
				if err != nil || n == 0 {
					return err
				}
				return s.move(ctx, t, m.to, ids...)
			})
			moved += n
		}
	}
	if err != nil {
		return moved, fmt.Errorf("assign purges to Akamai accounts: %w", err)
	}
	return moved, nil
}

// move has a few purges sent with another account. The caller holds the budget lock of
// the account that they had. A request of that account gives back what it holds of them
// when it is claimed next: see claim.left. Pauses are judged anew, since they may cover
// one account only.
func (s *Store) move(ctx context.Context, t *tx, to string, purges ...string) error {
	if _, err := t.exec(ctx, `UPDATE purge SET account = $1, pause_id = 0, judged = 0 WHERE id IN `+list(2, len(purges)),
		append([]any{to}, anys(purges)...)...); err != nil {
		return err
	}
	wakeAll(t, to)
	return s.rewordPurges(ctx, t, purges)
}

// sweepStrays has the requests of accounts that are gone give back what they hold of
// purges that have another account now. No claim would ever do it: nobody claims for such
// an account.
func (s *Store) sweepStrays(ctx context.Context) error {
	type stray struct {
		id, account string
		kind        purger.Kind
	}
	var strays []stray
	known := s.allAccounts()
	err := s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var x stray
			err := r.Scan(&x.id, &x.account, &x.kind)
			if !slices.Contains(known, x.account) {
				strays = append(strays, x)
			}
			return err
		}, `SELECT id, account, kind FROM request WHERE account <> $1 AND `+unsettled+` AND `+requestDue+` LIMIT $5`,
			append(append([]any{""}, dueTimes(s.now())...), sweepAtOnce)...)
	})
	for _, x := range strays {
		if err == nil {
			err = s.write(ctx, func(t *tx) error {
				c := claim{Store: s, t: t, kind: x.kind, account: x.account}
				if c.budget, err = s.loadBudget(ctx, t, x.account, x.kind); err != nil {
					return err
				}
				c.now = s.now()
				// Under the lock, look again: another replica may still have the account
				// and have claimed it.
				due, err := t.has(ctx, `SELECT 1 FROM request WHERE id = $1 AND `+unsettled+` AND `+requestDue, append([]any{x.id}, dueTimes(c.now)...)...)
				if err == nil && due {
					_, err = c.left(ctx, x.id)
				}
				return err
			})
		}
	}
	if err != nil {
		return fmt.Errorf("sweep requests of Akamai accounts that are gone: %w", err)
	}
	return nil
}
