package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/needs"
)

// manifestGitHub is GitHub's side of the manifest flow. It makes an App from the posted
// manifest at once and sends the browser back.
type manifestGitHub struct {
	*httptest.Server
	t        *testing.T
	key      string
	secret   any               // the webhook's; nil: null
	codes    map[string]string // code → name of the App
	manifest map[string]any    // the one that was posted
	paths    []string          // that manifests were posted to
	midst    func()            // runs before GitHub answers with the App; nil: nothing
}

func newManifestGitHub(t *testing.T) *manifestGitHub {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	g := &manifestGitHub{t: t, key: string(pem.EncodeToMemory(&block)), secret: `the "secret": #1`, codes: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /settings/apps/new", g.create)
	mux.HandleFunc("POST /organizations/{org}/settings/apps/new", g.create)
	mux.HandleFunc("POST /api/v3/app-manifests/{code}/conversions", g.convert)
	g.Server = httptest.NewServer(mux)
	t.Cleanup(g.Close)
	return g
}

func (g *manifestGitHub) create(w http.ResponseWriter, r *http.Request) {
	g.paths = append(g.paths, r.URL.Path)
	g.manifest = nil
	if err := json.Unmarshal([]byte(r.FormValue("manifest")), &g.manifest); err != nil {
		g.t.Errorf("manifest: %v", err)
	}
	name, _ := g.manifest["name"].(string)
	back, _ := g.manifest["redirect_url"].(string)
	code := rand.Text()
	g.codes[code] = name
	http.Redirect(w, r, back+"?"+url.Values{"code": {code}, "state": {r.URL.Query().Get("state")}}.Encode(), http.StatusFound)
}

func (g *manifestGitHub) convert(w http.ResponseWriter, r *http.Request) {
	if g.midst != nil {
		g.midst()
	}
	name, ok := g.codes[r.PathValue("code")]
	delete(g.codes, r.PathValue("code")) // good once
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.WriteHeader(http.StatusCreated)
	json.NewEncoder(w).Encode(map[string]any{ //nolint:errcheck // a test's answer
		"id": 4711, "slug": name, "name": name, "pem": g.key, "webhook_secret": g.secret, "client_id": "Iv1.x",
		"client_secret": "not kept", "html_url": "https://github.com/apps/" + name,
	})
}

// running is `purgebot setup` waiting for a browser.
type running struct {
	t       *testing.T
	address string
	stop    func() // as Ctrl-C
	ended   chan purgeEnded
}

func startSetup(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, w := io.Pipe()
	s := &running{t: t, stop: cancel, ended: make(chan purgeEnded, 1)}
	var said, errs bytes.Buffer
	code := make(chan int, 1)
	lines := bufio.NewReader(io.TeeReader(r, &said))
	go func() {
		code <- run(ctx, append([]string{"setup"}, args...), streams{strings.NewReader(""), w, &errs})
		w.Close()
	}()
	for s.address == "" {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("setup ended: %d, %s%s", <-code, said.String(), errs.String())
		}
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "http://") {
			s.address = line
		}
	}
	go func() {
		io.Copy(io.Discard, lines) //nolint:errcheck // until it ends
		s.ended <- purgeEnded{<-code, said.String(), errs.String()}
	}()
	return s
}

// get opens a page as a browser does that follows redirects.
func (s *running) get(address string) (int, string) {
	s.t.Helper()
	return s.read(http.Get(address))
}

func (s *running) read(res *http.Response, err error) (int, string) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// form reads the page's form.
func (s *running) form() (action string, fields url.Values) {
	s.t.Helper()
	code, page := s.get(s.address)
	found := regexp.MustCompile(`action="([^"]*)"`).FindStringSubmatch(page)
	value := regexp.MustCompile(`name="manifest" value="([^"]*)"`).FindStringSubmatch(page)
	if code != http.StatusOK || found == nil || value == nil {
		s.t.Fatalf("%d, %s", code, page)
	}
	return html.UnescapeString(found[1]), url.Values{"manifest": {html.UnescapeString(value[1])}}
}

