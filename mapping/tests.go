package mapping

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/glob"
)

// Check runs the file's tests. It returns a fault for each that fails, at the place of
// the test. Each test is a purge of its one change. owner, repo and defaultBranch are the
// values of {owner}, {repo} and {branch}. All tests share one budget; when it is used up,
// a fault says so and the rest does not run.
func (f *File) Check(ctx context.Context, owner, repo, defaultBranch string) Faults {
	c := &collector{}
	if f.extends != "" {
		return nil // only both files together tell what the tests purge
	}
	left := bounds{objects: checkObjects, work: glob.NewWork(ctx, checkSteps)}
	for _, t := range f.tests {
		env := t.environment
		if env == "" {
			env = f.environments[0].Key
		}
		plan, err := f.plan(Query{
			Environment: env, Owner: owner, Repo: repo, DefaultBranch: defaultBranch,
			Changes: slices.Values([]Change{t.change}),
		}, &left, nil)
		if err != nil { // not ErrUnknownEnvironment: Parse has seen to it
			words := fmt.Sprintf("the tests give too many objects to go on here (at most %d)", checkObjects)
			if errors.Is(err, ErrTooSlow) || ctx.Err() != nil {
				words = err.Error()
			}
			c.errorf(t.at, "%s", words)
			break
		}
		if words := t.compare(plan.Targets()); words != "" {
			c.errorf(t.at, "%s, %s in %s: %s", t.change.Path, t.change.Op, env, words)
		}
	}
	c.faults.sort()
	return c.faults
}

// compare says how the targets differ from what the test expects, or "". A target that
// can't be sent always counts as a difference.
func (t *test) compare(targets iter.Seq[Target]) string {
	got := map[string]bool{}
	var words []string
	for target := range targets {
		object := target.String()
		if target.Reason != "" {
			words = append(words, fmt.Sprintf("%s can't be sent (%s)", quote(object), target.Reason))
			continue
		}
		got[object] = true
	}
	var missing, extra []string
	for _, object := range t.purges {
		if !got[object] {
			missing = append(missing, object)
		}
	}
	for object := range got {
		if !slices.Contains(t.purges, object) {
			extra = append(extra, object)
		}
	}
	slices.Sort(extra)
	if len(missing) > 0 {
		words = append(words, "doesn't purge "+few(missing)+", which the test expects")
	}
	if len(extra) > 0 {
		words = append(words, "also purges "+few(extra)+", which the test doesn't list")
	}
	return strings.Join(words, "; ")
}

// few lists at most five words and the number of the others.
func few(words []string) string {
	const most = 5
	if len(words) > most {
		words = append(words[:most:most], fmt.Sprintf("%d more", len(words)-most))
	}
	return listed(words)
}

// String writes a target as tests and comments do: a URL as it is, others as tag:NAME or
// cpcode:NUMBER.
func (t Target) String() string {
	if t.Kind == URL {
		return t.Object
	}
	return string(t.Kind) + ":" + t.Object
}
