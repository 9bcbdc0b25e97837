package pipeline_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
)

// These tests follow the rules language from the webhook to Akamai. They show what
// package mapping can't show alone, because it takes two commits, branches or people.

// ruled opens a world whose first commit has these rules and is live in
// production.
func ruled(t *testing.T, rules string, change func(*stage.Config)) (*world, string) {
	t.Helper()
	w, _ := newWorld(t, change)
	first := w.Commit("rules", map[string]string{"purge-rules.yaml": rules})
	w.PushTo("main", first)
	w.Deploy("production", first, "success")
	w.Begin()
	return w, first
}

// deployAs makes a deployment that somebody created; it asks for no statuses.
func (w *world) deployAs(creator, environment, sha string) int64 {
	w.T.Helper()
	id, err := w.GitHub.Deploy(w.T.Context(), w.FullName(), github.Deployment{
		SHA: sha, Environment: environment, Creator: creator, RequiredContexts: []string{},
	})
	if err != nil {
		w.T.Fatal(err)
	}
	w.State(id, "success")
	return id
}

// on commits on a branch that starts at a commit, and comes back to main.
func (w *world) on(branch, from string, files map[string]string) string {
	w.T.Helper()
	w.Git("checkout", "--quiet", "-b", branch, from)
	sha := w.Commit(branch, files)
	w.Git("checkout", "--quiet", "main")
	w.PushTo(branch, sha)
	return sha
}

const pageRules = `version: 1
environments:
  production: {hosts: [www.acme.com]%s}
rules:
  - {name: pages, match: content/**/*.md, urls: ["https://{host}/{1}/{2}/"]}
`

func TestSettleTakesTheNewestSuccess(t *testing.T) {
	w, _ := ruled(t, fmt.Sprintf(pageRules, ", settle: 2s"), nil)
	second := w.Commit("second", map[string]string{"content/a/2.md": "2"})
	third := w.Commit("third", map[string]string{"content/a/3.md": "3"})
	w.PushTo("main", third)
	w.Deploy("production", second, "success")
	w.Deploy("production", third, "success")
	w.Await(third, "production", "success", "2 URLs purged")
	w.Await(second, "production", "success", "Purged as part of "+third[:7])
	if n := len(w.Akamai.Accepted()); n != 1 {
		t.Errorf("%d requests; the second success should have replaced the first", n)
	}
	w.WantSent("production invalidate url https://www.acme.com/a/2/", "production invalidate url https://www.acme.com/a/3/")
}

func TestCreatorsAreThoseOfTheDefaultBranch(t *testing.T) {
	w, first := ruled(t, fmt.Sprintf(pageRules, `, creators: ["GitHub-Actions[bot]"]`), nil)
	// A branch whose rules let anybody deploy: that does not change who may deploy.
	loose := w.on("loose", first, map[string]string{
		"purge-rules.yaml": fmt.Sprintf(pageRules, ", creators: [mallory]"), "content/a/b.md": "2",
	})
	w.deployAs("mallory", "production", loose)
	w.Settled()
	w.WantSent()
	w.deployAs("github-actions[bot]", "production", loose)
	w.Await(loose, "production", "success", "1 URL purged")
	w.WantSent("production invalidate url https://www.acme.com/a/b/")
}

func TestGlobEnvironmentsCountOnTheirBranch(t *testing.T) {
	const rules = `version: 1
environments:
  production: {hosts: [www.acme.com]}
  "preview-*": {hosts: [preview.acme.com], branch: next}
rules:
  - {match: content/**/*.md, urls: ["https://{host}/{env}/{2}"]}
`
	w, first := ruled(t, rules, nil)
	page := map[string]string{"content/a/b.md": "2"}
	next := w.on("next", first, page)
	other := w.on("other", first, map[string]string{"content/a/c.md": "3"})
	// A branch whose rules name its own previews: it can't authorise itself.
	own := w.on("own", first, map[string]string{
		"purge-rules.yaml": strings.Replace(rules, "preview-*", "*-7", 1), "content/a/d.md": "4",
	})
	w.deployAs("", "preview-1", other)
	w.deployAs("", "pr-7", own)
	w.Settled()
	w.WantSent()
	for _, sha := range []string{other, own} {
		if s := w.GitHub.Statuses(w.FullName(), sha); len(s) != 0 {
			t.Errorf("statuses of a preview that does not count: %v", s)
		}
	}
	w.deployAs("", "Preview-1", next)
	w.Await(next, "Preview-1", "success", "1 URL purged")
	w.WantSent("production invalidate url https://preview.acme.com/Preview-1/b")
}

