package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// Place is an environment with its repository's name.
type Place struct {
	ledger.Environment
	Repository string // OWNER/NAME, as last heard of
}

// Places lists the known environments by the names of repository and environment, at most
// limit of them. An empty name matches any; names compare without case.
func (s *Reader) Places(ctx context.Context, repository, environment string, limit int) (places []Place, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var owner, name string
			e, err := scanEnvironment(withMore{r, []any{&owner, &name}})
			places = append(places, Place{Environment: e, Repository: owner + "/" + name})
			return err
		}, `SELECT `+prefixed("e", environmentColumns)+`, r.owner, r.name
			FROM environment e JOIN repo r ON r.id = e.repo_id
			WHERE ($1 = '' OR LOWER(r.owner || '/' || r.name) = $1) AND ($2 = '' OR e.name_folded = $2)
			ORDER BY LOWER(r.owner), LOWER(r.name), e.name_folded LIMIT $3`, fold(repository), fold(environment), limit)
	})
	if err != nil {
		return nil, fmt.Errorf("list environments: %w", err)
	}
	return places, nil
}

// withMore scans further columns that come after those that a scan function knows.
type withMore struct {
	row
	more []any
}

// Scan implements row.
func (a withMore) Scan(dest ...any) error { return a.row.Scan(append(dest, a.more...)...) }

// prefixed puts a table's name before each of a list of columns.
func prefixed(table, columns string) string {
	names := strings.Split(columns, ",")
	for i, name := range names {
		names[i] = table + "." + strings.TrimSpace(name)
	}
	return strings.Join(names, ", ")
}

// PurgesOf lists the last purges of an environment, the newest first.
func (s *Reader) PurgesOf(ctx context.Context, env string, limit int) ([]ledger.Purge, error) {
	return s.purges(ctx, `env_id = $1 AND `+isShown+` ORDER BY seq DESC, id DESC LIMIT $2`, env, limit)
}

// heldForApproval is the condition of a purge that waits for a person, not for its
// origin.
const heldForApproval = `state = 'held' AND NOT EXISTS (SELECT 1 FROM proof WHERE proof.purge_id = purge.id AND proof.state = 'origin')`

// HeldOf counts the targets that need approval in an environment, in all its purges.
func (s *Reader) HeldOf(ctx context.Context, env string) (c ledger.Counts, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.row(ctx, `SELECT CAST(COALESCE(SUM(urls), 0) AS BIGINT), CAST(COALESCE(SUM(tags), 0) AS BIGINT), CAST(COALESCE(SUM(cpcodes), 0) AS BIGINT)
			FROM purge WHERE env_id = $1 AND `+heldForApproval, env).Scan(&c.URLs, &c.Tags, &c.CPCodes)
	})
	if err != nil {
		return c, fmt.Errorf("count what needs approval: %w", err)
	}
	return c, nil
}

// Unended lists the purges that are open or held: people's first, then the oldest.
func (s *Reader) Unended(ctx context.Context, limit int) ([]ledger.Purge, error) {
	return s.purges(ctx, `state IN ('open', 'held') ORDER BY lane, id LIMIT $1`, limit)
}

// purges lists the purges that where, with its ORDER BY and LIMIT, chooses.
func (s *Reader) purges(ctx context.Context, where string, args ...any) (purges []ledger.Purge, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			p, err := scanPurge(r)
			purges = append(purges, p)
			return err
		}, `SELECT `+purgeColumns+` FROM purge WHERE `+where, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("list purges: %w", err)
	}
	return purges, nil
}

// Backlog is what waits to be sent to Akamai, and what it waits for.
type Backlog struct {
	Waiting  []Waiting
	Requests []Flying

	Held        int // purges that wait for a person
	HeldTargets int // their targets

	Budget []Bucket // as modelled at the moment of reading; for each account the requests' bucket first
}

// Bucket is one of an account's token buckets.
type Bucket struct {
	Account string
	Name    string // requests, or a kind of objects
	purger.Bucket
}

// Waiting counts the targets of open purges that no request has claimed yet.
type Waiting struct {
	Account string
	Kind    mapping.Kind
	Lane    int
	Targets int
	Since   time.Time // when the first of their purges was opened
}

// Flying counts requests that wait to be sent again or that are being sent.
type Flying struct {
	Account  string
	Kind     mapping.Kind
	State    string // ready or sending
	Requests int
	Objects  int
}

