package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// planReport is what plan prints, as JSON or as text. Lists are never null.
type planReport struct {
	Environment string            `json:"environment"`
	Network     mapping.Network   `json:"network"`
	Action      mapping.Action    `json:"action"` // of the URLs
	Rollback    bool              `json:"rollback"`
	From        string            `json:"from"`
	To          string            `json:"to"`
	Targets     planTargets       `json:"targets"`
	Failed      []planFailure     `json:"failed"`
	Unmatched   []string          `json:"unmatched"`
	Warn        bool              `json:"unmatched_warn"`
	Held        bool              `json:"held"`
	Limit       *planLimit        `json:"limit,omitempty"`
	Requests    int               `json:"requests"`
	Budget      []planBudget      `json:"budget"`
	Explain     []planExplanation `json:"explain,omitempty"`
}

type planTargets struct {
	URLs    []string      `json:"urls"`
	Tags    []string      `json:"tags"`
	CPCodes []json.Number `json:"cpcodes"`
}

type planFailure struct {
	Kind   mapping.Kind `json:"kind"`
	Object string       `json:"object"`
	Reason string       `json:"reason"`
	Rule   string       `json:"rule"`
	Path   string       `json:"path"`
}

type planLimit struct {
	Over   int  `json:"over"`
	URLs   int  `json:"urls"` // that the rules gave
	Hold   bool `json:"hold"`
	Waived bool `json:"waived"`
}

type planExplanation struct {
	Kind   mapping.Kind   `json:"kind"`
	Object string         `json:"object"`
	Action mapping.Action `json:"action"`
	Rule   string         `json:"rule"`
	Path   string         `json:"path"`
}

// planBudget is what the plan takes of one of the account's buckets.
type planBudget struct {
	Kind      mapping.Kind `json:"kind"`
	Objects   int          `json:"objects"`
	Bucket    int          `json:"bucket"`     // objects that a full bucket holds
	PerMinute int          `json:"per_minute"` // objects that flow back
	Share     float64      `json:"share"`      // Objects / Bucket; above 1 the purge waits for the refill
	Requests  int          `json:"requests"`
}

func newPlanReport(plan mapping.Plan, from, to string, rollback bool) planReport {
	r := planReport{
		Environment: plan.Environment.Name, Network: plan.Environment.Network, Action: plan.Action,
		Rollback: rollback, From: from, To: to, Warn: plan.WarnUnmatched, Held: plan.Held,
		Targets: planTargets{URLs: []string{}, Tags: []string{}, CPCodes: []json.Number{}},
		Failed:  []planFailure{}, Unmatched: []string{}, Budget: []planBudget{},
	}
	for _, path := range plan.Unmatched {
		r.Unmatched = append(r.Unmatched, strings.ToValidUTF8(path, "\ufffd"))
	}
	if l := plan.Limit; l != nil {
		r.Limit = &planLimit{Over: l.Over, URLs: plan.URLs, Hold: l.Hold, Waived: l.Waived}
	}
	for _, t := range plan.Targets {
		r.add(t)
	}
	cpcodes := make([]string, len(r.Targets.CPCodes))
	for i, code := range r.Targets.CPCodes {
		cpcodes[i] = code.String()
	}
	// The buckets are Akamai's, from https://techdocs.akamai.com/purge-cache/reference/rate-limiting
	r.addBudget(planBudget{Kind: mapping.URL, Bucket: 10_000, PerMinute: 12_000}, r.Targets.URLs)
	r.addBudget(planBudget{Kind: mapping.Tag, Bucket: 5_000, PerMinute: 500}, r.Targets.Tags)
	r.addBudget(planBudget{Kind: mapping.CPCode, Bucket: 300, PerMinute: 30}, cpcodes)
	return r
}

func (r *planReport) add(t mapping.Target) {
	path := strings.ToValidUTF8(t.Path, "\ufffd")
	if t.Reason != "" {
		r.Failed = append(r.Failed, planFailure{t.Kind, t.Object, t.Reason, t.Rule, path})
		return
	}
	switch t.Kind {
	case mapping.URL:
		r.Targets.URLs = append(r.Targets.URLs, t.Object)
	case mapping.Tag:
		r.Targets.Tags = append(r.Targets.Tags, t.Object)
	case mapping.CPCode:
		r.Targets.CPCodes = append(r.Targets.CPCodes, json.Number(t.Object))
	}
	r.Explain = append(r.Explain, planExplanation{t.Kind, t.Object, t.Action, t.Rule, path})
}

