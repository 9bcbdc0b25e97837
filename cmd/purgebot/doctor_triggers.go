package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/planner"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/report"
)

const (
	// rulesRead is how many repositories' rules the doctor reads, three calls to GitHub
	// each. It keeps the doctor fast, and within GitHub's rate limit.
	rulesRead = 100
	// atOnce is how many of them it reads at the same time.
	atOnce = 8
)

// triggers looks for repositories whose rules name a trigger that the App does not
// receive. Nothing would be purged there, and nothing else would say why.
func (d doctor) triggers(ctx context.Context, app *github.App, repos []ledger.Repository) []examination {
	const check = "triggers"
	left := len(repos) - rulesRead
	repos = repos[:min(len(repos), rulesRead)]
	p := planner.New(planner.Config{GitHub: app, Policy: func() policy.Policy { return d.config.Policy }})
	// mu guards deaf and unread: every goroutine of the group writes them.
	var mu sync.Mutex
	deaf, unread := map[string][]string{}, []string{}
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, repo := range repos {
		group.Go(func() error {
			unheard, err := unheardIn(ctx, p, app, repo)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				unread = append(unread, repo.FullName())
			}
			for _, words := range unheard {
				deaf[words] = append(deaf[words], repo.FullName())
			}
			return nil
		})
	}
	_ = group.Wait() // the goroutines return no error: they note faults in unread
	var found []examination
	for _, words := range slices.Sorted(maps.Keys(deaf)) {
		names := deaf[words]
		slices.Sort(names)
		found = append(found, examination{markBad, check, some(names) + ": " + words})
	}
	if slices.Sort(unread); len(unread) > 0 {
		found = append(found, examination{markWarn, check, "the rules of " + some(unread) + " can't be read now"})
	}
	if left > 0 {
		found = append(found, examination{markSkip, check, fmt.Sprintf("the rules of %s were not read", report.Amount(left, "more repository", "more repositories"))})
	}
	if len(found) == 0 && len(repos) > 0 {
		found = append(found, examination{markGood, check, "the App hears all that the rules name"})
	}
	return found
}

// unheardIn returns, for each trigger in a repository's rules that the App does not
// receive, the words that say so; equal words once. A repository without rules has none.
func unheardIn(ctx context.Context, p *planner.Planner, app *github.App, repo ledger.Repository) (unheard []string, err error) {
	rules, err := p.Authority(ctx, repo)
	if err != nil || rules.File == nil {
		return nil, err
	}
	for _, env := range rules.File.Environments() {
		words, err := app.Repository(repo.Installation, repo.Owner, repo.Name).Unheard(ctx, env.Trigger.Kind)
		if err != nil {
			return nil, err
		}
		if words != "" && !slices.Contains(unheard, words) {
			unheard = append(unheard, words)
		}
	}
	return unheard, nil
}
