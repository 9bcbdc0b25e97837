package report_test

import (
	"testing"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/mapping"
)

func TestLive(t *testing.T) {
	done := asked(ledger.Done, ledger.Counts{URLs: 3, Accepted: 2, Failed: 1})
	done.Cause, done.Environment = ledger.CauseDeploy, "production"
	done.To = ledger.Point{SHA: "0123456789abcdef0123456789abcdef01234567", At: noon()}
	fresh := done
	fresh.Counts = ledger.Counts{URLs: 2, Accepted: 2}
	fresh.Proof = ledger.Proof{State: ledger.ProofDone, Checked: 2, Fresh: 2}
	for name, l := range map[string]report.Live{
		"refused": {
			Purge: done, Pages: []string{"https://www.acme.com/a/", "https://www.acme.com/x%3E/"}, Link: "https://purgebot.acme.com/purges/k",
			Failed: []ledger.Target{target(mapping.URL, "https://m.acme.com/a/", "policy doesn't allow host m.acme.com for acme/site")},
		},
		"fresh":   {Purge: fresh, Pages: []string{"https://www.acme.com/a/", "https://www.acme.com/<b>"}},
		"nothing": {Purge: ledger.Purge{Environment: "production", State: ledger.Done, To: done.To}},
	} {
		t.Run(name, func(t *testing.T) { golden(t, "live-"+name, l.Markdown(noon())) })
	}
}
