package report_test

import (
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
		{"first purge", done(ledger.Counts{URLs: 2, Accepted: 2}, func(p *ledger.Purge) { p.Start = report.Compared("push from abc1234") }), "success: 2 URLs purged in 6 s (first purge, compared with push from abc1234)"},
		{"one refused", done(ledger.Counts{URLs: 14, Accepted: 13, Failed: 1}, func(p *ledger.Purge) { p.Reason = "unauthorized arl: https://m.acme.com/a/" }), "failure: 13 purged, 1 refused: Akamai doesn't let purgebot purge m.acme.com"},
		{"nothing to do", done(ledger.Counts{}, nil), "success: Nothing to purge"},
		{"long", done(ledger.Counts{URLs: 1, Accepted: 1}, func(p *ledger.Purge) { p.OpenedAt = midday.Add(-10 * time.Minute) }), "success: 1 URL purged in 10 min"},
		{"cancelled", ledger.Purge{State: ledger.Cancelled, EndedBy: "ann", Counts: ledger.Counts{URLs: 14, Accepted: 2}}, "failure: cancelled by ann, 12 not purged"},
		{"a host set aside", done(ledger.Counts{URLs: 130, Accepted: 30, Failed: 100, Untried: 75}, func(p *ledger.Purge) { p.Reason = "unauthorized arl: https://m.acme.com/a" }), "failure: 30 purged, 25 refused, 75 not tried: Akamai doesn't let purgebot purge m.acme.com"},
		{"only set aside yet", ledger.Purge{State: ledger.Open, Counts: ledger.Counts{URLs: 1999, Failed: 99, Untried: 80}}, "pending: 0 of 1999 purged, 23 refused, 72 not tried"},
		{"a large one, by steps", ledger.Purge{State: ledger.Open, Counts: ledger.Counts{URLs: 1999, Accepted: 999, Failed: 20}}, "pending: 988 of 1999 purged, 19 refused"},
		{"a large one, all answered", done(ledger.Counts{URLs: 1999, Accepted: 1998, Failed: 1}, func(p *ledger.Purge) { p.DoneAt = midday.Add(time.Second) }), "pending: 1998 of 1999 purged, 1 refused"},
		{"paused by an operator", ledger.Purge{State: ledger.Open, Counts: ledger.Counts{URLs: 14, Accepted: 2}, PausedBy: "ann: the origin is away", Paused: "Akamai is unavailable"}, "pending: 2 of 14 purged, paused by ann: the origin is away"},
		{"held", ledger.Purge{ID: "01K", State: ledger.Held, Counts: ledger.Counts{URLs: 3000}, Note: "limit 2000"}, `pending: Needs approval: 3000 URLs (limit 2000). Comment "/purge release" on a pull request`},
		{"held and overtaken", ledger.Purge{ID: "01K", State: ledger.Held, Counts: ledger.Counts{URLs: 3000}, Closed: report.Overtaken("abc1234def")}, `failure: Not purged: 3000 URLs still need approval (newer deploy abc1234). Comment "/purge release" on a pull request`},
		{"held for long", ledger.Purge{ID: "01K", State: ledger.Held, Counts: ledger.Counts{URLs: 3000}, Closed: report.HeldLong(24 * time.Hour)}, `failure: Not purged: 3000 URLs still need approval (for more than 24 hours). Comment "/purge release" on a pull request`},
		{"held, and covered by a later one", ledger.Purge{State: ledger.Cancelled, Counts: ledger.Counts{URLs: 3000}, Closed: report.Carried("abc1234def").Description}, "success: Purged as part of abc1234"},
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
		{report.Waits(ledger.Counts{URLs: 14}, "production"), "success: 14 URLs will be purged when production deploys"},
		{report.Waits(ledger.Counts{Tags: 1}, "production"), "success: 1 tag will be purged when production deploys"},
		{report.Waits(ledger.Counts{}, "production"), "success: Nothing to purge"},
		{report.DeployFailed(ledger.Counts{URLs: 14}), "success: Deploy failed: 14 URLs will be purged after the next successful one"},
		{report.DeployFailed(ledger.Counts{}), "success: Deploy failed: nothing to purge"},
		{report.Carried("abc1234def"), "success: Purged as part of abc1234"},
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

func TestNumber(t *testing.T) {
	for n, want := range map[int]string{0: "0", 9999: "9999", 10_000: "10,000", 123_456: "123,456", 1_000_000: "1,000,000"} {
		if got := report.Number(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

func TestRefusal(t *testing.T) {
	for reason, want := range map[string]string{
		"unauthorized arl: https://m.acme.com/a: b/":                                                        "Akamai doesn't let purgebot purge m.acme.com",
		"Unauthorized ARL: /L/1/2/1h/www.acme.com/a":                                                        "Akamai doesn't let purgebot purge /L/1/2/1h/www.acme.com/a",
		"not tried, as Akamai refused 25 URLs of m.acme.com before: unauthorized arl: https://m.acme.com/a": "not tried, as Akamai refused 25 URLs of m.acme.com before: Akamai doesn't let purgebot purge m.acme.com",
		"unauthorized cpcode: 12345":                                                                        "Akamai doesn't let purgebot purge CP code 12345",
		"unauthorized tag: acme-x":                                                                          "Akamai doesn't let purgebot purge tag acme-x",
		"unauthorized arl":                                                                                  "unauthorized arl",
		"bad URL: Invalid or malformed URL":                                                                 "bad URL: Invalid or malformed URL",
		"policy doesn't allow tag x for acme/site":                                                          "policy doesn't allow tag x for acme/site",
	} {
		if got := report.Refusal(reason); got != want {
			t.Errorf("%s: %s, want %s", reason, got, want)
		}
	}
}
