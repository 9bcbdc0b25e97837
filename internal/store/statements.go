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

// statementsKept bounds the statements that a connection keeps ready.
const statementsKept = 256

// openStatements opens a SQLite database whose connections keep the statements
// they have run ready for the next time: SQLite takes longer to read most of
// ours, and nearly all of River's, than to run them, and what writes makes all
// others wait. (PostgreSQL's driver does so by itself.)
func openStatements(dsn string) *sql.DB { return sql.OpenDB(connector{dsn}) }

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

// conn is a connection with its statements. As every driver's connection, it
// is used by one goroutine at a time.
type conn struct {
	sqliteConn
	ready map[string]*statement
}

type statement struct {
	driver.Stmt
	order []int // which argument each of its parameters is; nil: the first is the first
	busy  bool  // somebody reads its rows
}

// positional writes a query's parameters $1, $2 … as ?, and says which argument
// each of these is. The driver looks a parameter with a number up among all
// arguments: the time that a list of them takes would grow with its square.
func positional(query string) (plain string, order []int) {
	plain = parameter.ReplaceAllStringFunc(query, func(found string) string {
		n, err := strconv.Atoi(found[1:])
		if err != nil { // a text
			return found
		}
		order = append(order, n)
		return "?"
	})
	return plain, order
}

// parameter finds a text too, in which there is none.
var parameter = regexp.MustCompile(`'[^']*'|\$[0-9]+`)

// arrange gives the arguments as the statement takes them.
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

// ExecContext implements driver.ExecerContext.
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

// QueryContext implements driver.QueryerContext.
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

// busyRows gives its statement back when it is closed.
type busyRows struct {
	driver.Rows
	s *statement
}

// Close implements driver.Rows.
func (r *busyRows) Close() error {
	r.s.busy = false
	return r.Rows.Close()
}

// synchronous sets when a connection's commits are on disk. SQLite does so as
// it reads the statement, so none that is kept will do.
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

// statement gives the statement of a query, from before if there is one.
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

// forget drops the statements that nobody reads.
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
