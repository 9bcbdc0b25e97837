package planner

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/mapping"
)

// Done reports whether an object was already purged with an action that suffices.
type Done func(kind mapping.Kind, object string, action mapping.Action) bool

// Change is what Map maps.
type Change struct {
	Environment string           // as GitHub names it
	Old         *mapping.File    // the rules that removed files go by; nil: those of the call
	Files       []mapping.Change // the files that changed
	Rollback    bool
	Rebuild     bool // nothing changed: the commit was built anew
	Done        Done // says what to leave out; nil: nothing

	Steps   int // of work that mapping may take; 0: as many as a whole site needs
	By      policy.By
	Action  mapping.Action   // of all targets; "": as the rules say
	Objects []mapping.Target // named directly, beside the files
}

// Targets are what a change purges, what it can't purge, and why. The list is not kept in
// memory as a whole: each range over it makes the targets anew. Release gives back the
// room that they take among all plans.
type Targets struct {
	mapping.Plan
	Held   string        // why it needs approval, in public words; "": it does not
	Judge  *policy.Judge // its account covers all targets
	Counts ledger.Counts // of the targets that can be sent

	again  iter.Seq[mapping.Target] // the targets of an earlier purge, instead of the plan's; nil: the plan's
	named  []mapping.Target         // named directly, and not among the plan's
	n      int
	change Change
	grant  policy.Grant
}

// Unplannable says, in public words, what is wrong with rules that give too many targets
// or take too long. ok is false for every other error. Trying again would not help.
func Unplannable(err error) (words string, ok bool) {
	for _, fault := range []error{mapping.ErrTooLarge, mapping.ErrTooSlow} {
		if errors.Is(err, fault) {
			return fault.Error(), true
		}
	}
	return "", false
}

// Map is the last stage: it maps what changed to targets, by a rules file and the policy.
// Its errors are mapping's.
func (p *Planner) Map(ctx context.Context, repo ledger.Repository, file *mapping.File, c Change) (Targets, error) {
	return mapTargets(ctx, repo, file, p.Policy().For(repo.FullName()), c, p.room)
}

// mapTargets plans and judges. A rollback may take two rounds: by rollback_action, and if
// the operator's bounds don't allow that, by action.
func mapTargets(ctx context.Context, repo ledger.Repository, file *mapping.File, grant policy.Grant, c Change, room *mapping.Room) (Targets, error) {
	t := Targets{change: c, grant: grant}
	q := mapping.Query{
		Environment: c.Environment, Owner: repo.Owner, Repo: repo.Name, DefaultBranch: repo.DefaultBranch,
		Rollback: c.Rollback, Old: c.Old, Changes: slices.Values(c.Files), Done: c.Done, Room: room, Steps: c.Steps,
		Allows: grant.Host,
	}
	for _, o := range c.Objects {
		if o.Kind == mapping.URL {
			q.Named = append(q.Named, o.Object)
		}
	}
	plan := file.Plan
	if c.Rebuild {
		plan = file.PlanRebuild
	}
	for {
		var err error
		if t.Plan, err = plan(ctx, q); err != nil {
			return t, err
		}
		t.judge()
		if !q.Rollback || t.mayRollBack() {
			break
		}
		// rollback_action is delete by default, which nobody asked for, and a rollback is
		// never held. So if the operator bounds deletes, the rollback goes by `action`
		// instead.
		t.Release()
		q.Rollback = false
	}
	t.Held = t.held()
	return t, nil
}

// Again gives the targets of an earlier purge of the same commit, judged and held as if
// they were planned now. file is the commit's rules file; nil: it has none any more.
func (p *Planner) Again(repo ledger.Repository, file *mapping.File, rollback bool, earlier iter.Seq[mapping.Target]) Targets {
	t := Targets{again: earlier, grant: p.Policy().For(repo.FullName()), change: Change{Rollback: rollback, By: policy.Deployment()}}
	t.judge()
	if t.URLs = t.Counts.URLs; file != nil {
		t.Limit = file.Limit(t.URLs)
		t.Plan.Held = t.Limit != nil && t.Limit.Hold
	}
	t.Held = t.held()
	return t
}

// All gives the targets with the action that the rules or the person want, and without
// verdicts.
func (t *Targets) All() iter.Seq[mapping.Target] {
	return func(yield func(mapping.Target) bool) {
		all := t.again
		if all == nil {
			all = t.Targets()
		}
		for target := range all {
			if target.Action = cmp.Or(t.change.Action, target.Action); !yield(target) {
				return
			}
		}
		for _, target := range t.named {
			if !yield(target) {
				return
			}
		}
	}
}

// Judged gives the targets, each with the reason why it can't be sent; "": it can.
func (t *Targets) Judged() iter.Seq[mapping.Target] {
	judge := t.Verdict()
	return func(yield func(mapping.Target) bool) {
		for target := range t.All() {
			if target.Reason = judge(target); !yield(target) {
				return
			}
		}
	}
}

// Verdict judges the targets once more while they are written down; the account in Judge
// is not touched.
func (t *Targets) Verdict() func(mapping.Target) string { return t.grant.Judge(t.change.By).Check }

// Len is the number of all targets, refused ones included.
func (t *Targets) Len() int { return t.n }

// judge ranges over all targets once. It counts them, keeps the judge's account, and
// finds which of the named objects the rules don't give: each object must be a target
// once.
func (t *Targets) judge() {
	type key struct {
		kind   mapping.Kind
		object string
	}
	missing := map[key]bool{}
	for _, o := range t.change.Objects {
		missing[key{o.Kind, o.Object}] = true
	}
	t.n, t.Judge, t.Counts, t.named = 0, t.grant.Judge(t.change.By), ledger.Counts{}, nil
	check := func(target mapping.Target) {
		t.n++
		if t.Judge.Check(target) == "" {
			t.Counts.Add(target.Kind)
		}
	}
	for target := range t.All() {
		delete(missing, key{target.Kind, target.Object})
		check(target)
	}
	for _, o := range t.change.Objects {
		if missing[key{o.Kind, o.Object}] {
			delete(missing, key{o.Kind, o.Object})
			o.Action = cmp.Or(t.change.Action, o.Action)
			t.named = append(t.named, o)
			check(o)
		}
	}
}

// mayRollBack reports whether policy allows what rollback_action deletes.
func (t *Targets) mayRollBack() bool {
	over := t.grant.HoldOver().Delete
	return t.Judge.Barred == 0 && (over == 0 || t.Judge.Deletes <= over)
}

// held says why a purge needs approval, by the rules' limits and the operator's
// hold_over; "" if it does not. A rollback never needs one: the fault that it repairs is
// live already.
func (t *Targets) held() string {
	switch {
	case t.change.Rollback:
		return ""
	case t.Plan.Held:
		return report.Over(t.Limit.Over)
	}
	return t.Judge.Held()
}

// words are what the purge says beside its counts: why it is held, else what it leaves
// out, else that no rule matches some files.
func (t *Targets) words() string {
	switch {
	case t.Held != "":
		return t.Held
	case t.Refused > 0:
		return "and " + report.Number(t.Refused) + " more that policy doesn't allow"
	case t.WarnUnmatched && len(t.Unmatched) > 0:
		return report.NoRuleMatches(len(t.Unmatched))
	}
	return ""
}
