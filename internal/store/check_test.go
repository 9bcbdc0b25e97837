package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/store"
)

// claimCheck claims a check run's surface; zero if there is nothing to write.
func claimCheck(t *testing.T, s *store.Store, name string) store.Post {
	t.Helper()
	p, err := s.ClaimPost(t.Context(), name, time.Minute)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return p
}

// A preview of a later commit is written at once, and the one of an earlier commit is
// forgotten where GitHub shows it already.
func TestPreviewReplacesAnEarlierCommits(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		s := open(newClock().Now)
		first, second, third := strings.Repeat("a", 40), strings.Repeat("b", 40), strings.Repeat("c", 40)
		for n, sha := range []string{first, second, third} {
			if err := s.WantCheck(t.Context(), store.Check{RepoID: repoID, SHA: sha, Name: "Purge preview", Number: 7, Words: sha}, false); err != nil {
				t.Fatal(err)
			}
			if jobs, err := s.Jobs(t.Context(), "report"); jobs != n+1 || err != nil {
				t.Errorf("%d jobs write %d previews: %v", jobs, n+1, err)
			}
			if sha == first {
				if err := s.Posted(t.Context(), claimCheck(t, s, store.PreviewSurface(repoID, sha)), "shown", true, 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		for sha, want := range map[string]int{first: 0, second: 1, third: 1} {
			if all, err := s.Checks(t.Context(), repoID, sha, ""); len(all) != want || err != nil {
				t.Errorf("%.1s has %d previews: %v", sha, len(all), err)
			}
		}
	})
}

func TestChecks(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		sha := strings.Repeat("a", 40)
		want := func(words string, afresh bool) {
			t.Helper()
			if err := s.WantCheck(t.Context(), store.Check{RepoID: repoID, SHA: sha, Name: "Purge preview", Number: 7, Words: words}, afresh); err != nil {
				t.Fatal(err)
			}
		}
		preview := store.PreviewSurface(repoID, sha)
		want("one", false)
		p := claimCheck(t, s, preview)
		if p.Kind() != store.CheckPost || p.Words != "one" || p.Number != 7 || p.Context != "Purge preview" || p.SHA != sha {
			t.Fatalf("claimed %+v", p)
		}
		p.RemoteID = 42
		if err := s.Posted(t.Context(), p, "shown", true, 0); err != nil {
			t.Fatal(err)
		}
		if want("one", false); claimCheck(t, s, preview).Version != 0 {
			t.Error("the same words are written again")
		}
		if want("one", true); claimCheck(t, s, preview).Posted != "" {
			t.Error("wanted afresh, and yet GitHub shows it already")
		}

		purge := deploy(t, s, environment(t, s, c.Now(), sha, 1, 1), tags("no", "bad", "good"))
		all, err := s.Checks(t.Context(), repoID, sha, "")
		if err != nil || len(all) != 2 || all[0].Context != "Purge preview" || all[0].RemoteID != 42 || all[1].PurgeID != purge.ID {
			t.Fatalf("the commit's: %+v, %v", all, err)
		}
		one, err := s.Checks(t.Context(), repoID, sha, all[1].Context)
		if err != nil || len(one) != 1 || one[0].Surface != all[1].Surface {
			t.Fatalf("of one name: %+v, %v", one, err)
		}
		before := claimCheck(t, s, one[0].Surface).Version
		if err := s.NoteCheck(t.Context(), store.Note{Surface: one[0].Surface, Words: "walt may not", GUID: "walt may not"}); err != nil {
			t.Fatal(err)
		}
		c.Advance(2 * time.Minute)
		if p := claimCheck(t, s, one[0].Surface); p.Words != "walt may not" || p.Version <= before {
			t.Errorf("noted: %+v", p)
		}
		if err := s.NoteCheck(t.Context(), store.Note{Surface: preview, Words: "x", GUID: "x"}); err != nil {
			t.Fatal(err)
		}
		if p, _ := s.Checks(t.Context(), repoID, sha, "Purge preview"); p[0].Words != "one" {
			t.Errorf("a preview was noted on: %+v", p)
		}
	})
}

// What a button did and what its check run answers are stored together. The same press,
// handled once more, changes neither.
func TestANoteIsOfOnePress(t *testing.T) {
	engines(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newClock()
		s := open(c.Now)
		e := environment(t, s, c.Now(), "a", 1, 1)
		p := deploy(t, s, e, urls(2))
		surface := store.CheckSurface(repoID, "a", "Purge production")
		note := store.Note{Surface: surface, Words: "cancelled", GUID: "g-1"}
		if err := s.Cancel(t.Context(), store.Act{Purge: p.ID, By: "adam", Note: &note}); err != nil {
			t.Fatal(err)
		}
		note.Words = "nothing to cancel"
		if err := s.Cancel(t.Context(), store.Act{Purge: p.ID, By: "adam", Note: &note}); !errors.Is(err, store.ErrNothing) {
			t.Fatal(err)
		}
		if err := s.NoteCheck(t.Context(), note); err != nil {
			t.Fatal(err)
		}
		checks, err := s.Checks(t.Context(), repoID, "a", "Purge production")
		if err != nil || len(checks) != 1 || checks[0].Words != "cancelled" || checks[0].Pressed != "g-1" {
			t.Errorf("%+v, %v", checks, err)
		}
	})
}
