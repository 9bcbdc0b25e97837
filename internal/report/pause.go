package report

import (
	"strings"

	"github.com/purgebot/purgebot/internal/ledger"
)

// PauseScope says what a pause covers: "acme/*, production, people's purges too".
func PauseScope(p ledger.Pause) string {
	var parts []string
	for _, name := range []string{p.Repositories, p.Environment} {
		if name != "" {
			parts = append(parts, name)
		}
	}
	if p.Account != "" {
		parts = append(parts, "account "+p.Account)
	}
	if len(parts) == 0 {
		parts = []string{"everything"}
	}
	if p.All {
		return strings.Join(append(parts, "people's purges too"), ", ")
	}
	return strings.Join(append(parts, "not people's purges"), ", ")
}

// restPaused tells a person, in Markdown, which other purges of the repository wait.
func restPaused(pauses []ledger.Pause) string {
	parts := make([]string, len(pauses))
	for i, p := range pauses {
		what := "Purges of deployments"
		if p.All {
			what = "All purges"
		}
		if p.Environment != "" {
			what += " in " + Quote(p.Environment)
		}
		parts[i] = what + " are paused by " + Quote(p.By) + ": " + Quote(p.Reason) + "."
	}
	return strings.Join(parts, " ")
}
