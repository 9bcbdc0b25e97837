package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/mapping"
)

func TestPurgeCheckWords(t *testing.T) {
	began := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	failed := []ledger.Target{{
		Target: mapping.Target{Kind: mapping.URL, Object: "https://www.acme.com/b/", Action: mapping.Invalidate, Reason: "unauthorized arl: https://www.acme.com/b/"},
		Fate:   ledger.Failed,
	}}
	accepted := []ledger.Target{{
		Target: mapping.Target{Kind: mapping.URL, Object: "https://www.acme.com/a/", Action: mapping.Invalidate}, Fate: ledger.Accepted,
	}}
	purge := ledger.Purge{
		ID: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Environment: "production", Cause: ledger.CauseDeploy, Network: mapping.Production,
		To: ledger.Point{SHA: "abcdef0123456789"}, State: ledger.Done, Counts: ledger.Counts{URLs: 2, Accepted: 1, Failed: 1},
		Reason: "unauthorized arl: https://www.acme.com/b/", OpenedAt: began, DoneAt: began.Add(6 * time.Second),
	}
	now := began.Add(time.Minute)
	for name, c := range map[string]struct {
		change func(*report.PurgeCheck)
		now    time.Time
		wanted bool // although GitHub shows none yet
		want   string
	}{
		"check-failed": {wanted: true, want: "completed failure retry"},
		"check-policy": {func(c *report.PurgeCheck) { c.Failed[0].Reason = "policy doesn't allow host www.acme.com" }, now, true, "completed failure retry"},
		"check-refused-press": {func(c *report.PurgeCheck) {
			c.Note = report.NotPressed("@rita", "retry", report.Denied("@rita", "read", "write", "purging"))
		}, now, true, "completed failure retry"},
		"check-held": {func(c *report.PurgeCheck) {
			c.Purge.State, c.Purge.Note, c.Purge.Counts = ledger.Held, "limit 1", ledger.Counts{URLs: 2}
			c.Failed = nil
		}, now, true, "completed action_required release cancel"},
		"check-retried": {func(c *report.PurgeCheck) {
			c.Purge.State, c.Purge.Counts = ledger.Open, ledger.Counts{URLs: 2, Accepted: 1}
			c.Note = report.Acted("retry", "walt", 1)
		}, now, false, "in_progress "},
		"check-estimate": {nil, began.Add(time.Second), true, "in_progress "},
		"check-done": {func(c *report.PurgeCheck) {
			c.Purge.Counts, c.Failed = ledger.Counts{URLs: 2, Accepted: 2}, nil
		}, now, false, "completed success"},
		"check-cancelled": {func(c *report.PurgeCheck) {
			c.Purge.State, c.Purge.EndedBy, c.Purge.Counts, c.Failed = ledger.Cancelled, "walt", ledger.Counts{URLs: 2}, nil
		}, now, false, "completed cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			check := report.PurgeCheck{
				Purge: purge, Failed: []ledger.Target{failed[0]}, Others: accepted, Akamai: []string{"e535-3b61"}, Link: "https://purgebot.acme.com/purges/x",
			}
			if c.now.IsZero() {
				c.now = now
			}
			if c.change != nil {
				c.change(&check)
			}
			run, until := check.Check(c.now)
			got := []string{run.Status, run.Conclusion}
			for _, b := range run.Buttons {
				got = append(got, b.Identifier)
				if len(b.Label) > 20 || len(b.Description) > 40 || len(b.Identifier) > 20 {
					t.Errorf("GitHub refuses the button %+v", b)
				}
			}
			if words := strings.Join(got, " "); words != c.want || check.Wanted() != c.wanted {
				t.Errorf("%q, wanted by itself: %t; want %q, %t", words, check.Wanted(), c.want, c.wanted)
			}
			if ends := run.Status == "completed" || name == "check-retried"; ends != until.IsZero() {
				t.Errorf("until %v", until)
			}
			if strings.Contains(run.Summary, "@rita") {
				t.Error("a mention is alive")
			}
			golden(t, name, fmt.Sprintf("%s\n---\n%s\n", run.Title, run.Summary))
		})
	}
}
