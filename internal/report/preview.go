package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/printable"
	"github.com/purgebot/purgebot/mapping"
)

// PreviewName is the name of the check run on a pull request.
const PreviewName = "Purge preview"

// MaxCheckText is how many characters GitHub takes in a check run's summary, and again in
// its text. Here bytes are counted: a text never has fewer bytes than characters.
const MaxCheckText = 65_535

// Check is a check run in words. Its JSON is how a preview is stored until it is posted,
// so that names of keys must not change.
type Check struct {
	Link        string       `json:"link"`       // of the page with the full list; "": none
	Status      string       `json:"status"`     // in_progress or completed
	Conclusion  string       `json:"conclusion"` // if completed: success, neutral, failure, …
	Title       string       `json:"title"`
	Summary     string       `json:"summary"` // Markdown of at most MaxCheckText characters
	Text        string       `json:"text"`    // Markdown of at most MaxCheckText characters
	Annotations []Annotation `json:"annotations"`
	Buttons     []Button     `json:"buttons"`

	cut bool
}

// Cut reports whether something was left out because GitHub would not take it.
func (c Check) Cut() bool { return c.cut }

// Annotation is a remark on a line of a file.
type Annotation struct {
	Path    string `json:"path"`
	Line    int    `json:"line"`    // counted from 1
	Column  int    `json:"column"`  // counted from 1; 0: the whole line
	Level   string `json:"level"`   // failure, warning or notice
	Message string `json:"message"` // as plain text
}

// Button is a button of a check run. GitHub takes three of them.
type Button struct {
	Label       string `json:"label"`       // at most 20 characters
	Description string `json:"description"` // at most 40 characters
	Identifier  string `json:"identifier"`  // at most 20 characters
}

// Preview is what merging a pull request and deploying it would purge.
type Preview struct {
	Base         string // the branch that it would be merged into
	SHA          string // the head of Base, whose rules count
	Shared       string // OWNER/NAME@SHA of another repository's rules that count too, or alone; "": none do
	Files        int    // number of files that it changes
	Cut          bool   // it changes more files, which GitHub does not list
	Fault        string // why the base's rules can't be used; "": they can, or there are none
	Environments []PreviewEnvironment
	Unmatched    []string      // changed files that no rule matches
	Rules        *PreviewRules // the pull request's own rules; nil: it does not change them
	Link         string        // of the page with the whole Listing; "": none

	// Fails are what the operator wants a preview to fail for.
	Fails struct{ Refused, Held, Unmatched bool }
}

// PreviewEnvironment is what an environment would purge.
type PreviewEnvironment struct {
	Name    string
	Network mapping.Network
	Targets []mapping.Target // a target that would be refused has a Reason
	Limit   *mapping.Limit   // the limit of the rules that applies; nil: none
	URLs    int              // number of URLs before a limit replaced them
	Held    string           // why it would need approval; "": it would not
	Fault   string           // why there are no targets; "": there are
	Unheard string           // why purgebot does not hear of its deployments; "": it does
}

// PreviewRules is what a pull request's own rules file says. It is shown and decides
// nothing.
type PreviewRules struct {
	Path    string
	Gone    bool   // the pull request removes the file
	Fault   string // why it can't be read at all; "": it can
	Faults  mapping.Faults
	Reach   []mapping.RuleReach // how many files of the pull request's tree each rule matches; nil: not known
	Changes []RulesChange
}

// RulesChange is what an environment would purge for the same files by the pull request's
// rules and not by today's (More), and the other way round (Less).
type RulesChange struct {
	Environment   string
	More, Less    []mapping.Target
	Added         bool // today's rules don't name the environment
	Dropped       bool // the pull request's rules don't name the environment
	BeyondCompare string
}

// broken reports whether purges would stop once the pull request's rules are merged.
func (r *PreviewRules) broken() bool {
	return r != nil && !r.Gone && (r.Fault != "" || r.Faults.HasErrors())
}

// failing says for which of its findings the operator wants the preview to fail; "": for
// none.
func (p Preview) failing() string {
	var why []string
	refused, held := 0, false
	for _, e := range p.Environments {
		refused += len(e.refused())
		held = held || e.Held != ""
	}
	if p.Fails.Refused && refused > 0 {
		why = append(why, Amount(refused, "item", "items")+" would be refused")
	}
	if p.Fails.Held && held {
		why = append(why, "a purge would need approval")
	}
	if p.Fails.Unmatched && len(p.Unmatched) > 0 {
		why = append(why, NoRuleMatches(len(p.Unmatched)))
	}
	return strings.Join(why, "; ")
}

