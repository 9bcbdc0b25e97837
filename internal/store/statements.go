package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"modernc.org/sqlite"
)

// statementsKept is how many statements a connection keeps ready.
const statementsKept = 256

// openStatements opens a SQLite database whose connections keep the statements that they
// have run, ready for the next time. SQLite takes longer to parse most of our statements,
// and nearly all of River's, than to run them, and a write makes all others wait.
// (PostgreSQL's driver keeps statements by itself.)
func openStatements(dsn string) *sql.DB { return sql.OpenDB(connector{dsn}) }

// connector makes the connections of one database.
type connector struct{ dsn string }

// Connect implements driver.Connector.
func (c connector) Connect(context.Context) (driver.Conn, error) {
	opened, err := c.Driver().Open(c.dsn)
	if err != nil {
		return nil, err
	}
	under, ok := opened.(sqliteConn)
	if !ok {
		return nil, errors.Join(errors.New("the SQLite driver lacks what database/sql needs"), opened.Close())
	}
	return &conn{sqliteConn: under, ready: map[string]*statement{}}, nil
}

// Driver implements driver.Connector.
func (connector) Driver() driver.Driver { return &sqlite.Driver{} }

// sqliteConn is what the driver's connections can do and database/sql asks for.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// conn is a connection with its statements. As with every driver's connection, one
// goroutine uses it at a time.
type conn struct {
	sqliteConn
	ready map[string]*statement // by the query as it was written
}

// statement is a statement that is kept ready.
type statement struct {
	driver.Stmt
	order []int // which argument each of its parameters takes, from 1; nil: they take them in order
	busy  bool  // its rows are being read: it can't run again before that ends
}

// positional writes a query's parameters $1, $2 … as ?, and returns which argument each
// of them takes. The driver looks up a numbered parameter among all arguments, so that
// the time for a list of them grows with its square.
func positional(query string) (plain string, order []int) {
	plain = parameter.ReplaceAllStringFunc(query, func(found string) string {
		n, err := strconv.Atoi(found[1:])
		if err != nil { // it is a text literal, not a parameter
			return found
		}
		order = append(order, n)
		return "?"
	})
	return plain, order
}

// parameter finds text literals too, so that a $1 inside one is left alone.
var parameter = regexp.MustCompile(`'[^']*'|\$[0-9]+`)

// arrange gives the arguments in the order in which the statement takes them.
func (s *statement) arrange(args []driver.NamedValue) []driver.NamedValue {
	if s.order == nil {
		return args
	}
	all := make([]driver.NamedValue, len(s.order))
	for i, n := range s.order {
		if n > len(args) {
			return args // the driver says what is missing
		}
		all[i] = driver.NamedValue{Ordinal: i + 1, Value: args[n-1].Value}
	}
	return all
}

// ExecContext implements driver.ExecerContext. A statement whose rows are being read is
// run without a kept one.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	exec, ok := s.Stmt.(driver.StmtExecContext)
	if !ok || s.busy {
		return c.sqliteConn.ExecContext(ctx, query, args)
	}
	return exec.ExecContext(ctx, s.arrange(args))
}

// QueryContext implements driver.QueryerContext. The statement stays busy until its rows
// are closed.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	read, ok := s.Stmt.(driver.StmtQueryContext)
	if !ok || s.busy {
		return c.sqliteConn.QueryContext(ctx, query, args)
	}
	rows, err := read.QueryContext(ctx, s.arrange(args))
	if err != nil {
		return nil, err
	}
	s.busy = true
	return &busyRows{rows, s}, nil
}

// busyRows are rows that give their statement back when they are closed.
type busyRows struct {
	driver.Rows
	s *statement
}

// Close implements driver.Rows.
func (r *busyRows) Close() error {
	r.s.busy = false
	return r.Rows.Close()
}

// synchronous sets when a connection's commits are on disk. SQLite applies this pragma
// when it parses the statement, so a kept statement would have no effect.
func synchronous(ctx context.Context, c *sql.Conn, when string) error {
	return c.Raw(func(under any) error {
		kept, ok := under.(*conn)
		if !ok {
			return fmt.Errorf("set synchronous: a connection is %T", under)
		}
		if _, err := kept.sqliteConn.ExecContext(ctx, "PRAGMA synchronous="+when, nil); err != nil {
			return fmt.Errorf("set synchronous: %w", err)
		}
		return nil
	})
}

// statement gives the statement of a query, and prepares it if there is none. When there
// are statementsKept, all that are not busy are dropped first.
func (c *conn) statement(ctx context.Context, query string) (*statement, error) {
	if s, ok := c.ready[query]; ok {
		return s, nil
	}
	if len(c.ready) >= statementsKept {
		if err := c.forget(); err != nil {
			return nil, err
		}
	}
	plain, order := positional(query)
	stmt, err := c.PrepareContext(ctx, plain)
	if err != nil {
		return nil, err
	}
	s := &statement{Stmt: stmt, order: order}
	c.ready[query] = s
	return s, nil
}

// forget drops the statements that are not busy.
func (c *conn) forget() error {
	var errs []error
	for query, s := range c.ready {
		if !s.busy {
			errs = append(errs, s.Close())
			delete(c.ready, query)
		}
	}
	return errors.Join(errs...)
}

// Close implements driver.Conn.
func (c *conn) Close() error { return errors.Join(c.forget(), c.sqliteConn.Close()) }
