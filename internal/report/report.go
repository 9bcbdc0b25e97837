// Package report has the words that people read: of a commit status, of a purge's page,
// of an error. It is pure: the same value always gives the same words, and the clock is
// an argument.
//
// Editors who never heard of Akamai read these words, and operators at night. So each
// text says first what is, then what follows, then what to do. Text of others (a path, a
// login, Akamai's own words) goes through quote.go: in Markdown it is nothing but text,
// and mentions nobody. report.go has the commit statuses, which GitHub cuts at
// [MaxDescription]; reply.go and refusal.go have the answers to comments; check.go,
// page.go and proof.go have texts with more room; preview.go has what a pull request
// would purge. The golden files in testdata show all texts.
package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/printable"
	"github.com/purgebot/purgebot/mapping"
)

// MaxDescription is how many characters GitHub takes in the description of a commit
// status; it refuses a longer one with 422.
const MaxDescription = 140

// Status is a commit status in words.
type Status struct {
	State       string // GitHub's: pending, success, failure, error
	Description string // at most MaxDescription characters
	// Until is when the words change by the clock alone; zero: never.
	Until time.Time
	// Lapse is the state that a pending status ends in if what it waits for never comes;
	// "": failure, since somebody has to fix something.
	Lapse string
}

// Context is the context of an environment's commit status.
func Context(environment string) string { return "purge/" + printable.Text(environment, "") }

// Purge is the commit status of a purge at a moment.
func Purge(p ledger.Purge, now time.Time) Status {
	s := purge(p, now)
	if p.Cause == ledger.CauseRebuild {
		s.Description = Cut("rebuilt: "+s.Description, MaxDescription)
	}
	return s
}

// purge is the status without the prefix of a rebuild. The order of the cases matters: a
// held or ended purge has words of its own before its counts are looked at, a pause comes
// before progress, and "purged" is said only once Akamai's estimate (DoneAt) has passed.
func purge(p ledger.Purge, now time.Time) Status {
	c := p.Counts
	switch {
	case awaitsOrigin(p):
		return waitsForOrigin(p)
	case p.State == ledger.Held:
		return held(p)
	case p.Covered():
		return status("success", "%s", p.Closed)
	case p.State == ledger.Cancelled:
		return status("failure", "cancelled by %s, %s not purged", p.EndedBy, Number(c.Total()-c.Accepted))
	case p.State == ledger.Open && p.PausedBy != "":
		return status("pending", "%s, paused by %s", progress(c), p.PausedBy)
	case p.State == ledger.Open && p.Paused != "":
		return status("pending", "%s, waiting: %s", progress(c), p.Paused)
	case p.State == ledger.Open:
		return status("pending", "%s", progress(c))
	case now.Before(p.DoneAt) && c.Accepted > 0:
		s := status("pending", "%s", progress(c))
		s.Until = p.DoneAt
		return s
	case c.Total() == 0:
		return status("success", "%s", join(nothing, p.Note, p.Start))
	case c.Failed > 0:
		return status("failure", "%s purged%s", Number(c.Accepted), refused(c, Refusal(p.Reason)))
	case p.Proof.Checking() || p.Proof.Checked > 0:
		return proved(p)
	default:
		return status("success", "%s", join(fmt.Sprintf("%s purged in %s", Objects(c), Took(p)), p.Note, p.Start))
	}
}

// held says how to approve a purge, and as much of the reason as fits. The status is
// pending while somebody may still approve the purge. Once it is closed it is a failure:
// its pages are as stale as before.
func held(p ledger.Purge) Status {
	state, why := "pending", "Needs approval: "+join(Objects(p.Counts), p.Note)
	if p.Closed != "" {
		still := fmt.Sprintf("Not purged: %s still %s approval", Objects(p.Counts), plural(p.Counts.Total(), "needs", "need"))
		state, why = "failure", join(still, p.Closed)
	}
	const how = `. Comment "/purge release" on a pull request`
	return status(state, "%s%s", Cut(why, MaxDescription-utf8.RuneCountInString(how)), how)
}

// Overtaken says why the status of a held purge is no longer pending: another commit went
// live.
func Overtaken(sha string) string { return "newer deploy " + Short(sha) }

// HeldLong says why the status of a held purge is no longer pending: nobody approved it
// in time.
func HeldLong(after time.Duration) string {
	return fmt.Sprintf("for more than %d hours", int(after.Hours()))
}

// Over is the note of a purge that has more URLs than a limit of the rules.
func Over(limit int) string { return "limit " + Number(limit) }

// steps is how many different texts the progress of one purge has at most. GitHub takes
// 1,000 statuses for a commit and context, and a large purge has more requests than that.
const steps = 100