// Check renders the preview. Its conclusion is neutral, so that it does not stop a merge,
// unless the pull request's rules file is broken or the operator wants it to fail.
func (p Preview) Check() Check {
	c := Check{Status: "completed", Conclusion: "neutral", Title: p.title(), Link: p.Link}
	if p.Rules.broken() || p.failing() != "" {
		c.Conclusion = "failure"
	}
	c.Annotations = p.Rules.annotations()
	summary, text := p.summary(), p.text()
	c.Summary, c.Text, c.cut = summary.done(p.whole()), text.done(p.whole()), summary.full || text.full
	return c
}

// title is one line: first what is wrong, else what would be purged in each environment.
func (p Preview) title() string {
	if p.Rules.broken() {
		n := max(1, len(p.Rules.Faults.Errors()))
		return Amount(n, "error", "errors") + " in the rules file"
	}
	var parts []string
	for _, e := range p.Environments {
		if e.Unheard != "" {
			return Cut(plain(e.Name)+": "+e.Unheard, MaxDescription)
		}
		c := e.counts()
		if e.Fault != "" {
			parts = append(parts, tooMuch+" in "+plain(e.Name))
		}
		if c.Total() > 0 {
			part := Objects(c) + " in " + plain(e.Name)
			if e.Held != "" {
				part += " (needs approval)"
			}
			parts = append(parts, part)
		}
	}
	switch {
	case p.Fault != "":
		return "The rules on " + plain(p.Base) + " have an error"
	case len(parts) == 0:
		return nothing
	}
	return Cut("Would purge "+strings.Join(parts, "; "), MaxDescription)
}

// plain makes somebody else's text harmless where no Markdown is read.
func plain(s string) string { return asleep(printable.Text(s, "")) }

// counts counts the targets that can be sent.
func (e PreviewEnvironment) counts() (c ledger.Counts) {
	for _, t := range e.Targets {
		if t.Reason == "" {
			c.Add(t.Kind)
		}
	}
	return c
}

// refused lists the targets that would be refused.
func (e PreviewEnvironment) refused() (all []mapping.Target) {
	for _, t := range e.Targets {
		if t.Reason != "" {
			all = append(all, t)
		}
	}
	return all
}

// summary has the counts first, then what is missing, wrong or unmatched. What does not
// fit is cut at the end.
func (p Preview) summary() *budget {
	w := &budget{left: MaxCheckText - tail - len(p.Link)}
	switch {
	case p.Fault != "":
		w.add("The rules on " + Quote(p.Base) + " have an error, so purges of deployments from there wait: " + Quote(p.Fault) + "\n\n")
	case len(p.Environments) == 0 && p.SHA == "":
		w.add("There is no rules file on " + Quote(p.Base) + " yet.\n\n")
	case len(p.Environments) == 0:
		w.add("No environment in the rules is deployed from " + Quote(p.Base) + ".\n\n")
	default:
		w.add(p.table())
	}
	if why := p.failing(); why != "" {
		w.add("**Failed, as the purgebot operator's policy asks:** " + why + ".\n\n")
	}
	if p.Cut {
		w.add(fmt.Sprintf("**Incomplete list.** GitHub lists only the first %s of a pull request. "+
			"The deployment will purge what all of them change.\n\n", Amount(p.Files, "file", "files")))
	}
	p.Rules.write(w)
	if len(p.Environments) > 0 {
		shared := ""
		if name, sha, ok := strings.Cut(p.Shared, "@"); ok {
			shared = fmt.Sprintf(" with the rules of %s (%s)", Quote(name), Quote(sha))
		}
		w.add(fmt.Sprintf("Uses the rules on %s (%s)%s. The deployment will also purge what other commits changed. "+
			"Comment `/purge --dry-run` to check again.\n\n", Quote(p.Base), Quote(Short(p.SHA)), shared))
	}
	if len(p.Unmatched) > 0 {
		w.add(fmt.Sprintf("### No rule matches %s\n\n", Amount(len(p.Unmatched), "changed file", "changed files")))
		w.list(slices.Collect(quoted(p.Unmatched)), "- ")
	}
	return w
}

