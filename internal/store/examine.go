package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Examine looks, without changing anything, at whether purgebot can work with a database.
// It says what it found in public words. The error is in public words too, says what to
// do, and holds no part of a password.
func Examine(ctx context.Context, address string) (found string, err error) {
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		return examineFile(ctx, strings.TrimPrefix(path, "//"))
	}
	return examinePostgres(ctx, address)
}

// examineFile opens a SQLite file as immutable: otherwise SQLite would make files beside
// it. A file that a server has open does change, so it is opened as read-only; the files
// beside it are there already (FILE-shm shows that).
func examineFile(ctx context.Context, path string) (string, error) {
	folder := filepath.Dir(path)
	switch info, err := os.Stat(folder); {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("the folder %s does not exist: make it, or change database", folder)
	case err != nil:
		return "", fmt.Errorf("the folder %s can't be read: change its permissions", folder)
	case !info.IsDir():
		return "", fmt.Errorf("%s is not a folder: change database", folder)
	case !writable(folder):
		return "", fmt.Errorf("no file can be made in the folder %s: change its permissions", folder)
	}
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return "sqlite, made at the first start", nil
	case err != nil || !writable(path):
		return "", fmt.Errorf("%s can't be written: change its permissions", path)
	case info.IsDir():
		return "", fmt.Errorf("%s is a folder: name a file in it", path)
	}
	mode := "mode=ro&immutable=1"
	if _, err := os.Stat(path + "-shm"); err == nil {
		mode = "mode=ro"
	}
	db, err := sql.Open("sqlite", "file:"+escapePath(path)+"?"+mode)
	if err != nil {
		return "", Explain("sqlite:"+path, err)
	}
	defer db.Close() //nolint:errcheck // it was read
	var made bool
	if err := db.QueryRowContext(ctx, `SELECT COUNT(*) FROM sqlite_schema WHERE name = 'schema_version'`).Scan(&made); err != nil {
		return "", Explain("sqlite:"+path, err)
	}
	return examined("sqlite", made, func(into ...any) error {
		return db.QueryRowContext(ctx, schemaVersion).Scan(into...)
	})
}

// schemaVersion reads how many steps a schema has, and how many a program must know for
// it.
const schemaVersion = `SELECT COUNT(*), COALESCE(MAX(works), 0) FROM schema_version`

// examined says in words which schema a database has. version reads schemaVersion.
func examined(engine string, made bool, version func(...any) error) (string, error) {
	if !made {
		return engine + ", its tables are made at the first start", nil
	}
	have, works, known := 0, 0, len(migrations())
	if err := version(&have, &works); err != nil {
		return "", fmt.Errorf("the tables of %s are not purgebot's: use a database of its own", engine)
	}
	switch {
	case works > known:
		return "", &SchemaError{Have: have, Works: works, Known: known}
	case have < known:
		return fmt.Sprintf("%s, schema %d, which the next start brings to %d", engine, have, known), nil
	}
	return fmt.Sprintf("%s, schema %d", engine, have), nil
}

// examinePostgres looks for what would stop the first start, and writes nothing: a
// standby, a read-only connection, no schema, or no schema in which the user may make
// tables. Each is told with the statement that fixes it.
func examinePostgres(ctx context.Context, address string) (string, error) {
	cfg, err := postgresConfig(address)
	if err != nil {
		return "", Explain(address, err)
	}
	conn, err := pgx.ConnectConfig(ctx, cfg.ConnConfig)
	if err != nil {
		return "", Explain(address, err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it was read
	var standby, readOnly, made, schema, may bool
	err = conn.QueryRow(ctx, `SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
		to_regclass('schema_version') IS NOT NULL, current_schema() IS NOT NULL,
		COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false)`).Scan(&standby, &readOnly, &made, &schema, &may)
	user, at := cfg.ConnConfig.User, place(cfg.ConnConfig)
	switch {
	case err != nil:
		return "", Explain(address, err)
	case standby:
		return "", fmt.Errorf("%s is a standby, which can't be written: name the primary in database", at)
	case readOnly:
		return "", fmt.Errorf("%s is read-only (default_transaction_read_only): ALTER ROLE or ALTER DATABASE … RESET it", at)
	case !schema:
		return "", fmt.Errorf("%s has no schema that the user %s may use: GRANT USAGE, CREATE ON SCHEMA public TO %s", at, user, user)
	case !may:
		return "", fmt.Errorf("the user %s may not make tables in %s: GRANT CREATE ON SCHEMA public TO %s", user, at, user)
	}
	return examined("postgres", made, func(into ...any) error { return conn.QueryRow(ctx, schemaVersion).Scan(into...) })
}

// place is a database's address without the user and the password.
func place(cfg *pgx.ConnConfig) string {
	return fmt.Sprintf("PostgreSQL at %s, database %s", net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port)), cfg.Database)
}

