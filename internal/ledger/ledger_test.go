package ledger_test

import (
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func point(sha string, deploy, status int64, at time.Duration) ledger.Point {
	return ledger.Point{SHA: sha, Deploy: deploy, Status: status, At: noon.Add(at)}
}

// run is the success of a run that took so long.
func run(sha string, id int64, at, took time.Duration) ledger.Point {
	return ledger.Point{SHA: sha, Status: id, Began: noon.Add(at - took), At: noon.Add(at)}
}

func TestAfter(t *testing.T) {
	for _, test := range []struct {
		name string
		p, q ledger.Point
		want bool
	}{
		{"anything is after nothing", point("a", 1, 1, 0), ledger.Point{}, true},
		{"a later second", point("a", 1, 1, time.Second), point("b", 2, 2, 0), true},
		{"an earlier second, a higher id", point("a", 1, 9, 0), point("b", 2, 2, time.Second), false},
		{"the same second, a higher id", point("a", 1, 3, 0), point("b", 2, 2, 0), true},
		{"the same fact", point("a", 1, 1, 0), point("a", 1, 1, 0), false},
	} {
		if got := test.p.After(test.q); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestNext(t *testing.T) {
	live := point("a", 1, 1, 0)
	for _, test := range []struct {
		name          string
		live, desired ledger.Point
		due           time.Time
		want          ledger.Step
	}{
		{"nothing known", ledger.Point{}, ledger.Point{}, time.Time{}, ledger.StepNone},
		{"live is desired", live, live, time.Time{}, ledger.StepNone},
		{"the first deployment", ledger.Point{}, live, time.Time{}, ledger.StepPlan},
		{"another commit", live, point("b", 2, 2, 1), time.Time{}, ledger.StepPlan},
		{"another commit that settles", live, point("b", 2, 2, 1), noon.Add(time.Second), ledger.StepWait},
		{"it has settled", live, point("b", 2, 2, 1), noon, ledger.StepPlan},
		{"another deployment of the live commit", live, point("a", 2, 2, 1), time.Time{}, ledger.StepResend},
		{"another status of the live deployment", live, point("a", 1, 2, 1), time.Time{}, ledger.StepResend},
	} {
		e := ledger.Environment{Live: test.live, Desired: test.desired, DueAt: test.due}
		if got := e.Next(noon); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestResend(t *testing.T) {
	live, again := point("a", 1, 1, 0), point("a", 2, 2, 10*time.Second)
	for _, test := range []struct {
		name    string
		desired ledger.Point
		first   time.Time
		want    bool
	}{
		{"sent before the later job's success", again, noon.Add(5 * time.Second), true},
		{"sent within the second that GitHub recorded", again, noon.Add(10*time.Second + 900*time.Millisecond), true},
		{"sent after it", again, noon.Add(11 * time.Second), false},
		{"nothing sent yet", again, time.Time{}, false},
		{"the same deployment says so again", point("a", 1, 3, 10*time.Second), noon.Add(5 * time.Second), false},
	} {
		if got := ledger.Resend(live, test.desired, test.first); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	ran, pushed := run("a", 7, 0, time.Minute), point("a", 0, 0, 0)
	for _, test := range []struct {
		name          string
		live, desired ledger.Point
		want          bool
	}{
		{"another run", ran, run("a", 8, 10*time.Second, time.Second), true},
		{"the run once more", ran, run("a", 7, 10*time.Second, time.Second), true},
		{"the run told twice", ran, ran, false},
		{"a push of what is live", pushed, point("a", 0, 1, 10*time.Second), false},
	} {
		if got := ledger.Resend(test.live, test.desired, noon); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestRollback(t *testing.T) {
	live := point("b", 5, 50, 0)
	for _, test := range []struct {
		name            string
		live, desired   ledger.Point
		ancestor, lived bool
		want            bool
	}{
		{"forward", live, point("c", 6, 60, 1), false, false, false},
		{"a newer deployment of an ancestor", live, point("a", 6, 60, 1), true, false, true},
		{"a newer deployment of what was live before", live, point("x", 6, 60, 1), false, true, true},
		{"an older deployment that succeeds last is a crossing", live, point("a", 4, 60, 1), true, true, false},
		{"a push back, where pushes trigger", point("b", 0, 0, 0), point("a", 0, 0, 1), true, false, true},
		{"a run that was begun after it", run("b", 7, 0, time.Minute), run("a", 8, time.Minute, time.Second), true, false, true},
		{"an old run, run again", run("b", 7, 0, time.Minute), run("a", 6, time.Minute, time.Second), false, true, true},
		{"a run that was begun before it and ends last", run("b", 7, 0, time.Minute), run("a", 6, time.Minute, time.Hour), true, true, false},
		{"nothing was live", ledger.Point{}, point("a", 6, 60, 1), true, true, false},
	} {
		if got := ledger.Rollback(test.live, test.desired, test.ancestor, test.lived); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestLane(t *testing.T) {
	for _, test := range []struct {
		cause   ledger.Cause
		targets int
		want    int
	}{
		{ledger.CauseComment, 100_000, ledger.LanePeople},
		{ledger.CauseDeploy, ledger.LargePurge - 1, ledger.LaneDeploy},
		{ledger.CauseRollback, ledger.LargePurge, ledger.LaneLarge},
	} {
		if got := ledger.Lane(test.cause, test.targets); got != test.want {
			t.Errorf("%s of %d: lane %d, want %d", test.cause, test.targets, got, test.want)
		}
	}
}

func TestRebuilt(t *testing.T) {
	live := point("a", 5, 50, 0)
	for _, test := range []struct {
		name    string
		desired ledger.Point
		want    bool
	}{
		{"a later job", point("a", 6, 60, time.Hour), false},
		{"at night", point("a", 6, 60, time.Hour+time.Second), true},
		{"the same deployment says so again", point("a", 5, 60, 2*time.Hour), false},
	} {
		if got := ledger.Rebuilt(live, test.desired, noon, time.Hour); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