func TestSetup(t *testing.T) {
	g := newManifestGitHub(t)
	out := filepath.Join(t.TempDir(), "purgebot.yaml")
	s := startSetup(t, "--public-url", "https://purgebot.acme.com/", "--github-url", g.URL, "--organization", "acme", "--out", out)
	action, fields := s.form()
	code, page := s.read(http.PostForm(action, fields))
	end := <-s.ended
	if code != http.StatusOK || !strings.Contains(page, "Done.") || end.code != exitDone || end.err != "" {
		t.Fatalf("%d, %s\n%+v", code, page, end)
	}
	wantWords(t, end.out, "The GitHub App purgebot-acme (id 4711) is made: https://github.com/apps/purgebot-acme",
		"Wrote "+out+" and "+filepath.Join(filepath.Dir(out), "app.pem"), "https://github.com/apps/purgebot-acme/installations/new", "purgebot doctor")
	want := map[string]any{
		"name": "purgebot-acme", "url": "https://purgebot.acme.com", "description": "Purges Akamai's cache when a site is deployed.",
		"hook_attributes": map[string]any{"url": "https://purgebot.acme.com/webhook", "active": true},
		"redirect_url":    s.address + "callback", "public": false,
		"default_permissions": map[string]any{
			"metadata": "read", "contents": "read", "deployments": "read", "statuses": "write", "checks": "write",
			"pull_requests": "write", "issues": "read",
		},
		"default_events": []any{"push", "deployment_status", "pull_request", "check_run", "issue_comment", "repository"},
	}
	if diff := cmp.Diff(want, g.manifest); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	if g.paths[0] != "/organizations/acme/settings/apps/new" {
		t.Errorf("posted to %v", g.paths)
	}

	cfg, err := config.Load(out, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if cfg.GitHub.AppID != 4711 || cfg.GitHub.PrivateKey.Reveal() != g.key || len(cfg.GitHub.WebhookSecrets) != 1 ||
		cfg.GitHub.WebhookSecrets[0].Reveal() != g.secret || cfg.PublicURL != "https://purgebot.acme.com" || cfg.GitHub.APIURL != g.URL+"/api/v3" {
		t.Errorf("the configuration: %+v", cfg)
	}
	for _, name := range []string{out, filepath.Join(filepath.Dir(out), "app.pem")} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
		if text, err := os.ReadFile(name); err != nil || bytes.Contains(text, []byte("not kept")) {
			t.Errorf("%s: %v, %s", name, err, text)
		}
	}
	for _, secret := range []string{g.key, "#1"} {
		if strings.Contains(end.out+page, secret) {
			t.Errorf("a secret was told: %s", end.out)
		}
	}

	got := runPurge(t, "", "setup", "--public-url", "https://purgebot.acme.com", "--out", out)
	if got.code != exitUsage || !strings.Contains(got.err, "exists, and setup overwrites nothing") {
		t.Errorf("a second setup: %+v", got)
	}
}

// The operator chooses optional features on the command line or on the page. The choice
// changes what GitHub is asked for.
func TestSetupAsksForWhatIsChosen(t *testing.T) {
	g := newManifestGitHub(t)
	s := startSetup(t, "--public-url", "https://purgebot.acme.com", "--github-url", g.URL, "--out", filepath.Join(t.TempDir(), "purgebot.yaml"), "--with", "status")
	_, page := s.get(s.address)
	wantWords(t, page, "comments that ask for a purge, and the replies: issues: read, pull_requests: write; events issue_comment",
		"commit statuses as a trigger: statuses: read; events status", "workflow runs as a trigger: <a href")
	asks := func(address string) (needs.App, string) {
		t.Helper()
		_, page := s.get(address)
		value := regexp.MustCompile(`name="manifest" value="([^"]*)"`).FindStringSubmatch(page)
		var m struct {
			Permissions map[string]string `json:"default_permissions"`
			Events      []string          `json:"default_events"`
		}
		if value == nil || json.Unmarshal([]byte(html.UnescapeString(value[1])), &m) != nil {
			t.Fatal(page)
		}
		return needs.App{Permissions: m.Permissions, Events: m.Events}, page
	}
	follow := func(page, feature string) string {
		t.Helper()
		link := regexp.MustCompile(feature + `: <a href="([^"]*)"`).FindStringSubmatch(page)
		if link == nil {
			t.Fatal(page)
		}
		return strings.TrimSuffix(s.address, "/") + html.UnescapeString(link[1])
	}
	both, page := asks(follow(page, "workflow runs as a trigger"))
	if diff := cmp.Diff(needs.Ask(needs.Chosen("status", "workflow")), both); diff != "" {
		t.Errorf("with status and workflow (-want +got):\n%s", diff)
	}
	one, page := asks(follow(page, "commit statuses as a trigger"))
	if diff := cmp.Diff(needs.Ask(needs.Chosen("workflow")), one); diff != "" {
		t.Errorf("with workflow (-want +got):\n%s", diff)
	}
	if none, _ := asks(follow(page, "workflow runs as a trigger")); !cmp.Equal(none, needs.Ask(needs.Chosen())) {
		t.Errorf("with nothing: %v", none)
	}
}

