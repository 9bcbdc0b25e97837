package ledger_test

import (
	"slices"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

func TestTransitions(t *testing.T) {
	t.Run("environment", func(t *testing.T) { sound(t, ledger.Environments(), ledger.StepNone) })
	t.Run("purge", func(t *testing.T) { sound(t, ledger.Purges(), "", ledger.Pruned) })
	t.Run("target", func(t *testing.T) { sound(t, ledger.Targets(), "", ledger.Accepted, ledger.Dropped) })
	t.Run("request", func(t *testing.T) {
		sound(t, ledger.Requests(), "", ledger.RequestAccepted, ledger.RequestRefused, ledger.RequestSplit)
	})
	t.Run("proof", func(t *testing.T) { sound(t, ledger.Proofs(), "") })
}

// sound checks that each change leads to one state, that every state can be reached, and
// that only the end states have no way out.
func sound[S ~string](t *testing.T, all ledger.Transitions[S], begins S, ends ...S) {
	t.Helper()
	for i, one := range all {
		if _, to := all.By(one.On); to != one.To {
			t.Errorf("%q leads to %s and to %s", one.On, one.To, to)
		}
		if slices.Contains(all[:i], one) {
			t.Errorf("%v stands twice", one)
		}
		if len(all.To(one.From)) == 0 && one.From != begins {
			t.Errorf("nothing leads to %s", one.From)
		}
		goesOn := slices.ContainsFunc(all, func(next ledger.Transition[S]) bool { return next.From == one.To })
		if ended := slices.Contains(ends, one.To); goesOn == ended {
			t.Errorf("%s goes on: %v; it has ended: %v", one.To, goesOn, ended)
		}
	}
}

func TestNextState(t *testing.T) {
	for _, test := range []struct {
		from ledger.State
		on   ledger.Change
		to   ledger.State
		can  bool
	}{
		{ledger.Held, ledger.Released, ledger.Open, true},
		{ledger.Done, ledger.Retry, ledger.Open, true},
		{ledger.Done, ledger.Abandoned, ledger.Done, false},
		{ledger.Open, ledger.Covered, ledger.Open, false},
		{ledger.Planning, ledger.Abandoned, ledger.Planning, false},
		{ledger.Cancelled, ledger.Retry, ledger.Cancelled, false},
	} {
		if to, can := ledger.Purges().Next(test.from, test.on); to != test.to || can != test.can {
			t.Errorf("%s, %q: %s, %v", test.from, test.on, to, can)
		}
	}
}

// What the table says of an environment is what Next derives from its commits.
func TestEnvironmentsDoWhatTheirTransitionsSay(t *testing.T) {
	live, other := point("a", 1, 1, 0), point("b", 2, 2, time.Second)
	soon := noon.Add(time.Minute)
	in := map[ledger.Step]ledger.Environment{
		ledger.StepNone:   {Live: live, Desired: live},
		ledger.StepWait:   {Live: live, Desired: other, DueAt: soon},
		ledger.StepPlan:   {Live: live, Desired: other},
		ledger.StepResend: {Live: live, Desired: point("a", 2, 2, time.Second)},
	}
	for _, test := range ledger.Environments() {
		e, now := in[test.From], noon
		if step := e.Next(now); step != test.From {
			t.Fatalf("%v is to %s, want %s", e, step, test.From)
		}
		switch test.On { //nolint:exhaustive // an environment's changes
		case ledger.Deployed:
			e, _, _ = e.Deployed(ledger.Deploy{Point: point("c", 3, 3, 2*time.Second)}, time.Time{})
		case ledger.DeployedDue:
			e, _, _ = e.Deployed(ledger.Deploy{Point: point("c", 3, 3, 2*time.Second)}, soon)
		case ledger.Redeployed:
			e, _, _ = e.Deployed(ledger.Deploy{Point: point("a", 3, 3, 2*time.Second)}, time.Time{})
		case ledger.FellDue:
			now = soon
		case ledger.LiveMoved:
			e.Live = e.Desired
		default:
			t.Errorf("%q is no change of an environment", test.On)
		}
		if got := e.Next(now); got != test.To {
			t.Errorf("%s, %q: %s, want %s", test.From, test.On, got, test.To)
		}
	}
}

func TestDeployed(t *testing.T) {
	live, desired := point("a", 1, 1, 0), point("b", 2, 2, 10*time.Second)
	late := point("c", 3, 3, 5*time.Second)
	pushed := ledger.Point{SHA: "c", At: late.At}
	pushedLast := pushed
	pushedLast.Status = 1<<63 - 1
	pushedFirst := ledger.Point{SHA: "b", At: late.At}
	for _, test := range []struct {
		name      string
		desired   ledger.Point
		p         ledger.Point
		moved     bool
		overtaken ledger.Point
		tied      bool
	}{
		{"the next commit", live, desired, true, ledger.Point{}, false},
		{"one more before that is planned", desired, point("c", 3, 3, 11*time.Second), true, desired, false},
		{"the same commit once more", desired, point("b", 3, 3, 11*time.Second), true, ledger.Point{}, false},
		{"one that came late", desired, late, false, late, false},
		{"a push that came late orders itself behind what is of its second", desired, pushed, false, pushedLast, false},
		{"a push of the same second, before the branch was asked", pushedFirst, pushed, false, ledger.Point{}, true},
		{"a push of the same second, that the branch says was before", pushedFirst, pushed, false, pushedLast, false},
		{"a late push, before the branch was asked", desired, pushed, false, pushedLast, true},
		{"the desired commit, told late", desired, point("b", 1, 1, 5*time.Second), false, ledger.Point{}, false},
		{"older than what is live", live, point("c", 3, 3, -time.Second), false, point("c", 3, 3, -time.Second), false},
		{"the first of all", ledger.Point{}, desired, true, ledger.Point{}, false},
		{"older than what is live, where nothing is desired yet", ledger.Point{}, point("c", 3, 3, -time.Second), false, point("c", 3, 3, -time.Second), false},
	} {
		e := ledger.Environment{Live: live, Desired: test.desired, Fault: "broken rules", Seq: 4}
		if test.moved && test.desired.IsZero() {
			e.Live = ledger.Point{}
		}
		next, overtaken, moved := e.Deployed(ledger.Deploy{Point: test.p, Tied: test.tied}, noon)
		if moved != test.moved || overtaken != test.overtaken {
			t.Errorf("%s: moved %v, overtaken %v", test.name, moved, overtaken)
		}
		want := e
		if test.moved {
			want.Desired, want.DueAt, want.Fault, want.Seq = test.p, noon, "", 5
		}
		if next != want {
			t.Errorf("%s: %v, want %v", test.name, next, want)
		}
	}
}
