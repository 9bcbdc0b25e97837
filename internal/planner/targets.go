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

// Done reports whether an object was purged that way already.
type Done func(kind mapping.Kind, object string, action mapping.Action) bool

// Change is what Map maps.
type Change struct {
	Environment string           // as GitHub names it
	Old         *mapping.File    // the rules that removed files go by; nil: the same
	Files       []mapping.Change // that changed
	Rollback    bool
	Rebuild     bool // nothing changed: the commit was built anew
	Done        Done // leaves out what was purged already; nil: nothing was

	Steps   int // that mapping may take; 0: as many as a whole site may
	By      policy.By
	Action  mapping.Action   // of all targets; "": as the rules say
	Objects []mapping.Target // that were named beside the files
}

// Targets are what a change purges, can't, and why. They are made anew each
// time that they are ranged over; Release gives back their room.
type Targets struct {
	mapping.Plan
	Held   string        // why it needs approval, in public words; "": it does not
	Judge  *policy.Judge // whose account is that of all targets
	Counts ledger.Counts // of those that can be sent

	again  iter.Seq[mapping.Target] // in the plan's place: of an earlier purge
	named  []mapping.Target         // that the plan does not have
	n      int
	change Change
	grant  policy.Grant
}

// Unplannable says, in public words, what is wrong with rules that no waiting
// makes a plan of.
func Unplannable(err error) (words string, ok bool) {
	for _, fault := range []error{mapping.ErrTooLarge, mapping.ErrTooSlow} {
		if errors.Is(err, fault) {
			return fault.Error(), true
		}
	}
	return "", false
}

// Map is the last stage: what changed, by a rules file and the policy. Its
// errors are mapping's.
func (p *Planner) Map(ctx context.Context, repo ledger.Repository, file *mapping.File, c Change) (Targets, error) {
	return mapTargets(ctx, repo, file, p.Policy().For(repo.FullName()), c, p.room)
}

// mapTargets plans and judges, once or, for a rollback, perhaps twice: by
// rollback_action, and where the operator's bounds don't let that go, by action.
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
		// A rollback's delete is a default that nobody asked for, and it is
		// never held: where the operator has a bound it goes by `action`.
		t.Release()
		q.Rollback = false
	}
	t.Held = t.held()
	return t, nil
}

// Again are the targets of an earlier purge of the same commit, judged and held
// as they would be if they were planned now. file is the commit's; nil: it has
// none any more.
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

// All gives the targets as the rules and the person want them.
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

// Judged gives the targets with the reason of each that can't go out.
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

// Verdict judges the targets once more, for who writes them down.
func (t *Targets) Verdict() func(mapping.Target) string { return t.grant.Judge(t.change.By).Check }

// Len counts the targets.
func (t *Targets) Len() int { return t.n }

// judge keeps account of all targets, and of what was named those that the
// rules don't give.
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

// mayRollBack reports whether the operator lets a rollback delete as the
// rules' rollback_action says.
func (t *Targets) mayRollBack() bool {
	over := t.grant.HoldOver().Delete
	return t.Judge.Barred == 0 && (over == 0 || t.Judge.Deletes <= over)
}

// held decides whether a purge needs approval, by the rules' limits and
// the operator's hold_over. A rollback never does: what it puts right is
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

// words are what the targets' purge says of itself beside its counts: why it
// waits, what it leaves out, that no rule matches some files.
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