func TestCrossingGoesByAction(t *testing.T) {
	w, _ := ruled(t, fmt.Sprintf(pageRules, ""), nil)
	second := w.Commit("second", map[string]string{"content/a/2.md": "2"})
	third := w.Commit("third", map[string]string{"content/a/3.md": "3"})
	w.PushTo("main", third)
	slow, err := w.GitHub.Deploy(t.Context(), w.FullName(), github.Deployment{SHA: second, Environment: "production", RequiredContexts: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	w.Deploy("production", third, "success")
	w.Await(third, "production", "success", "2 URLs purged")
	w.Sent()
	w.State(slow, "success") // an older deployment, which is live all the same
	w.Await(second, "production", "success", "1 URL purged")
	w.WantSent("production invalidate url https://www.acme.com/a/3/")
}

func TestLimits(t *testing.T) {
	w, _ := ruled(t, fmt.Sprintf(pageRules, "")+`  - {match: layouts/**, tags: [acme-shell]}
limits:
  - {over: 4, instead: hold}
  - {over: 2, instead: {tags: [acme-docs], cpcodes: [12345]}}
`, nil)
	pages := func(n int) map[string]string {
		files := map[string]string{"layouts/base.html": fmt.Sprint(n)}
		for i := range n {
			files[fmt.Sprintf("content/n%d/%d.md", n, i)] = "x"
		}
		return files
	}
	second := w.Commit("three", pages(3))
	w.Push(second)
	w.Await(second, "production", "success", "2 tags, 1 CP code will be purged")
	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "2 tags, 1 CP code purged")
	w.WantSent("production invalidate tag acme-docs", "production invalidate tag acme-shell", "production invalidate cpcode 12345")

	third := w.Commit("five", pages(5))
	w.PushTo("main", third)
	w.deployAs("", "production", third)
	w.Await(third, "production", "pending", "Needs approval: 5 URLs, 1 tag (limit 4)")
	w.WantSent()

	// A rollback of as many is never held, and goes by action.
	w.deployAs("", "production", second)
	w.Await(second, "production", "success", "5 URLs, 1 tag purged")
	var want []string
	for i := range 5 {
		want = append(want, fmt.Sprintf("production invalidate url https://www.acme.com/n5/%d/", i))
	}
	w.WantSent(append(want, "production invalidate tag acme-shell")...)
}

func TestRollbackAboveTheOperatorsBoundGoesByAction(t *testing.T) {
	w, first := ruled(t, fmt.Sprintf(pageRules, ""), func(c *stage.Config) {
		e := servertest.Policy()[0]
		e.HoldOver.Delete = 1
		c.Policy = policy.Policy{e}
	})
	second := w.Commit("second", map[string]string{"content/a/1.md": "1"})
	third := w.Commit("third", map[string]string{"content/a/2.md": "1", "content/a/3.md": "1"})
	w.PushTo("main", third)
	for _, sha := range []string{second, third} {
		w.Live("production", sha)
	}
	w.deployAs("", "production", second)
	w.Await(second, "production", "success", "2 URLs purged")
	w.WantSent("production invalidate url https://www.acme.com/a/2/", "production invalidate url https://www.acme.com/a/3/")
	w.deployAs("", "production", first)
	w.Await(first, "production", "success", "1 URL purged")
	w.WantSent("production delete url https://www.acme.com/a/1/")
}

func TestUnmatchedExcludeAndRuleEnvironments(t *testing.T) {
	w, _ := ruled(t, `version: 1
environments:
  production: {hosts: [www.acme.com]}
  staging: {network: staging, hosts: [staging.acme.com]}
rules:
  - {match: content/**/*.md, exclude: [content/drafts/**], urls: ["https://{host}/{1}/{2}/"]}
  - {match: data/**, environments: [stag*], tags: [acme-data]}
unmatched: {urls: ["https://{host}/{path}"], tags: ["acme-{env}"]}
`, nil)
	second := w.Commit("second", map[string]string{
		"content/drafts/a.md": "excluded", "data/x.json": "for staging", "README.md": "unmatched", "content/a/b.md": "matched",
	})
	w.PushTo("main", second)
	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "2 URLs, 1 tag purged")
	w.WantSent("production invalidate url https://www.acme.com/a/b/", "production invalidate url https://www.acme.com/README.md",
		"production invalidate tag acme-production")
	w.Deploy("staging", second, "success")
	w.Await(second, "staging", "success", "2 URLs, 2 tags purged")
	w.WantSent("staging invalidate url https://staging.acme.com/a/b/", "staging invalidate url https://staging.acme.com/README.md",
		"staging invalidate tag acme-staging", "staging invalidate tag acme-data")
}

