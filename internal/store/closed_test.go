package store_test

import (
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
)

// The status of a deployment that failed ends with the next one that succeeds. The store
// finds it by what was said, in any context, even if no push is known.
func TestFailedDeploymentsAreClosed(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		point := func(sha string, status int64) ledger.Point {
			return ledger.Point{SHA: sha, Deploy: status, Status: status, At: c.Now().Add(time.Duration(status) * time.Second)}
		}
		told := func(sha, state string, status int64) ledger.Environment {
			t.Helper()
			e, _, err := s.Desire(t.Context(), repoID, "staging", ledger.Deploy{Point: point(sha, status), State: state}, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		e := told("live", "success", 1)
		commit(t, s, store.Move{Env: e, To: e.Desired, Context: "purge/staging"})
		for i, state := range []string{"failure", "error"} {
			e = told(state, state, int64(2+i))
			if err := s.Announce(t.Context(), store.Announcement{
				RepoID: repoID, EnvID: e.ID, SHA: state, Context: "purge/Old name", State: "pending", Words: "broken", At: point(state, int64(2+i)).At,
			}); err != nil {
				t.Fatal(err)
			}
		}
		e = told("next", "success", 9)
		commit(t, s, store.Move{Env: e, To: e.Desired}) // the commit's rules do not name the environment
		for _, sha := range []string{"failure", "error"} {
			p, err := s.ClaimPost(t.Context(), "status/77/"+sha+"/purge/old name", time.Minute)
			if err != nil || p.State != "success" || p.Words != carries {
				t.Errorf("%s: %s %q, %v", sha, p.State, p.Words, err)
			}
		}
	})
}
