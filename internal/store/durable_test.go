package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/store"
)

// What must survive a loss of the machine's power is on disk when the write returns. What
// would otherwise be done again, and River's own writes, do not wait. A write that fails,
// or whose time is over, leaves the connection as it was.
func TestWhichCommitsWaitForTheDisk(t *testing.T) {
	want := map[string][4]string{
		"sqlite":   {"2", "2", "1", "1"}, // FULL, FULL, NORMAL, NORMAL
		"postgres": {"on", "on", "off", "off"},
	}
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		s := open(time.Now)
		engine := t.Name()[len("TestWhichCommitsWaitForTheDisk/"):]
		for _, before := range []struct {
			name string
			do   func(ctx context.Context) error
		}{
			{"at first", func(context.Context) error { return store.ErrNotFound }},
			{"after a write that failed", func(ctx context.Context) error {
				return s.OpenPurge(ctx, "none", false)
			}},
			{"after one whose time is over", func(ctx context.Context) error {
				ctx, cancel := context.WithCancel(ctx)
				return s.Write(ctx, cancel)
			}},
		} {
			if before.do(t.Context()) == nil {
				t.Fatal(before.name + ": it did not fail")
			}
			got, err := s.Waits(t.Context())
			if diff := cmp.Diff(want[engine], got); diff != "" || err != nil {
				t.Errorf("%s: %v %s", before.name, err, diff)
			}
		}
	})
}
