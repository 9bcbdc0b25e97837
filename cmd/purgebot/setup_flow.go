package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/purgebot/purgebot/internal/needs"
)

// setup is one run of the manifest flow. Its fields do not change while the server
// serves, except taken; each request has a goroutine of its own.
type setup struct {
	with               []string // optional features that the command line chose
	name, organization string
	public, pages, api *url.URL // purgebot's address, GitHub's pages, GitHub's API
	files              setupFiles
	state              string // random; proves that the browser comes back from this run's form
	here               string // this setup's own address on loopback

	http  *http.Client
	taken atomic.Bool   // a code was accepted; it can be exchanged only once
	ended chan setupEnd // receives one value; has room for it, so callback never waits
}

// setupEnd is the result of the flow: words for the operator, or an error.
type setupEnd struct {
	told string
	err  error
}

// manifest describes the App that GitHub is to make, in GitHub's format:
// https://docs.github.com/apps/sharing-github-apps/registering-a-github-app-from-a-manifest.
type manifest struct {
	Name        string            `json:"name"`
	URL         string            `json:"url"`
	Description string            `json:"description"`
	Hook        manifestHook      `json:"hook_attributes"`
	RedirectURL string            `json:"redirect_url"`
	Public      bool              `json:"public"`
	Permissions map[string]string `json:"default_permissions"`
	Events      []string          `json:"default_events"`
}

// manifestHook is where GitHub is to deliver the App's webhooks.
type manifestHook struct {
	URL    string `json:"url"`
	Active bool   `json:"active"`
}

// manifest asks for what the given features need, and for nothing more.
func (s *setup) manifest(features []needs.Need) manifest {
	asked := needs.Ask(features)
	return manifest{
		Name: s.name, URL: s.public.String(), Description: "Purges Akamai's cache when a site is deployed.",
		Hook:        manifestHook{URL: s.public.JoinPath("webhook").String(), Active: true},
		RedirectURL: s.here + "/callback", Permissions: asked.Permissions, Events: asked.Events,
	}
}

// action is the address of GitHub's form: the operator's own settings, or those of an
// organization. GitHub returns the state unchanged.
func (s *setup) action() string {
	to := s.pages.JoinPath("settings", "apps", "new")
	if s.organization != "" {
		to = s.pages.JoinPath("organizations", s.organization, "settings", "apps", "new")
	}
	to.RawQuery = url.Values{"state": {s.state}}.Encode()
	return to.String()
}

