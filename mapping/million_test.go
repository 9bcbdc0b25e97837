package mapping

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/servertest/peak"
)

// wide returns a file of a few KiB. Each path gives hosts times urls objects.
func wide(tb testing.TB, hosts, urls, limit int) *File {
	tb.Helper()
	var b strings.Builder
	b.WriteString("version: 1\nenvironments: {production: {hosts: [")
	for i := range hosts {
		fmt.Fprintf(&b, "h%d.acme.com, ", i)
	}
	b.WriteString("]}}\nrules:\n- match: content/**\n  urls:\n")
	for i := range urls {
		fmt.Fprintf(&b, "  - https://{host}/a-page-in-one-of-many-forms/%03d/{1}\n", i)
	}
	b.WriteString("- {match: '**', tags: [page]}\n")
	if limit > 0 {
		fmt.Fprintf(&b, "limits: [{over: %d, instead: {tags: [everything]}}]\n", limit)
	}
	file, faults := Parse([]byte(b.String()))
	if faults.HasErrors() {
		tb.Fatal(faults)
	}
	return file
}

func pages(n int) func(func(Change) bool) {
	return func(yield func(Change) bool) {
		for i := range n {
			if !yield(Change{fmt.Sprintf("content/some-page-with-a-usual-name-%d.md", i), Modified}) {
				return
			}
		}
	}
}

func TestTooManyTargets(t *testing.T) {
	const paths = MaxTargets/1000 + 1
	for _, c := range []struct {
		name    string
		limit   int
		allows  func(string) bool
		want    error
		targets int
		refused int
	}{
		{name: "without a limit", want: ErrTooLarge},
		{name: "with one that replaces them", limit: 2000, targets: 2},
		{
			name: "of hosts that are refused", allows: func(string) bool { return false },
			targets: maxRefused + 1, refused: paths*1000 - maxRefused,
		},
		{
			name: "of hosts that are refused, but one", allows: func(host string) bool { return host == "h7.acme.com" },
			targets: maxRefused + 1 + paths*100, refused: paths*900 - maxRefused,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			room := NewRoom(MaxTargets + roomStep)
			plan, err := wide(t, 10, 100, c.limit).Plan(t.Context(), Query{Environment: "production", Changes: pages(paths), Allows: c.allows, Room: room})
			if !errors.Is(err, c.want) || plan.Len() != c.targets || plan.Refused != c.refused {
				t.Fatalf("%d targets, %d refused, %v; want %d, %d, %v", plan.Len(), plan.Refused, err, c.targets, c.refused, c.want)
			}
			n, last := 0, Target{}
			for target := range plan.Targets() {
				if n++; n > 1 && (kindOrder(last.Kind) > kindOrder(target.Kind) || last.Kind == target.Kind && last.Object >= target.Object) {
					t.Fatalf("%v after %v", target, last)
				}
				last = target
			}
			if n != c.targets {
				t.Errorf("%d targets made", n)
			}
			if plan.Release(); room.left.Load() != MaxTargets+roomStep {
				t.Errorf("%d of the room left", room.left.Load())
			}
		})
	}
}

// TestPlansShareRoom: a plan that finds no room gives back what it took, and of several
// plans that grow together one gets through.
func TestPlansShareRoom(t *testing.T) {
	file, room := wide(t, 10, 100, 0), NewRoom(100_000)
	query := Query{Environment: "production", Changes: pages(60), Room: room}
	first, err := file.Plan(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Plan(t.Context(), query); !errors.Is(err, ErrBusy) {
		t.Fatalf("the second plan: %v", err)
	}
	first.Release()
	second, err := file.Plan(t.Context(), query)
	if err != nil || second.Len() != 60_001 {
		t.Errorf("after the first: %d targets, %v", second.Len(), err)
	}
}

// TestDoublesKeepTheFirstPath: the order of the changes does not matter, even if doubles
// are many runs apart.
func TestDoublesKeepTheFirstPath(t *testing.T) {
	file := mustParse(t, oneRule("content/*/*", "https://{host}/{1}/"))
	changes := []Change{{"content/a/3", Added}, {"content/b/1", Added}, {"content/a/1", Added}, {"content/a/2", Added}}
	for range 2 {
		plan, err := file.Plan(t.Context(), Query{Environment: "production", Changes: slices.Values(changes)})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for target := range plan.Targets() {
			got = append(got, target.Object+" "+target.Path)
		}
		if want := []string{"https://www.acme.com/a/ content/a/1", "https://www.acme.com/b/ content/b/1"}; !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		slices.Reverse(changes)
	}
}

// BenchmarkPlanMillion plans a million URLs of about 80 bytes and makes them once.
// live-MiB is what the plan holds, rss-MiB is the peak of the process:
//
//	go test ./mapping -run '^$' -bench PlanMillion -benchtime 1x
func BenchmarkPlanMillion(b *testing.B) {
	file := wide(b, 10, 100, 0)
	for b.Loop() {
		plan, err := file.Plan(b.Context(), Query{Environment: "production", Changes: pages(1000)})
		if err != nil || plan.Len() != 1_000_001 {
			b.Fatal(plan.Len(), err)
		}
		for range plan.Targets() {
		}
		b.StopTimer()
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "live-MiB")
		runtime.KeepAlive(plan)
		b.StartTimer()
	}
	b.ReportMetric(peak.MiB(), "rss-MiB")
}
