package report_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
)

var midday = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestPurge(t *testing.T) {
	done := func(c ledger.Counts, change func(*ledger.Purge)) ledger.Purge {
		p := ledger.Purge{State: ledger.Done, Counts: c, OpenedAt: midday.Add(-6 * time.Second), DoneAt: midday}
		if change != nil {
			change(&p)
		}
		return p
	}
	for _, test := range []struct {
		name  string
		purge ledger.Purge
		want  string
	}{
		{"just opened", ledger.Purge{State: ledger.Open, Counts: ledger.Counts{URLs: 14}}, "pending: 0 of 14 purged"},
		{"half way", ledger.Purge{State: ledger.Open, Counts: ledger.Counts{URLs: 12, Tags: 2, Accepted: 9}}, "pending: 9 of 14 purged"},
		{"half way with a refusal", ledger.Purge{State: ledger.Open, Counts: ledger.Counts{URLs: 14, Accepted: 9, Failed: 1}, Reason: "x"}, "pending: 9 of 14 purged, 1 refused"},
		{"accepted, the estimate not passed", done(ledger.Counts{URLs: 14, Accepted: 14}, func(p *ledger.Purge) { p.DoneAt = midday.Add(time.Second) }), "pending: 14 of 14 purged"},
		{"done", done(ledger.Counts{URLs: 14, Accepted: 14}, nil), "success: 14 URLs purged in 6 s"},
		{"one", done(ledger.Counts{URLs: 1, Accepted: 1}, nil), "success: 1 URL purged in 6 s"},
		{"all kinds", done(ledger.Counts{URLs: 2, Tags: 1, CPCodes: 3, Accepted: 6}, nil), "success: 2 URLs, 1 tag, 3 CP codes purged in 6 s"},
		{"first seen", done(ledger.Counts{URLs: 2, Accepted: 2}, func(p *ledger.Purge) { p.Start = "first seen, since push from abc1234" }), "success: 2 URLs purged in 6 s (first seen, since push from abc1234)"},
		{"one refused", done(ledger.Counts{URLs: 14, Accepted: 13, Failed: 1}, func(p *ledger.Purge) { p.Reason = "unauthorized arl" }), "failure: 13 purged, 1 refused: unauthorized arl"},
		{"nothing to do", done(ledger.Counts{}, nil), "success: nothing to purge"},
		{"long", done(ledger.Counts{URLs: 1, Accepted: 1}, func(p *ledger.Purge) { p.OpenedAt = midday.Add(-10 * time.Minute) }), "success: 1 URL purged in 10 min"},
		{"cancelled", ledger.Purge{State: ledger.Cancelled, EndedBy: "ann", Counts: ledger.Counts{URLs: 14, Accepted: 2}}, "failure: cancelled by ann, 12 not purged"},
		{"a large one, by steps", ledger.Purge{State: ledger.Open, Counts: ledger.Counts{URLs: 1999, Accepted: 999, Failed: 20}}, "pending: 988 of 1999 purged, 19 refused"},
		{"a large one, all answered", done(ledger.Counts{URLs: 1999, Accepted: 1998, Failed: 1}, func(p *ledger.Purge) { p.DoneAt = midday.Add(time.Second) }), "pending: 1998 of 1999 purged, 1 refused"},
		{"held", ledger.Purge{ID: "01K", State: ledger.Held, Counts: ledger.Counts{URLs: 3000}, Note: "3000 URLs, the rules hold more than 2000"}, "pending: held: 3000 URLs (3000 URLs, the rules hold more than 2000). /purge release, or purgebot release 01K"},
		{"held and overtaken", ledger.Purge{ID: "01K", State: ledger.Held, Counts: ledger.Counts{URLs: 3000}, Closed: report.Overtaken("abc1234def")}, "failure: held, overtaken by abc1234: 3000 URLs not purged. /purge release, or purgebot release 01K"},
		{"held for long", ledger.Purge{ID: "01K", State: ledger.Held, Counts: ledger.Counts{URLs: 3000}, Closed: report.HeldLong(24 * time.Hour)}, "failure: held, for more than 24 hours: 3000 URLs not purged. /purge release, or purgebot release 01K"},
		{"held, and covered by a later one", ledger.Purge{State: ledger.Cancelled, Counts: ledger.Counts{URLs: 3000}, Closed: report.Carried("abc1234def").Description}, "success: purged with abc1234"},
	} {
		s := report.Purge(test.purge, midday)
		if got := s.State + ": " + s.Description; got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
	}
	if s := report.Purge(done(ledger.Counts{URLs: 1, Accepted: 1}, func(p *ledger.Purge) { p.DoneAt = midday.Add(time.Second) }), midday); !s.Until.Equal(midday.Add(time.Second)) {
		t.Errorf("the words change at %v", s.Until)
	}
}

