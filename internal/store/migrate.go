package store

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed schema.sql
var schema1 string

// migrations are the schema's steps, the first one whole; a step is never
// changed once released. One release's program works on the next one's
// schema: steps add, they don't take away.
func migrations() []string { return []string{schema1} }

// migrateLock is the key of PostgreSQL's advisory lock: replicas that start
// together migrate one after the other.
const migrateLock = 7_382_044_911

func (e *sqliteEngine) migrate(ctx context.Context) error {
	// modernc's transactions are immediate: a second starter waits here.
	if err := e.write(ctx, func(t *tx) error { return applySchema(ctx, t) }); err != nil {
		return err
	}
	return migrateJobs[*sql.Tx](ctx, riversqlite.New(e.db))
}

func (e *postgresEngine) migrate(ctx context.Context) error {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(migrateLock)); err != nil {
		return err
	}
	defer conn.Exec(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(migrateLock)) //nolint:errcheck // ends with the session too
	if err := e.write(ctx, func(t *tx) error { return applySchema(ctx, t) }); err != nil {
		return err
	}
	return migrateJobs[pgx.Tx](ctx, riverpgxv5.New(e.pool))
}

func applySchema(ctx context.Context, t *tx) error {
	if _, err := t.exec(ctx, `CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY)`); err != nil {
		return err
	}
	var have int
	if err := t.row(ctx, `SELECT COUNT(*) FROM schema_version`).Scan(&have); err != nil {
		return err
	}
	for i, step := range migrations() {
		if i < have {
			continue
		}
		for statement := range strings.SplitSeq(step, ";\n") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if _, err := t.exec(ctx, statement); err != nil {
				return fmt.Errorf("schema step %d: %w", i+1, err)
			}
		}
		if _, err := t.exec(ctx, `INSERT INTO schema_version (version) VALUES ($1)`, i+1); err != nil {
			return err
		}
	}
	return nil
}

func migrateJobs[T any](ctx context.Context, driver riverdriver.Driver[T]) error {
	m, err := rivermigrate.New(driver, nil)
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

// Ready reports whether the database answers and takes writes. It leaves
// nothing behind.
func (s *Store) Ready(ctx context.Context) error {
	err := s.write(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, `INSERT INTO schema_version (version) VALUES (0)`); err != nil {
			return err
		}
		return errRollback
	})
	if errors.Is(err, errRollback) {
		return nil
	}
	return err
}

var errRollback = errors.New("rolled back on purpose")
