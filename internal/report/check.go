package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// PurgeCheck is the check run on a deployed commit whose purge failed in part or waits
// for a person.
type PurgeCheck struct {
	Purge  ledger.Purge
	Failed []ledger.Target // the first ones
	Others []ledger.Target // the first ones that did not fail
	Akamai []string        // ids of Akamai's requests, the first ones
	Link   string          // of the purge's page; "": none
	Note   string          // Markdown of purgebot's: the answer to the last press of a button
	Untold string          // why the commit status can't say it; "": it does
}

// Wanted reports whether a purge has something to read or to press, so that it needs a
// check run where GitHub shows none yet. A purge that is under way may end well, and then
// needs none.
func (c PurgeCheck) Wanted() bool {
	p := c.Purge
	return p.State == ledger.Held && !awaitsOrigin(p) || p.State == ledger.Done && p.Counts.Failed > 0 || c.Untold != ""
}

// Check renders the run at a moment. While the purge is under way it shows no progress,
// which the commit status has: so it is written once and not at each step. until is when
// the words change by the clock alone; zero: never.
func (c PurgeCheck) Check(now time.Time) (run Check, until time.Time) {
	p := c.Purge
	run = Check{Status: "completed", Title: c.title(now), Link: c.Link}
	switch {
	case awaitsOrigin(p):
		run.Status = "queued"
	case p.State == ledger.Held:
		run.Conclusion, run.Buttons = "action_required", []Button{releaseButton(), cancelButton()}
	case p.Covered():
		run.Conclusion = "success"
	case p.State == ledger.Cancelled:
		run.Conclusion = "cancelled"
	case p.State == ledger.Open:
		run.Status = "in_progress"
	case now.Before(p.DoneAt) && p.Counts.Accepted > 0:
		run.Status, until = "in_progress", p.DoneAt
	case p.Counts.Failed > 0:
		run.Conclusion, run.Buttons = "failure", []Button{retryButton()}
	default:
		run.Conclusion = "success"
	}
	run.Summary = c.summary(run, now)
	return run, until
}

func retryButton() Button {
	return Button{Label: "Retry", Description: "Send the refused items again", Identifier: "retry"}
}

func releaseButton() Button {
	return Button{Label: "Release", Description: "Send the held purge", Identifier: "release"}
}

func cancelButton() Button {
	return Button{Label: "Cancel", Description: "Discard what was not sent", Identifier: "cancel"}
}

// underWay reports whether the purge goes on by itself, or its estimate has not passed.
func (c PurgeCheck) underWay(now time.Time) bool {
	p := c.Purge
	return p.State == ledger.Open || p.State == ledger.Done && now.Before(p.DoneAt) && p.Counts.Accepted > 0
}

func (c PurgeCheck) title(now time.Time) string {
	if c.underWay(now) {
		return Objects(c.Purge.Counts) + " being purged"
	}
	return plain(Purge(c.Purge, now).Description)
}

// summary is the Markdown of the run, the most important part first, as what does not fit
// is cut at the end. A purge that is under way shows neither refusals nor ids, which
// would change at each step.
func (c PurgeCheck) summary(run Check, now time.Time) string {
	p := c.Purge
	w := &budget{left: MaxCheckText - tail}
	head := headline(p, now)
	if c.underWay(now) {
		head = Objects(p.Counts) + " being purged"
	}
	r := Reply{Purge: p, Failed: c.Failed, Others: c.Others, Akamai: c.Akamai, Link: c.Link}
	w.add("**" + head + "**\n\n" + byWhom(p, r.action(now)) + "\n\n")
	if c.Note != "" {
		w.add(c.Note + "\n\n")
	}
	if c.Untold != "" {
		w.add("The commit status can't say this: " + plain(c.Untold) + "\n\n")
	}
	if !c.underWay(now) && len(c.Failed) > 0 {
		w.add("### Refused\n\n" + targetList(c.Failed, p.Counts.Failed) + "\n\n")
	}
	if todo := c.todo(run); todo != "" {
		w.add("### What to do\n\n" + todo + "\n\n")
	}
	if trail := r.trail(now); trail != "" && !c.underWay(now) {
		w.add(trail + "\n")
	}
	return w.done("")
}

// todo says what the reader can do about it; "": nothing has to be done.
func (c PurgeCheck) todo(run Check) string {
	switch {
	case c.Purge.State == ledger.Held && !awaitsOrigin(c.Purge):
		return "Check what it would purge, then press **Release** to send it or **Cancel** to discard it, or comment `/purge release` or " +
			"`/purge cancel` on a pull request. Nothing is purged until then. Later deployments are not affected."
	case run.Conclusion != "failure":
		return ""
	}
	var hints []string
	if reasons := reasonsOf(c.Failed); strings.Contains(reasons, "policy") {
		hints = append(hints, "Your purgebot operator can allow this, or you can remove it from the rules.")
	}
	return strings.Join(append(hints, "Fix the cause above, then press **Retry**, or comment `/purge retry` on a pull request. "+
		"Only the refused items are sent, under the current policy."), " ")
}

func reasonsOf(targets []ledger.Target) string {
	var all []string
	for _, t := range targets {
		all = append(all, t.Reason)
	}
	return strings.Join(all, "\n")
}

// NotPressed is the answer, in the check run, to a person whose press of a button did
// nothing. button and what are Markdown of purgebot's.
func NotPressed(login, button, what string) string {
	return fmt.Sprintf("%s pressed *%s*. %s", Quote(login), button, what)
}
