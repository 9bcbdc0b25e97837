package demo

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/verify"
)

// story is the project's own play.
type story struct {
	teller
	site  *stage.Site
	front *front
	pull  int // number of the pull request on which people comment
}

const storyRules = `version: 1
environments:
  production:
    network: production
    hosts: [www.acme.example, m.acme.example]
    redeploy: {within: 1s, purge: {urls: ["https://{host}/press/"]}}
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
limits:
  - over: 20
    instead: hold
`

// Two pages that readers look at.
const (
	prices = "http://www.acme.example/shop/prices/"
	style  = "http://www.acme.example/assets/site.css"
)

// urls are the purges of pages on every host of a network.
func urls(network, action string, pages ...string) (all []string) {
	hosts := []string{"www.acme.example", "m.acme.example"}
	if network == "staging" {
		hosts = []string{"staging.acme.example"}
	}
	for _, host := range hosts {
		for _, page := range pages {
			all = append(all, network+" "+action+" url https://"+host+"/"+page)
		}
	}
	return all
}

// refusedURL is the URL that Akamai refuses at first.
const refusedURL = "https://m.acme.example/press/2026-scoop/"

// rebuiltAfter is longer than the second within which the rules take another deployment
// for the same one. GitHub's times have whole seconds, hence the margin.
const rebuiltAfter = 2500 * time.Millisecond

// storyLimit is the number of URLs from which on the rules ask for approval.
const storyLimit = 20

// newPrices is what the second commit changes, on a network.
func newPrices(network string) []string {
	return append(
		urls(network, "invalidate", "shop/prices/", "about/team/", "about/people/", "shop/old%20offer/", "press/2026-prices/", "press/"),
		network+" invalidate tag acme-shell",
	)
}

// scoop is what the third commit changes.
func scoop(action string) []string {
	return urls("production", action, "press/2026-scoop/", "press/", "assets/site.css")
}

