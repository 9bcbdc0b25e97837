package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// statementTime bounds one statement. The slowest takes far less; what takes
// this long waits for a server or a network that is gone.
const statementTime = 10 * time.Second

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
