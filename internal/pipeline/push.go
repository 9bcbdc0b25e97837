package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/webhook"
)

// pushed says on the pushed commit what its deployment will purge, in each environment
// that follows the branch. Where the push itself is the trigger, it moves desired
// instead. A push to the default branch also wakes environments whose rules were broken.
func (p *Pipeline) pushed(ctx context.Context, repo ledger.Repository, e *webhook.Push, d store.Delivery) (none Outcome, err error) {
	branch, isBranch := strings.CutPrefix(e.Ref, "refs/heads/")
	if !isBranch || e.Deleted || zeroSHA(e.After) {
		return otherwise("not a branch that moved"), nil
	}
	push := ledger.Push{RepoID: repo.ID, Branch: branch, Before: e.Before, After: e.After, At: e.Repository.PushedAt, Delivery: d.GUID}
	if push.At.IsZero() {
		push.At = d.At.Truncate(time.Second)
	}
	fresh, err := p.Store.SeePush(ctx, push)
	if err != nil {
		return none, err
	}
	if branch == repo.DefaultBranch { // the rules file may be repaired, or name other creators
		of := repo.ID
		if p.Policy().Shares(repo.FullName()) { // other repositories use its rules file too
			of = store.AnyRepository
			p.planner.Forget()
		}
		waiting, err := p.Store.Faulty(ctx, of)
		if err != nil {
			return none, err
		}
		if err := p.Store.Wake(ctx, waiting...); err != nil {
			return none, err
		}
	}
	envs, err := p.pushedTo(ctx, repo, push)
	if err != nil || len(envs) == 0 {
		return otherwise("no environment follows this branch"), err
	}
	err = independently(ctx, slices.Values(envs), func(env mapping.Environment) error {
		if env.Trigger.Kind == mapping.OnPush {
			return p.pushDeploys(ctx, p.fromWebhook(repo), repo, env, push, fresh)
		}
		return p.announce(ctx, repo, env, push)
	})
	if err != nil {
		return none, err
	}
	return otherwise("announced"), nil
}

// pushedTo lists the environments, named and not by a glob, that follow the pushed
// branch. The default branch's rules say which they are. Where that branch has no usable
// file, the pushed commit's rules tell, or those of the commit before: this only decides
// where something is announced or planned, and the plan itself goes by the commit's own
// rules.
func (p *Pipeline) pushedTo(ctx context.Context, repo ledger.Repository, push ledger.Push) ([]mapping.Environment, error) {
	file, err := p.planner.Trusted(ctx, repo)
	if err != nil {
		return nil, err
	}
	for _, sha := range []string{push.After, push.Before} {
		if file.File != nil || zeroSHA(sha) {
			break
		}
		if file, err = p.planner.RulesAt(ctx, repo, sha); err != nil && !github.IsNotFound(err) {
			return nil, err
		}
	}
	if file.File == nil {
		return nil, nil
	}
	var envs []mapping.Environment
	for _, env := range file.File.Environments() {
		if !env.Glob && branchOf(env, repo) == push.Branch {
			envs = append(envs, env)
		}
	}
	return envs, nil
}

// pushDeploys takes a push for a deployment that succeeded when GitHub recorded the push.
// fresh is false for a push that another delivery told of: the same fact moves nothing.
func (p *Pipeline) pushDeploys(ctx context.Context, by factSource, repo ledger.Repository, env mapping.Environment, push ledger.Push, fresh bool) error {
	desire := func(point ledger.Point, tied bool) (ledger.Environment, error) {
		known, _, err := by.desire(ctx, repo.ID, env.Name,
			ledger.Deploy{Point: point, State: "success", Known: !fresh, Tied: tied}, dueAt(push.At, env.Settle))
		return known, err
	}
	point := ledger.Point{SHA: push.After, At: push.At}
	known, err := desire(point, true)
	if err != nil || known.Desired.SHA == push.After || !known.Desired.At.Equal(push.At) {
		return err
	}
	// Two pushes in one of GitHub's seconds: their times don't tell which came last, so
	// the branch's head decides. Status numbers the answers within that second, the
	// higher one wins. The head is asked again after each move: another worker may have
	// asked too, and stored a later answer under a lower number.
	for known.Desired.At.Equal(push.At) {
		head, err := p.repository(repo).Head(ctx, push.Branch)
		if err != nil {
			return err
		}
		if head == known.Desired.SHA {
			break
		}
		if known, err = desire(ledger.Point{SHA: head, At: push.At, Status: known.Desired.Status + 1}, false); err != nil {
			return err
		}
	}
	if known.Desired.SHA != push.After {
		_, err = desire(point, false) // it came first, and served for a moment
	}
	return err
}

