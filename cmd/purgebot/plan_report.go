package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// planReport prints a plan as JSON or as text. It ranges over the plan's targets several
// times and makes them again each time, so a million targets take no memory.
type planReport struct {
	*mapping.Plan
	From, To string
	Rollback bool

	urls, tags, cpcodes int                 // targets that can be sent
	failed              int                 // targets that can't be sent as written
	budget              []planBudget        // only of kinds that the plan has
	requests            int                 // to Akamai, of all kinds
	reach               []mapping.RuleReach // of each rule over all files of the commit; only with --explain
}

// planFailure is a target that can't be sent as written. docs/cli.md promises the fields
// of this type and of the next three.
type planFailure struct {
	Kind   mapping.Kind `json:"kind"`
	Object string       `json:"object"`
	Reason string       `json:"reason"`
	Rule   string       `json:"rule"`
	Path   string       `json:"path"`
}

// planLimit is a limit of the rules that the plan exceeds, and what follows from it.
type planLimit struct {
	Over   int  `json:"over"`
	URLs   int  `json:"urls"` // that the rules gave, before a replacement
	Hold   bool `json:"hold"`
	Waived bool `json:"waived"`
}

// planExplanation is a target with the rule and the changed file that caused it.
type planExplanation struct {
	Kind   mapping.Kind   `json:"kind"`
	Object string         `json:"object"`
	Action mapping.Action `json:"action"`
	Rule   string         `json:"rule"`
	Path   string         `json:"path"`
}

// planBudget is what the plan takes from one of the account's token buckets.
type planBudget struct {
	Kind      mapping.Kind `json:"kind"`
	Objects   int          `json:"objects"`
	Bucket    int          `json:"bucket"`     // objects that a full bucket holds
	PerMinute int          `json:"per_minute"` // objects that flow back
	Share     float64      `json:"share"`      // Objects / Bucket; above 1 the purge waits for the refill
	Requests  int          `json:"requests"`
}

// newPlanReport counts the targets, packs them into requests as the sender would, and
// compares the counts with Akamai's buckets. It ranges over all targets once.
func newPlanReport(plan *mapping.Plan, from, to string, rollback bool) *planReport {
	r := &planReport{Plan: plan, From: from, To: to, Rollback: rollback}
	// The sizes of the buckets and their refill are Akamai's:
	// https://techdocs.akamai.com/purge-cache/reference/rate-limiting
	buckets := []struct {
		count *int
		planBudget
		packer *purger.Packer
	}{
		{count: &r.urls, planBudget: planBudget{Kind: mapping.URL, Bucket: 10_000, PerMinute: 12_000}},
		{count: &r.tags, planBudget: planBudget{Kind: mapping.Tag, Bucket: 5_000, PerMinute: 500}},
		{count: &r.cpcodes, planBudget: planBudget{Kind: mapping.CPCode, Bucket: 300, PerMinute: 30}},
	}
	for t := range plan.Targets() {
		if t.Reason != "" {
			r.failed++
			continue
		}
		for i := range buckets {
			if b := &buckets[i]; b.Kind == t.Kind {
				// A packer that refuses an object is full, and the object opens the next
				// request.
				if *b.count++; b.packer == nil || !b.packer.Add(t.Object) {
					b.packer = purger.NewPacker(b.Kind, b.Bucket)
					b.packer.Add(t.Object)
					b.Requests++
				}
			}
		}
	}
	for _, b := range buckets {
		if *b.count > 0 {
			b.Objects, b.Share = *b.count, float64(*b.count)/float64(b.Bucket)
			r.budget, r.requests = append(r.budget, b.planBudget), r.requests+b.Requests
		}
	}
	return r
}

// rebuild reports whether the deployed commit is live already. Then no file changed, and
// the rules' redeploy section decides what is purged.
func (r *planReport) rebuild() bool { return r.From == r.To }

// sent yields the targets of a kind that can be sent; "" means all kinds.
func (r *planReport) sent(kind mapping.Kind) iter.Seq[mapping.Target] {
	return func(yield func(mapping.Target) bool) {
		for t := range r.Targets() {
			if t.Reason == "" && (kind == "" || t.Kind == kind) && !yield(t) {
				return
			}
		}
	}
}

// failures yields the targets that can't be sent as written.
func (r *planReport) failures() iter.Seq[mapping.Target] {
	return func(yield func(mapping.Target) bool) {
		for t := range r.Targets() {
			if t.Reason != "" && !yield(t) {
				return
			}
		}
	}
}

// json writes the plan for programs. Lists are never null, and their fields are written
// as they are computed. Paths may hold bytes that are not UTF-8, which JSON can't carry;
// such bytes become U+FFFD.
func (r *planReport) json(w io.Writer, explain bool) error {
	o := newJSONObject(w)
	o.field("environment", r.Environment.Name)
	o.field("network", r.Environment.Network)
	o.field("action", r.Action) // of the URLs
	o.field("rollback", r.Rollback)
	if r.rebuild() {
		o.field("rebuild", true)
	}
	o.field("from", r.From)
	o.field("to", r.To)
	o.object("targets", func(o *jsonObject) {
		o.list("urls", each(r.sent(mapping.URL), func(t mapping.Target) any { return t.Object }))
		o.list("tags", each(r.sent(mapping.Tag), func(t mapping.Target) any { return t.Object }))
		o.list("cpcodes", each(r.sent(mapping.CPCode), func(t mapping.Target) any { return json.Number(t.Object) }))
	})
	o.list("failed", each(r.failures(), func(t mapping.Target) any {
		return planFailure{t.Kind, t.Object, t.Reason, t.Rule, strings.ToValidUTF8(t.Path, "\ufffd")}
	}))
	o.list("unmatched", each(slices.Values(r.Unmatched), func(path string) any { return strings.ToValidUTF8(path, "\ufffd") }))
	o.field("unmatched_warn", r.WarnUnmatched)
	o.field("held", r.Held)
	if l := r.Limit; l != nil {
		o.field("limit", planLimit{Over: l.Over, URLs: r.URLs, Hold: l.Hold, Waived: l.Waived})
	}
	o.field("requests", r.requests)
	o.list("budget", each(slices.Values(r.budget), func(b planBudget) any { return b }))
	if explain && r.urls+r.tags+r.cpcodes > 0 {
		o.list("explain", each(r.sent(""), func(t mapping.Target) any {
			return planExplanation{t.Kind, t.Object, t.Action, t.Rule, strings.ToValidUTF8(t.Path, "\ufffd")}
		}))
	}
	if explain {
		o.list("rules", each(slices.Values(r.reach), func(rule mapping.RuleReach) any { return rule }))
	}
	return o.end()
}

