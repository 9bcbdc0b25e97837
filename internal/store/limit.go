package store

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// connectTime bounds a connection's making, unless the address says
	// otherwise (connect_timeout).
	connectTime = 5 * time.Second

	// statementTime bounds one statement. The slowest takes far less; what
	// takes this long waits for a server or a network that is gone.
	statementTime = 10 * time.Second
)

// connections is how many a replica holds at most, unless the address says
// otherwise (pool_max_conns): pgx's own few are all in the hands of jobs under
// load, and a webhook would wait for one.
const connections = 16

// session has PostgreSQL end what a client leaves behind that froze or whose
// machine is gone: an open transaction keeps the budget's rows locked, and
// with them every other replica. It is below what a lease holds up. Who does
// not ask for it does not wait for the disk: see durable.
const session = `SELECT
	set_config('synchronous_commit', 'off', false),
	set_config('idle_in_transaction_session_timeout', '10s', false),
	set_config('tcp_keepalives_idle', '5', false),
	set_config('tcp_keepalives_interval', '2', false),
	set_config('tcp_keepalives_count', '3', false),
	set_config('tcp_user_timeout', '10s', false)`

// postgresConfig reads an address and sets what an outage needs.
func postgresConfig(url string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTime
	}
	if !strings.Contains(url, "pool_max_conns") {
		cfg.MaxConns = connections
	}
	cfg.ConnConfig.Tracer = limit{}
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, session)
		return err
	}
	return cfg, nil
}

// limit ends every statement that takes too long, River's too, which sets no
// time: without it, a connection that some firewall has forgotten keeps its
// caller for ever. It is a tracer because that alone sees them all.
type limit struct{}

type limitKey struct{}

// TraceQueryStart implements pgx.QueryTracer.
func (limit) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	ctx, cancel := context.WithTimeout(ctx, statementTime)
	return context.WithValue(ctx, limitKey{}, cancel)
}

// TraceQueryEnd implements pgx.QueryTracer.
func (limit) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if cancel, ok := ctx.Value(limitKey{}).(context.CancelFunc); ok {
		cancel()
	}
}
