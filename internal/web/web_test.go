package web_test

import (
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/metrics"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/internal/store/storetest"
	"github.com/purgebot/purgebot/internal/web"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/purger"
)

// served is the pages on a real store, over real HTTP.
type served struct {
	*store.Store
	url  string
	path string // of the database
	t    *testing.T
}

func serve(t *testing.T) *served { return serveOf(t, "https://github.com") }

func serveOf(t *testing.T, gitHub string) *served {
	t.Helper()
	database := storetest.SQLite(t)
	s, err := store.Open(t.Context(), store.Config{URL: database})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w, err := web.New(web.Config{GitHubURL: gitHub, Ledger: &s.Reader, Ready: s.Ready, Metrics: metrics.New(&s.Reader, s.Ready, slog.New(slog.DiscardHandler), metrics.BuildInfo("v1.2.3", "abc"))})
	if err != nil {
		t.Fatal(err)
	}
	e := echo.New()
	w.Routes(e)
	srv := httptest.NewServer(e)
	t.Cleanup(srv.Close)
	return &served{Store: s, url: srv.URL, path: strings.TrimPrefix(database, "sqlite:"), t: t}
}

func (s *served) get(path string) (int, http.Header, string) {
	s.t.Helper()
	resp, err := http.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

const hostile = "a\n<script>alert(1)</script>\u202e\x1b.md"

// purge makes a purge of n URLs and of one more that the policy refused, whose file has a
// hostile name. Akamai accepts the first request.
func (s *served) purge(n int) ledger.Purge {
	s.t.Helper()
	ctx := s.t.Context()
	repo, err := s.SeeRepository(ctx, ledger.Repository{ID: 1, Owner: "acme", Name: "site", DefaultBranch: "main", FirstSeen: time.Now()})
	if err != nil {
		s.t.Fatal(err)
	}
	point := ledger.Point{SHA: "bbbbbbbbbbbb", Deploy: 1, Status: 1, At: time.Now()}
	env, _, err := s.Desire(ctx, repo.ID, "production", ledger.Deploy{Point: point, State: "success"}, time.Time{})
	if err != nil {
		s.t.Fatal(err)
	}
	p, err := s.Begin(ctx, ledger.Purge{
		RepoID: repo.ID, EnvID: env.ID, Environment: "production", Cause: ledger.CauseDeploy, By: "ann", From: ledger.Point{SHA: "aaaaaaaaaaaa"},
		To: env.Desired, Network: mapping.Production, Unmatched: []string{"README.md"},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	targets := []mapping.Target{{Kind: mapping.Tag, Object: "x", Action: mapping.Invalidate, Rule: "shell", Path: hostile, Reason: "policy doesn't allow tag x for acme/site"}}
	for i := range n {
		targets = append(targets, mapping.Target{Kind: mapping.URL, Object: "https://www.acme.com/" + strings.Repeat("p", i), Action: mapping.Invalidate, Rule: "pages", Path: "content/p.md"})
	}
	if err := s.AddTargets(ctx, p, slices.Values(targets), func(g mapping.Target) string { return g.Reason }); err != nil {
		s.t.Fatal(err)
	}
	if ok, err := s.Commit(ctx, store.Move{Env: env, To: env.Desired, Purge: &p, Context: "purge/production"}); err != nil || !ok {
		s.t.Fatal(ok, err)
	}
	r, _, err := s.Claim(ctx, "", purger.URL)
	if err != nil || r == nil {
		s.t.Fatal(r, err)
	}
	if _, _, err := s.Settle(ctx, r, store.Reply{Answer: purger.Answer{Verdict: purger.Accepted, PurgeID: "eiup-42"}}); err != nil {
		s.t.Fatal(err)
	}
	return p
}

func TestPurgePage(t *testing.T) {
	s := serve(t)
	p := s.purge(2)
	code, header, body := s.get("/purges/" + p.Key)
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	for _, want := range []string{
		"acme/site", "Deployment by ann", "2 purged, 1 refused: policy doesn't allow tag x for acme/site",
		"https://www.acme.com/p<", "pages", "content/p.md", "accepted", "eiup-42", "tag:x", "refused: policy doesn't allow tag x",
		"README.md", p.ID,
	} {
		if !strings.Contains(html.UnescapeString(body), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.ContainsAny(body, "\u202e\x1b") || strings.Contains(body, "<script>") || !strings.Contains(body, `\u202e\u001b.md`) {
		t.Error("a file's name is alive in the page")
	}
	if header.Get("Referrer-Policy") != "no-referrer" || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("headers %v", header)
	}
	if strings.Count(body, "eiup-42") != 1 { // once for its request
		t.Error("Akamai's id stands where nothing was accepted")
	}
}

// A purge's page links to what it is about on GitHub, if that is known.
func TestPurgePageLinks(t *testing.T) {
	for gitHub, links := range map[string]bool{"https://github.com": true, "https://ghe.acme.com": true, "": false} {
		s := serveOf(t, gitHub)
		_, _, body := s.get("/purges/" + s.purge(1).Key)
		for path, words := range map[string]string{
			"/acme/site": "acme/site", "/acme/site/deployments/production": "production",
			"/acme/site/commit/aaaaaaaaaaaa": "aaaaaaa", "/acme/site/commit/bbbbbbbbbbbb": "bbbbbbb",
		} {
			if got := strings.Contains(body, `<a href="`+gitHub+path+`">`+words+`</a>`); got != links || !strings.Contains(body, words) {
				t.Errorf("%q: link to %s: %t", gitHub, path, got)
			}
		}
		if strings.Contains(body, "/pull/") || !links && strings.Contains(body, "<a ") {
			t.Errorf("%q: the page links too much", gitHub)
		}
	}
}

// A purge that a comment asked for links to that pull request, and not to one whose
// comment acted on it later.
func TestPurgePageLinksToThePullRequest(t *testing.T) {
	s := serve(t)
	ctx := t.Context()
	s.purge(1)
	p, err := s.Begin(ctx, ledger.Purge{RepoID: 1, Environment: "production", Cause: ledger.CauseComment, By: "ann", Network: mapping.Production})
	if err != nil {
		t.Fatal(err)
	}
	for i, number := range []int{7, 3} {
		c := store.Command{RepoID: 1, Comment: int64(i + 1), Number: number, Person: 5, Login: "ann", At: time.Now().Add(time.Duration(i) * time.Second)}
		if c, err = s.BeginCommand(ctx, c, store.Rate{Most: 10, Within: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			err = s.OpenManual(ctx, p.ID, false, store.Answer{Command: c, Outcome: "purge"})
		} else {
			_, err = s.Answer(ctx, store.Answer{Command: c, Outcome: "retry", PurgeID: p.ID})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	_, _, body := s.get("/purges/" + p.Key)
	if !strings.Contains(body, `Comment by ann on <a href="https://github.com/acme/site/pull/7">#7</a>`) || strings.Contains(body, "/deployments/") {
		t.Error(body)
	}

	// A deployed commit links to the pull request that was merged as it.
	deployed := s.purge(1)
	if _, _, body := s.get("/purges/" + deployed.Key); strings.Contains(body, "/pull/") {
		t.Errorf("before any was merged: %s", body)
	}
	if err := s.SeeMerged(ctx, store.Merged{RepoID: 1, Number: 12, Branch: "main", SHA: deployed.To.SHA, At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if _, _, body := s.get("/purges/" + deployed.Key); !strings.Contains(body, `of pull request <a href="https://github.com/acme/site/pull/12">#12</a>`) {
		t.Error(body)
	}
}

// An address without a page still answers with a page for people.
func TestUnknownAddressesArePages(t *testing.T) {
	s := serve(t)
	for _, path := range []string{"/nothing", "/purges", "/purges/", "/favicon.ico"} {
		code, header, body := s.get(path)
		if code != http.StatusNotFound || !strings.HasPrefix(header.Get("Content-Type"), "text/html") || !strings.Contains(body, "<h1>No such p") {
			t.Errorf("%s: %d %s %s", path, code, header.Get("Content-Type"), body)
		}
	}
}

func TestPreviewPage(t *testing.T) {
	s := serve(t)
	var keys []string
	for _, listing := range []string{"an older one", hostile} {
		key, err := s.KeepPreview(t.Context(), 1, 7, "bbbbbbbbbbbb", []byte(listing))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	code, header, body := s.get("/previews/" + keys[0])
	if code != http.StatusOK || body != "a\n<script>alert(1)</script>\\u202e\\u001b.md" || keys[1] != keys[0] || len(keys[0]) < 26 {
		t.Errorf("%d %q, keys %v", code, body, keys)
	}
	if header.Get("Content-Type") != "text/plain; charset=utf-8" || header.Get("X-Content-Type-Options") != "nosniff" ||
		header.Get("Referrer-Policy") != "no-referrer" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", header)
	}
	if code, _, _ := s.get("/previews/unknown"); code != http.StatusNotFound {
		t.Errorf("an unknown one: %d", code)
	}
}

func TestPurgePageGoesOn(t *testing.T) {
	s := serve(t)
	p := s.purge(1200)
	_, _, first := s.get("/purges/" + p.Key)
	if strings.Count(first, "<tr>") != 1001 || !strings.Contains(first, `<a href="?from=1000">`) {
		t.Errorf("first page: %d rows", strings.Count(first, "<tr>"))
	}
	_, _, second := s.get("/purges/" + p.Key + "?from=1000")
	if strings.Count(second, "<tr>") != 202 || strings.Contains(second, "?from=") {
		t.Errorf("second page: %d rows", strings.Count(second, "<tr>"))
	}
}

func TestUnknownPurge(t *testing.T) {
	s := serve(t)
	p := s.purge(1)
	for _, key := range []string{"x", p.ID, p.Key[:25], strings.ToUpper(p.Key)} {
		if code, _, body := s.get("/purges/" + key); code != http.StatusNotFound || strings.Contains(body, "acme") {
			t.Errorf("%s: %d %s", key, code, body)
		}
	}
}

func TestIndexTellsNoSecrets(t *testing.T) {
	s := serve(t)
	p := s.purge(1)
	code, _, body := s.get("/")
	if code != http.StatusOK || !strings.Contains(body, "Waiting: 2 updates to write on GitHub.") {
		t.Errorf("%d %s", code, body)
	}
	for _, secret := range []string{p.Key, p.ID, "acme", "ann"} {
		if strings.Contains(body, secret) {
			t.Errorf("the index tells %q", secret)
		}
	}
}

// Without a database the process still answers. Its words say what is wrong, and do not
// reveal where the database is.
func TestHealthWithoutADatabase(t *testing.T) {
	s := serve(t)
	if err := os.Rename(s.path, s.path+".away"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]struct {
		code  int
		words string
	}{
		"/healthz": {http.StatusOK, "ok"},
		"/readyz":  {http.StatusServiceUnavailable, "webhooks can't be stored: the database's file was moved or removed\n"},
		"/metrics": {http.StatusOK, "\npurgebot_database_up 0\n"},
	} {
		if code, _, body := s.get(path); code != want.code || !strings.Contains(body, want.words) || strings.Contains(body, s.path) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

func TestHealth(t *testing.T) {
	s := serve(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, _, body := s.get(path); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	_, _, body := s.get("/metrics")
	for _, want := range []string{"purgebot_akamai_paused 0", "purgebot_database_up 1"} {
		if !strings.Contains(body, "\n"+want+"\n") {
			t.Errorf("metrics lack %s:\n%s", want, body)
		}
	}
}
