package pipeline_test

import (
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/servertest"
)

// announcing are the site's rules, with pull requests of production told when they are
// live.
func announcing() string {
	const hosts = "    hosts: [www.acme.com, m.acme.com]\n"
	return strings.Replace(servertest.Rules, hosts, hosts+"    announce_on_pull_request: true\n", 1)
}

// merge merges a pull request's branch into main, at GitHub too.
func (w *world) merge(number int, branch string) (sha string) {
	w.T.Helper()
	w.Git("merge", "--quiet", "--no-ff", branch)
	sha = w.Git("rev-parse", "HEAD")
	w.Push(sha)
	if err := w.GitHub.MergePullRequest(w.T.Context(), w.FullName(), number, "walt"); err != nil {
		w.T.Fatal(err)
	}
	return sha
}

// TestMergedLongBeforeHearsNothing: what was live before the rules asked for it is not
// told afterwards.
func TestMergedLongBeforeHearsNothing(t *testing.T) {
	w, first := newWorld(t, nil)
	w.People()
	w.Begin()
	w.Live("production", first)
	number := w.Pull("one", map[string]string{"content/index/one.md": "1"}, nil)
	sha := w.merge(number, "one")
	w.Settled()
	w.Deploy("production", sha, "success")
	w.Await(sha, "production", "success", "2 URLs purged")
	next := w.Commit("rules", map[string]string{"purge-rules.yaml": announcing(), "content/index/home.md": "x"})
	w.Push(next)
	w.Deploy("production", next, "success")
	w.Await(next, "production", "success", "2 URLs purged")
	w.Settled()
	if replies := w.Replies(number); len(replies) > 0 {
		t.Errorf("told: %+v", replies)
	}
}

// TestMergedPullRequestHearsThatItIsLive: one comment when its purge ended,
// edited by what deploys its commit once more; nothing where the rules don't
// ask for it.
func TestMergedPullRequestHearsThatItIsLive(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.People()
	first := w.Commit("rules", map[string]string{"purge-rules.yaml": announcing()})
	w.Begin()
	w.Live("production", first)
	w.Live("staging", first)

	one := w.Pull("one", map[string]string{"content/index/one.md": "1"}, nil)
	w.merge(one, "one")
	two := w.Pull("two", map[string]string{"content/index/two.md": "2"}, nil)
	sha := w.merge(two, "two")
	other := w.Pull("other", map[string]string{"content/index/other.md": "3"}, nil) // this one stays open
	w.Settled()

	w.Deploy("staging", sha, "success")
	w.Await(sha, "staging", "success", "2 URLs purged")
	job := w.Deploy("production", sha, "in_progress")
	w.Deploy("production", sha, "success")
	w.Replied(one, "**Live in `production` since 20", "**, with commit `"+sha[:7], "4 URLs purged in", "- <https://m.acme.com/index/one/>\n- <https://www.acme.com/index/one/>\n- <https://m.acme.com/index/two/>")
	w.Replied(two, "- <https://m.acme.com/index/two/>\n- <https://www.acme.com/index/two/>\n- <https://m.acme.com/index/one/>", "/purges/")
	w.Settled()
	w.State(job, "success")
	w.Await(sha, "production", "success", "4 URLs purged in … (deployed again)")
	w.Settled()
	next := w.Commit("next", map[string]string{"content/index/home.md": "x"})
	w.Push(next)
	w.Deploy("production", next, "success")
	w.Await(next, "production", "success", "2 URLs purged")
	w.Settled()
	for number, want := range map[int]int{one: 1, two: 1, other: 0} {
		replies := w.Replies(number)
		if len(replies) != want || want == 1 && !strings.Contains(replies[0].Body, sha[:7]) {
			t.Errorf("#%d has %d comments: %+v", number, len(replies), replies)
		}
	}
	if calls := w.GitHub.UnknownCalls(); len(calls) > 0 {
		t.Errorf("unknown calls: %v", calls)
	}
}
