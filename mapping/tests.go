package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Check runs the file's tests and gives a fault for each that fails, at the
// test's place. Each test is a purge of its one change. Owner, repo and
// defaultBranch are what {owner}, {repo} and {branch} stand for.
func (f *File) Check(owner, repo, defaultBranch string) Faults {
	c := &collector{}
	left := checkBounds()
	for _, t := range f.tests {
		env := t.environment
		if env == "" {
			env = f.environments[0].Key
		}
		plan, err := f.plan(Query{
			Environment: env, Owner: owner, Repo: repo, DefaultBranch: defaultBranch,
			Changes: slices.Values([]Change{t.change}),
		}, &left)
		if err != nil { // the environment is there, Parse saw to it
			words := fmt.Sprintf("the tests give too many objects to go on here (at most %d)", checkBounds().objects)
			if errors.Is(err, ErrTooSlow) {
				words = err.Error()
			}
			c.errorf(t.at, "%s", words)
			break
		}
		if words := t.compare(plan.Targets); words != "" {
			c.errorf(t.at, "%s, %s in %s: %s", t.change.Path, t.change.Op, env, words)
		}
	}
	c.faults.sort()
	return c.faults
}

// compare says how the targets differ from what the test expects, or "".
func (t *test) compare(targets []Target) string {
	got := map[string]bool{}
	var words []string
	for _, target := range targets {
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
		words = append(words, "does not purge "+few(missing))
	}
	if len(extra) > 0 {
		words = append(words, "purges, against the test, "+few(extra))
	}
	return strings.Join(words, "; ")
}

// few joins a few words and counts the rest.
func few(words []string) string {
	const most = 5
	if len(words) > most {
		words = append(words[:most:most], fmt.Sprintf("%d more", len(words)-most))
	}
	return listed(words)
}

// String writes a target as tests and comments do: a URL as it is, else
// tag:NAME or cpcode:NUMBER.
func (t Target) String() string {
	if t.Kind == URL {
		return t.Object
	}
	return string(t.Kind) + ":" + t.Object
}
