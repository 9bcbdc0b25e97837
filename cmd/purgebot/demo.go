package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/standin"
	"github.com/purgebot/purgebot/mapping"
)

type demoCmd struct {
	Once   bool   `help:"Exit when the story ends: 0 only if all of it ended as told."`
	Dir    string `help:"Keep the site and the database in this folder; a temporary one by default." placeholder:"DIR"`
	Listen string `help:"The server's address." default:"127.0.0.1:0" placeholder:"ADDR"`
	Log    bool   `help:"Show the server's log on standard error."`

	Repo  string `help:"Play the last commits of this clone instead of the story." placeholder:"DIR"`
	Rules string `help:"With --repo: use this rules file in every commit." placeholder:"FILE"`
	Last  *int   `help:"With --repo: how many commits; 10 by default." placeholder:"N"`
}

// play is a story that is opened on a stage and then played.
type play interface {
	open(ctx context.Context, dir, listen string, log *slog.Logger) error
	play(ctx context.Context) error
	closing() *demo
}

// Run plays the story: a site in git, GitHub, Akamai and the real server
// between them, all on this machine.
func (c *demoCmd) Run(ctx context.Context, std streams) (err error) {
	dir := c.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "purgebot-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	log := slog.New(slog.DiscardHandler)
	if c.Log {
		log = slog.New(slog.NewTextHandler(std.err, nil))
	}
	p, err := c.choose(ctx, dir, std.out)
	if err != nil {
		return err
	}
	if err := p.open(ctx, dir, c.Listen, log); err != nil {
		return err
	}
	d := p.closing()
	defer func() { err = errors.Join(err, d.stage.close(context.WithoutCancel(ctx))) }()

	if err := p.play(ctx); err != nil {
		return err
	}
	if d.verdict(); d.wrong > 0 {
		return failed()
	}
	if c.Once {
		return nil
	}
	d.say("The server goes on at http://%s until you press Ctrl-C.", d.stage.server.addr())
	<-ctx.Done()
	return nil
}

func (c *demoCmd) choose(ctx context.Context, dir string, out io.Writer) (play, error) {
	if c.Repo == "" {
		if c.Rules != "" || c.Last != nil {
			return nil, usage("--rules and --last go with --repo")
		}
		return &demo{out: out}, nil
	}
	last := 10
	if c.Last != nil {
		last = *c.Last
	}
	if last < 1 || last > 10_000 {
		return nil, usage("--last %d: from 1 to 10000 commits", last)
	}
	r, err := openReplay(ctx, dir, c.Repo, c.Rules, last)
	if err != nil {
		return nil, err
	}
	r.out = out
	return r, nil
}

// demo is the story as it is played.
type demo struct {
	out   io.Writer
	stage *stage
	site  *site
	rules *naiveRules

	seen  int    // purges of the Akamai stand-in that were judged already
	wrong int    // steps that did not end as told
	count int    // steps so far
	page  string // that the last status led to, and nobody looked at
}

const demoRules = `version: 1
environments:
  production:
    network: production
    hosts: [www.acme.example, m.acme.example]
  staging:
    network: staging
    hosts: [staging.acme.example]
rules:
  - name: pages
    match: content/**/*.md
    urls: ["https://{host}/{1}/{2}/"]
  - name: press releases list
    match: content/press/*.md
    urls: ["https://{host}/press/"]
  - name: assets
    match: static/**
    urls: ["https://{host}/assets/{1}"]
  - name: the shell of every page
    match: layouts/**
    tags: [acme-shell]
`

func (d *demo) open(ctx context.Context, dir, listen string, log *slog.Logger) (err error) {
	if d.site, err = newSite(ctx, filepath.Join(dir, "site")); err != nil {
		return err
	}
	if d.rules, err = readNaive([]byte(demoRules)); err != nil {
		return err
	}
	if _, err := d.site.commit(ctx, "A site", map[string]string{
		"purge-rules.yaml": demoRules, "layouts/base.html": "<html>", "static/site.css": "body {}",
		"content/press/2026-opening.md": "We open.", "content/about/team.md": "Ann, Bob", "content/shop/prices.md": "10 EUR",
		"content/shop/old offer.md": "5 EUR", "README.md": "the site",
	}); err != nil {
		return err
	}
	entry := policy.NewEntry()
	entry.Repositories, entry.Hosts, entry.Tags = []string{"acme/site"}, []string{"*.acme.example"}, []string{"acme-*"}
	d.stage, err = newStage(ctx, stageConfig{
		dir: dir, listen: listen, log: log, policy: policy.Policy{entry},
		repo:        standin.GitHubRepository{ID: 1, Owner: "acme", Name: "site", Dir: d.site.dir},
		akamai:      standin.AkamaiConfig{Estimate: time.Second, Log: log},
		statusEvery: 200 * time.Millisecond,
	})
	return err
}

