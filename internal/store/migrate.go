package store

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed schema.sql
var schema1 string

//go:embed schema2.sql
var schema2 string

// step is one step of the schema. A released step is never changed: databases have it
// already.
type step struct {
	statements string
	// works is how many steps a program must know at least to work with the schema after
	// this step. It is the number of steps of the release before, because that release
	// runs beside the new one while replicas are replaced, and an operator may go back to
	// it. So a step only adds: tables, indexes, and columns with a default.
	works int
}

// migrations are the steps in order. A new one is added at the end.
func migrations() []step { return []step{{schema1, 1}, {schema2, 1}} }

// migrateLock is the key of PostgreSQL's advisory lock. By it, replicas that start
// together migrate one after the other.
const migrateLock = 7_382_044_911

// migrate brings the file's schema up to date. A second process that starts waits at the
// first statement: the transaction is immediate.
func (e *sqliteEngine) migrate(ctx context.Context) error {
	// modernc's transactions are immediate: a second starter waits here.
	if err := e.write(ctx, func(t *tx) error { return applySchema(ctx, t, migrations()) }); err != nil {
		return err
	}
	return migrateJobs[*sql.Tx](ctx, riversqlite.New(e.db))
}

// migrate takes turns with other replicas that start at the same moment, by a lock that
// ends with the database connection that holds it. None of its statements has a deadline:
// on a large database a step may take minutes, and half of a step helps nobody. That is
// why it uses a pool of its own.
func (e *postgresEngine) migrate(ctx context.Context) error {
	cfg := e.pool.Config()
	cfg.ConnConfig.Tracer = nil // the tracer ends slow statements, see limit; a step, or another replica's, may take its time
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer pool.Close()
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(migrateLock)); err != nil {
		return err
	}
	defer conn.Exec(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(migrateLock)) //nolint:errcheck // ends with the session too
	unlimited := &postgresEngine{pool: pool}
	if err := unlimited.write(ctx, func(t *tx) error { return applySchema(ctx, t, migrations()) }); err != nil {
		return err
	}
	return migrateJobs[pgx.Tx](ctx, riverpgxv5.New(pool))
}

// SchemaError says that a newer release made the schema, and that this program can't work
// with it.
type SchemaError struct {
	Have  int // steps that the schema has
	Works int // steps that a program must know to work with it
	Known int // steps that this program knows
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("a newer purgebot brought the database to schema %d, which takes a program that knows schema %d; this one knows %d: "+
		"start the newer release again, or the one before it, or go back to a backup", e.Have, e.Works, e.Known)
}

// applySchema makes the steps that a database lacks, all of them or none: the caller's
// transaction covers them. There is no way back and none is needed, because the release
// before works on what the new one made (see step.works). A statement ends with ";" at
// the end of a line, so the schema files have no such ending inside a statement.
func applySchema(ctx context.Context, t *tx, steps []step) error {
	if _, err := t.exec(ctx, `CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY, works BIGINT NOT NULL)`); err != nil {
		return err
	}
	var have, works int
	if err := t.row(ctx, `SELECT COUNT(*), COALESCE(MAX(works), 0) FROM schema_version`).Scan(&have, &works); err != nil {
		return err
	}
	if works > len(steps) {
		return &SchemaError{Have: have, Works: works, Known: len(steps)}
	}
	for i := have; i < len(steps); i++ {
		for statement := range strings.SplitSeq(steps[i].statements, ";\n") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if _, err := t.exec(ctx, statement); err != nil {
				return fmt.Errorf("schema step %d: %w", i+1, err)
			}
		}
		if _, err := t.exec(ctx, `INSERT INTO schema_version (version, works) VALUES ($1, $2)`, i+1, steps[i].works); err != nil {
			return err
		}
	}
	return nil
}

// migrateJobs brings River's own tables up to date.
func migrateJobs[T any](ctx context.Context, driver riverdriver.Driver[T]) error {
	m, err := rivermigrate.New(driver, nil)
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}
