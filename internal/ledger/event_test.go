package ledger_test

import (
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

func TestWhatIsToldOfAPurge(t *testing.T) {
	at := time.Unix(1, 0)
	done := func(failed int, p ledger.Proof) ledger.Purge {
		return ledger.Purge{State: ledger.Done, Counts: ledger.Counts{URLs: 3, Accepted: 3 - failed, Failed: failed}, Proof: p}
	}
	looking, stale := ledger.Proof{State: ledger.ProofAgain, Checked: 2, Stale: 1}, ledger.Proof{State: ledger.ProofDone, Checked: 2, Stale: 1, DoneAt: at}
	fresh := ledger.Proof{State: ledger.ProofDone, Checked: 2, Fresh: 2, DoneAt: at}
	for name, test := range map[string]struct {
		purge      ledger.Purge
		told, want ledger.EventKind
	}{
		"open":                            {ledger.Purge{State: ledger.Open, Counts: ledger.Counts{URLs: 3, Failed: 1}}, "", ""},
		"needs approval":                  {ledger.Purge{State: ledger.Held}, "", ledger.EventHeld},
		"needs approval, told":            {ledger.Purge{State: ledger.Held}, ledger.EventHeld, ""},
		"waits for its origin":            {ledger.Purge{State: ledger.Held, Proof: ledger.Proof{State: ledger.ProofOrigin}}, "", ""},
		"its origin was late":             {ledger.Purge{State: ledger.Held, Proof: ledger.Proof{State: ledger.ProofPurged}}, "", ledger.EventHeld},
		"all accepted":                    {done(0, ledger.Proof{}), "", ""},
		"refused in part":                 {done(1, ledger.Proof{}), "", ledger.EventFailed},
		"refused wholly":                  {done(3, ledger.Proof{}), "", ledger.EventFailed},
		"refused, told":                   {done(3, ledger.Proof{}), ledger.EventFailed, ""},
		"released and refused":            {done(1, ledger.Proof{}), ledger.EventHeld, ledger.EventFailed},
		"refused once more":               {done(1, ledger.Proof{}), ledger.Retried, ledger.EventFailed},
		"accepted at last":                {done(0, ledger.Proof{}), ledger.Retried, ledger.EventMended},
		"accepted after an approval":      {done(0, ledger.Proof{}), ledger.EventHeld, ""},
		"cancelled":                       {ledger.Purge{State: ledger.Cancelled, Counts: ledger.Counts{URLs: 3, Failed: 1}}, "", ""},
		"stale pages go out once more":    {done(0, looking), "", ""},
		"stale":                           {done(0, stale), "", ledger.EventStale},
		"stale, told":                     {done(0, stale), ledger.EventStale, ""},
		"refused in part, the rest stale": {done(1, stale), ledger.EventFailed, ledger.EventStale},
		"stale, and fresh by a later one": {done(0, stale), ledger.EventMended, ""},
		"fresh":                           {done(0, fresh), "", ""},
		"what sends stale pages once more": {ledger.Purge{
			State: ledger.Done, Cause: ledger.CauseStale, Counts: ledger.Counts{URLs: 1, Failed: 1},
		}, "", ""},
	} {
		if got := test.purge.Tells(test.told); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestWhoHears(t *testing.T) {
	one := ledger.Event{Kind: ledger.EventFailed, Repositories: []string{"Acme/Site"}}
	several := ledger.Event{Kind: ledger.EventFailed, Repositories: []string{"globex/site", "acme/site"}}
	all := ledger.Event{Kind: ledger.EventFailed}
	for name, test := range map[string]struct {
		globs []string
		event ledger.Event
		want  bool
	}{
		"no globs":                {nil, one, true},
		"a glob that fits":        {[]string{"globex/*", "acme/*"}, one, true},
		"none that fits":          {[]string{"globex/*"}, one, false},
		"one of several":          {[]string{"acme/site"}, several, true},
		"none of several":         {[]string{"acme/blog"}, several, false},
		"about no one":            {[]string{"acme/blog"}, all, true},
		"a pause as it's written": {[]string{"acme/*"}, ledger.Event{Kind: ledger.EventFailed, Repositories: []string{"acme/{a,b}*"}}, true},
	} {
		if got := (ledger.Receiver{Events: ledger.EventKinds(), Repositories: test.globs}).Hears(test.event); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
		if (ledger.Receiver{Events: []ledger.EventKind{ledger.EventHeld}, Repositories: test.globs}).Hears(test.event) {
			t.Errorf("%s: an event of another kind", name)
		}
	}
}

func TestUnheard(t *testing.T) {
	now := time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for name, test := range map[string]struct {
		h    ledger.Hearing
		want bool
	}{
		"a day after busy weeks":       {ledger.Hearing{Webhooks: 500, First: now.Add(-20 * day), Last: now.Add(-25 * time.Hour), Longest: 9 * time.Hour}, true},
		"a night":                      {ledger.Hearing{Webhooks: 500, First: now.Add(-20 * day), Last: now.Add(-23 * time.Hour), Longest: 9 * time.Hour}, false},
		"a weekend like others":        {ledger.Hearing{Webhooks: 500, First: now.Add(-20 * day), Last: now.Add(-64 * time.Hour), Longest: 62 * time.Hour}, false},
		"half as long again":           {ledger.Hearing{Webhooks: 500, First: now.Add(-20 * day), Last: now.Add(-94 * time.Hour), Longest: 62 * time.Hour}, true},
		"its first weekend":            {ledger.Hearing{Webhooks: 500, First: now.Add(-9 * day), Last: now.Add(-3 * day), Longest: 9 * time.Hour}, false},
		"hardly ever":                  {ledger.Hearing{Webhooks: 9, First: now.Add(-20 * day), Last: now.Add(-5 * day), Longest: time.Hour}, false},
		"nothing was ever heard of it": {ledger.Hearing{}, false},
	} {
		if got := test.h.Unheard(now); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
