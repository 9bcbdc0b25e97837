package store

import (
	"strings"

	"github.com/purgebot/purgebot/internal/ledger"
)

// states is a table whose rows have a state, with the changes that they may go
// through. SQL that writes a state is made here and nowhere else, so that no
// statement does what the ledger's transitions don't say.
type states[S ~string] struct {
	table string
	ledger.Transitions[S]
}

func purgeState() states[ledger.State] { return states[ledger.State]{"purge", ledger.Purges()} }
func targetState() states[ledger.Fate] { return states[ledger.Fate]{"target", ledger.Targets()} }
func requestState() states[ledger.RequestState] {
	return states[ledger.RequestState]{"request", ledger.Requests()}
}

func proofState() states[ledger.ProofState] {
	return states[ledger.ProofState]{"proof", ledger.Proofs()}
}

// change is the statement that makes a change: to those rows alone that are in
// a state in which it can come. set is what else it sets, if anything.
func (s states[S]) change(on ledger.Change, set, where string) string {
	from, to := s.By(on)
	return s.write(from, to, set, where)
}

// reach is change where any change that leads to a state will do, or none: the
// row may have the state already.
func (s states[S]) reach(to S, set, where string) string {
	return s.write(append(s.To(to), to), to, set, where)
}

func (s states[S]) write(from []S, to S, set, where string) string {
	if set != "" {
		set = ", " + set
	}
	return `UPDATE ` + s.table + ` SET state = ` + quote(to) + set + ` WHERE ` + isOne(from) + ` AND ` + where
}

// to is the state that a change leads to.
func (s states[S]) to(on ledger.Change) string {
	_, to := s.By(on)
	return quote(to)
}

// open is the condition that a change can come.
func (s states[S]) open(on ledger.Change) string {
	from, _ := s.By(on)
	return isOne(from)
}

// isOne is the condition that a row has one of some states.
func isOne[S ~string](of []S) string {
	var all []string
	for _, state := range of {
		if state != "" { // is no row's
			all = append(all, quote(state))
		}
	}
	if len(all) == 1 { // as the conditions of partial indexes are written
		return `state = ` + all[0]
	}
	return `state IN (` + strings.Join(all, ", ") + `)`
}

func quote[S ~string](state S) string { return "'" + string(state) + "'" }

// Some conditions add nothing to what is beside them. They are for the
// planners, which use a partial index only for a statement that repeats the
// index's own condition.
const (
	ofRequest = `request_id = $1 AND request_id <> ''`
	unsettled = `state IN ('ready', 'sending')`
	ofParent  = `parent = $1 AND parent <> ''`
	isPaused  = `pause_id > 0`
)