func TestAnnounce(t *testing.T) {
	w, _ := ruled(t, `version: 1
environments:
  production: {hosts: [www.acme.com], announce: none}
  staging: {network: staging, hosts: [staging.acme.com], announce: pending}
rules:
  - {match: content/**/*.md, urls: ["https://{host}/{1}/{2}/"]}
`, nil)
	second := w.Commit("second", map[string]string{"content/a/b.md": "2"})
	w.Push(second)
	w.Await(second, "staging", "pending", "1 URL will be purged when staging deploys")
	w.Settled()
	for _, s := range w.GitHub.Statuses(w.FullName(), second) {
		if s.Context != "purge/staging" {
			t.Errorf("announced: %s %s", s.Context, s.Description)
		}
	}
	w.deployAs("", "staging", second)
	w.Await(second, "staging", "success", "1 URL purged")
	w.deployAs("", "production", second) // nothing to announce is not nothing to say
	w.Await(second, "production", "success", "1 URL purged")

	third := w.Commit("third", map[string]string{"README.md": "3"})
	w.Push(third)
	w.Await(third, "staging", "success", "Nothing to purge") // nothing to wait for
}

func TestRemovedPathsGoByTheOldRulesAndHosts(t *testing.T) {
	w, _ := newWorld(t, nil)
	first := w.Commit("first rules", map[string]string{"purge-rules.yaml": stage.Removed, ".github/purge-rules.yaml": `version: 1
environments: {production: {hosts: [old.acme.com]}}
action: delete
unmatched: {tags: [acme-old]}
rules: [{match: content/**/*.md, urls: ["https://{host}/was/{2}"]}]
`, "other.txt": "x"})
	w.PushTo("main", first)
	w.Deploy("production", first, "success")
	w.Begin()
	second := w.Commit("second rules", map[string]string{".github/purge-rules.yaml": stage.Removed, "purge-rules.yaml": `version: 1
environments: {production: {hosts: [new.acme.com]}}
unmatched: {tags: [acme-new]}
rules: [{match: content/**/*.md, urls: ["https://{host}/is/{2}"]}]
`, "content/about/us.md": stage.Removed, "content/about/them.md": "us", "content/index/home.md": "new", "other.txt": stage.Removed})
	w.Push(second)
	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "3 URLs, 1 tag purged")
	w.WantSent(
		"production invalidate url https://old.acme.com/was/us", "production invalidate url https://new.acme.com/is/them",
		"production invalidate url https://new.acme.com/is/home", "production invalidate tag acme-new",
	)
}

func TestBothRulesFilesAreAFault(t *testing.T) {
	w, _ := ruled(t, fmt.Sprintf(pageRules, ""), nil)
	second := w.Commit("both", map[string]string{".github/purge-rules.yaml": fmt.Sprintf(pageRules, ""), "content/a/b.md": "2"})
	w.Push(second)
	w.Await(second, "production", "pending", "purge-rules.yaml:1:1: there is a .github/purge-rules.yaml as well; keep one of the two")
	w.deployAs("", "production", second)
	w.Settled()
	w.WantSent()
	third := w.Commit("one", map[string]string{".github/purge-rules.yaml": stage.Removed})
	w.PushTo("main", third)
	w.deployAs("", "production", third)
	w.Await(third, "production", "success", "1 URL purged")
	w.WantSent("production invalidate url https://www.acme.com/a/b/")
}

// Every byte that git allows in a name reaches Akamai as a browser would request it.
// Bytes that JSON can't hold are the exception: those targets fail, and say so.
func TestNamesAndHostsAsBrowsersAskForThem(t *testing.T) {
	w, _ := ruled(t, `version: 1
environments: {production: {hosts: [Bücher.acme.com]}}
rules: [{match: "content/**", urls: ["https://{host}/{1}?f={file}"]}]
`, nil)
	files := map[string]string{}
	for _, name := range []string{"a b", "100%", "a#b", "a?b", "a&b+c=d;e", "Zürich", "😀", "new\nline", `back\slash`, "[x]{y}|^`\"<>"} {
		files["content/"+name] = "x"
	}
	second := w.Commit("second", files)
	w.Push(second)
	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "10 URLs purged")
	const at = "production invalidate url https://xn--bcher-kva.acme.com/"
	w.WantSent(
		at+"a%20b?f=a%20b", at+"100%25?f=100%25", at+"a%23b?f=a%23b", at+"a%3Fb?f=a%3Fb", at+"a&b+c=d;e?f=a%26b%2Bc%3Dd%3Be",
		at+"Z%C3%BCrich?f=Z%C3%BCrich", at+"%F0%9F%98%80?f=%F0%9F%98%80", at+"new%0Aline?f=new%0Aline",
		at+"back%5Cslash?f=back%5Cslash", at+"[x]%7By%7D|%5E%60%22%3C%3E?f=[x]%7By%7D|%5E%60%22%3C%3E",
	)

	if err := os.WriteFile(filepath.Join(w.Site.Dir, "content", "latin\xfc"), []byte("x"), 0o600); err != nil {
		t.Skip("this file system takes UTF-8 names alone")
	}
	third := w.Commit("third", map[string]string{"content/good": "x"})
	w.Push(third)
	w.Deploy("production", third, "success")
	w.Await(third, "production", "failure", "1 purged, 1 refused: the file's name is not UTF-8")
	w.WantSent(at + "good?f=good")
}
