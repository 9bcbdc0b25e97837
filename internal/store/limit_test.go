package store

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// A replica that freezes in the middle of a transaction, as a paused virtual machine
// does, loses its locks in time for the others to go on within the promised 15 s.
func TestFrozenReplicaGivesItsLocksUp(t *testing.T) {
	server := os.Getenv("PURGEBOT_TEST_POSTGRES")
	if server == "" {
		t.Skip("PURGEBOT_TEST_POSTGRES is not set: not tried on PostgreSQL")
	}
	t.Parallel()
	open := func() *postgresEngine {
		e, err := openPostgres(t.Context(), server, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.close() })
		return e
	}
	frozen, other := open(), open()
	key := rand.Int64()
	lock := func(ctx context.Context, tx *tx) error {
		_, err := tx.exec(ctx, `SELECT pg_advisory_xact_lock($1)`, key)
		return err
	}
	locked, thaw, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- frozen.write(context.Background(), func(tx *tx) error {
			err := lock(context.Background(), tx)
			close(locked)
			<-thaw
			return err
		})
	}()
	<-locked
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := other.write(ctx, func(tx *tx) error { return lock(ctx, tx) })
		if err == nil {
			break
		}
		if unavailable(err) != whySlow {
			t.Fatalf("waiting for the lock: %v", err)
		}
	}
	close(thaw)
	if err := <-ended; err == nil {
		t.Error("the frozen one wrote all the same")
	} else if unavailable(err) == "" {
		t.Errorf("the frozen one ended with %v, which is no trouble of the database", err)
	}
}
