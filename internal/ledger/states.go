package ledger

import "slices"

// RequestState is the state of a request to Akamai.
type RequestState string

// The states of a request.
const (
	RequestReady    RequestState = "ready"   // waits to be sent again
	RequestSending  RequestState = "sending" // a process has claimed it, for the length of a lease
	RequestAccepted RequestState = "accepted"
	RequestRefused  RequestState = "refused" // nothing of it is left to send
	RequestSplit    RequestState = "split"   // two others carry what it had
)

// Change is something that changes a state. Its text is what docs/architecture.md shows.
type Change string

// The changes.
const (
	// Of an environment.
	Deployed    Change = "another commit is deployed"
	DeployedDue Change = "another commit is deployed, and settles"
	Redeployed  Change = "the live commit is deployed again"
	FellDue     Change = "it has settled"
	LiveMoved   Change = "live moves to desired"

	// Of a purge.
	Planned   Change = "planned"
	Opened    Change = "opened"
	HeldBack  Change = "held for a person or for the origin"
	Emptied   Change = "nothing of it may be sent"
	Released  Change = "released by a person"
	OriginHas Change = "the origin serves it, or was waited for long enough"
	Retry     Change = "retried"
	Ended     Change = "its last target ended"
	Abandoned Change = "cancelled by a person"
	Covered   Change = "a later purge sends all of it"
	Prune     Change = "kept for long enough, or its plan came to nothing"

	// Of a target.
	Allowed    Change = "allowed"
	Disallowed Change = "disallowed by policy"
	Claim      Change = "claimed for a request"
	PutBack    Change = "paused"
	Accept     Change = "accepted by Akamai"
	Refuse     Change = "refused by Akamai"
	HostLimit  Change = "Akamai refuses its host"
	Drop       Change = "its purge was cancelled"

	// Of a request; and Accept, Refuse, Emptied.
	Send    Change = "sent"
	Wait    Change = "to be sent again"
	Split   Change = "split"
	SplitOf Change = "made by a split"

	// Of a proof; and OriginHas, Released, Retry.
	Asked     Change = "asked for"
	AskedHeld Change = "asked for, its purge held"
	Late      Change = "the origin was too late"
	Mended    Change = "stale pages are purged once more"
	Looked    Change = "its pages were looked at"
	Closed    Change = "nothing more is asked for"
)

// Transition is a change that can come in a state, and the state to which it leads. The
// empty state stands for what is not there yet.
type Transition[S ~string] struct {
	From S
	On   Change
	To   S
}

// Transitions are all that one noun may go through. What is not among them does not
// happen: the store writes a state only by one of these changes, and only in rows that
// are in a state in which the change can come.
type Transitions[S ~string] []Transition[S]

// Next gives the state after a change; false: the change can't come in this state.
func (all Transitions[S]) Next(from S, on Change) (S, bool) {
	i := slices.IndexFunc(all, func(t Transition[S]) bool { return t.From == from && t.On == on })
	if i < 0 {
		return from, false
	}
	return all[i].To, true
}

// By gives the states in which a change can come, and the state to which it leads. The
// tables keep to one target state for each change: the SQL that writes it has only one.
func (all Transitions[S]) By(on Change) (from []S, to S) {
	for _, t := range all {
		if t.On == on {
			from, to = append(from, t.From), t.To
		}
	}
	return from, to
}

// To gives the states from which any change leads to a state, each once.
func (all Transitions[S]) To(to S) (from []S) {
	for _, t := range all {
		if t.To == to && !slices.Contains(from, t.From) {
			from = append(from, t.From)
		}
	}
	return from
}

