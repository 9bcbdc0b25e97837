package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
)

// Listed is how many objects a reply lists of each fate.
const Listed = 50

// Reply is the comment that tells of a purge on its pull request.
type Reply struct {
	Before string // Markdown of ours that stands first; "": nothing
	Purge  ledger.Purge
	Failed []ledger.Target // the first ones
	Others []ledger.Target // the first ones that did not fail
	Akamai []string        // ids of Akamai's requests, the first ones
	Link   string          // of the purge's page; "": none
}

// Markdown is the reply at a moment.
func (r Reply) Markdown(now time.Time) string {
	p := r.Purge
	parts := []string{"**" + headline(p, now) + "**", byWhom(p, r.action())}
	if r.Before != "" {
		parts = append([]string{r.Before}, parts...)
	}
	if len(r.Failed) > 0 {
		parts = append(parts, "Refused:\n\n"+targetList(r.Failed, p.Counts.Failed))
	}
	if n := p.Counts.Total() - p.Counts.Failed; n > 0 && len(r.Others) > 0 {
		parts = append(parts, folded(amount(n, "object", "objects"), targetList(r.Others, n)))
	}
	if last := r.trail(now); last != "" {
		parts = append(parts, last)
	}
	return strings.Join(parts, "\n\n")
}

// headline is the purge's status without anybody else's words.
func headline(p ledger.Purge, now time.Time) string {
	c := p.Counts
	switch {
	case p.State == ledger.Held:
		return fmt.Sprintf("Held: %s", Objects(c))
	case p.Covered():
		return p.Closed
	case p.State == ledger.Cancelled:
		return fmt.Sprintf("Cancelled by %s, %d not purged", Quote(p.EndedBy), c.Total()-c.Accepted)
	case p.State == ledger.Open, now.Before(p.DoneAt) && c.Accepted > 0:
		return progress(c)
	case c.Total() == 0:
		return "Nothing to purge"
	case c.Failed > 0:
		return fmt.Sprintf("%d purged%s", c.Accepted, refused(c, ""))
	default:
		return fmt.Sprintf("%s purged in %s", Objects(c), Took(p))
	}
}

func (r Reply) action() string {
	seen := map[mapping.Action]bool{}
	for _, t := range slices.Concat(r.Failed, r.Others) {
		seen[t.Action] = true
	}
	switch {
	case seen[mapping.Delete] && seen[mapping.Invalidate]:
		return "invalidation and deletion"
	case seen[mapping.Delete]:
		return "deletion"
	default:
		return "invalidation"
	}
}

func byWhom(p ledger.Purge, action string) string {
	s := fmt.Sprintf("Environment %s, %s on Akamai's %s network", Quote(p.Environment), action, p.Network)
	switch {
	case p.Cause == ledger.CauseComment:
		s += fmt.Sprintf(", asked for by %s; rules and files of %s.", Quote(p.By), Quote(Short(p.To.SHA)))
	case p.To.SHA != "":
		s += fmt.Sprintf(", for the deployment of %s.", Quote(Short(p.To.SHA)))
	default:
		s += "."
	}
	if p.State == ledger.Held {
		s += fmt.Sprintf(" It waits for a person: %s. To let it go: `/purge release`; to drop it: `/purge cancel`.", Quote(p.Note))
	} else if p.Note != "" {
		s += " (" + Quote(p.Note) + ")"
	}
	return s
}

// trail is where to look further: Akamai's ids, the time, the page.
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
		parts = append(parts, "Akamai's purge id: "+strings.Join(ids, ", "))
	}
	if p := r.Purge; (p.State == ledger.Done || p.State == ledger.Cancelled) && !now.Before(p.DoneAt) {
		parts = append(parts, p.DoneAt.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	if r.Link != "" {
		parts = append(parts, "[all of it]("+r.Link+")")
	}
	return strings.Join(parts, " · ")
}

// targetList lists targets, and says how many of all are missing.
func targetList(targets []ledger.Target, all int) string {
	var b strings.Builder
	shown := min(len(targets), Listed)
	for _, t := range targets[:shown] {
		b.WriteString("- " + Quote(Object(t.Kind, t.Object)))
		if t.Reason != "" {
			b.WriteString(": " + Quote(t.Reason))
		}
		b.WriteByte('\n')
	}
	if all > shown {
		fmt.Fprintf(&b, "- … and %d more\n", all-shown)
	}
	return strings.TrimRight(b.String(), "\n")
}

// folded hides a long list behind a line. The empty lines make GitHub read
// what is between the tags as Markdown.
func folded(summary, body string) string {
	return "<details><summary>" + summary + "</summary>\n\n" + body + "\n\n</details>"
}

func amount(n int, one, many string) string { return fmt.Sprintf("%d %s", n, plural(n, one, many)) }

// Reaction is the reaction that a purge's end calls for; "" while it has not
// ended. until is when that changes by the clock alone; zero: never.
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