func (d *demo) closing() *demo { return d }

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// step begins a step of the story.
func (d *demo) step(format string, args ...any) {
	d.count++
	d.say("\n%d. %s", d.count, fmt.Sprintf(format, args...))
}

// wrongly notes that something did not end as told.
func (d *demo) wrongly(format string, args ...any) {
	d.wrong++
	d.say("   ✗ "+format, args...)
}

// shown is how many objects of a step are printed.
const shown = 20

const demoWait = 30 * time.Second

// says reports whether a status has words: their beginning, and after … their
// end.
func says(s standin.GitHubStatus, state, words string) bool {
	begins, ends, _ := strings.Cut(words, "…")
	return s.State == state && strings.HasPrefix(s.Description, begins) && strings.HasSuffix(s.Description, ends)
}

// status waits for a commit's status, and shows it.
func (d *demo) status(ctx context.Context, sha, environment, state, words string) {
	wait, cancel := context.WithTimeout(ctx, demoWait)
	defer cancel()
	s, err := d.stage.github.AwaitStatus(wait, d.stage.fullName(), sha, "purge/"+environment, func(s standin.GitHubStatus) bool {
		return says(s, state, words)
	})
	if err != nil {
		d.wrongly("%v; told was %s %q", err, state, words)
		return
	}
	d.say("   %s %s  %s: %s", statusMark(s.State), sha[:7], s.Context, s.Description)
	if s.TargetURL != "" {
		d.say("     %s", s.TargetURL)
	}
	d.page = s.TargetURL
}

func statusMark(state string) string {
	switch state {
	case "success":
		return "✓"
	case "failure", "error":
		return "✗"
	default:
		return "…"
	}
}

// purged holds what reached Akamai since the last call against what git and a
// naive reading of the rules say of the difference of two commits. Without a
// from nothing may have reached it.
func (d *demo) purged(ctx context.Context, from, to, environment, network, action string, but ...string) {
	wait, cancel := context.WithTimeout(ctx, demoWait)
	defer cancel()
	if err := d.stage.server.idle(wait); err != nil {
		d.wrongly("%v", err)
		return
	}
	want := map[string]int{}
	if from != "" {
		changes, err := gitDifference(ctx, d.site.dir, from, to)
		if err != nil {
			d.wrongly("%v", err)
			return
		}
		want = d.expect(changes, environment, network, action, but)
	}
	d.judge(ctx, want)
}

func (d *demo) expect(changes []mapping.Change, environment, network, action string, but []string) map[string]int {
	want := map[string]int{}
	for _, c := range changes {
		for _, object := range d.rules.objects(environment, c.Path) {
			if slices.Contains(but, object) {
				continue
			}
			how := action
			if !strings.HasPrefix(object, "url ") {
				how = "invalidate"
			}
			want[network+" "+how+" "+object] = 1
		}
	}
	return want
}

// judge compares, object by object, what reached Akamai with what was wanted.
func (d *demo) judge(ctx context.Context, want map[string]int) {
	all := d.stage.akamai.Accepted()
	got := map[string]int{}
	for _, p := range all[d.seen:] {
		for _, o := range p.Objects {
			got[p.Network+" "+p.Action+" "+p.Kind+" "+o]++
		}
	}
	d.seen = len(all)
	lines := make([]string, 0, len(got))
	for line := range got {
		lines = append(lines, line)
	}
	slices.Sort(lines)
	for i, line := range lines {
		switch {
		case i < shown:
			d.say("     akamai: %s", line)
		case i == shown:
			d.say("     akamai: and %d more", len(lines)-shown)
		}
		if got[line] != want[line] {
			d.wrongly("reached Akamai %d times, wanted %d: %s", got[line], want[line], line)
		}
	}
	for line := range want {
		if got[line] == 0 {
			d.wrongly("never reached Akamai: %s", line)
		}
	}
	if len(got) == 0 {
		d.say("     akamai: nothing")
	}
	d.judgePage(ctx, len(want))
}

// judgePage holds the page that the last status led to against the number of
// objects that Akamai accepted.
func (d *demo) judgePage(ctx context.Context, accepted int) {
	if d.page == "" {
		return
	}
	page, err := fetch(ctx, d.page)
	if err != nil {
		d.wrongly("read the purge's page: %v", err)
	} else if n := strings.Count(page, `<td class="accepted">`); n != accepted {
		d.wrongly("the purge's page shows %d accepted objects, Akamai accepted %d: %s", n, accepted, d.page)
	}
	d.page = ""
}

// fetch reads a page of the server's.
func fetch(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 10<<20))
	if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return string(body), err
}

func (d *demo) verdict() {
	if calls := d.stage.github.UnknownCalls(); len(calls) > 0 {
		d.wrongly("calls that GitHub does not know: %v", calls)
	}
	if d.wrong > 0 {
		d.say("\n%d of it did not end as told.", d.wrong)
		return
	}
	d.say("\nEvery object that should have been purged reached Akamai, no other did, and every status ended as told.")
}