func (r *planReport) addBudget(b planBudget, objects []string) {
	if len(objects) == 0 {
		return
	}
	b.Objects, b.Share = len(objects), float64(len(objects))/float64(b.Bucket)
	packer := purger.NewPacker(purger.Kind(b.Kind), b.Bucket)
	b.Requests = 1
	for _, object := range objects {
		if !packer.Add(object) {
			packer = purger.NewPacker(purger.Kind(b.Kind), b.Bucket)
			packer.Add(object)
			b.Requests++
		}
	}
	r.Requests += b.Requests
	r.Budget = append(r.Budget, b)
}

// text is the plan for people.
func (r *planReport) text(explain bool) string {
	var b strings.Builder
	what := "Deploying"
	if r.Rollback {
		what = "Rolling back to"
	}
	fmt.Fprintf(&b, "%s %s over %s in %s (Akamai's %s network) purges %s.\n",
		what, short(r.To), short(r.From), r.Environment, r.Network, r.counts())
	if l := r.Limit; l != nil {
		fmt.Fprintf(&b, "%s exceed the limit of %d: %s.\n", plural(l.URLs, "URL"), l.Over, l.words())
	}
	r.writeTargets(&b, explain)
	if len(r.Failed) > 0 {
		fmt.Fprintf(&b, "\nCan't be sent as written:\n")
	}
	for _, f := range r.Failed {
		fmt.Fprintf(&b, "  %s %s: %s%s\n", f.Kind, printable(f.Object), f.Reason, because(true, f.Rule, f.Path))
	}
	if len(r.Unmatched) > 0 {
		words := "No rule matches"
		if r.Warn {
			words = "Warning: no rule matches"
		}
		fmt.Fprintf(&b, "\n%s %s:\n", words, plural(len(r.Unmatched), "changed file"))
	}
	for _, path := range r.Unmatched {
		fmt.Fprintf(&b, "  %s\n", printable(path))
	}
	if r.Requests > 0 {
		fmt.Fprintf(&b, "\n%s to Akamai.\n", plural(r.Requests, "request"))
	}
	for _, u := range r.Budget {
		fmt.Fprintf(&b, "  %s: %d, %s of the %d that Akamai takes at once; %d a minute flow back\n",
			kindPlural(u.Kind), u.Objects, percent(u.Share), u.Bucket, u.PerMinute)
	}
	return b.String()
}

func (r *planReport) writeTargets(b *strings.Builder, explain bool) {
	var kind mapping.Kind
	for _, e := range r.Explain {
		if e.Kind != kind {
			kind = e.Kind
			fmt.Fprintf(b, "\n%s, %s:\n", kindPlural(kind), e.Action)
		}
		fmt.Fprintf(b, "  %s%s\n", e.Object, because(explain, e.Rule, e.Path))
	}
}

func (r *planReport) counts() string {
	var counts []string
	for _, c := range []struct {
		n    int
		noun string
	}{{len(r.Targets.URLs), "URL"}, {len(r.Targets.Tags), "tag"}, {len(r.Targets.CPCodes), "CP code"}} {
		if c.n > 0 {
			counts = append(counts, plural(c.n, c.noun))
		}
	}
	if len(counts) == 0 {
		return "nothing"
	}
	return strings.Join(counts, ", ")
}

func (l *planLimit) words() string {
	switch {
	case l.Waived:
		return "a rollback is not held, it goes at once by the file's action"
	case l.Hold:
		return "the purge is held until someone releases it"
	}
	return "what the limit says is purged instead of them"
}

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

func because(explain bool, rule, path string) string {
	if !explain {
		return ""
	}
	return "  (" + rule + ": " + printable(path) + ")"
}

func percent(share float64) string {
	if share < 0.001 {
		return "less than 0.1 %"
	}
	return fmt.Sprintf("%.1f %%", share*100)
}
