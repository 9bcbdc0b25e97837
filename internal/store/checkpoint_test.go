package store

import (
	"os"
	"path/filepath"
	"testing"
)

// Under a stream of writes the log stays short, and nothing is lost.
func TestCheckpointKeepsTheLogShort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.db")
	s, err := Open(t.Context(), Config{URL: "sqlite:" + path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const rounds, each = 12, 250
	for round := range rounds {
		written := make(chan struct{})
		go func() {
			defer close(written)
			received(t, s, round, each)
		}()
		for done := false; !done; { // however slow the disk is, no checkpoint sees more than two rounds go by
			select {
			case <-written:
				done = true
			default:
				if err := s.engine.(*sqliteEngine).checkpoint(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if n := count(t, s, "SELECT COUNT(*) FROM delivery"); n != rounds*each {
		t.Errorf("%d deliveries, not %d", n, rounds*each)
	}
	log, err := os.Stat(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if log.Size() > 2*logPages*4096 { // 66 MB if nothing moves the log
		t.Errorf("the log is %d bytes", log.Size())
	}
}
