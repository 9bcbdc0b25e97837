package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
)

// Listed is how many objects a reply lists of each kind of result.
const Listed = 50

// Reply is the comment that tells of a purge on its pull request.
type Reply struct {
	Before string // Markdown of purgebot's that stands first; "": nothing
	Purge  ledger.Purge
	Failed []ledger.Target // the first ones
	Others []ledger.Target // the first ones that did not fail
	Akamai []string        // ids of Akamai's requests, the first ones
	Link   string          // of the purge's page; "": none
	Pauses []ledger.Pause  // pauses that hold back other purges of the repository
}

// Markdown is the reply at a moment.
func (r Reply) Markdown(now time.Time) string {
	p := r.Purge
	parts := []string{"**" + headline(p, now) + "**", byWhom(p, r.action(now))}
	if p.PausedBy != "" {
		parts = append(parts, "Paused by "+Quote(p.PausedBy)+".")
	} else if p.Cause == ledger.CauseComment && len(r.Pauses) > 0 {
		parts = append(parts, restPaused(r.Pauses))
	}
	if f := p.Proof; p.State == ledger.Done && !f.Checking() && f.Fresh < f.Checked {
		parts = append(parts, "Of the first: "+Quote(f.Words))
	}
	if r.Before != "" {
		parts = append([]string{r.Before}, parts...)
	}
	if len(r.Failed) > 0 {
		parts = append(parts, "Refused:\n\n"+targetList(r.Failed, p.Counts.Failed))
	}
	if n := p.Counts.Total() - p.Counts.Failed; n > 0 && len(r.Others) > 0 {
		parts = append(parts, folded(Amount(n, "item", "items"), targetList(r.Others, n)))
	}
	if last := r.trail(now); last != "" {
		parts = append(parts, last)
	}
	return strings.Join(parts, "\n\n")
}

// headline is the purge's status in words of purgebot's alone: a note or Akamai's reason,
// which may hold anything, stands elsewhere and quoted.
func headline(p ledger.Purge, now time.Time) string {
	c := p.Counts
	switch {
	case awaitsOrigin(p):
		return fmt.Sprintf("%s will be purged: %s", Objects(c), p.Proof.Words)
	case p.State == ledger.Held:
		return "Needs approval: " + Objects(c)
	case p.Covered():
		return p.Closed
	case p.State == ledger.Cancelled:
		return fmt.Sprintf("Cancelled by %s, %s not purged", Quote(p.EndedBy), Number(c.Total()-c.Accepted))
	case p.PausedBy != "":
		return progress(c) + ", paused"
	case p.State == ledger.Open, now.Before(p.DoneAt) && c.Accepted > 0:
		return progress(c)
	case c.Total() == 0:
		return nothing
	case c.Failed > 0:
		return Number(c.Accepted) + " purged" + refused(c, "")
	case p.Proof.Checking() || p.Proof.Checked > 0:
		return told(p)
	default:
		return fmt.Sprintf("%s purged in %s", Objects(c), Took(p))
	}
}

// action is what the purge does to pages, or did. "refresh" is for invalidate: the page
// is fetched anew. It looks only at the targets that are listed.
func (r Reply) action(now time.Time) string {
	var words []string
	seen := map[mapping.Action]bool{}
	for _, t := range slices.Concat(r.Failed, r.Others) {
		seen[t.Action] = true
	}
	switch {
	case seen[mapping.Delete] && seen[mapping.Invalidate]:
		words = []string{"refresh", "delete"}
	case seen[mapping.Delete]:
		words = []string{"delete"}
	default:
		words = []string{"refresh"}
	}
	if p := r.Purge; p.State == ledger.Done && p.Counts.Accepted > 0 && !now.Before(p.DoneAt) {
		for i, w := range words {
			words[i] = strings.TrimSuffix(w, "e") + "ed"
		}
	}
	return strings.Join(words, " and ")
}

// byWhom says why there is this purge, what it does and where.
func byWhom(p ledger.Purge, action string) string {
	where := fmt.Sprintf("%s in %s, on Akamai's %s network", action, Quote(p.Environment), p.Network)
	var s string
	switch {
	case p.Cause == ledger.CauseComment:
		s = fmt.Sprintf("Requested by %s: %s, rules of %s.", Quote(p.By), where, Quote(Short(p.To.SHA)))
	case p.To.SHA != "":
		s = fmt.Sprintf("Deployment of %s: %s.", Quote(Short(p.To.SHA)), where)
	default:
		s = strings.ToUpper(where[:1]) + where[1:] + "."
	}
	if p.State == ledger.Held && !awaitsOrigin(p) {
		s += fmt.Sprintf(" Waiting for approval (%s). To send it: `/purge release`. To discard it: `/purge cancel`.", Quote(p.Note))
	} else if p.Note != "" {
		s += " (" + Quote(p.Note) + ")"
	}
	return s
}

// trail is where to look further: Akamai's ids, the time of the end, the page.
func (r Reply) trail(now time.Time) string {
	var parts []string
	if len(r.Akamai) > 0 {
		ids := make([]string, 0, len(r.Akamai))
		for _, id := range r.Akamai[:min(len(r.Akamai), 5)] {
			ids = append(ids, Quote(id))
		}
		if len(r.Akamai) > 5 {
			ids = append(ids, "…")
		}
		parts = append(parts, "Akamai purge "+plural(len(ids), "id", "ids")+": "+strings.Join(ids, ", "))
	}
	if p := r.Purge; (p.State == ledger.Done || p.State == ledger.Cancelled) && !now.Before(p.DoneAt) {
		parts = append(parts, p.DoneAt.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	if r.Link != "" {
		parts = append(parts, "[Full details]("+r.Link+")")
	}
	return strings.Join(parts, " · ")
}

// targetList lists targets, and says how many of all are not shown.
func targetList(targets []ledger.Target, all int) string {
	var b strings.Builder
	shown := min(len(targets), Listed)
	for _, t := range targets[:shown] {
		b.WriteString("- " + Quote(Object(t.Kind, t.Object)))
		if t.Reason != "" {
			b.WriteString(": " + Quote(Refusal(t.Reason)))
		}
		if id := t.Answer.SupportID; id != "" && t.Fate == ledger.Failed {
			b.WriteString(" (support id " + Quote(id) + ")")
		}
		b.WriteByte('\n')
	}
	if all > shown {
		fmt.Fprintf(&b, "- … and %s more\n", Number(all-shown))
	}
	return strings.TrimRight(b.String(), "\n")
}

// folded hides a long list behind a line. Without the empty lines GitHub would not read
// the list as Markdown.
func folded(summary, body string) string {
	return "<details><summary>" + summary + "</summary>\n\n" + body + "\n\n</details>"
}

// Reaction is the reaction to a comment that the end of its purge calls for; "" while the
// purge has not ended. until is when that changes by the clock alone; zero: never.
func Reaction(p ledger.Purge, now time.Time) (content string, until time.Time) {
	s := Purge(p, now)
	switch s.State {
	case "success":
		return "rocket", s.Until
	case "failure", "error":
		return "confused", s.Until
	default:
		return "", s.Until
	}
}
