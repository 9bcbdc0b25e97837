package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/purgebot/purgebot/internal/standin"
)

// play tells the story. An error means that the stage itself broke; what did
// not end as told is counted.
func (d *demo) play(ctx context.Context) error {
	first, err := d.site.git(ctx, "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	d.say("A site in git, cached by Akamai: %s. Both services are stand-ins on this machine, the server is the real one.", d.stage.fullName())
	if err := d.deploy(ctx, "production", first, "success"); err != nil { // before purgebot came
		return err
	}
	if err := d.stage.start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	d.say("purgebot serves at http://%s", d.stage.server.addr())

	second, err := d.pushed(ctx)
	if err != nil {
		return err
	}
	if err := d.deployed(ctx, first, second); err != nil {
		return err
	}
	third, err := d.refused(ctx, second)
	if err != nil {
		return err
	}
	if err := d.rolledBack(ctx, third, second); err != nil {
		return err
	}
	if err := d.asked(ctx, third); err != nil {
		return err
	}
	return d.staged(ctx, first, second)
}

func (d *demo) pushed(ctx context.Context) (string, error) {
	d.step("An editor merges: a price changes, a page is renamed, one goes, one comes.")
	second, err := d.site.commit(ctx, "New prices", map[string]string{
		"content/shop/prices.md": "12 EUR", "content/about/team.md": removed, "content/about/people.md": "Ann, Bob",
		"content/shop/old offer.md": removed, "content/press/2026-prices.md": "New prices.", "layouts/base.html": "<html lang=en>",
	})
	if err != nil {
		return "", err
	}
	if err := d.push(ctx, second); err != nil {
		return "", err
	}
	d.status(ctx, second, "production", "success", "12 URLs, 1 tag wait for production to deploy")
	d.purged(ctx, "", "", "", "", "")

	d.step("Its deployment fails: nothing is purged.")
	if err := d.deploy(ctx, "production", second, "failure"); err != nil {
		return "", err
	}
	d.status(ctx, second, "production", "success", "deploy failed, 12 URLs, 1 tag wait for the next one")
	d.purged(ctx, "", "", "", "", "")
	return second, nil
}

func (d *demo) deployed(ctx context.Context, first, second string) error {
	d.step("The next deployment succeeds: exactly the difference is purged.")
	if err := d.deploy(ctx, "production", second, "success"); err != nil {
		return err
	}
	d.status(ctx, second, "production", "success", "12 URLs, 1 tag purged in ")
	d.purged(ctx, first, second, "production", "production", "invalidate")

	d.step("GitHub delivers every event once more: nothing happens twice.")
	for _, event := range d.stage.github.Deliveries() {
		if _, err := d.stage.github.Redeliver(ctx, event.GUID); err != nil {
			return err
		}
	}
	d.purged(ctx, "", "", "", "", "")
	return nil
}

func (d *demo) refused(ctx context.Context, second string) (string, error) {
	const refused = "https://m.acme.example/press/2026-scoop/"
	d.step("Akamai refuses one URL: the others go out, and the status says which did not.")
	d.stage.akamai.Refuse(refused, 0, "unauthorized arl")
	third, err := d.site.commit(ctx, "A scoop", map[string]string{"content/press/2026-scoop.md": "!", "static/site.css": "body { margin: 0 }"})
	if err != nil {
		return "", err
	}
	if err := d.push(ctx, third); err != nil {
		return "", err
	}
	if err := d.deploy(ctx, "production", third, "success"); err != nil {
		return "", err
	}
	d.status(ctx, third, "production", "failure", "5 purged, 1 refused: unauthorized arl")
	d.purged(ctx, second, third, "production", "production", "invalidate", "url "+refused)
	d.stage.akamai.Allow(refused)
	return third, nil
}

func (d *demo) rolledBack(ctx context.Context, third, second string) error {
	d.step("The scoop was wrong: the commit before is deployed again. A rollback deletes, since an old file may answer \"not modified\".")
	if err := d.deploy(ctx, "production", second, "success"); err != nil {
		return err
	}
	d.status(ctx, second, "production", "success", "6 URLs purged in ")
	d.purged(ctx, third, second, "production", "production", "delete")
	return nil
}

func (d *demo) asked(ctx context.Context, third string) error {
	d.step("Somebody asks for a page by hand, in a comment on a pull request. Eve may only read; Ann may write.")
	github, repo := d.stage.github, d.stage.fullName()
	if _, err := github.Push(ctx, repo, "scoop", third, standin.GitHubPushOptions{Quiet: true}); err != nil {
		return err
	}
	pull, err := github.OpenPullRequest(ctx, repo, standin.GitHubPullRequest{Title: "The scoop again", Login: "ann", Head: "scoop"})
	if err != nil {
		return err
	}
	for login, role := range map[string]string{"eve": "read", "ann": "write"} {
		if err := github.SetPermission(repo, login, role); err != nil {
			return err
		}
	}
	for _, who := range []struct{ login, reaction string }{{"eve", "confused"}, {"ann", "rocket"}} {
		const asks = "/purge https://www.acme.example/shop/prices/"
		comment, err := github.Comment(ctx, repo, pull, who.login, asks)
		if err != nil {
			return err
		}
		d.say("   %s: %s", who.login, asks)
		d.reaction(ctx, comment, who.reaction)
	}
	wait, cancel := context.WithTimeout(ctx, demoWait)
	defer cancel()
	if err := d.stage.server.idle(wait); err != nil {
		d.wrongly("%v", err)
	}
	d.judge(ctx, map[string]int{"production invalidate url https://www.acme.example/shop/prices/": 1})
	return nil
}

// reaction waits for purgebot's reaction to a comment.
func (d *demo) reaction(ctx context.Context, comment int64, content string) {
	wait, cancel := context.WithTimeout(ctx, demoWait)
	defer cancel()
	err := d.stage.github.Await(wait, func() bool {
		return slices.ContainsFunc(d.stage.github.Reactions(d.stage.fullName(), comment), func(r standin.GitHubReaction) bool {
			return r.Content == content
		})
	})
	if err != nil {
		d.wrongly("no reaction %q: %v", content, err)
		return
	}
	d.say("   purgebot: :%s:", content)
}

func (d *demo) staged(ctx context.Context, first, second string) error {
	d.step("Staging is deployed for the first time, by the commit's second job too: Akamai's staging network is purged, and once more for the later job.")
	if err := d.deploy(ctx, "staging", second, "success"); err != nil {
		return err
	}
	d.status(ctx, second, "staging", "success", "6 URLs, 1 tag purged in ")
	d.purged(ctx, first, second, "staging", "staging", "invalidate")
	if err := d.deploy(ctx, "staging", second, "success"); err != nil {
		return err
	}
	d.status(ctx, second, "staging", "success", "6 URLs, 1 tag purged in … (deployed again)")
	d.purged(ctx, first, second, "staging", "staging", "invalidate")
	return nil
}

func (d *demo) push(ctx context.Context, sha string) error {
	_, err := d.stage.github.Push(ctx, d.stage.fullName(), "main", sha, standin.GitHubPushOptions{Pusher: "ann"})
	return err
}

func (d *demo) deploy(ctx context.Context, environment, sha, state string) error {
	id, err := d.stage.github.Deploy(ctx, d.stage.fullName(), standin.GitHubDeployment{
		SHA: sha, Environment: environment, Creator: "github-actions[bot]",
	})
	if err != nil {
		return fmt.Errorf("deploy %.7s to %s: %w", sha, environment, err)
	}
	_, err = d.stage.github.DeployStatus(ctx, d.stage.fullName(), id, standin.GitHubDeploymentStatus{State: state})
	return err
}
