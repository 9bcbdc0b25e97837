package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/needs"
)

// setupCmd is purgebot setup. It uses GitHub's manifest flow: the operator's browser
// posts to GitHub what the App should be. GitHub sends the browser back here with a code.
// The code can be exchanged for the App's credentials once, within an hour.
type setupCmd struct {
	PublicURL    string   `name:"public-url" required:"" help:"Where GitHub and people's browsers will find the server, such as https://purgebot.acme.com." placeholder:"URL"`
	Organization string   `help:"Make the App this organization's (default: your own)." placeholder:"ORG"`
	Name         string   `help:"The App's name, of which there is one in the world; GitHub's page lets you change it (default: purgebot, with the organization)."`
	GitHubURL    string   `name:"github-url" default:"https://github.com" help:"GitHub's pages."`
	APIURL       string   `name:"api-url" help:"GitHub's REST API (default: that of github-url)." placeholder:"URL"`
	With         []string `help:"What the App hears besides, of status, workflow (the triggers of those names in rules files) and merge-queue (previews there). The page in the browser offers them too." placeholder:"FEATURE"`
	Out          string   `default:"purgebot.yaml" help:"The configuration to write; the App's key, app.pem, goes beside it. A file that exists is never overwritten." placeholder:"FILE"`
	Listen       string   `default:"127.0.0.1:0" help:"Where the browser comes back to, on loopback."`
}

// setupTime is how long GitHub keeps a code, and so how long setup waits for one.
const setupTime = time.Hour

// pageTime bounds how long a browser may take to send the head of a request, and how long
// the last page may take to arrive when setup ends.
const pageTime = 10 * time.Second

// keyFile is the name of the App's key; the file is in the folder of the configuration.
const keyFile = "app.pem"

// Run waits for the browser, on loopback only. It ends after the browser has received its
// last page. The address and the next steps go to standard output.
//
// What can be checked beforehand exits with 2 and makes nothing. Later errors exit with
// 1.
func (c *setupCmd) Run(ctx context.Context, std streams) error {
	s, err := c.prepare()
	if err != nil {
		return usage("%w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", c.Listen, err)
	}
	s.here = "http://" + listener.Addr().String()
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	server := &http.Server{Handler: s.routes(), ReadHeaderTimeout: pageTime}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	fmt.Fprintf(std.out, "Open this address in a browser on this machine, within an hour, and follow it:\n\n  %s/\n\n", s.here)
	// callback sends to ended before its page has reached the browser. Shutdown waits for
	// that.
	var end setupEnd
	select {
	case end = <-s.ended:
	case <-ctx.Done():
		if s.taken.Swap(true) { // the App is being made: its key comes only once
			end = <-s.ended
		} else {
			end.err = errors.New("setup ended before anybody came back from GitHub; nothing was written")
		}
	}
	if err = end.err; err == nil {
		fmt.Fprint(std.out, end.told)
	}
	// The context may be done already, but the last page still needs time.
	closing, stop := context.WithTimeout(context.WithoutCancel(ctx), pageTime)
	defer stop()
	err = errors.Join(err, server.Shutdown(closing)) // waits until the browser has its page
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return err
}

// prepare checks everything that can be checked before GitHub makes an App. An App whose
// credentials can't be stored would have to be deleted by hand.
func (c *setupCmd) prepare() (*setup, error) {
	public, err := webAddress("--public-url", c.PublicURL)
	if err != nil {
		return nil, err
	}
	pages, err := webAddress("--github-url", c.GitHubURL)
	if err != nil {
		return nil, err
	}
	api := apiOf(pages)
	if c.APIURL != "" {
		if api, err = webAddress("--api-url", c.APIURL); err != nil {
			return nil, err
		}
	}
	if api.Scheme == "http" && !loopback(api.Hostname()) {
		return nil, fmt.Errorf("the App's key would come in the clear from %s; use https", api)
	}
	if host, _, err := net.SplitHostPort(c.Listen); err != nil || !loopback(host) {
		return nil, fmt.Errorf("--listen %s is not HOST:PORT on loopback: GitHub's code must reach this machine alone", c.Listen)
	}
	if strings.ContainsAny(c.Organization, "/?# ") {
		return nil, fmt.Errorf("--organization %q is not an organization's name", c.Organization)
	}
	if err := offered(c.With); err != nil {
		return nil, err
	}
	files := setupFiles{config: c.Out, key: filepath.Join(filepath.Dir(c.Out), keyFile)}
	if err := files.free(); err != nil {
		return nil, err
	}
	name := c.Name
	if name == "" {
		name = strings.TrimSuffix("purgebot-"+c.Organization, "-")
	}
	return &setup{
		with: c.With, name: name, organization: c.Organization, public: public, pages: pages, api: api,
		files: files, state: rand.Text(), ended: make(chan setupEnd, 1), http: &http.Client{Timeout: askTime},
	}, nil
}

// webAddress parses the base of an address: a path can be added to it, so it must have no
// query and no fragment.
func webAddress(flag, text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(text, "/"))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%s %q is not of the form https://HOST", flag, text)
	}
	return u, nil
}

// apiOf is the base of the REST API that belongs to GitHub's pages. github.com and
// ghe.com have a host of their own for it; a GitHub Enterprise Server has a path.
func apiOf(pages *url.URL) *url.URL {
	if host := pages.Hostname(); host == "github.com" || strings.HasSuffix(host, ".ghe.com") {
		return &url.URL{Scheme: "https", Host: "api." + pages.Host}
	}
	return pages.JoinPath("api", "v3")
}

// offered returns an error for a name in --with that is not an optional feature.
func offered(with []string) error {
	var names []string
	for _, n := range needs.Optional() {
		names = append(names, n.Option)
	}
	for _, name := range with {
		if !slices.Contains(names, name) {
			return fmt.Errorf("--with %s: there is %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

// setupFiles are the paths of the files that setup writes.
type setupFiles struct{ config, key string }

// free checks that neither file exists and that their folder can be written.
func (f setupFiles) free() error {
	for _, name := range []string{f.config, f.key} {
		if _, err := os.Lstat(name); err == nil {
			return fmt.Errorf("%s exists, and setup overwrites nothing: move it away, or name another file with --out", name)
		}
	}
	if e := folderExamined("", filepath.Dir(f.config)); e.mark == markBad {
		return fmt.Errorf("%s: %s", f.config, e.words)
	}
	return nil
}

// writeNew makes a file that only its owner can read. It never overwrites one, not even
// one that appeared after free looked.
func writeNew(name, content string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator names the file
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Sync(), f.Close())
}
