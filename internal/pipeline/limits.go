package pipeline

import (
	"fmt"

	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/mapping"
)

// rollbackAllowed reports whether the operator lets a rollback delete as its
// rules' rollback_action says.
func rollbackAllowed(grant policy.Grant, targets []mapping.Target) bool {
	deletes := 0
	for _, t := range targets {
		if t.Reason != "" || t.Action != mapping.Delete {
			continue
		}
		deletes++
		if grant.PersonRefusal(t.Kind, t.Object) == "" && grant.Refusal(t.Kind, t.Object, t.Action) != "" {
			return false
		}
	}
	over := grant.HoldOver().Delete
	return over == 0 || deletes <= over
}

// hold decides whether a purge waits for a person, by the rules' limits and
// the operator's hold_over, and says why. A rollback never waits.
func hold(grant policy.Grant, plan mapping.Plan, targets []mapping.Target, rollback bool) (held bool, why string) {
	if rollback {
		return false, ""
	}
	if plan.Held {
		return true, fmt.Sprintf("%d URLs, the rules hold more than %d", plan.URLs, plan.Limit.Over)
	}
	deletes, cpcodes := 0, 0
	for _, t := range targets {
		switch {
		case t.Reason != "":
		case t.Kind == mapping.CPCode:
			cpcodes++
			if t.Action == mapping.Delete {
				deletes++
			}
		case t.Action == mapping.Delete:
			deletes++
		}
	}
	why = grant.HoldOver().Exceeded(deletes, cpcodes)
	return why != "", why
}
