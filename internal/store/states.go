package store

import (
	"strings"

	"github.com/purgebot/purgebot/internal/ledger"
)

// states is a table whose rows have a state, with the changes that they may go through.
// All SQL that writes a state is made here, so that no statement does what the ledger's
// transitions do not allow.
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

// change is the statement that makes a change. It touches only rows in a state in which
// the change can come: that condition is what makes a repeated or late change harmless.
// set is what else it sets; "": nothing.
func (s states[S]) change(on ledger.Change, set, where string) string {
	from, to := s.By(on)
	return s.write(from, to, set, where)
}

// reach is like change, for any change that leads to a state. A row that has the state
// already also matches.
func (s states[S]) reach(to S, set, where string) string {
	return s.write(append(s.To(to), to), to, set, where)
}

// write is the UPDATE of change and reach.
func (s states[S]) write(from []S, to S, set, where string) string {
	if set != "" {
		set = ", " + set
	}
	return `UPDATE ` + s.table + ` SET state = ` + quote(to) + set + ` WHERE ` + isOne(from) + ` AND ` + where
}

// to is the state to which a change leads, as SQL.
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
		if state != "" { // the state of what is not there yet: no row has it
			all = append(all, quote(state))
		}
	}
	if len(all) == 1 { // in the form that the conditions of the partial indexes have
		return `state = ` + all[0]
	}
	return `state IN (` + strings.Join(all, ", ") + `)`
}

// quote is a state as an SQL text. States hold no quotation marks.
func quote[S ~string](state S) string { return "'" + string(state) + "'" }

// These conditions have a second term that adds nothing to the first, or repeat what
// stands beside them. They are for the query planners: these use a partial index only for
// a statement that repeats the index's own condition.
const (
	ofRequest = `request_id = $1 AND request_id <> ''`
	unsettled = `state IN ('ready', 'sending')`
	ofParent  = `parent = $1 AND parent <> ''`
	isPaused  = `pause_id > 0`
)

// isShown is the condition of a purge that anybody may see.
const isShown = `state NOT IN ('planning', 'pruned')`
