package report

import (
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// Live is the comment that tells a merged pull request that it is live.
type Live struct {
	Purge  ledger.Purge
	Pages  []string        // addresses that were purged: those of the pull request's own files first
	Failed []ledger.Target // the first ones
	Link   string          // of the purge's page; "": none
}

// Markdown is the comment.
func (l Live) Markdown(now time.Time) string {
	p := l.Purge
	what := headline(p, now)
	if p.Proof.Checked > 0 {
		what = Quote(proved(p).Description) // whether they are fresh, too
	}
	parts := []string{
		"**Live in " + Quote(p.Environment) + " since " + p.To.At.UTC().Format("2006-01-02 15:04 UTC") + "**, with commit " + Quote(Short(p.To.SHA)) + ".",
		what + ".",
	}
	if len(l.Pages) > 0 {
		var pages []string
		for _, page := range l.Pages {
			pages = append(pages, "- "+link(page))
		}
		parts = append(parts, strings.Join(pages, "\n"))
	}
	if len(l.Failed) > 0 {
		parts = append(parts, "Refused:\n\n"+targetList(l.Failed, p.Counts.Failed))
	}
	if l.Link != "" {
		parts = append(parts, "[Full details]("+l.Link+")")
	}
	return strings.Join(parts, "\n\n")
}

// link makes an address that can be clicked. If the address holds a character that could
// end the link, it can only be read.
func link(address string) string {
	if strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("<>`\\", r) }) {
		return Quote(address)
	}
	return "<" + address + ">"
}