// Backlog reads what waits. Its parts are read one after the other, so what happens
// meanwhile may make them differ.
func (s *Reader) Backlog(ctx context.Context) (Backlog, error) {
	var b Backlog
	err := s.read(ctx, func(t *tx) error {
		if err := t.each(ctx, func(r row) error {
			var w Waiting
			var since int64
			err := r.Scan(&w.Account, &w.Kind, &w.Lane, &w.Targets, &since)
			w.Account, w.Since = accountName(w.Account), when(since)
			b.Waiting = append(b.Waiting, w)
			return err
		}, `SELECT p.account, t.kind, p.lane, COUNT(*), MIN(p.opened_at) FROM purge p JOIN target t ON t.purge_id = p.id
			WHERE p.state = 'open' AND t.state = 'waiting' GROUP BY p.account, t.kind, p.lane ORDER BY p.account, t.kind, p.lane`); err != nil {
			return err
		}
		if err := t.each(ctx, func(r row) error {
			var f Flying
			err := r.Scan(&f.Account, &f.Kind, &f.State, &f.Requests, &f.Objects)
			f.Account = accountName(f.Account)
			b.Requests = append(b.Requests, f)
			return err
		}, `SELECT account, kind, state, COUNT(*), CAST(SUM(objects) AS BIGINT) FROM request WHERE `+unsettled+`
			GROUP BY account, kind, state ORDER BY account, kind, state`); err != nil {
			return err
		}
		if err := t.row(ctx, `SELECT COUNT(*), CAST(COALESCE(SUM(urls + tags + cpcodes - failed), 0) AS BIGINT)
			FROM purge WHERE `+heldForApproval).Scan(&b.Held, &b.HeldTargets); err != nil {
			return err
		}
		return s.readBudget(ctx, t, &b)
	})
	if err != nil {
		return Backlog{}, fmt.Errorf("read what waits: %w", err)
	}
	return b, nil
}

// readBudget reads the shared budgets without a lock and lets time pass, in memory only:
// the rows are changed by claims and settlings alone. A bucket without a row has its
// defaults.
func (s *Reader) readBudget(ctx context.Context, t *tx, b *Backlog) error {
	now := s.now()
	read := map[string]purger.Bucket{}
	err := t.each(ctx, func(r row) error {
		var name string
		var bucket purger.Bucket
		_, err := scanBudget(r, &bucket, &name)
		bucket.Refill(now)
		read[name] = bucket
		return err
	}, `SELECT bucket, `+budgetColumns+` FROM budget`)
	for _, account := range s.allAccounts() {
		model := &budget{Budget: purger.NewBudget(now)}
		for _, name := range []string{requestsBucket, string(purger.URL), string(purger.Tag), string(purger.CPCode)} {
			bucket, ok := read[ofAccount(name, account)]
			if !ok {
				bucket = *model.bucket(name)
			}
			b.Budget = append(b.Budget, Bucket{Account: accountName(account), Name: name, Bucket: bucket})
		}
	}
	return err
}

// Schema is the version of the database's tables: ours, and the job queue's. 0: there are
// none.
type Schema struct {
	Tables int
	Jobs   int
}

// Migrate opens the database, brings its schema up to date and closes it again. It
// returns the schema's versions before and after; on an error, as far as they were read.
func Migrate(ctx context.Context, cfg Config) (from, to Schema, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	eng, err := openEngine(ctx, cfg.URL, cfg.Log)
	if err != nil {
		return from, to, err
	}
	defer func() { err = errors.Join(err, eng.close()) }()
	if from, err = schemaOf(ctx, eng); err != nil {
		return from, to, fmt.Errorf("read the schema's version: %w", err)
	}
	if err = eng.migrate(ctx); err != nil {
		return from, from, fmt.Errorf("migrate database: %w", err)
	}
	if to, err = schemaOf(ctx, eng); err != nil {
		return from, to, fmt.Errorf("read the schema's version: %w", err)
	}
	return from, to, nil
}

// schemaOf reads the versions of an engine's tables.
func schemaOf(ctx context.Context, eng engine) (Schema, error) {
	switch e := eng.(type) {
	case *sqliteEngine:
		return schemaBy[*sql.Tx](ctx, eng, riversqlite.New(e.db))
	case *postgresEngine:
		return schemaBy[pgx.Tx](ctx, eng, riverpgxv5.New(e.pool))
	}
	return Schema{}, fmt.Errorf("unknown engine %s", eng.name())
}

// schemaBy is schemaOf with River's driver of the engine.
func schemaBy[T any](ctx context.Context, eng engine, driver riverdriver.Driver[T]) (s Schema, err error) {
	made, err := driver.GetExecutor().TableExists(ctx, &riverdriver.TableExistsParams{Table: "schema_version"})
	if err != nil {
		return s, err
	}
	if made {
		err = eng.read(ctx, func(t *tx) error {
			return t.row(ctx, `SELECT COUNT(*) FROM schema_version`).Scan(&s.Tables)
		})
		if err != nil {
			return s, err
		}
	}
	m, err := rivermigrate.New(driver, nil)
	if err != nil {
		return s, err
	}
	jobs, err := m.ExistingVersions(ctx)
	if err == nil && len(jobs) > 0 {
		s.Jobs = jobs[len(jobs)-1].Version
	}
	return s, err
}