// announce says on a pushed commit what its deployment will purge. It writes no words
// over a purge's own (see Store.Announce), so it may run late, or twice.
//
// A move ends only the words that it finds. So if live moved while GitHub was asked, the
// words may be of the past already, and what is live now is looked at once more.
func (p *Pipeline) announce(ctx context.Context, repo ledger.Repository, env mapping.Environment, push ledger.Push) error {
	if env.Announce == mapping.AnnounceNone {
		return nil
	}
	for {
		known, err := p.known(ctx, repo, env.Name)
		if err != nil {
			return err
		}
		if err := p.announceTo(ctx, repo, known, env, push); err != nil {
			return err
		}
		now, err := p.known(ctx, repo, env.Name)
		if err != nil || now.Live == known.Live {
			return err
		}
	}
}

// announceTo is announce for an environment as it was read.
func (p *Pipeline) announceTo(ctx context.Context, repo ledger.Repository, known ledger.Environment, env mapping.Environment, push ledger.Push) error {
	unheard := p.unheard(ctx, repo, env.Trigger)
	words, err := p.forecast(ctx, repo, known, ledger.Point{SHA: push.After}, func(c ledger.Counts) report.Status {
		if unheard != "" {
			return report.Fault(unheard)
		}
		s := report.Waits(c, contextName(env))
		if env.Announce == mapping.AnnouncePending && c.Total() > 0 {
			s.State = "pending"
		}
		return s
	})
	if err != nil || words == nil {
		return err
	}
	// A push whose webhook comes late may be live by now: its status must not wait.
	carried, err := p.carried(ctx, repo, known, push)
	if err != nil {
		return err
	}
	if carried {
		*words = report.Carried(known.Live.SHA)
	}
	return p.Store.Announce(ctx, store.Announcement{
		RepoID: repo.ID, EnvID: known.ID, SHA: push.After, Context: report.Context(contextName(env)),
		State: words.State, Words: words.Description, Lapse: words.Lapse,
		At:   push.At.Add(-time.Millisecond), // so that a deployment in the same GitHub second counts as later
		Ends: carried,
	})
}

// carried reports whether a push that purgebot hears of only now is live already, as part
// of a later commit. Of a push and a success within one of GitHub's seconds, the push
// came first.
func (p *Pipeline) carried(ctx context.Context, repo ledger.Repository, env ledger.Environment, push ledger.Push) (bool, error) {
	if env.Live.IsZero() || env.Live.SHA == push.After || push.At.After(env.Live.At) {
		return false, nil
	}
	is, err := p.repository(repo).Ancestor(ctx, push.After, env.Live.SHA)
	if github.IsNotFound(err) {
		return false, nil
	}
	return is, err
}

// known reads an environment, and makes it if nothing was heard of it before.
func (p *Pipeline) known(ctx context.Context, repo ledger.Repository, name string) (ledger.Environment, error) {
	env, err := p.Store.FindEnvironment(ctx, repo.ID, name)
	if errors.Is(err, store.ErrNotFound) {
		return p.Store.EnsureEnvironment(ctx, repo.ID, name)
	}
	return env, err
}

// forecast is the status of a commit that is not deployed: it plans the commit like a
// deployment, and stores nothing. words makes the status of the counts. nil: there is
// nothing to say.
func (p *Pipeline) forecast(ctx context.Context, repo ledger.Repository, env ledger.Environment, to ledger.Point, words func(ledger.Counts) report.Status) (*report.Status, error) {
	d, err := p.planner.Plan(ctx, repo, env, to, nil)
	if err != nil {
		return nil, err
	}
	defer d.Release()
	var s report.Status
	switch {
	case d.Rules.Fault != "":
		s = report.Fault(d.Rules.Fault)
	case d.Rules.None() && d.Had:
		s = report.NoRules()
	case d.Rules.None(), !d.Named:
		return nil, nil //nolint:nilnil // nothing to say
	default:
		s = words(d.Counts)
	}
	return &s, nil
}