func TestSetupWithoutAWebhookSecret(t *testing.T) {
	g := newManifestGitHub(t)
	g.secret = nil
	out := filepath.Join(t.TempDir(), "mine.yaml")
	s := startSetup(t, "--public-url", "https://purgebot.acme.com", "--github-url", g.URL, "--name", "purge & co", "--out", out)
	action, fields := s.form()
	s.read(http.PostForm(action, fields))
	end := <-s.ended
	if end.code != exitDone || !strings.Contains(end.out, "GitHub made no webhook secret. Set the one under webhook_secrets in "+out) {
		t.Errorf("%+v", end)
	}
	cfg, err := config.Load(out, func(string) string { return "" })
	if err != nil || len(cfg.GitHub.WebhookSecrets) != 1 || len(cfg.GitHub.WebhookSecrets[0].Reveal()) < 32 {
		t.Errorf("the configuration: %+v, %v", cfg, err)
	}
	if g.manifest["name"] != "purge & co" || g.paths[0] != "/settings/apps/new" {
		t.Errorf("posted to %v: %v", g.paths, g.manifest)
	}
	if strings.Contains(end.out, cfg.GitHub.WebhookSecrets[0].Reveal()) {
		t.Error("the secret was told")
	}
}

// Only a browser that this setup sent away may come back, and only once.
func TestSetupChecksWhoComesBack(t *testing.T) {
	g := newManifestGitHub(t)
	out := filepath.Join(t.TempDir(), "purgebot.yaml")
	s := startSetup(t, "--public-url", "https://purgebot.acme.com", "--github-url", g.URL, "--out", out)
	action, _ := s.form()
	to, err := url.Parse(action)
	if err != nil {
		t.Fatal(err)
	}
	state := to.Query().Get("state")
	g.codes["forged"] = "evil"
	for name, query := range map[string]string{
		"no state": "code=forged", "another's state": "code=forged&state=x", "no code": "state=" + state,
	} {
		if code, page := s.get(s.address + "callback?" + query); code != http.StatusBadRequest {
			t.Errorf("%s: %d, %s", name, code, page)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "rebound.evil.com:80"
	if code, page := s.read(http.DefaultClient.Do(req)); code != http.StatusForbidden || strings.Contains(page, state) {
		t.Errorf("by another name: %d, %s", code, page)
	}
	if len(g.codes) != 1 {
		t.Error("the forged code was used")
	}
	// A code that GitHub does not know ends the setup.
	if code, page := s.get(s.address + "callback?code=old&state=" + state); code != http.StatusBadGateway || !strings.Contains(page, "used once, within an hour") {
		t.Errorf("%d, %s", code, page)
	}
	if end := <-s.ended; end.code != exitFailed || !strings.Contains(end.err, "GitHub doesn't know the code") {
		t.Errorf("%+v", end)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("something was written")
	}
}

// An App that GitHub makes at the moment at which setup is interrupted is kept: its key
// comes only once. Before that moment nothing is made.
func TestSetupIsInterrupted(t *testing.T) {
	g := newManifestGitHub(t)
	out := filepath.Join(t.TempDir(), "purgebot.yaml")
	args := []string{"--public-url", "https://purgebot.acme.com/", "--github-url", g.URL, "--out", out}
	s := startSetup(t, args...)
	s.stop()
	if end := <-s.ended; end.code != exitFailed || !strings.Contains(end.err, "nothing was written") {
		t.Errorf("before: %+v", end)
	}
	s = startSetup(t, args...)
	g.midst = s.stop
	action, fields := s.form()
	code, page := s.read(http.PostForm(action, fields))
	if end := <-s.ended; code != http.StatusOK || end.code != exitDone || !strings.Contains(end.out, "Wrote "+out) {
		t.Errorf("meanwhile: %d, %s\n%+v", code, page, end)
	}
	if _, err := os.Stat(out); err != nil {
		t.Error(err)
	}
}

func TestSetupsMistakes(t *testing.T) {
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"no public URL":         {},
		"a public URL without":  {"--public-url", "purgebot.acme.com"},
		"listens for everybody": {"--public-url", "https://purgebot.acme.com", "--listen", ":0"},
		"an API in the clear":   {"--public-url", "https://purgebot.acme.com", "--github-url", "http://github.acme.com"},
		"no folder":             {"--public-url", "https://purgebot.acme.com", "--out", filepath.Join(dir, "none", "purgebot.yaml")},
		"no such feature":       {"--public-url", "https://purgebot.acme.com", "--with", "statuses"},
		"no organization":       {"--public-url", "https://purgebot.acme.com", "--organization", "acme/site"},
	} {
		if got := runPurge(t, "", append([]string{"setup", "--out", filepath.Join(dir, "purgebot.yaml")}, args...)...); got.code != exitUsage || got.out != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestAPIOfGitHub(t *testing.T) {
	for pages, want := range map[string]string{
		"https://github.com":      "https://api.github.com",
		"https://acme.ghe.com":    "https://api.acme.ghe.com",
		"https://github.acme.com": "https://github.acme.com/api/v3",
	} {
		u, err := url.Parse(pages)
		if err != nil {
			t.Fatal(err)
		}
		if got := apiOf(u).String(); got != want {
			t.Errorf("%s: %s, want %s", pages, got, want)
		}
	}
}
