package report

import "github.com/purgebot/purgebot/internal/ledger"

// Cause says what made a purge, and who: "Deployment by ann".
func Cause(p ledger.Purge) string {
	words := map[ledger.Cause]string{
		ledger.CauseDeploy:    "Deployment",
		ledger.CausePush:      "Push",
		ledger.CauseRollback:  "Rollback",
		ledger.CauseAgain:     "Another deployment of the same commit",
		ledger.CauseOvertaken: "Deployment that a newer one replaced before its purge",
		ledger.CauseComment:   "Comment",
		ledger.CauseRebuild:   "Rebuild of the same commit",
		ledger.CauseStale:     "Pages that were still stale",
	}[p.Cause]
	if words == "" { // of a newer release
		words = string(p.Cause)
	}
	if p.By != "" {
		words += " by " + p.By
	}
	return words
}

// Result is what became of one object, in a word.
func Result(f ledger.Fate) string {
	switch f {
	case ledger.Failed:
		return "refused"
	case ledger.Claimed:
		return "being sent"
	case ledger.Dropped:
		return "cancelled"
	case ledger.Waiting, ledger.Accepted:
	}
	return string(f)
}
