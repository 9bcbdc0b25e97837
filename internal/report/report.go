// Package report has the words that people read: of a commit status, of a
// purge's page, of an error. It is pure; the same value always gives the same
// words, and the clock is an argument.
package report

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
)

// MaxDescription is how many characters GitHub takes in the description of a
// commit status; it refuses more with 422.
const MaxDescription = 140

// Status is a commit status in words.
type Status struct {
	State       string // GitHub's: pending, success, failure, error
	Description string // at most MaxDescription characters
	// Until is when the words change by the clock alone; zero: never.
	Until time.Time
}

// Context is the context of an environment's commit status.
func Context(environment string) string { return "purge/" + environment }

// Purge is the status of a purge at a moment.
func Purge(p ledger.Purge, now time.Time) Status {
	c := p.Counts
	switch {
	case p.State == ledger.Held:
		return held(p)
	case p.Covered():
		return status("success", "%s", p.Closed)
	case p.State == ledger.Cancelled:
		return status("failure", "cancelled by %s, %d not purged", p.EndedBy, c.Total()-c.Accepted)
	case p.State == ledger.Open && p.Paused != "":
		return status("pending", "%s, waiting: %s", progress(c), p.Paused)
	case p.State == ledger.Open:
		return status("pending", "%s", progress(c))
	case now.Before(p.DoneAt) && c.Accepted > 0:
		s := status("pending", "%s", progress(c))
		s.Until = p.DoneAt
		return s
	case c.Total() == 0:
		return status("success", "%s", join("nothing to purge", p.Note, p.Start))
	case c.Failed > 0:
		return status("failure", "%d purged%s", c.Accepted, refused(c, p.Reason))
	default:
		return status("success", "%s", join(fmt.Sprintf("%s purged in %s", Objects(c), Took(p)), p.Note, p.Start))
	}
}

// held says how to let a purge go, and as much of why it waits as fits. It is
// pending while somebody is waited for, and then a failure: its objects are as
// stale as before.
func held(p ledger.Purge) Status {
	state, why := "pending", "held: "+join(Objects(p.Counts), p.Note)
	if p.Closed != "" {
		state, why = "failure", fmt.Sprintf("held, %s: %s not purged", p.Closed, Objects(p.Counts))
	}
	how := ". /purge release, or purgebot release " + p.ID
	return status(state, "%s%s", Cut(why, MaxDescription-utf8.RuneCountInString(how)), how)
}

// Overtaken says why a held purge is waited for no longer: another commit went
// live.
func Overtaken(sha string) string { return "overtaken by " + Short(sha) }

// HeldLong says why a held purge is waited for no longer: nobody came.
func HeldLong(after time.Duration) string {
	return fmt.Sprintf("for more than %d hours", int(after.Hours()))
}

// steps is in how many steps a purge's progress is told at most. GitHub takes
// 1,000 statuses of a commit and context, and a large purge has more requests.
const steps = 100

// progress says how much of a purge is done, rounded down to a step.
func progress(c ledger.Counts) string {
	told := c
	if step := max(1, c.Total()/steps); c.Left() > 0 {
		told.Accepted -= c.Accepted % step
		told.Failed -= c.Failed % step
	}
	return fmt.Sprintf("%d of %d purged%s", told.Accepted, c.Total(), refused(told, ""))
}

func refused(c ledger.Counts, reason string) string {
	switch {
	case c.Failed == 0:
		return ""
	case reason == "":
		return fmt.Sprintf(", %d refused", c.Failed)
	default:
		return fmt.Sprintf(", %d refused: %s", c.Failed, reason)
	}
}

// join puts remarks behind the words, in brackets.
func join(words string, remarks ...string) string {
	for _, r := range remarks {
		if r != "" {
			words += " (" + r + ")"
		}
	}
	return words
}

// Waits is the status of a pushed commit: what its deployment will purge.
func Waits(c ledger.Counts, environment string) Status {
	if c.Total() == 0 {
		return status("success", "nothing to purge")
	}
	return status("success", "%s %s for %s to deploy", Objects(c), plural(c.Total(), "waits", "wait"), environment)
}

// DeployFailed is the status of a commit whose deployment failed.
func DeployFailed(c ledger.Counts) Status {
	if c.Total() == 0 {
		return status("success", "deploy failed, nothing to purge")
	}
	return status("success", "deploy failed, %s %s for the next one", Objects(c), plural(c.Total(), "waits", "wait"))
}

// Carried is the status of a commit that another one's purge covers.
func Carried(sha string) Status { return status("success", "purged with %s", Short(sha)) }

// Fault is the status of a commit whose purge waits until something is mended.
func Fault(words string) Status { return status("pending", "%s", words) }

// NoRules is the status of a commit that took the rules file away.
func NoRules() Status {
	return status("success", "nothing purged: this commit has no purge-rules.yaml")
}

// Objects counts a purge's objects: "14 URLs, 2 tags".
func Objects(c ledger.Counts) string {
	var parts []string
	for _, p := range []struct {
		n         int
		one, many string
	}{{c.URLs, "URL", "URLs"}, {c.Tags, "tag", "tags"}, {c.CPCodes, "CP code", "CP codes"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, plural(p.n, p.one, p.many)))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// Took is how long a purge took, Akamai's estimate included: "6 s", "3 min".
func Took(p ledger.Purge) string {
	d := p.DoneAt.Sub(p.OpenedAt)
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%d s", max(1, int(d.Round(time.Second).Seconds())))
	case d < 90*time.Minute:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
	default:
		return fmt.Sprintf("%d h", int(d.Round(time.Hour).Hours()))
	}
}

// NoRuleMatches says how many changed files no rule matched.
func NoRuleMatches(n int) string {
	return fmt.Sprintf("%d changed %s no rule", n, plural(n, "file matches", "files match"))
}

// Short is a commit id as people write it.
func Short(sha string) string { return sha[:min(7, len(sha))] }

func status(state, format string, args ...any) Status {
	return Status{State: state, Description: Cut(fmt.Sprintf(format, args...), MaxDescription)}
}

// Cut makes one line of at most limit characters of it, and shows by … that
// something was cut.
func Cut(s string, limit int) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " ")
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return strings.TrimRight(string([]rune(s)[:limit-1]), " ,;:") + "…"
}

// public is what an error that people may read has: words without secrets
// and without the program's insides.
type public interface{ Public() string }

// Public is what people read of an error: the words of the first error in the
// chain that has any, else "" — then the caller says "internal error" and
// where the whole is logged.
func Public(err error) string {
	var p public
	if errors.As(err, &p) {
		return p.Public()
	}
	return ""
}

// Object is an object as people write it in a rules file's tests and in a
// comment: a URL, tag:NAME, cpcode:NUMBER.
func Object(kind mapping.Kind, object string) string {
	if kind == mapping.URL {
		return object
	}
	return string(kind) + ":" + object
}