// GitHub takes 1,000 statuses of a commit and context: whatever the size of a
// purge, its words change less often than that.
func TestProgressOfAMillionObjects(t *testing.T) {
	const all, request = 1_000_000, 600
	words := map[string]bool{}
	for sent := 0; sent < all; sent += request {
		c := ledger.Counts{URLs: all, Accepted: sent - sent/10, Failed: sent / 10}
		words[report.Purge(ledger.Purge{State: ledger.Open, Counts: c}, midday).Description] = true
	}
	if n := len(words); n < 50 || n > 150 {
		t.Errorf("%d different words for %d requests", n, all/request)
	}
}

func TestAnnouncements(t *testing.T) {
	for _, test := range []struct {
		got  report.Status
		want string
	}{
		{report.Waits(ledger.Counts{URLs: 14}, "production"), "success: 14 URLs wait for production to deploy"},
		{report.Waits(ledger.Counts{Tags: 1}, "production"), "success: 1 tag waits for production to deploy"},
		{report.Waits(ledger.Counts{}, "production"), "success: nothing to purge"},
		{report.DeployFailed(ledger.Counts{URLs: 14}), "success: deploy failed, 14 URLs wait for the next one"},
		{report.DeployFailed(ledger.Counts{}), "success: deploy failed, nothing to purge"},
		{report.Carried("abc1234def"), "success: purged with abc1234"},
		{report.Fault("purge-rules.yaml:12:9: x"), "pending: purge-rules.yaml:12:9: x"},
	} {
		if got := test.got.State + ": " + test.got.Description; got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"short", "short"},
		{"  two\n lines\t", "two lines"},
		{strings.Repeat("ä", 140), strings.Repeat("ä", 140)},
		{strings.Repeat("ä", 141), strings.Repeat("ä", 139) + "…"},
		{strings.Repeat("word ", 40), strings.TrimSpace(strings.Repeat("word ", 28))[:138] + "…"},
		{"\xff\xfe", "\uFFFD"},
	} {
		got := report.Cut(test.in, report.MaxDescription)
		if utf8.RuneCountInString(got) > report.MaxDescription || !utf8.ValidString(got) {
			t.Errorf("%q is %d characters", got, utf8.RuneCountInString(got))
		}
		if got != test.want && !strings.HasPrefix(test.in, "word") {
			t.Errorf("Cut(%q) = %q, want %q", test.in, got, test.want)
		}
		if strings.HasPrefix(test.in, "word") && !strings.HasSuffix(got, "word…") {
			t.Errorf("cut inside a word's end: %q", got)
		}
	}
}

type publicError struct{ words string }

func (e publicError) Error() string  { return "insides: " + e.words }
func (e publicError) Public() string { return e.words }

func TestPublic(t *testing.T) {
	err := fmt.Errorf("read: %w", publicError{"the key is missing"})
	if got := report.Public(err); got != "the key is missing" {
		t.Errorf("%q", got)
	}
	if got := report.Public(errors.New("dial tcp 10.0.0.1: refused")); got != "" {
		t.Errorf("%q", got)
	}
}
