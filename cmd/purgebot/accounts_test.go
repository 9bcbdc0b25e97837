package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	ghstandin "github.com/purgebot/purgebot/internal/standin/github"
)

// emea is a second Akamai account with a stand-in of its own. Its edgerc is in dir; line
// is its entry of akamai.accounts.
func emea(t *testing.T, dir string) (a *akamai.Server, line string) {
	t.Helper()
	a = akamai.New(akamai.Config{Estimate: time.Second})
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	if err := os.WriteFile(filepath.Join(dir, "emea.edgerc"), []byte(a.EdgercSection("emea", "akab-emea.purge.akamaiapis.net")), 0o600); err != nil {
		t.Fatal(err)
	}
	return a, fmt.Sprintf("  accounts: {emea: {edgerc: emea.edgerc, section: emea, base_url: %s}}\n", server.URL)
}

const noSuchAccount = `there is no Akamai account "nobody": there are default, emea`

func TestPurgeGoesWithTheAccount(t *testing.T) {
	ours, _ := purgeStandin(t, akamai.Config{})
	theirs, line := emea(t, ".")
	if err := os.WriteFile("purgebot.yaml", []byte("akamai:\n"+line), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"none"}, {"default", "--account", "default"}, {"emea", "--account", "emea"}} {
		if got := runPurge(t, "", append([]string{"purge", "tag"}, args...)...); got.code != exitDone {
			t.Errorf("%v: exit %d: %s", args, got.code, got.err)
		}
	}
	if got := runPurge(t, "", "purge", "tag", "x", "--account", "nobody"); got.code != exitUsage || !strings.Contains(got.err, noSuchAccount) {
		t.Errorf("exit %d: %s", got.code, got.err)
	}
	if got, want := takenBy(ours), []string{"v3 invalidate tag production default", "v3 invalidate tag production none"}; !slices.Equal(got, want) {
		t.Errorf("the default account: %q", got)
	}
	if got, want := takenBy(theirs), []string{"v3 invalidate tag production emea"}; !slices.Equal(got, want) {
		t.Errorf("emea: %q", got)
	}
}

func TestDoctorLooksAtEachAccount(t *testing.T) {
	p := healthy(t, ghstandin.Config{}, doctorKey(t))
	theirs, line := emea(t, filepath.Dir(p.file))
	edit(t, p.file, "akamai:\n", "akamai:\n"+line, "policy: [", "policy: [{repositories: [acme/emea], account: emea}, ")
	theirs.SetGranted(false)
	const (
		good   = "ok    Akamai grant    account default: may purge\n"
		policy = "ok    policy          2 entries\n" // one of them only names an account
		bad    = "FAIL  Akamai grant    account emea: "
	)
	for name, test := range map[string]struct {
		args []string
		code int
		want map[string]bool
	}{
		"all":      {nil, exitFailed, map[string]bool{policy: true, good: true, bad: true}},
		"the good": {[]string{"--account", "default"}, exitDone, map[string]bool{good: true, "emea": false}},
		"the bad":  {[]string{"--account", "emea"}, exitFailed, map[string]bool{"account default": false, bad: true}},
		"neither":  {[]string{"--account", "nobody"}, exitUsage, map[string]bool{noSuchAccount: true}},
	} {
		code, out, errs := p.examined(t, test.args...)
		if code != test.code {
			t.Errorf("%s: exit %d, want %d\n%s", name, code, test.code, errs)
		}
		for words, want := range test.want {
			if strings.Contains(out+errs, words) != want {
				t.Errorf("%s: %q, want it: %t, in\n%s", name, words, want, out)
			}
		}
	}
}

