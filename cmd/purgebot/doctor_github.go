package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/needs"
	"github.com/purgebot/purgebot/internal/report"
)

// gitHub asks GitHub who the App is, what it may do, and what became of its webhooks.
// Checks that an earlier fault makes impossible are marked as skipped, not as failed.
func (d doctor) gitHub(ctx context.Context) []examination {
	asked := d.now()
	api := d.config.GitHub.APIURL
	_, date, err := d.get(ctx, api)
	if err != nil {
		return append([]examination{{markBad, "GitHub API", fmt.Sprintf(
			"%s does not answer (%v): check github.api_url, the network and a proxy", api, reason(err))}}, unasked("without an answer of GitHub", "GitHub clock", "GitHub App")...)
	}
	found := []examination{{markGood, "GitHub API", api + " answers"}, clockExamined("GitHub clock", date, asked, d.now())}
	if d.config.GitHub.PrivateKey.IsZero() || d.config.GitHub.AppID == 0 {
		return append(found, unasked("without the App's id and key: see configuration", "GitHub App")...)
	}
	app, err := github.New(github.Config{
		APIURL: api, AppID: d.config.GitHub.AppID, PrivateKey: []byte(d.config.GitHub.PrivateKey.Reveal()), UserAgent: userAgent(),
	})
	if err != nil {
		return append(found, examination{markBad, "GitHub App", err.Error()})
	}
	return append(found, d.app(ctx, app)...)
}

// unasked makes the lines of checks that an earlier fault makes impossible.
func unasked(why string, checks ...string) (skipped []examination) {
	for _, check := range checks {
		skipped = append(skipped, examination{markSkip, check, why})
	}
	return skipped
}

// app checks that the id and the key belong to the same App, and continues with the
// checks that need the App. The brief form leaves out the installations and their
// repositories.
func (d doctor) app(ctx context.Context, app *github.App) []examination {
	self, err := app.Self(ctx)
	if err != nil {
		return append([]examination{{markBad, "GitHub App", gitHubWords(err)}},
			unasked("without the App", "permissions", "events", "installations", "webhook")...)
	}
	if self.ID != d.config.GitHub.AppID {
		return []examination{{markBad, "GitHub App", fmt.Sprintf(
			"the key is that of App %d, github.app_id says %d: correct one of them", self.ID, d.config.GitHub.AppID)}}
	}
	permissions, events := needsExamined(needs.App{Permissions: self.Permissions, Events: self.Events})
	found := []examination{{markGood, "GitHub App", fmt.Sprintf("%s, id %d", self.Slug, self.ID)}, permissions, events}
	if d.brief {
		return append(found, d.webhook(ctx, app)...)
	}
	installations, err := app.Installations(ctx)
	if err != nil {
		return append(found, examination{markBad, "installations", gitHubWords(err)})
	}
	found = append(found, installationsExamined(installations, self.Permissions))
	found = append(found, d.webhook(ctx, app)...)
	return append(found, d.repositories(ctx, app, installations)...)
}

// gitHubWords is an error as people may read it.
func gitHubWords(err error) string {
	if e, ok := errors.AsType[*github.Error](err); ok {
		return e.Public()
	}
	return err.Error()
}

// webhook compares the address that GitHub sends webhooks to with the server's, and looks
// at what became of the last one.
func (d doctor) webhook(ctx context.Context, app *github.App) []examination {
	const check = "webhook"
	hook, err := app.Hook(ctx)
	if err != nil {
		return []examination{{markWarn, check, "GitHub does not show it: " + gitHubWords(err)}}
	}
	want := strings.TrimSuffix(d.config.PublicURL, "/") + "/webhook"
	const settings = " on the App's settings page"
	switch {
	case hook.URL == "":
		return []examination{{markBad, check, "the App has no Webhook URL: write " + want + settings + ", and make it active"}}
	case strings.TrimSuffix(hook.URL, "/") != want:
		return []examination{{markBad, check, fmt.Sprintf("GitHub sends webhooks to %s, and public_url says %s: write the right one as Webhook URL%s, or as public_url", hook.URL, want, settings)}}
	case hook.Secret == "":
		return []examination{{markBad, check, "the App has no webhook secret: write that of github.webhook_secrets" + settings}}
	}
	last, found, err := app.LastDelivery(ctx)
	switch {
	case err != nil:
		return []examination{{markWarn, check, "GitHub does not show the last deliveries: " + gitHubWords(err)}}
	case !found:
		return []examination{{markGood, check, want + "; GitHub sent nothing yet"}}
	}
	return []examination{deliveryExamined(last)}
}