// progress says how much of a purge is done, rounded down to one of so many steps.
func progress(c ledger.Counts) string {
	told := c
	if step := max(1, c.Total()/steps); c.Left() > 0 {
		told.Accepted -= c.Accepted % step
		told.Failed -= c.Failed % step
		told.Untried -= min(c.Untried, c.Untried%step+c.Failed%step)
	}
	return fmt.Sprintf("%s of %s purged%s", Number(told.Accepted), Number(c.Total()), refused(told, ""))
}

// refused says how many targets were refused by Akamai or policy, and how many were not
// even tried.
func refused(c ledger.Counts, reason string) string {
	words := ""
	if n := c.Failed - c.Untried; n > 0 {
		words = ", " + Number(n) + " refused"
	}
	if c.Untried > 0 {
		words += ", " + Number(c.Untried) + " not tried"
	}
	if words != "" && reason != "" {
		words += ": " + reason
	}
	return words
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

// Waits is the status of a pushed commit: what its deployment will purge. It is a
// success, since a pending status could stop the deployment itself.
func Waits(c ledger.Counts, environment string) Status {
	if c.Total() == 0 {
		return status("success", nothing)
	}
	s := status("success", "%s will be purged when %s deploys", Objects(c), environment)
	s.Lapse = "success" // nobody has to deploy
	return s
}

// DeployFailed is the status of a commit whose deployment failed.
func DeployFailed(c ledger.Counts) Status {
	if c.Total() == 0 {
		return status("success", "Deploy failed: nothing to purge")
	}
	return status("success", "Deploy failed: %s will be purged after the next successful one", Objects(c))
}

// nothing is the status of a commit that changes no page.
const nothing = "Nothing to purge"

// Carried is the status of a commit that the purge of another commit covers.
func Carried(sha string) Status { return status("success", "Purged as part of %s", Short(sha)) }

// Compared says where an environment's first purge starts: what its commit is compared
// with, as "deployment 9661374"; "": nothing, so every file counts as changed.
func Compared(with string) string {
	if with == "" {
		return "first purge, every file"
	}
	return "first purge, compared with " + with
}

// Fault is the status of a commit whose purge waits until somebody fixes something.
func Fault(words string) Status { return status("pending", "%s", words) }

// NoRules is the status of a commit that removed the rules file.
func NoRules() Status {
	return status("success", "Nothing to purge: this commit has no purge-rules.yaml")
}

// Unnamed is what an announced commit's status says once it is live as part of the commit
// sha, whose rules are missing or don't name the environment.
func Unnamed(sha, environment string) string {
	return Cut(fmt.Sprintf("Not purged: the rules of %s don't name %s", Short(sha), environment), MaxDescription)
}

// Objects counts a purge's objects: "14 URLs, 2 tags".
func Objects(c ledger.Counts) string {
	var parts []string
	for _, p := range []struct {
		n         int
		one, many string
	}{{c.URLs, "URL", "URLs"}, {c.Tags, "tag", "tags"}, {c.CPCodes, "CP code", "CP codes"}} {
		if p.n > 0 {
			parts = append(parts, Amount(p.n, p.one, p.many))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// Amount is a number of things, as "14 URLs".
func Amount(n int, one, many string) string { return Number(n) + " " + plural(n, one, many) }

// Number is a count as people read it: from 10,000 on with separators.
func Number(n int) string {
	digits := strconv.Itoa(n)
	if n < 10_000 {
		return digits
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// plural chooses the word that goes with a count.
func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// Took is how long a purge took from its opening, including Akamai's estimate: "6 s", "3
// min".
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
	return "No rule matches " + Amount(n, "changed file", "changed files")
}

// Short is a commit id as people write it.
func Short(sha string) string { return sha[:min(7, len(sha))] }

// status makes a Status whose description fits one line.
func status(state, format string, args ...any) Status {
	return Status{State: state, Description: Line(fmt.Sprintf(format, args...))}
}

// Line makes any text the description of a status: one line, of no more characters than
// GitHub takes.
func Line(words string) string { return Cut(printable.Text(words, ""), MaxDescription) }

// Cut makes one line of at most limit characters of a text; a … shows that something is
// missing.
func Cut(s string, limit int) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " ")
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return strings.TrimRight(string([]rune(s)[:limit-1]), " ,;:") + "…"
}

// Object is an object as people write it in a rules file's tests and in a
// comment: a URL, tag:NAME, cpcode:NUMBER.
func Object(kind mapping.Kind, object string) string {
	if kind == mapping.URL {
		return object
	}
	return string(kind) + ":" + object
}