// What an operator asks about one account is reported, and done, for that account alone.
func TestOperatorOfTwoAccounts(t *testing.T) {
	w, first := newWorld(t, func(c *stage.Config) {
		c.Repositories = append(c.Repositories, ghstandin.Repository{ID: 2, Owner: "acme", Name: "emea", Dir: c.Repositories[0].Dir})
	})
	config := w.files()
	theirs, line := emea(t, filepath.Dir(config))
	edit(t, config, "akamai:\n", "akamai:\n"+line, "policy:\n", "policy:\n  - {repositories: [acme/emea], account: emea}\n")
	p := w.spawn(config)
	ask := func(code int, args ...string) purgeEnded {
		t.Helper()
		got := runPurge(t, "", append(args, "--config", config, "--server", "http://"+p.addr)...)
		if got.code != code {
			t.Fatalf("%v: exit %d, want %d\n%s%s", args, got.code, code, got.out, got.err)
		}
		return got
	}
	asks := func(into any, args ...string) {
		t.Helper()
		if err := json.Unmarshal([]byte(ask(exitDone, append(args, "--json")...).out), into); err != nil {
			t.Fatal(err)
		}
	}
	deployBoth := func(sha, words string) {
		t.Helper()
		w.Deploy("production", sha, "success")
		w.DeployTo("acme/emea", "production", sha, "success")
		w.Says("acme/emea", sha, words)
	}
	page := func(name string) string { return "https://m.acme.com/index/" + name + "/" }
	deployBoth(first, "")

	// What both accounts refused is tried again with one of them.
	w.Akamai.Refuse(page("one"), 0, "")
	theirs.Refuse(page("one"), 0, "")
	one := w.Commit("one", map[string]string{"content/index/one.md": "1"})
	deployBoth(one, "1 purged, 1 refused")
	w.Await(one, "production", "failure", "1 purged, 1 refused")
	w.Akamai.Allow(page("one"))
	theirs.Allow(page("one"))
	w.Sent()
	before := len(theirs.Accepted())
	retry := []string{"retry", "--failed", "--since", "1h", "--account"}
	var count retriedDoc
	asks(&count, append(slices.Clip(retry), "emea")...)
	if len(count.Purges) != 1 || count.Purges[0].Purge.Repository != "acme/emea" || count.Objects != 1 {
		t.Errorf("of emea was refused: %+v", count)
	}
	ask(exitDone, append(slices.Clip(retry), "emea", "--yes")...)
	w.Eventually("emea has it", func() bool { return len(theirs.Accepted()) == before+1 })
	w.WantSent()
	count = retriedDoc{}
	asks(&count, append(slices.Clip(retry), "default")...)
	if len(count.Purges) != 1 || count.Purges[0].Purge.Repository != "acme/site" {
		t.Errorf("of the default account was refused: %+v", count)
	}

	// Credentials that Akamai refuses hold back what goes with them.
	theirs.Fault(func(*http.Request, []byte) akamai.Fault { return akamai.Fault{Status: http.StatusUnauthorized} })
	two := w.Commit("two", map[string]string{"content/index/two.md": "2"})
	deployBoth(two, "0 of 2 purged, waiting: Akamai does not accept purgebot's credentials")
	w.Await(two, "production", "success", "2 URLs purged")
	wantWords(t, ask(exitDone, "queue").out, "Akamai account default: 0 objects waiting", "Akamai account emea: 2 objects waiting",
		"Nothing is being sent to Akamai with account emea; next try in ")
	status := ask(exitDone, "status").out
	wantWords(t, status, "Nothing is being sent to Akamai with account emea; next try in ")
	if n := strings.Count(status, "paused, see above"); n != 1 {
		t.Errorf("%d environments are said to be paused:\n%s", n, status)
	}
	var queue queueDoc
	asks(&queue, "queue", "--account", "emea")
	if len(queue.Accounts) != 1 || queue.Accounts[0].Objects != 2 || queue.Pause == nil || len(queue.Requests) != 1 || len(queue.Purges) != 1 {
		t.Errorf("the queue of emea: %+v", queue.Queue)
	}
	queue = queueDoc{}
	asks(&queue, "queue", "--account", "default")
	if len(queue.Accounts) != 1 || queue.Accounts[0].Objects != 0 || queue.Pause != nil || len(queue.Requests) != 0 || len(queue.Purges) != 0 {
		t.Errorf("the queue of the default account: %+v", queue.Queue)
	}
	wantWords(t, ask(exitUsage, "queue", "--account", "nobody").err, `the server has no Akamai account "nobody"`)
	w.WantSent(servertest.URLs("production", "/index/two/")...)
}