// deliveryExamined says what became of the last webhook, and why. A 503 or no answer is
// only a warning, because the server may have been down for a moment. 401, 404 and 405
// come from a wrong setup, and are FAIL.
func deliveryExamined(last github.Delivery) examination {
	e := examination{markWarn, "webhook", fmt.Sprintf("GitHub's last one (%s, %s) ", last.Event, last.DeliveredAt.UTC().Format("2006-01-02 15:04 UTC"))}
	switch code := last.StatusCode; {
	case code >= 200 && code <= 299:
		e.mark = markGood
		e.words += "was taken"
	case code == http.StatusUnauthorized:
		e.mark = markBad
		e.words += "was answered 401, so the App's webhook secret and github.webhook_secrets differ: write the same in both places"
	case code == http.StatusNotFound, code == http.StatusMethodNotAllowed:
		e.mark = markBad
		e.words += fmt.Sprintf("was answered %d, so something else answers there: point the proxy at purgebot's listen", code)
	case code == http.StatusServiceUnavailable:
		e.words += "was answered 503: the server could not store it; its log says why"
	case code == 0:
		e.words += "got no answer: start purgebot serve, and let GitHub reach public_url"
	default:
		e.words += fmt.Sprintf("was answered %d: look at Recent Deliveries on the App's Advanced page", code)
	}
	return e
}

// mostShown is how many repositories one line names.
const mostShown = 5

// repositories looks for installed repositories that no entry of the policy lists, and
// then checks the triggers of the listed ones. It skips suspended installations. Archived
// repositories are not checked for triggers.
func (d doctor) repositories(ctx context.Context, app *github.App, installations []github.Installation) []examination {
	const check = "policy"
	if len(d.config.Policy) == 0 {
		return nil // policyExamined has reported it
	}
	var unlisted []string
	var found []examination
	var listed []ledger.Repository
	n := 0
	for _, i := range installations {
		if i.Suspended {
			continue
		}
		all, err := app.Repositories(ctx, i.ID)
		if err != nil {
			found = append(found, examination{markWarn, check, "the repositories of " + i.Account + " can't be listed: " + gitHubWords(err)})
			continue
		}
		n += len(all)
		for _, r := range all {
			repo := ledger.Repository{ID: r.ID, Owner: r.Owner, Name: r.Name, Installation: i.ID, DefaultBranch: r.DefaultBranch}
			if !d.config.Policy.For(repo.FullName()).Listed() {
				unlisted = append(unlisted, repo.FullName())
			} else if !r.Archived {
				listed = append(listed, repo)
			}
		}
	}
	switch {
	case n == 0:
		return found
	case len(unlisted) == 0:
		found = append(found, examination{markGood, check, fmt.Sprintf("lists all of %s", report.Amount(n, "installed repository", "installed repositories"))})
	default:
		found = append(found, examination{markWarn, check, "no entry lists " + some(unlisted) + ", where every purge is refused: add them, or uninstall the App there"})
	}
	return append(found, d.triggers(ctx, app, listed)...)
}

// some names the first few repositories, and how many more there are.
func some(names []string) string {
	words := strings.Join(names[:min(len(names), mostShown)], ", ")
	if more := len(names) - mostShown; more > 0 {
		words += fmt.Sprintf(" and %s more", report.Number(more))
	}
	return words
}

