package github_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-github/v60/github"

	standin "github.com/purgebot/purgebot/internal/standin/github"
)

const zero = "0000000000000000000000000000000000000000"

func TestPush(t *testing.T) {
	t.Parallel()
	receiver := newHook(t)
	p, h := playHistory(t, func(c *standin.Config) {
		c.WebhookURL = receiver.URL
		c.Repositories[0].Branches = map[string]string{}
	})
	p.do("GET", repoPath("git/ref/heads/main"), "").want(http.StatusNotFound, "Not Found")
	steps := []struct {
		name, after, before      string
		created, deleted, forced bool
		commits                  int
	}{
		{"a new branch", h.first, zero, true, false, false, 1},
		{"forward", h.third, h.first, false, false, false, 2},
		{"back", h.first, h.third, false, false, true, 0},
		{"sideways", h.orphan, h.first, false, false, true, 1},
		{"gone", "", h.orphan, false, true, false, 0},
	}
	for i, s := range steps {
		guid := mustPush(t.Context(), t, p, "main", s.after)
		got := receiver.of("push")[i]
		b := got.body
		if got.guid != guid || b["ref"] != "refs/heads/main" || b["before"] != s.before || b["created"] != s.created || b["deleted"] != s.deleted || b["forced"] != s.forced {
			t.Errorf("%s: %s", s.name, got.raw)
		}
		if n := len(b["commits"].([]any)); n != s.commits {
			t.Errorf("%s: %d commits, want %d", s.name, n, s.commits)
		}
		if want := s.after; s.deleted {
			if b["head_commit"] != nil || b["after"] != zero {
				t.Errorf("%s: %s", s.name, got.raw)
			}
		} else if dig(b, "head_commit", "id") != want || b["after"] != want {
			t.Errorf("%s: %s", s.name, got.raw)
		}
	}
	second := receiver.of("push")[1].body["commits"].([]any)[0]
	for key, want := range map[string]string{
		"added": "[content/docs/renamed.md new.txt theme]", "removed": "[content/docs/a.md content/docs/ü b%#.md]", "modified": "[run.sh]",
	} {
		names := dig(second, key).([]any)
		slices.SortFunc(names, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		if fmt.Sprint(names) != want {
			t.Errorf("%s: %v, want %s", key, names, want)
		}
	}
	if dig(second, "id") != h.second || dig(second, "message") != "second" || dig(receiver.of("push")[1].body, "repository", "id") != 77.0 {
		t.Errorf("%v", second)
	}
	header := receiver.of("push")[0].header
	for key, want := range map[string]string{
		"User-Agent": "GitHub-Hookshot/", "Content-Type": "application/json", "X-Hub-Signature": "sha1=",
		"X-GitHub-Hook-Installation-Target-ID": "12345", "X-GitHub-Hook-Installation-Target-Type": "integration",
	} {
		if !strings.HasPrefix(header.Get(key), want) {
			t.Errorf("%s: %q", key, header.Get(key))
		}
	}
	if h.git("", "rev-parse", "main") != h.third {
		t.Error("the clone's own branch moved")
	}
	if _, err := p.Push(t.Context(), acme, "main", strings.Repeat("d", 40), standin.PushOptions{}); err == nil {
		t.Error("pushed a commit that isn't there")
	}
}

func TestPushOfCommitsThatAnotherBranchHas(t *testing.T) {
	t.Parallel()
	receiver := newHook(t)
	p, h := playHistory(t, func(c *standin.Config) {
		c.WebhookURL = receiver.URL
		c.Limits.PushCommits = 2
	})
	mustPush(t.Context(), t, p, "old", h.first)
	mustPush(t.Context(), t, p, "old", h.third)
	mustPush(t.Context(), t, p, "orphan", "")
	mustPush(t.Context(), t, p, "new", h.orphan)
	got := receiver.of("push")
	if commits := got[1].body["commits"].([]any); len(commits) != 2 || dig(commits[1], "id") != h.third || dig(commits[0], "distinct") != false {
		t.Errorf("%s", got[1].raw)
	}
	if commits := got[3].body["commits"].([]any); len(commits) != 1 || dig(commits[0], "distinct") != true {
		t.Errorf("%s", got[3].raw)
	}
}

func TestSendsWhatTheAppMayHave(t *testing.T) {
	t.Parallel()
	receiver := newHook(t)
	p, h := playHistory(t, func(c *standin.Config) {
		c.WebhookURL, c.Events, c.Permissions = receiver.URL, []string{"push", "issue_comment", "merge_group"}, map[string]string{"contents": "read", "deployments": "read", "merge_queues": "read"}
	})
	mustPush(t.Context(), t, p, "main", h.first)
	if _, err := p.Deploy(t.Context(), acme, standin.Deployment{SHA: h.first}); err != nil { // not asked for
		t.Fatal(err)
	}
	issue, err := p.OpenIssue(acme, "ada", "x")
	must(t, err)
	if _, err := p.Comment(t.Context(), acme, issue, "ada", "x"); err != nil { // asked for, not granted
		t.Fatal(err)
	}
	if _, err := p.Send(t.Context(), acme, "merge_group", "checks_requested", "ada", map[string]any{"merge_group": map[string]any{"head_sha": h.first}}); err != nil {
		t.Fatal(err)
	}
	var events []string
	for _, d := range p.Deliveries() {
		events = append(events, d.Event)
	}
	if got := strings.Join(events, " "); got != "push merge_group" {
		t.Errorf("sent: %s", got)
	}
	if got := receiver.of("merge_group")[0].body; dig(got, "merge_group", "head_sha") != h.first || dig(got, "sender", "login") != "ada" || dig(got, "installation", "id") != 1.0 {
		t.Errorf("%v", got)
	}
}

func TestQuietPush(t *testing.T) {
	t.Parallel()
	receiver := newHook(t)
	p, h := playHistory(t, func(c *standin.Config) { c.WebhookURL = receiver.URL })
	_, err := p.Push(t.Context(), acme, "main", h.first, standin.PushOptions{Quiet: true})
	must(t, err)
	p.do("GET", repoPath("commits/main"), "").want(http.StatusOK, h.first)
	if n := len(p.Deliveries()); n != 0 {
		t.Errorf("%d deliveries", n)
	}
}

// Many things happen at the same time, for the race detector. Then the test checks that
// each push began where another one ended.
func TestUnderManyHands(t *testing.T) {
	t.Parallel()
	receiver := newHook(t)
	p, h := playHistory(t, func(c *standin.Config) { c.WebhookURL = receiver.URL })
	var hands sync.WaitGroup
	for i, sha := range []string{h.first, h.second, h.orphan, h.side} {
		hands.Go(func() {
			if _, err := p.Push(t.Context(), acme, "busy", sha, standin.PushOptions{}); err != nil {
				t.Error(err)
			}
		})
		hands.Go(func() {
			_, _, err := p.client.Repositories.CreateStatus(t.Context(), "acme", "site", sha, &github.RepoStatus{State: new("success")})
			_, _, err2 := p.client.Git.GetTree(t.Context(), "acme", "site", sha, true)
			_, _, err3 := p.client.Repositories.CompareCommits(t.Context(), "acme", "site", h.first, "feature/ü", nil)
			if err := errors.Join(err, err2, err3); err != nil {
				t.Error(err)
			}
		})
		hands.Go(func() {
			id, err := p.Deploy(t.Context(), acme, standin.Deployment{SHA: sha, Environment: fmt.Sprint(i)})
			if err != nil {
				t.Error(err)
			}
			if _, err := p.DeployStatus(t.Context(), acme, id, standin.DeploymentStatus{State: "success"}); err != nil {
				t.Error(err)
			}
		})
	}
	hands.Wait()
	after := map[any]bool{zero: true}
	pushes := receiver.of("push")
	for _, e := range pushes {
		after[e.body["after"]] = true
	}
	for _, e := range pushes {
		if !after[e.body["before"]] {
			t.Errorf("a push from %v, where none ended", e.body["before"])
		}
		delete(after, e.body["before"])
	}
	if len(pushes) != 4 || len(after) != 1 {
		t.Errorf("%d pushes are no chain", len(pushes))
	}
}

func TestSendsNothingOver25MB(t *testing.T) {
	t.Parallel()
	receiver := newHook(t)
	p, h := playHistory(t, func(c *standin.Config) { c.WebhookURL = receiver.URL })
	if _, err := p.Deploy(t.Context(), acme, standin.Deployment{SHA: h.first, Payload: strings.Repeat("x", 25<<20)}); err != nil {
		t.Fatal(err)
	}
	if len(receiver.of("deployment")) != 0 || len(p.Deliveries()) != 0 {
		t.Errorf("%d sent, %d listed", len(receiver.of("deployment")), len(p.Deliveries()))
	}
}

func TestPushOfATag(t *testing.T) {
	t.Parallel()
	receiver := newHook(t)
	h := newHistory(t)
	h.git("", "tag", "-a", "-m", "one", "v1", h.first)
	tag := h.git("", "rev-parse", "v1")
	p := play(t, standin.Config{
		Repositories: []standin.Repository{{Owner: "acme", Name: "site", Dir: h.dir, Branches: map[string]string{"main": h.third}}},
		WebhookURL:   receiver.URL, WebhookSecret: hookSecret,
	})
	mustPush(t.Context(), t, p, "refs/tags/v1", tag)
	b := receiver.of("push")[0].body
	if b["ref"] != "refs/tags/v1" || b["after"] != tag || dig(b, "head_commit", "id") != h.first {
		t.Errorf("%v", b)
	}
	p.do("GET", repoPath("git/ref/tags/v1"), "").want(http.StatusOK, `"type":"tag"`)
	p.do("GET", repoPath("commits/v1"), "").want(http.StatusOK, h.first)
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	receiver := newHook(t)
	clock := time.Now()
	p, h := playHistory(t, func(c *standin.Config) {
		c.WebhookURL, c.Now, c.Permissions = receiver.URL, func() time.Time { return clock }, map[string]string{"contents": "read"}
	})
	down := true
	receiver.status = func(received) int {
		if down {
			return http.StatusServiceUnavailable
		}
		return http.StatusAccepted
	}
	first := mustPush(t.Context(), t, p, "main", h.second)
	second := mustPush(t.Context(), t, p, "main", h.first)
	if n := len(receiver.of("push")); n != 2 {
		t.Fatalf("%d attempts; GitHub never tries again by itself", n)
	}
	receiver.mu.Lock()
	down = false
	receiver.mu.Unlock()

	jwt := appJWT(t, p)
	p.do("GET", "app/hook/deliveries", "").want(http.StatusUnauthorized, "") // not with a token
	list := p.do("GET", "app/hook/deliveries?status=failure&per_page=1", "", "Authorization", jwt).want(http.StatusOK, "")
	var failed []*github.HookDelivery
	list.into(&failed)
	if len(failed) != 1 || failed[0].GetGUID() != second || failed[0].GetStatusCode() != 503 || failed[0].GetRepositoryID() != 77 {
		t.Fatalf("newest first: %v", failed)
	}
	next, isNext := strings.CutSuffix(list.header.Get("Link"), `>; rel="next"`)
	next, isOurs := strings.CutPrefix(next, "<"+p.url)
	if !isNext || !isOurs {
		t.Fatalf("Link: %s", list.header.Get("Link"))
	}
	p.do("GET", next, "", "Authorization", jwt).want(http.StatusOK, first).into(&failed)
	if len(failed) != 1 || failed[0].GetGUID() != first {
		t.Fatalf("second page: %v", failed)
	}
	p.do("POST", fmt.Sprintf("app/hook/deliveries/%d/attempts", failed[0].GetID()), "", "Authorization", jwt).want(http.StatusAccepted, "")
	must(t, p.Await(t.Context(), func() bool { return len(p.Deliveries()) == 3 }))
	again := p.Deliveries()[2]
	if again.GUID != first || !again.Redelivery || again.StatusCode != http.StatusAccepted || again.ID == failed[0].GetID() {
		t.Errorf("%+v", again)
	}
	clock = clock.Add(72*time.Hour + time.Second)
	p.do("GET", "app/hook/deliveries", "", "Authorization", appJWTAt(t, p, clock)).want(http.StatusOK, "[]")
}

func TestRoutesEvents(t *testing.T) {
	t.Parallel()
	receiver := newHook(t)
	p, h := playHistory(t, func(c *standin.Config) {
		c.WebhookURL, c.Permissions = receiver.URL, map[string]string{"contents": "read"}
	})
	way := standin.Hold
	p.Route(func(standin.Delivery) standin.Route { return way })
	a := mustPush(t.Context(), t, p, "main", h.first)
	b := mustPush(t.Context(), t, p, "main", h.second)
	if len(p.Held()) != 2 || len(receiver.of("push")) != 0 {
		t.Fatalf("%d held, %d sent", len(p.Held()), len(receiver.of("push")))
	}
	p.Release(t.Context(), b)
	p.Release(t.Context())
	if again, err := p.Redeliver(t.Context(), b); err != nil || !again.Redelivery || again.GUID != b {
		t.Errorf("%+v, %v", again, err)
	}
	way = standin.Drop
	mustPush(t.Context(), t, p, "main", h.first)
	way = standin.Lose
	lost := mustPush(t.Context(), t, p, "main", h.third)
	var got []string
	for _, r := range receiver.of("push") {
		got = append(got, r.guid)
	}
	if !slices.Equal(got, []string{b, a, b}) {
		t.Errorf("sent %v, want %v", got, []string{b, a, b})
	}
	if all := p.Deliveries(); len(all) != 4 || all[3].GUID != lost || all[3].StatusCode != 0 {
		t.Errorf("%v", all)
	}
}

func TestGivesUpOnASlowWebhook(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	slow := newHook(t)
	slow.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })
	p, h := playHistory(t, func(c *standin.Config) {
		c.WebhookURL, c.HookTimeout, c.Permissions = slow.URL, 20*time.Millisecond, map[string]string{"contents": "read"}
	})
	mustPush(t.Context(), t, p, "main", h.first)
	close(release)
	if d := p.Deliveries(); len(d) != 1 || d[0].Status != "timed out" || d[0].StatusCode != 0 {
		t.Errorf("%+v", d)
	}
}
