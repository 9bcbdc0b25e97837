package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/printable"
)

// maxNotice is how many characters an event has at most.
const maxNotice = 1000

// Notice says an event in one line, for a chat. Text of others in it makes no mention and
// no link, and hides nothing.
func Notice(e ledger.Event) string {
	words := ""
	switch {
	case e.Purge != nil:
		words = noticeOfPurge(e)
	case e.Pause != nil:
		words = noticeOfPause(e)
	case e.Silence != nil:
		words = noticeOfSilence(e)
	}
	return asleep(Cut(printable.Text(words, ""), maxNotice))
}

// noticeOfPurge says where and how a purge ended, or that its pages are stale or fresh
// again.
func noticeOfPurge(e ledger.Event) string {
	p := *e.Purge
	about := p.Environment
	for _, repository := range e.Repositories {
		about = repository + " " + about
	}
	if p.To.SHA != "" {
		about += ", " + Short(p.To.SHA)
	}
	words := Purge(p, p.DoneAt).Description
	switch {
	case e.Kind == ledger.EventStale:
		words = fmt.Sprintf("%d of %s still stale after the purge: %s", p.Proof.Stale, Amount(p.Proof.Checked, "page is", "pages are"), strings.TrimSuffix(p.Proof.Words, "."))
	case e.Kind == ledger.EventMended && p.Counts.Failed == 0 && p.Proof.Checked > 0:
		words = "the pages are fresh again: " + words
	case e.Kind == ledger.EventMended:
		words = "the retry worked: " + words
	}
	if p.Cause == ledger.CauseComment {
		words += ", requested by " + p.By
	}
	return about + ": " + words
}

// noticeOfPause says that purges are paused, or go on. By is empty where the pause ended
// by its own time.
func noticeOfPause(e ledger.Event) string {
	p := *e.Pause
	scope := PauseScope(p)
	if e.Kind == ledger.EventPaused {
		until := "until somebody resumes them"
		if !p.Until.IsZero() {
			until = "until " + moment(p.Until)
		}
		return fmt.Sprintf("Purges are paused by %s: %s. Paused: %s, %s", p.By, p.Reason, scope, until)
	}
	how := "resumed by " + e.By
	if e.By == "" {
		how = "the pause by " + p.By + " is over"
	}
	return fmt.Sprintf("Purges continue: %s (%s). %s with %s are sent now", how, scope,
		Amount(e.Waiting.Purges, "purge", "purges"), Amount(e.Waiting.Objects, "item", "items"))
}

// noticeOfSilence says that an installation's webhooks don't arrive, or arrive again.
// Failed above 0 means that GitHub itself lists failures; otherwise the silence is only
// longer than usual.
func noticeOfSilence(e ledger.Event) string {
	s := *e.Silence
	of := "GitHub's webhooks"
	if s.Account != "" {
		of += " of " + s.Account
	}
	const look = ". Look at Recent Deliveries on the App's Advanced page"
	switch {
	case e.Kind == ledger.EventMended:
		return of + " arrive again"
	case s.Failed > 0:
		return fmt.Sprintf("%s don't arrive: GitHub lists %d as failed. purgebot asks for them again%s", of, s.Failed, look)
	}
	return fmt.Sprintf("%s don't arrive: the last one came at %s, before that the longest time without one was %s%s",
		of, moment(s.Last), Amount(int(s.Habit.Round(time.Hour).Hours()), "hour", "hours"), look)
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