// needsExamined compares what the App asks for with what every App needs. Features that
// an operator may choose count as missing only where rules use them, see triggers.
func needsExamined(app needs.App) (permissions, events examination) {
	permissions, events = examination{mark: markGood, check: "permissions"}, examination{mark: markGood, check: "events"}
	chosen := needs.Chosen()
	asked := needs.Ask(chosen)
	why := map[string][]string{} // by what is missing: the features that need it
	for _, n := range chosen {
		lack := app.Lacks(n)
		for _, p := range lack.Permissions {
			name := needs.Permission{Name: p.Name, Level: asked.Permissions[p.Name]}.String()
			why[name] = append(why[name], n.Feature)
			permissions.missing(n)
		}
		for _, e := range lack.Events {
			why[e] = append(why[e], n.Feature)
			events.missing(n)
		}
	}
	for _, e := range []*examination{&permissions, &events} {
		names := asked.Events
		if e == &permissions {
			names = nil
			for _, name := range slices.Sorted(maps.Keys(asked.Permissions)) {
				names = append(names, name+": "+asked.Permissions[name])
			}
		}
		var all []string
		for _, name := range names {
			if features := why[name]; features != nil {
				all = append(all, fmt.Sprintf("%s (%s)", name, strings.Join(features, "; ")))
			}
		}
		if e.words = "all that purgebot uses"; len(all) > 0 {
			e.words = "missing " + strings.Join(all, ", ") + ": add them on the App's settings page"
		}
	}
	return permissions, events
}

// missing marks that a feature lacks something: FAIL if nothing works without that
// feature, else a warning. It never lowers a mark.
func (e *examination) missing(n needs.Need) {
	if n.Must {
		e.mark = markBad
	} else if e.mark == markGood {
		e.mark = markWarn
	}
}

// installationsExamined lists where the App is installed. It reports permissions that an
// owner has not accepted yet or has taken away, and suspended installations.
func installationsExamined(all []github.Installation, asked map[string]string) examination {
	var words []string
	e := examination{mark: markGood, check: "installations"}
	for _, i := range all {
		lacks, m := lacking(i.Permissions, asked), markWarn
		switch {
		case i.Suspended:
			words = append(words, i.Account+" (suspended: an owner must unsuspend it)")
		case len(lacks) > 0:
			words = append(words, i.Account+" (lacks "+strings.Join(lacks, ", ")+": an owner must accept what the App asks for)")
			for _, n := range needs.All() {
				if n.Must && slices.ContainsFunc(n.Permissions, func(p needs.Permission) bool { return slices.Contains(lacks, p.String()) }) {
					m = markBad
				}
			}
		default:
			words = append(words, i.Account)
			continue
		}
		if e.mark != markBad {
			e.mark = m
		}
	}
	e.words = strings.Join(words, ", ")
	if len(all) == 0 {
		e.mark, e.words = markWarn, "none: install the App on the accounts whose repositories it should serve"
	}
	return e
}

// lacking lists what the App asks for and an installation does not grant. A grant to
// write includes reading.
func lacking(granted, asked map[string]string) (lacks []string) {
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		if level := asked[name]; granted[name] == "" || level == "write" && granted[name] == "read" {
			lacks = append(lacks, name+": "+level)
		}
	}
	return lacks
}

// secrets checks that at least one webhook secret is set. It never prints one.
func (d doctor) secrets(context.Context) []examination {
	const check = "webhook secret"
	secrets := d.config.GitHub.WebhookSecrets
	switch {
	case len(secrets) == 0:
		return []examination{{markBad, check, "none: set github.webhook_secrets to the secret on the App's settings page"}}
	case len(secrets) > 1:
		return []examination{{markGood, check, fmt.Sprintf("%d are set", len(secrets))}}
	}
	return []examination{{markGood, check, "set"}}
}