// open makes the site and opens the stage.
func (d *story) open(ctx context.Context, cfg Config) (err error) {
	if d.site, err = stage.NewSite(ctx, filepath.Join(cfg.Dir, "site")); err != nil {
		return err
	}
	if _, err := d.site.Commit(ctx, "A site", map[string]string{
		"purge-rules.yaml": storyRules, "layouts/base.html": "<html>", "static/site.css": "body {}",
		"content/press/2026-opening.md": "We open.", "content/about/team.md": "Ann, Bob", "content/shop/prices.md": "10 EUR",
		"content/shop/old offer.md": "5 EUR", "README.md": "the site",
	}); err != nil {
		return err
	}
	d.front = newFront()
	entry := policy.NewEntry()
	entry.Repositories, entry.Hosts, entry.Tags = []string{"acme/site"}, []string{"*.acme.example"}, []string{"acme-*"}
	d.stage, err = stage.Open(ctx, stage.Config{
		Dir: cfg.Dir, Listen: cfg.Listen, Log: cfg.Log, Policy: policy.Policy{entry},
		Repositories: []github.Repository{{ID: 1, Owner: "acme", Name: "site", Dir: d.site.Dir}},
		Akamai:       akamai.Config{Estimate: time.Second, Log: cfg.Log, Purged: d.front.Purged},
		StatusEvery:  200 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	return d.front.open(ctx, d.stage)
}

// play tells the story. An error means that the stage itself failed. What went
// differently from what was told is only counted.
func (d *story) play(ctx context.Context) error {
	first, err := d.site.Git(ctx, "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	d.say("A site in git, cached by Akamai: %s. Both services are stand-ins on this machine, the server is the real one.", d.stage.FullName())
	if err := d.live(ctx, first); err != nil { // before purgebot was installed
		return err
	}
	if err := d.stage.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	d.say("purgebot serves at http://%s", d.stage.Server.Addr())
	d.sees(ctx, prices, verify.Fresh)

	second, err := d.pushed(ctx)
	if err != nil {
		return err
	}
	if err := d.deployed(ctx, second); err != nil {
		return err
	}
	third, err := d.refused(ctx)
	if err != nil {
		return err
	}
	for _, chapter := range []func() error{
		func() error { return d.retried(ctx, third) },
		func() error { return d.rolledBack(ctx, second) },
		func() error { return d.asked(ctx, second) },
		func() error {
			live, err := d.held(ctx)
			if err != nil || d.interrupted() {
				return err
			}
			return d.rebuilt(ctx, live)
		},
		func() error { return d.staged(ctx, second) },
	} {
		if err := chapter(); err != nil || d.interrupted() {
			return err
		}
	}
	return nil
}

// pushed pushes the second commit, whose first deployment fails. It returns the commit.
func (d *story) pushed(ctx context.Context) (string, error) {
	d.step("An editor merges: a price changes, a page is renamed, one goes, one comes.")
	second, err := d.site.Commit(ctx, "New prices", map[string]string{
		"content/shop/prices.md": "12 EUR", "content/about/team.md": stage.Removed, "content/about/people.md": "Ann, Bob",
		"content/shop/old offer.md": stage.Removed, "content/press/2026-prices.md": "New prices.", "layouts/base.html": "<html lang=en>",
	})
	if err != nil {
		return "", err
	}
	if err := d.push(ctx, second); err != nil {
		return "", err
	}
	d.status(ctx, second, "production", "success", "12 URLs, 1 tag will be purged when production deploys")
	d.purged(ctx)

	d.step("Its deployment fails: nothing is purged.")
	if err := d.deploy(ctx, "production", second, "failure"); err != nil {
		return "", err
	}
	d.status(ctx, second, "production", "success", "Deploy failed: 12 URLs, 1 tag will be purged after the next successful one")
	d.purged(ctx)
	return second, nil
}

// deployed deploys the second commit, then delivers every event a second time.
func (d *story) deployed(ctx context.Context, second string) error {
	d.step("The next deployment succeeds: exactly the difference is purged.")
	if err := d.front.publish(ctx, d.site, second); err != nil {
		return err
	}
	d.sees(ctx, prices, verify.Stale)
	if err := d.deploy(ctx, "production", second, "success"); err != nil {
		return err
	}
	d.status(ctx, second, "production", "success", "12 URLs, 1 tag purged in ")
	d.purged(ctx, newPrices("production")...)
	d.sees(ctx, prices, verify.Fresh)

	d.step("GitHub delivers every event once more: nothing happens twice.")
	for _, event := range d.stage.GitHub.Deliveries() {
		if _, err := d.stage.GitHub.Redeliver(ctx, event.GUID); err != nil {
			return err
		}
	}
	d.purged(ctx)
	return nil
}

// refused deploys a third commit while Akamai refuses one of its URLs. It returns the
// commit.
func (d *story) refused(ctx context.Context) (string, error) {
	d.step("Akamai refuses one URL: the others go out, and the status says which did not.")
	d.stage.Akamai.Refuse(refusedURL, 0, "unauthorized arl")
	third, err := d.site.Commit(ctx, "A scoop", map[string]string{"content/press/2026-scoop.md": "!", "static/site.css": "body { margin: 0 }"})
	if err != nil {
		return "", err
	}
	if err := d.push(ctx, third); err != nil {
		return "", err
	}
	if err := d.live(ctx, third); err != nil {
		return "", err
	}
	d.status(ctx, third, "production", "failure", "5 purged, 1 refused: Akamai doesn't let purgebot purge m.acme.example")
	d.purged(ctx, slices.DeleteFunc(scoop("invalidate"), func(line string) bool { return strings.HasSuffix(line, refusedURL) })...)
	d.sees(ctx, style, verify.Fresh)
	return third, nil
}

// rolledBack deploys the second commit again. An invalidation by hand has no effect then:
// the edge asks by date, and the files have older dates.
// https://techdocs.akamai.com/purge-cache/docs/purge-methods
func (d *story) rolledBack(ctx context.Context, second string) error {
	d.step("The scoop was wrong: the commit before is deployed again. Its files have older dates, so that an invalidation by hand changes nothing; purgebot's rollback deletes.")
	if err := d.front.publish(ctx, d.site, second); err != nil {
		return err
	}
	if err := d.byHand(ctx, style); err != nil {
		return err
	}
	d.purged(ctx, "production invalidate url "+style)
	d.seesNotModified(ctx, style)
	if err := d.deploy(ctx, "production", second, "success"); err != nil {
		return err
	}
	d.status(ctx, second, "production", "success", "6 URLs purged in ")
	d.purged(ctx, scoop("delete")...)
	d.sees(ctx, style, verify.Fresh)
	return nil
}

// asked opens a pull request, shows its preview, and lets two people comment on it, one
// of whom lacks the right.
func (d *story) asked(ctx context.Context, live string) (err error) {
	d.step("A pull request shows what merging it would purge.")
	hub, repo := d.stage.GitHub, d.stage.FullName()
	if _, err := d.site.Git(ctx, "checkout", "--quiet", "-b", "team", live); err != nil {
		return err
	}
	head, err := d.site.Commit(ctx, "Cleo joins", map[string]string{"content/about/people.md": "Ann, Bob, Cleo", "notes.txt": "welcome"})
	if err != nil {
		return err
	}
	if _, err := d.site.Git(ctx, "checkout", "--quiet", "main"); err != nil {
		return err
	}
	if _, err := hub.Push(ctx, repo, "team", head, github.PushOptions{Quiet: true}); err != nil {
		return err
	}
	for login, role := range map[string]string{"eve": "read", "ann": "write"} {
		if err := hub.SetPermission(repo, login, role); err != nil {
			return err
		}
	}
	if d.pull, err = hub.OpenPullRequest(ctx, repo, github.PullRequest{Title: "Cleo joins", Login: "ann", Head: "team"}); err != nil {
		return err
	}
	d.checkRun(ctx, head, "Purge preview", "neutral", "Would purge 2 URLs in production; 1 URL in staging")
	d.purged(ctx)

	d.step("Somebody asks for a page by hand, in a comment on it. Eve may only read; Ann may write.")
	const asks = "/purge https://www.acme.example/shop/prices/"
	if err := d.comment(ctx, "eve", asks, "confused", "purging here needs the **write** role and you have **read**"); err != nil {
		return err
	}
	if err := d.comment(ctx, "ann", asks, "rocket", "1 URL purged in "); err != nil {
		return err
	}
	d.purged(ctx, "production invalidate url https://www.acme.example/shop/prices/")
	return nil
}

// held deploys more changes than the rules allow without approval.
func (d *story) held(ctx context.Context) (commit string, err error) {
	d.step("A large deployment: the rules ask for approval above %d URLs. Ann checks it, and releases it.", storyLimit)
	files, pages := map[string]string{}, []string(nil)
	for i := range storyLimit {
		files[fmt.Sprintf("content/archive/%d.md", i)], pages = "old news", append(pages, fmt.Sprintf("archive/%d/", i))
	}
	if commit, err = d.site.Commit(ctx, "The archive", files); err != nil {
		return "", err
	}
	if err := d.push(ctx, commit); err != nil {
		return "", err
	}
	if err := d.deploy(ctx, "production", commit, "success"); err != nil {
		return "", err
	}
	d.status(ctx, commit, "production", "pending", fmt.Sprintf("Needs approval: %d URLs (limit %d)", 2*storyLimit+6, storyLimit))
	d.page = "" // nothing was sent yet
	d.purged(ctx)
	if err := d.comment(ctx, "ann", "/purge release", "rocket", "`ann` released this purge"); err != nil {
		return "", err
	}
	d.status(ctx, commit, "production", "success", fmt.Sprintf("%d URLs purged in ", 2*storyLimit+6))
	d.purged(ctx, slices.Concat(urls("production", "invalidate", pages...), scoop("invalidate"))...)
	return commit, nil
}

// rebuilt deploys the live commit again, after more time than the rules allow for the
// same deployment.
func (d *story) rebuilt(ctx context.Context, live string) error {
	d.step("The site is built anew from the same commit, as every night: only what the rules say of a rebuild is purged.")
	select {
	case <-time.After(rebuiltAfter):
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := d.deploy(ctx, "production", live, "success"); err != nil {
		return err
	}
	d.status(ctx, live, "production", "success", "rebuilt: 2 URLs purged in ")
	d.purged(ctx, urls("production", "invalidate", "press/")...)
	return nil
}

// comment lets somebody comment on the pull request, and prints purgebot's reaction and
// reply.
func (d *story) comment(ctx context.Context, login, body, reaction, words string) error {
	d.say("   %s: %s", login, body)
	hub, repo := d.stage.GitHub, d.stage.FullName()
	id, err := hub.Comment(ctx, repo, d.pull, login, body)
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, demoWait)
	defer cancel()
	reply := ""
	err = hub.Await(wait, func() bool {
		if !slices.ContainsFunc(hub.Reactions(repo, id), func(r github.Reaction) bool { return r.Content == reaction }) {
			return false
		}
		for _, c := range hub.Comments(repo, d.pull) {
			if c.ID > id && strings.Contains(c.Body, words) {
				reply = c.Body
			}
		}
		return reply != ""
	})
	if err != nil {
		d.wrongly("no reaction %q with %q: %v", reaction, words, err)
		return nil
	}
	reply, _, _ = strings.Cut(reply, "\n\n")
	d.say("   purgebot %s: %s", map[string]string{"rocket": "🚀", "confused": "😕"}[reaction], strings.NewReplacer("**", "", "`", "").Replace(reply))
	return nil
}

// checkRun waits for a check run and prints it.
func (d *story) checkRun(ctx context.Context, sha, name, conclusion, title string) (run github.CheckRun) {
	wait, cancel := context.WithTimeout(ctx, demoWait)
	defer cancel()
	err := d.stage.GitHub.Await(wait, func() bool {
		for _, r := range d.stage.GitHub.CheckRuns(d.stage.FullName(), sha) {
			if r.Name == name && r.Conclusion == conclusion && strings.HasPrefix(r.Title, title) {
				run = r
			}
		}
		return run.ID != 0
	})
	if err != nil {
		d.wrongly("no check run %s, %s %q: %v", name, conclusion, title, err)
		return run
	}
	d.say("   %s %s  %s: %s", map[string]string{"failure": "✗"}[conclusion]+map[string]string{"neutral": "·"}[conclusion], sha[:7], name, run.Title)
	return run
}

// retried presses the check run's button after the cause at Akamai was fixed.
func (d *story) retried(ctx context.Context, third string) error {
	run := d.checkRun(ctx, third, "Purge production", "failure", "5 purged, 1 refused")
	d.step("The cause is fixed at Akamai. Ann presses Retry in the check run: only the refused URL is sent.")
	if err := d.stage.GitHub.SetPermission(d.stage.FullName(), "ann", "write"); err != nil {
		return err
	}
	d.stage.Akamai.Allow(refusedURL)
	if run.ID == 0 { // checkRun has printed it
		return nil
	}
	if _, err := d.stage.GitHub.Press(ctx, run.ID, "retry", "ann"); err != nil {
		return err
	}
	d.status(ctx, third, "production", "success", "6 URLs purged in ")
	d.page = "" // the page also counts those that were accepted before
	d.purged(ctx, "production invalidate url "+refusedURL)
	return nil
}

// staged deploys to staging, twice: two jobs of one commit do it.
func (d *story) staged(ctx context.Context, second string) error {
	d.step("Staging is deployed for the first time, by the commit's second job too: Akamai's staging network is purged, and once more for the later job.")
	if err := d.deploy(ctx, "staging", second, "success"); err != nil {
		return err
	}
	d.status(ctx, second, "staging", "success", "6 URLs, 1 tag purged in ")
	d.purged(ctx, newPrices("staging")...)
	if err := d.deploy(ctx, "staging", second, "success"); err != nil {
		return err
	}
	d.status(ctx, second, "staging", "success", "6 URLs, 1 tag purged in … (deployed again)")
	d.purged(ctx, newPrices("staging")...)
	return nil
}

// live is a deploy that the origin serves.
func (d *story) live(ctx context.Context, sha string) error {
	if err := d.front.publish(ctx, d.site, sha); err != nil {
		return err
	}
	return d.deploy(ctx, "production", sha, "success")
}

func (d *story) push(ctx context.Context, sha string) error {
	_, err := d.stage.GitHub.Push(ctx, d.stage.FullName(), "main", sha, github.PushOptions{Pusher: "ann"})
	return err
}

func (d *story) deploy(ctx context.Context, environment, sha, state string) error {
	id, err := d.stage.GitHub.Deploy(ctx, d.stage.FullName(), github.Deployment{
		SHA: sha, Environment: environment, Creator: "github-actions[bot]",
	})
	if err != nil {
		return fmt.Errorf("deploy %.7s to %s: %w", sha, environment, err)
	}
	_, err = d.stage.GitHub.DeployStatus(ctx, d.stage.FullName(), id, github.DeploymentStatus{State: state})
	return err
}