// each applies a function to each value of a sequence, without collecting them.
func each[T any](all iter.Seq[T], show func(T) any) iter.Seq[any] {
	return func(yield func(any) bool) {
		for one := range all {
			if !yield(show(one)) {
				return
			}
		}
	}
}

// text writes the plan for people. Errors of b are not checked line by line: a
// bufio.Writer keeps its first error, and Flush returns it.
func (r *planReport) text(to io.Writer, explain bool) error {
	b := bufio.NewWriter(to)
	what := fmt.Sprintf("Deploying %s over %s", report.Short(r.To), report.Short(r.From))
	switch {
	case r.rebuild():
		what = "A rebuild of " + report.Short(r.To)
	case r.Rollback:
		what = fmt.Sprintf("Rolling back to %s over %s", report.Short(r.To), report.Short(r.From))
	}
	fmt.Fprintf(b, "%s in %s (Akamai's %s network) purges %s.\n", what, r.Environment.Name, r.Environment.Network, r.counts())
	if l := r.Limit; l != nil {
		fmt.Fprintf(b, "%s are more than the limit of %s: %s.\n", plural(r.URLs, "URL"), report.Number(l.Over), limitWords(*l))
	}
	var kind mapping.Kind
	// The targets come in order of their kind, so a change of the kind starts a heading.
	for t := range r.sent("") {
		if t.Kind != kind {
			kind = t.Kind
			fmt.Fprintf(b, "\n%s, %s:\n", kindPlural(kind), t.Action)
		}
		fmt.Fprintf(b, "  %s%s\n", t.Object, because(explain, t.Rule, t.Path))
	}
	if r.failed > 0 {
		fmt.Fprintf(b, "\nCan't be sent as written:\n")
	}
	for t := range r.failures() {
		fmt.Fprintf(b, "  %s %s: %s%s\n", t.Kind, oneLine(t.Object), t.Reason, because(true, t.Rule, t.Path))
	}
	if len(r.Unmatched) > 0 {
		words := "No rule matches"
		if r.WarnUnmatched {
			words = "Warning: no rule matches"
		}
		fmt.Fprintf(b, "\n%s %s:\n", words, plural(len(r.Unmatched), "changed file"))
	}
	for _, path := range r.Unmatched {
		fmt.Fprintf(b, "  %s\n", oneLine(path))
	}
	if len(r.reach) > 0 {
		fmt.Fprintf(b, "\nHow many of the files of %s each rule fits:\n", report.Short(r.To))
	}
	for _, rule := range r.reach {
		excluded := ""
		if rule.Excluded > 0 {
			excluded = fmt.Sprintf(" (%d excluded)", rule.Excluded)
		}
		fmt.Fprintf(b, "  %6d  %s%s\n", rule.Files, rule.Rule, excluded)
	}
	if r.requests > 0 {
		fmt.Fprintf(b, "\n%s to Akamai.\n", plural(r.requests, "request"))
	}
	for _, u := range r.budget {
		fmt.Fprintf(b, "  %s: %s, %s of the %s allowed at once; refills at %s a minute\n",
			kindPlural(u.Kind), report.Number(u.Objects), percent(u.Share), report.Number(u.Bucket), report.Number(u.PerMinute))
	}
	return b.Flush()
}

// counts is how many objects of each kind are purged, such as "3 URLs, 1 tag".
func (r *planReport) counts() string {
	var counts []string
	for _, c := range []struct {
		n    int
		noun string
	}{{r.urls, "URL"}, {r.tags, "tag"}, {r.cpcodes, "CP code"}} {
		if c.n > 0 {
			counts = append(counts, plural(c.n, c.noun))
		}
	}
	if len(counts) == 0 {
		return "nothing"
	}
	return strings.Join(counts, ", ")
}

// limitWords says what the exceeded limit does with the purge.
func limitWords(l mapping.Limit) string {
	switch {
	case l.Waived:
		return "a rollback needs no approval and is purged by the rules' action"
	case l.Hold:
		return "the purge needs approval"
	}
	return "purged by the limit's replacement instead"
}

// kindPlural is a kind as a heading; an unknown kind is itself.
func kindPlural(k mapping.Kind) string {
	switch k {
	case mapping.URL:
		return "URLs"
	case mapping.Tag:
		return "Tags"
	case mapping.CPCode:
		return "CP codes"
	}
	return string(k)
}

// because names the rule and the file behind a target, in brackets; "" without explain.
func because(explain bool, rule, path string) string {
	if !explain {
		return ""
	}
	return "  (" + rule + ": " + oneLine(path) + ")"
}

// percent writes a share, where 1 is all, as a percentage with one decimal.
func percent(share float64) string {
	if share < 0.001 {
		return "less than 0.1 %"
	}
	return fmt.Sprintf("%.1f %%", share*100)
}