// Explain says in public words why a database can't be opened, and what to do. It leaves
// out what the driver says, because that may quote the address with the password.
func Explain(address string, err error) error {
	if e, ok := errors.AsType[*SchemaError](err); ok {
		return e
	}
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		return fileWords(strings.TrimPrefix(path, "//"), err)
	}
	cfg, parse := postgresConfig(address)
	if parse != nil {
		return errors.New("database is not a postgres:// address: postgres://USER:PASSWORD@HOST/NAME, with %-codes for special characters in the password")
	}
	at, user := place(cfg.ConnConfig), cfg.ConnConfig.User
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return postgresWords(at, user, e)
	}
	words := strings.ToLower(err.Error()) // matched below, never shown
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return fmt.Errorf("the host of %s is not known: check the host's name in database", at)
	case strings.Contains(words, "server refused tls"):
		return fmt.Errorf("%s speaks no TLS: switch TLS on there, or add ?sslmode=disable to database if the network between is trusted", at)
	case strings.Contains(words, "x509"), strings.Contains(words, "tls:"), strings.Contains(words, "certificate"):
		return fmt.Errorf("the TLS certificate of %s is not accepted: name its authority with ?sslrootcert=FILE in database", at)
	case strings.Contains(words, "connection refused"):
		return fmt.Errorf("%s does not answer: start it, or correct host and port in database", at)
	case unavailable(err) == whySlow:
		return fmt.Errorf("%s does not answer in time: check the network, a firewall, and whether it is overloaded", at)
	}
	return fmt.Errorf("%s does not answer: check host, port and network", at)
}

// postgresWords explains a SQLSTATE:
// https://www.postgresql.org/docs/current/errcodes-appendix.html
func postgresWords(at, user string, e *pgconn.PgError) error {
	switch e.Code {
	case "28P01":
		return fmt.Errorf("%s does not accept the password of the user %s: correct it in database", at, user)
	case "28000":
		if strings.Contains(e.Message, "encryption") {
			return fmt.Errorf("%s does not let the user %s in from here without TLS: add ?sslmode=require to database, or change pg_hba.conf", at, user)
		}
		return fmt.Errorf("%s does not let the user %s in from here: create the role, or change pg_hba.conf", at, user)
	case "3D000":
		return fmt.Errorf("%s does not exist: CREATE DATABASE, or correct the name in database", at)
	case "42501":
		return fmt.Errorf("the user %s lacks a right in %s: GRANT CREATE ON SCHEMA public TO %s", user, at, user)
	case "25006":
		return fmt.Errorf("%s is read-only: name the primary in database", at)
	case "53300":
		return fmt.Errorf("%s takes no more connections: raise max_connections, or lower ?pool_max_conns= in database", at)
	case "57P03":
		return fmt.Errorf("%s is starting or stopping: try again in a minute", at)
	}
	if why := postgresUnavailable(e.Code); why != "" {
		return fmt.Errorf("%s can't be used: %s (SQLSTATE %s)", at, why, e.Code)
	}
	return fmt.Errorf("%s refuses what purgebot asks of it (SQLSTATE %s): PostgreSQL's log says why", at, e.Code)
}

// fileWords explains why a SQLite file can't be used.
func fileWords(path string, err error) error {
	switch why := unavailable(err); why {
	case whyDamaged:
		return fmt.Errorf("%s is not a SQLite database, or is damaged: name another file in database, or put a backup in its place", path)
	case whyLocked:
		return fmt.Errorf("%s is in use by another process: end that one first", path)
	case "":
		return fmt.Errorf("%s can't be opened: check that it is a file that this user can write", path)
	default:
		return fmt.Errorf("%s can't be used: %s", path, why)
	}
}
