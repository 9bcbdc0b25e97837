package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// statementTime is how long one statement may take. Even the slowest takes far less. A
// statement that takes this long waits for a server or a network that is gone.
const statementTime = 10 * time.Second

// limit ends every statement that takes longer than statementTime. That includes River's,
// which sets no time. Without it, a connection that a firewall has forgotten keeps its
// caller for ever. It is a tracer because only a tracer sees all statements.
type limit struct{}

// limitKey is the key of the function that ends a statement's context.
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