// routes serves the two pages of the flow. The first page contains the state, which
// proves to callback that this run sent the browser to GitHub. Nobody else may read it:
// the headers keep it out of caches, frames and referrers.
func (s *setup) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.start)
	mux.HandleFunc("GET /callback", s.callback)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// DNS rebinding: a foreign site can point its own name at 127.0.0.1 and then read
		// this page as its own. The browser sends that name as Host, so only loopback is
		// admitted.
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil || !loopback(host) {
			http.Error(w, "this is for a browser on this machine", http.StatusForbidden)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// setupPage is both pages: the form, or the words in Done. html/template escapes every
// value.
const setupPage = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>purgebot setup</title>
<h1>purgebot setup</h1>
{{if .Done}}<p>{{.Done}}</p>{{else}}
<p>GitHub will ask you to confirm the App and its name. It may do, and hears of, the least with which this works:</p>
<ul>{{range .Features}}<li>{{.Feature}}: {{range $i, $p := .Permissions}}{{if $i}}, {{end}}{{$p}}{{end}}{{if .Events}}; events {{range $i, $e := .Events}}{{if $i}}, {{end}}{{$e}}{{end}}{{end}}</li>{{end}}</ul>
<p>Only where your rules or repositories need it:</p>
<ul>{{range .Choices}}<li>{{.Feature}}: <a href="{{.Link}}">{{if .Chosen}}leave out{{else}}add{{end}}</a></li>{{end}}</ul>
<p>GitHub will deliver its webhooks to {{.Manifest.Hook.URL}}.</p>
<form action="{{.Action}}" method="post">
<input type="hidden" name="manifest" value="{{.JSON}}">
<button type="submit">Create the GitHub App</button>
</form>{{end}}
</html>
`

// showSetup writes a page.
func showSetup(w http.ResponseWriter, code int, data any) {
	page := template.Must(template.New("").Parse(setupPage))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_ = page.Execute(w, data) // the browser may have gone; nobody is left to tell
}

// setupChoice is a feature that the operator may add or leave out.
type setupChoice struct {
	Feature string
	Chosen  bool
	Link    string // to the page with the other choice
}

// choices lists every optional feature, with a link that adds it or leaves it out. Each
// link ends in an empty "with": it makes a choice of nothing differ from no choice.
func choices(chosen []string) (all []setupChoice) {
	for _, n := range needs.Optional() {
		is := slices.Contains(chosen, n.Option)
		then := slices.DeleteFunc(slices.Clone(chosen), func(name string) bool { return name == n.Option })
		if !is {
			then = append(then, n.Option)
		}
		all = append(all, setupChoice{n.Feature, is, "/?" + url.Values{"with": append(then, "")}.Encode()})
	}
	return all
}

// start shows what the App will be. The query of the address holds the chosen features.
// Without a query the choice of the command line counts.
func (s *setup) start(w http.ResponseWriter, r *http.Request) {
	with := s.with
	if query := r.URL.Query(); query.Has("with") {
		with = slices.DeleteFunc(query["with"], func(name string) bool { return name == "" })
	}
	features := needs.Chosen(with...)
	m := s.manifest(features)
	text, err := json.Marshal(m)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	showSetup(w, http.StatusOK, map[string]any{"Features": features, "Choices": choices(with), "Manifest": m, "JSON": string(text), "Action": s.action(), "Done": ""})
}

// callback receives the code that GitHub sent the browser back with, and finishes the
// setup. The checks come in this order so that a request without the right state can't
// use up the one code that is accepted.
func (s *setup) callback(w http.ResponseWriter, r *http.Request) {
	code, state := r.URL.Query().Get("code"), r.URL.Query().Get("state")
	tell := func(status int, words string) { showSetup(w, status, map[string]any{"Done": words}) }
	switch {
	case subtle.ConstantTimeCompare([]byte(state), []byte(s.state)) != 1:
		tell(http.StatusBadRequest, "This did not come from the form of this setup: open the address that purgebot printed.")
		return
	case code == "":
		tell(http.StatusBadRequest, "GitHub sent no code.")
		return
	case s.taken.Swap(true):
		tell(http.StatusConflict, "A code came already: look at the terminal.")
		return
	}
	told, err := s.finish(context.WithoutCancel(r.Context()), code) // to its end even if the browser goes: the code can be used only once
	if err != nil {
		tell(http.StatusBadGateway, "It did not work: "+err.Error())
	} else {
		tell(http.StatusOK, "Done. You can close this page; the terminal says what is next.")
	}
	s.ended <- setupEnd{told, err}
}

// setupApp is the part of GitHub's answer that is kept. The client secret is left out: it
// is for signing in people, which purgebot does not do.
type setupApp struct {
	ID            int64   `json:"id"`
	Name          string  `json:"name"`
	PEM           string  `json:"pem"`
	WebhookSecret *string `json:"webhook_secret"` // null: GitHub made none
	HTMLURL       string  `json:"html_url"`
}

// finish fetches the App's credentials and writes them. The key is written first: it
// can't be fetched again, while the configuration can be typed. Each error says what is
// left to do by hand.
func (s *setup) finish(ctx context.Context, code string) (told string, err error) {
	app, err := s.exchange(ctx, code)
	if err != nil {
		return "", fmt.Errorf("fetch the App's credentials: %w; if the App is there, delete it on GitHub and run setup again", err)
	}
	// Without a secret from GitHub this run makes one, and next tells the operator to set
	// it on the App's page.
	made := app.WebhookSecret == nil || *app.WebhookSecret == ""
	secret := rand.Text() + rand.Text()
	if !made {
		secret = *app.WebhookSecret
	}
	if err := writeNew(s.files.key, app.PEM); err != nil {
		return "", fmt.Errorf("write the App's key: %w; make another key on the App's page, %s", err, app.HTMLURL)
	}
	if err := writeNew(s.files.config, s.configuration(app, secret)); err != nil {
		return "", fmt.Errorf("write the configuration: %w; the App's key is in %s, its id is %d", err, s.files.key, app.ID)
	}
	return s.next(app, made), nil
}

// exchange turns the code into the App's credentials. GitHub gives them once, and a fault
// after that can be fixed only on the App's own page. So the answer is checked before
// anything is written.
// https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest
func (s *setup) exchange(ctx context.Context, code string) (app setupApp, err error) {
	to := s.api.JoinPath("app-manifests", url.PathEscape(code), "conversions")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), http.NoBody) //nolint:gosec // the operator names the host
	if err != nil {
		return app, err
	}
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("User-Agent", userAgent())
	res, err := s.http.Do(req) //nolint:gosec // the operator names the host
	if err != nil {
		return app, errors.New("no answer from " + s.api.Host + ": " + reason(err).Error()) // without the code
	}
	defer func() { _ = res.Body.Close() }() // it was read; nothing is left to fail
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	switch {
	case err != nil:
		return app, fmt.Errorf("read the answer of %s: %w", s.api.Host, err)
	case res.StatusCode == http.StatusNotFound:
		return app, errors.New("GitHub doesn't know the code: it can be used once, within an hour")
	case res.StatusCode != http.StatusCreated:
		return app, fmt.Errorf("%s answers %d", s.api.Host, res.StatusCode)
	}
	if err := json.Unmarshal(text, &app); err != nil {
		return app, fmt.Errorf("%s sent no JSON", s.api.Host)
	}
	if block, _ := pem.Decode([]byte(app.PEM)); block == nil || app.ID <= 0 {
		return app, fmt.Errorf("%s sent an App without an id or a key", s.api.Host)
	}
	return app, nil
}

// configuration is the content of the first configuration file. Its policy is empty, so
// it allows no purge yet.
func (s *setup) configuration(app setupApp, secret string) string {
	return fmt.Sprintf(`# The GitHub App %s, %s
# Written by purgebot setup; docs/configuration.md explains every key.
listen: 127.0.0.1:8080
public_url: %q
database: sqlite:./purgebot.db
github:
  api_url: %q
  app_id: %d
  private_key_file: %s
  webhook_secrets: [%q]

# Akamai's credentials: without this section the AKAMAI_* variables, else
# ~/.edgerc.
# akamai:
#   edgerc: ~/.edgerc
#   section: default

# Who may purge what. Nothing is allowed that is not listed.
policy: []
#  - repositories: ["acme/www", "acme/site-*"]
#    hosts: ["www.acme.com"]
#    tags: ["acme-*"]
`, oneLine(app.Name), oneLine(app.HTMLURL), s.public, s.api, app.ID, keyFile, secret)
}

// next says what was made and what is left to do.
func (s *setup) next(app setupApp, madeSecret bool) string {
	var b strings.Builder
	page := oneLine(app.HTMLURL)
	fmt.Fprintf(&b, "The GitHub App %s (id %d) is made: %s\nWrote %s and %s.\n\nNext:\n",
		oneLine(app.Name), app.ID, page, s.files.config, s.files.key)
	if madeSecret {
		fmt.Fprintf(&b, "  - GitHub made no webhook secret. Set the one under webhook_secrets in %s on the App's settings page.\n", s.files.config)
	}
	fmt.Fprintf(&b, "  - Install the App where your sites' repositories are: %s/installations/new\n", page)
	fmt.Fprintf(&b, "  - Write under policy in %s what may be purged, and where Akamai's credentials are.\n", s.files.config)
	fmt.Fprintf(&b, "  - Check everything: purgebot doctor --config %s\n", s.files.config)
	return b.String()
}
