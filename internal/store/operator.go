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

// Place is an environment with the repository that it is of.
type Place struct {
	ledger.Environment
	Repository string // OWNER/NAME, as last heard of
}

// Places lists the environments that anything was heard of, by the names of
// repository and environment, at most limit of them. An empty name is any;
// names compare without case.
func (s *Store) Places(ctx context.Context, repository, environment string, limit int) (places []Place, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var owner, name string
			e, err := scanEnvironment(aside{r, []any{&owner, &name}})
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

// aside scans further columns behind those that a scan function knows.
type aside struct {
	row
	more []any
}

func (a aside) Scan(dest ...any) error { return a.row.Scan(append(dest, a.more...)...) }

// prefixed puts a table's name before each of a list of columns.
func prefixed(table, columns string) string {
	names := strings.Split(columns, ",")
	for i, name := range names {
		names[i] = table + "." + strings.TrimSpace(name)
	}
	return strings.Join(names, ", ")
}

// PurgesOf lists the last purges of an environment, the newest first.
func (s *Store) PurgesOf(ctx context.Context, env string, limit int) ([]ledger.Purge, error) {
	return s.purges(ctx, `env_id = $1 AND state <> 'planning' ORDER BY id DESC LIMIT $2`, env, limit)
}

// Unended lists the purges that are open or held, in the order in which they
// are served: people's first, then the oldest.
func (s *Store) Unended(ctx context.Context, limit int) ([]ledger.Purge, error) {
	return s.purges(ctx, `state IN ('open', 'held') ORDER BY lane, id LIMIT $1`, limit)
}

func (s *Store) purges(ctx context.Context, where string, args ...any) (purges []ledger.Purge, err error) {
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

// Backlog is what waits to go to Akamai, and what it waits for.
type Backlog struct {
	Waiting  []Waiting
	Requests []Flying

	Held        int // purges that wait for a person
	HeldTargets int // their targets

	Budget      []Bucket  // as modelled at the moment of reading; that of the requests first
	PausedUntil time.Time // nothing is sent before; zero: no trouble
	Words       string    // why nothing is sent; "": no trouble
}

// Bucket is one of the account's token buckets.
type Bucket struct {
	Name string // requests, or a kind of objects
	purger.Bucket
}

// Waiting counts the targets of open purges that no request has claimed yet.
type Waiting struct {
	Kind    mapping.Kind
	Lane    int
	Targets int
	Since   time.Time // when the first of their purges was opened
}

// Flying counts requests that wait to be sent again, or that are being sent.
type Flying struct {
	Kind     mapping.Kind
	State    string // ready or sending
	Requests int
	Objects  int
}

// Backlog reads it. Its parts are read one after the other, so that they may
// differ by what happened meanwhile.
func (s *Store) Backlog(ctx context.Context) (Backlog, error) {
	var b Backlog
	err := s.read(ctx, func(t *tx) error {
		if err := t.each(ctx, func(r row) error {
			var w Waiting
			var since int64
			err := r.Scan(&w.Kind, &w.Lane, &w.Targets, &since)
			w.Since = when(since)
			b.Waiting = append(b.Waiting, w)
			return err
		}, `SELECT t.kind, p.lane, COUNT(*), MIN(p.opened_at) FROM purge p JOIN target t ON t.purge_id = p.id
			WHERE p.state = 'open' AND t.state = 'waiting' GROUP BY t.kind, p.lane ORDER BY t.kind, p.lane`); err != nil {
			return err
		}
		if err := t.each(ctx, func(r row) error {
			var f Flying
			err := r.Scan(&f.Kind, &f.State, &f.Requests, &f.Objects)
			b.Requests = append(b.Requests, f)
			return err
		}, `SELECT kind, state, COUNT(*), CAST(SUM(objects) AS BIGINT) FROM request WHERE state IN ('ready', 'sending')
			GROUP BY kind, state ORDER BY kind, state`); err != nil {
			return err
		}
		if err := t.row(ctx, `SELECT COUNT(*), CAST(COALESCE(SUM(urls + tags + cpcodes - failed), 0) AS BIGINT)
			FROM purge WHERE state = 'held'`).Scan(&b.Held, &b.HeldTargets); err != nil {
			return err
		}
		return s.readBudget(ctx, t, &b)
	})
	if err != nil {
		return Backlog{}, fmt.Errorf("read what waits: %w", err)
	}
	return b, nil
}

// readBudget reads the shared budget and lets time pass, without a lock.
func (s *Store) readBudget(ctx context.Context, t *tx, b *Backlog) error {
	now := s.now()
	model := &budget{Budget: purger.NewBudget(now)}
	err := t.each(ctx, func(r row) error {
		var name, words string
		var read purger.Bucket
		var at, paused int64
		if err := r.Scan(&name, &read.Tokens, &at, &read.Capacity, &read.PerSecond, &paused, &words); err != nil {
			return err
		}
		read.At = when(at)
		read.Refill(now)
		*model.bucket(name) = read
		if name == requestsBucket {
			b.PausedUntil, b.Words = when(paused), words
		}
		return nil
	}, `SELECT bucket, tokens, at, capacity, per_second, paused_until, words FROM budget`)
	for _, name := range []string{requestsBucket, string(purger.URL), string(purger.Tag), string(purger.CPCode)} {
		b.Budget = append(b.Budget, Bucket{Name: name, Bucket: *model.bucket(name)})
	}
	return err
}

// Schema is what the database's tables are at: the version of ours, and of
// the job queue's. 0: there are none.
type Schema struct {
	Tables int
	Jobs   int
}

// Migrate opens the database, brings its schema up to date and closes it
// again. It tells what the schema was and what it is; on an error, as far as
// that was read.
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

func schemaOf(ctx context.Context, eng engine) (Schema, error) {
	switch e := eng.(type) {
	case *sqliteEngine:
		return schemaBy[*sql.Tx](ctx, eng, riversqlite.New(e.db))
	case *postgresEngine:
		return schemaBy[pgx.Tx](ctx, eng, riverpgxv5.New(e.pool))
	}
	return Schema{}, fmt.Errorf("unknown engine %s", eng.name())
}

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
