package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/github"
)

// gitHubClock asks the API's root, which needs no credentials.
func (d doctor) gitHubClock(ctx context.Context) []examination {
	asked := d.now()
	api := d.config.GitHub.APIURL
	_, date, err := d.get(ctx, api)
	if err != nil {
		return []examination{
			{markBad, "GitHub API", fmt.Sprintf("%s does not answer: %v", api, err)},
			{markSkip, "GitHub clock", "without an answer"},
		}
	}
	return []examination{
		{markGood, "GitHub API", api + " answers"},
		clockExamined("GitHub clock", date, asked, d.now()),
	}
}

// app asks GitHub who the App is, which proves its id and key, and what it may.
func (d doctor) app(ctx context.Context) []examination {
	unasked := []examination{
		{markSkip, "permissions", "without the App"}, {markSkip, "events", "without the App"}, {markSkip, "installations", "without the App"},
	}
	app, err := github.New(github.Config{
		APIURL:     d.config.GitHub.APIURL,
		AppID:      d.config.GitHub.AppID,
		PrivateKey: []byte(d.config.GitHub.PrivateKey.Reveal()),
	})
	if err != nil {
		return append([]examination{{markBad, "GitHub App", err.Error()}}, unasked...)
	}
	self, err := app.Self(ctx)
	if err != nil {
		words, ok := github.OperatorFault(err)
		if !ok {
			words = err.Error()
		}
		return append([]examination{{markBad, "GitHub App", words}}, unasked...)
	}
	found := []examination{
		{markGood, "GitHub App", fmt.Sprintf("%s, id %d", self.Slug, self.ID)},
		permissionsExamined(self.Permissions), eventsExamined(self.Events),
	}
	if self.ID != d.config.GitHub.AppID {
		found[0] = examination{markBad, "GitHub App", fmt.Sprintf("the key is that of App %d, github.app_id says %d", self.ID, d.config.GitHub.AppID)}
	}
	installations, err := app.Installations(ctx)
	if err != nil {
		return append(found, examination{markBad, "installations", err.Error()})
	}
	return append(found, installationsExamined(installations, self.Permissions))
}

// need is something that the App should have, and what for.
type need struct {
	name, level, why string // level: "read" or "write"
	must             bool   // nothing works without it
}

// neededPermissions are the fewest with which all of purgebot works.
func neededPermissions() []need {
	return []need{
		{"contents", "read", "the rules file and what changed", true},
		{"deployments", "read", "what is deployed", true},
		{"statuses", "write", "the status on a commit", true},
		{"checks", "write", "previews and buttons", false},
		{"pull_requests", "write", "replies to comments", false},
		{"issues", "read", "comments on pull requests", false},
	}
}

func neededEvents() []need {
	return []need{
		{name: "push", why: "the status before a deployment", must: true},
		{name: "deployment_status", why: "that something was deployed", must: true},
		{name: "issue_comment", why: "comments on pull requests"},
		{name: "pull_request", why: "previews"},
		{name: "check_run", why: "buttons"},
	}
}

func permissionsExamined(granted map[string]string) examination {
	rank := map[string]int{"read": 1, "write": 2, "admin": 3}
	return needsExamined("permissions", neededPermissions(), func(n need) bool { return rank[granted[n.name]] >= rank[n.level] })
}

func eventsExamined(subscribed []string) examination {
	return needsExamined("events", neededEvents(), func(n need) bool { return slices.Contains(subscribed, n.name) })
}

func needsExamined(check string, needs []need, met func(need) bool) examination {
	var missing []string
	e := examination{mark: markGood, check: check, words: "all that purgebot uses"}
	for _, n := range needs {
		if met(n) {
			continue
		}
		name := n.name
		if n.level != "" {
			name += ": " + n.level
		}
		missing = append(missing, fmt.Sprintf("%s (%s)", name, n.why))
		if e.mark == markGood {
			e.mark = markWarn
		}
		if n.must {
			e.mark = markBad
		}
	}
	if len(missing) > 0 {
		e.words = "missing " + strings.Join(missing, ", ") + ": add them on the App's settings page"
	}
	return e
}

// installationsExamined tells where the App is installed, and where an owner
// has yet to accept permissions that the App got later.
func installationsExamined(all []github.Installation, asked map[string]string) examination {
	var words []string
	e := examination{mark: markGood, check: "installations"}
	for _, i := range all {
		switch {
		case i.Suspended:
			words = append(words, i.Account+" (suspended: an owner must unsuspend it)")
			e.mark = markWarn
		case !hasAll(i.Permissions, asked):
			words = append(words, i.Account+" (an owner must accept the App's new permissions)")
			e.mark = markWarn
		default:
			words = append(words, i.Account)
		}
	}
	e.words = strings.Join(words, ", ")
	if len(all) == 0 {
		e.mark, e.words = markWarn, "none: install the App on the accounts whose repositories it should serve"
	}
	return e
}

func hasAll(granted, asked map[string]string) bool {
	for name, level := range asked {
		if granted[name] == "" || (level == "write" && granted[name] == "read") {
			return false
		}
	}
	return true
}

// shortSecret is the length below which a webhook secret can be guessed.
const shortSecret = 16

func (d doctor) secrets(context.Context) []examination {
	const check = "webhook secret"
	secrets := d.config.GitHub.WebhookSecrets
	short := func(s config.Secret) bool { return len(s.Reveal()) < shortSecret }
	switch {
	case len(secrets) == 0:
		return []examination{{markBad, check, "none: set github.webhook_secrets to the secret on the App's settings page"}}
	case slices.ContainsFunc(secrets, short):
		return []examination{{markWarn, check, fmt.Sprintf("has fewer than %d characters; use a random one, e.g. of openssl rand -hex 32", shortSecret)}}
	case len(secrets) > 1:
		return []examination{{markGood, check, fmt.Sprintf("%d are set", len(secrets))}}
	}
	return []examination{{markGood, check, "set"}}
}