// whole says where the full list is.
func (p Preview) whole() string {
	if p.Link == "" {
		return "`purgebot plan` shows the full list, from a local clone."
	}
	return "[Full details](" + p.Link + ")."
}

// table has one row of counts for each environment.
func (p Preview) table() string {
	var b strings.Builder
	b.WriteString("| environment | network | would purge | |\n| --- | --- | --- | --- |\n")
	for _, e := range p.Environments {
		fmt.Fprintf(&b, "| %s | %s | **%s** | %s |\n", Quote(e.Name), e.Network, e.Amount(), e.remarks())
	}
	b.WriteString("\n")
	return b.String()
}

// tooMuch is said of a plan with more targets than one purge may have.
const tooMuch = "more than one purge can hold"

// Amount says how much would be purged in the environment, or that it is too much.
func (e PreviewEnvironment) Amount() string {
	if e.Fault != "" {
		return tooMuch
	}
	c := e.counts()
	deletes := 0
	for _, t := range e.Targets {
		if t.Reason == "" && t.Action == mapping.Delete {
			deletes++
		}
	}
	s := Objects(c)
	switch {
	case deletes == 0:
	case deletes == c.Total():
		s += ", deleted"
	default:
		s += fmt.Sprintf(", %s of them deleted", Number(deletes))
	}
	return s
}

// remarks is the last column of the table: whatever keeps the counts from being the whole
// answer.
func (e PreviewEnvironment) remarks() string {
	var all []string
	if e.Unheard != "" {
		all = append(all, "**"+asleep(e.Unheard)+"**")
	}
	switch {
	case e.Fault != "":
		all = append(all, Quote(e.Fault))
	case e.Held != "":
		all = append(all, "would need approval: "+Quote(e.Held))
	case e.Limit != nil && !e.Limit.Hold:
		all = append(all, fmt.Sprintf("instead of %s (limit %s)", Amount(e.URLs, "URL", "URLs"), Number(e.Limit.Over)))
	}
	if n := len(e.refused()); n > 0 {
		all = append(all, Number(n)+" more would be refused")
	}
	return strings.Join(all, "; ")
}

// folds is the number of rows above which a table or list is folded.
const folds = 10

// text has a table for each rule of each environment.
func (p Preview) text() *budget {
	w := &budget{left: MaxCheckText - tail - len(p.Link)}
	for _, e := range p.Environments {
		if len(e.Targets) == 0 {
			continue
		}
		w.add(fmt.Sprintf("## %s\n\n", Quote(e.Name)))
		for _, r := range byRule(e.Targets) {
			w.add(fmt.Sprintf("### %s: %s\n\n", Quote(r.name), Amount(len(r.targets), "item", "items")))
			w.table(len(r.targets) > folds, []string{"item", "caused by"}, targetRows(r.targets))
		}
		if refused := e.refused(); len(refused) > 0 {
			w.add(fmt.Sprintf("### Would be refused: %s\n\n", Number(len(refused))))
			w.table(len(refused) > folds, []string{"item", "why"}, refusedRows(refused))
		}
	}
	return w
}

func targetRows(targets []mapping.Target) (rows [][]string) {
	for _, t := range targets {
		object := Quote(Object(t.Kind, t.Object))
		if t.Action == mapping.Delete {
			object += " (delete)"
		}
		rows = append(rows, []string{object, quoteOrNothing(t.Path)})
	}
	return rows
}

func refusedRows(targets []mapping.Target) (rows [][]string) {
	for _, t := range targets {
		rows = append(rows, []string{Quote(Object(t.Kind, t.Object)), Quote(t.Reason)})
	}
	return rows
}

func quoteOrNothing(s string) string {
	if s == "" {
		return ""
	}
	return Quote(s)
}

type ruleTargets struct {
	name    string
	targets []mapping.Target
}

// byRule groups the targets that can be sent by rule, in the order in which the rules
// appear.
func byRule(targets []mapping.Target) (rules []ruleTargets) {
	at := map[string]int{}
	for _, t := range targets {
		if t.Reason != "" {
			continue
		}
		i, ok := at[t.Rule]
		if !ok {
			i = len(rules)
			at[t.Rule] = i
			rules = append(rules, ruleTargets{name: t.Rule})
		}
		rules[i].targets = append(rules[i].targets, t)
	}
	return rules
}