// Environments are the transitions of an environment. Its state is not stored:
// [Environment.Next] derives it from the two commits and the time. The tables are
// functions, not variables, so that nobody can change them.
func Environments() Transitions[Step] {
	return Transitions[Step]{
		{StepNone, Deployed, StepPlan},
		{StepNone, DeployedDue, StepWait},
		{StepNone, Redeployed, StepResend},
		{StepWait, FellDue, StepPlan},
		{StepWait, Deployed, StepPlan},
		{StepPlan, Deployed, StepPlan},
		{StepPlan, DeployedDue, StepWait},
		{StepPlan, Redeployed, StepResend},
		{StepPlan, LiveMoved, StepNone},
		{StepResend, Deployed, StepPlan},
		{StepResend, DeployedDue, StepWait},
		{StepResend, LiveMoved, StepNone},
	}
}

// Purges are the transitions of a purge. A pause is not a state: it keeps an open purge's
// targets waiting. A retry leaves an open purge open, so that both states need only one
// change.
func Purges() Transitions[State] {
	return Transitions[State]{
		{"", Planned, Planning},
		{Planning, Opened, Open},
		{Planning, HeldBack, Held},
		{Planning, Emptied, Done},
		{Held, Emptied, Done},
		{Held, Released, Open},
		{Held, OriginHas, Open},
		{Held, Covered, Cancelled},
		{Held, Abandoned, Cancelled},
		{Open, Abandoned, Cancelled},
		{Open, Ended, Done},
		{Open, Retry, Open},
		{Done, Retry, Open},
		{Planning, Prune, Pruned},
		{Done, Prune, Pruned},
		{Cancelled, Prune, Pruned},
	}
}

// Targets are the transitions of a target. Accepted and dropped targets never change
// again.
func Targets() Transitions[Fate] {
	return Transitions[Fate]{
		{"", Allowed, Waiting},
		{"", Disallowed, Failed},
		{Failed, Allowed, Waiting}, // judged anew, by a retry or a release
		{Failed, Disallowed, Failed},
		{Waiting, Disallowed, Failed},
		{Waiting, Claim, Claimed},
		{Claimed, PutBack, Waiting},
		{Claimed, Accept, Accepted},
		{Claimed, Refuse, Failed},
		{Waiting, HostLimit, Failed},
		{Claimed, HostLimit, Failed},
		{Waiting, Drop, Dropped},
		{Claimed, Drop, Dropped},
	}
}

// Requests are the transitions of a request. A request that is being sent may be sent
// again when its lease is over: the process that sent it is gone, and nobody knows
// whether Akamai got it. To purge twice does no harm; not to purge leaves stale pages.
func Requests() Transitions[RequestState] {
	return Transitions[RequestState]{
		{"", Send, RequestSending},
		{"", SplitOf, RequestReady},
		{RequestReady, Send, RequestSending},
		{RequestSending, Send, RequestSending},
		{RequestSending, Wait, RequestReady},
		{RequestSending, Accept, RequestAccepted},
		{RequestSending, Refuse, RequestRefused},
		{RequestReady, Emptied, RequestRefused},
		{RequestSending, Emptied, RequestRefused},
		{RequestReady, Split, RequestSplit},
		{RequestSending, Split, RequestSplit},
	}
}

// Proofs are the transitions of a purge's proof.
func Proofs() Transitions[ProofState] {
	return Transitions[ProofState]{
		{"", AskedHeld, ProofOrigin},
		{"", Asked, ProofPurged},
		{ProofOrigin, OriginHas, ProofPurged},
		{ProofOrigin, Released, ProofPurged},
		{ProofOrigin, Late, ProofPurged}, // its purge stays held
		{ProofPurged, Mended, ProofAgain},
		{ProofAgain, Retry, ProofPurged},
		{ProofWarm, Retry, ProofPurged},
		{ProofDone, Retry, ProofPurged},
		{ProofPurged, Looked, ProofWarm},
		{ProofAgain, Looked, ProofWarm},
		{ProofOrigin, Drop, ProofDone},
		{ProofPurged, Closed, ProofDone},
		{ProofAgain, Closed, ProofDone},
		{ProofWarm, Closed, ProofDone},
	}
}
