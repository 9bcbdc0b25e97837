package pipeline

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/planner"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
)

// reconcile moves live to desired in one environment. It reads the environment, makes a
// plan from what it read, and commits: one transaction moves live by compare-and-set,
// opens the purge and wakes its jobs. Two replicas may plan the same move at once; the
// second commit finds live moved and changes nothing. If the process dies before the
// commit, nothing has moved, and the sweep wakes the environment again.
func (p *Pipeline) reconcile(ctx context.Context, job store.ReconcileJob) error {
	env, err := p.Store.Environment(ctx, job.EnvID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now := p.Now()
	if !env.DueAt.IsZero() { // DueAt is a moment of GitHub's clock
		now = p.githubTime(ctx, now)
	}
	step := env.Next(now)
	if step == ledger.StepWait {
		return snooze{env.DueAt.Sub(now)}
	}
	repo, err := p.Store.Repository(ctx, env.RepoID)
	if err != nil || repo.Gone != "" { // the return of the repository wakes it
		return err
	}
	var move store.Move
	switch step {
	case ledger.StepPlan:
		move, err = p.plan(ctx, repo, env)
	case ledger.StepResend:
		move, err = p.redeploy(ctx, repo, env)
	// Live is what is desired. A commit that was deployed and overtaken before its own
	// plan may still have left pages in the caches.
	case ledger.StepNone, ledger.StepWait:
		move, err = p.planOvertaken(ctx, repo, env)
	}
	// Somebody has to repair the App's key or permissions. The commit's status says so,
	// and the job still ends with the error, which puts the environment off.
	if words, mendable := github.OperatorFault(err); mendable {
		err = errors.Join(err, p.waitsFor(ctx, repo, env, words))
	}
	if err != nil || move.Env.ID == "" {
		return err
	}
	move.Carries, move.Overtakes = cmp.Or(move.Carries, report.Carried(move.To.SHA).Description), report.Overtaken(move.To.SHA)
	ok, err := p.Store.Commit(ctx, move)
	if err != nil {
		return err
	}
	if !ok { // a newer fact, or another worker, moved the environment meanwhile: plan anew
		return snooze{time.Millisecond}
	}
	p.logMove(ctx, repo, move)
	return nil
}

// plan plans the difference between live and desired. A move without an environment means
// that the environment waits: SetFault noted why.
//
// The order of the cases matters. Broken rules hold everything up, since nobody knows
// what they mean to purge. An environment that good rules don't name moves without a
// purge and without a status. A commit that has no rules any more says so once, namely
// where the commit before it had rules.
func (p *Pipeline) plan(ctx context.Context, repo ledger.Repository, env ledger.Environment) (store.Move, error) {
	d, err := p.planner.Plan(ctx, repo, env, env.Desired, nil)
	if err != nil {
		return store.Move{}, err
	}
	// The targets take room that all plans under way share.
	defer d.Release()
	move := store.Move{Env: env, To: env.Desired, Served: d.Served}
	switch {
	case d.Rules.Fault != "":
		name, err := p.contextOf(ctx, repo, env)
		if err != nil {
			return store.Move{}, err
		}
		return store.Move{}, p.Store.SetFault(ctx, env, report.Context(name), report.Fault(d.Rules.Fault).Description)
	case !d.Rules.None() && !d.Named:
		move.Carries = report.Unnamed(move.To.SHA, env.Name)
		return move, nil
	}
	// The next plan starts from this tree and these rules, and need not ask GitHub for
	// them. Commit stores both only if live moves.
	if d.Tree != nil {
		if move.Tree, err = d.Tree.MarshalBinary(); err != nil {
			return store.Move{}, err
		}
	}
	if move.Rules, err = p.planner.Remember(ctx, repo, env.Desired.SHA, d); err != nil {
		return store.Move{}, err
	}
	if d.Rules.None() {
		move.Carries = report.Unnamed(move.To.SHA, env.Name)
		if d.Had {
			name, err := p.contextOf(ctx, repo, env)
			if err != nil {
				return store.Move{}, err
			}
			move.Context, move.Words = report.Context(name), report.NoRules().Description
		}
		return move, nil
	}
	// Desired.Deploy is 0 where no deployment of GitHub's stands behind the success.
	if d.Env.Trigger.Kind == mapping.OnPush && d.Cause == ledger.CauseDeploy && env.Desired.Deploy == 0 {
		d.Cause = ledger.CausePush
	}
	if move.Carried, err = p.carriedBy(ctx, repo, env); err != nil {
		return store.Move{}, err
	}
	move.Asks = p.asks(d.Rules.File, repo, env, d.Env)
	if move.Pulls, err = p.pullsOf(ctx, repo, env, d); err != nil {
		return store.Move{}, err
	}
	return move, p.begin(ctx, repo, &move, &d.Targets, ledger.Purge{
		Environment: contextName(d.Env), Cause: d.Cause, From: d.From, To: env.Desired, Network: d.Env.Network,
		Start: d.Start, Note: d.Note,
	}, env.Desired)
}

// begin writes a move's purge in state planning, with its targets, each judged by the
// policy. by is the success that caused it. Nobody sees or sends the purge until Commit
// opens it together with the move. Commit throws the purge away if it refuses the move; a
// purge whose process died is pruned later. So a large purge can be written in many small
// transactions and still appear all at once.
func (p *Pipeline) begin(ctx context.Context, repo ledger.Repository, move *store.Move, targets *planner.Targets, purge ledger.Purge, by ledger.Point) (err error) {
	purge.RepoID, purge.EnvID, purge.Unmatched = repo.ID, move.Env.ID, targets.Unmatched
	purge.Account = p.accountOf(repo.FullName())
	purge.Lane = ledger.Lane(purge.Cause, targets.Len())
	if purge.By, err = p.Store.Creator(ctx, move.Env.ID, by.Status); err != nil {
		return err
	}
	if purge, err = p.Store.Begin(ctx, purge); err != nil {
		return err
	}
	move.Purge, move.Context, move.Hold = &purge, report.Context(purge.Environment), targets.Held != ""
	return p.Store.AddTargets(ctx, purge, targets.All(), targets.Verdict())
}

// waitsFor says on the desired commit that its purge waits for somebody to repair the
// App's key or permissions. The name and the right to a status come from the rules of the
// live commit, which the ledger remembers: the rules of today may be exactly what can't
// be read. An environment that they don't name gets no status.
func (p *Pipeline) waitsFor(ctx context.Context, repo ledger.Repository, env ledger.Environment, words string) error {
	name := env.Name
	_, live, ok, err := p.planner.LiveRules(ctx, repo, env.ID)
	if err != nil {
		return err
	}
	if ok && live.File != nil {
		named, is := live.File.Environment(env.Name)
		if !is {
			return nil
		}
		name = contextName(named)
	}
	s := report.Fault("waiting: " + words)
	return p.Store.Announce(ctx, store.Announcement{
		RepoID: repo.ID, EnvID: env.ID, SHA: env.Desired.SHA, Context: report.Context(name),
		State: s.State, Words: s.Description, At: env.Desired.At,
	})
}

// unawaited makes the pages be looked at around the purge, but lets the purge wait for no
// origin: no sign at the origin would tell that it has what is purged.
func unawaited(v *mapping.Verify) { v.Wait, v.Late = 0, mapping.LatePurge }

// asks are what the rules ask to look at around a purge. They are nothing where this
// server fetches no pages.
func (p *Pipeline) asks(file *mapping.File, repo ledger.Repository, env ledger.Environment, named mapping.Environment) ledger.Asks {
	if p.Pages == nil {
		return ledger.Asks{}
	}
	verify := file.Verify(mapping.Query{Environment: env.Name, Owner: repo.Owner, Repo: repo.Name, DefaultBranch: repo.DefaultBranch})
	return ledger.Asks{Verify: verify, Warm: named.Warm, Rules: file.RuleNames()}
}

// carriedMost bounds how many announced commits are compared: each costs a call to
// GitHub.
const carriedMost = 10

// carriedBy finds the announced commits that the desired commit contains, where no push
// brought the desired commit: GitHub merged it for the deployment, or it comes from the
// middle of a push. Their statuses must end with this purge. Where a push did bring it,
// the ledger already knows, and GitHub is not asked.
func (p *Pipeline) carriedBy(ctx context.Context, repo ledger.Repository, env ledger.Environment) (carried []string, err error) {
	if _, err := p.Store.PushOf(ctx, repo.ID, env.Desired.SHA, ""); !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	announced, err := p.Store.Announced(ctx, env.ID, carriedMost)
	if err != nil {
		return nil, err
	}
	for _, sha := range announced {
		is, err := p.repository(repo).Ancestor(ctx, sha, env.Desired.SHA)
		if err != nil && !github.IsNotFound(err) {
			return nil, err
		}
		if is {
			carried = append(carried, sha)
		}
	}
	return carried, nil
}

// contextOf names an environment in its statuses where the commit's own rules can't be
// read: as the default branch's rules write it, else the live commit's, else GitHub.
func (p *Pipeline) contextOf(ctx context.Context, repo ledger.Repository, env ledger.Environment) (string, error) {
	file, err := p.planner.Authority(ctx, repo)
	if err != nil {
		return "", err
	}
	if file.File == nil && !env.Live.IsZero() {
		if file, err = p.planner.RulesAt(ctx, repo, env.Live.SHA); err != nil && !github.IsNotFound(err) {
			return "", err
		}
	}
	if file.File != nil {
		if named, ok := file.File.Environment(env.Name); ok {
			return contextName(named), nil
		}
	}
	return env.Name, nil
}

// redeploy moves live to another deployment of the same commit. There is no difference to
// plan, so one of three things happens:
//
//   - long after the first deployment, it is a rebuild: see rebuild
//   - if a target went out before this success was recorded, all targets go out once
//     more, but for what a person dropped: the first deployment may only have built
//   - otherwise live moves and nothing is purged
func (p *Pipeline) redeploy(ctx context.Context, repo ledger.Repository, env ledger.Environment) (move store.Move, err error) {
	move = store.Move{Env: env, To: env.Desired}
	last, err := p.Store.LastPurge(ctx, env.ID, env.Live.SHA)
	if errors.Is(err, store.ErrNotFound) {
		return move, nil
	}
	if err != nil {
		return store.Move{}, err
	}
	current, err := p.planner.RulesAt(ctx, repo, env.Live.SHA)
	if err != nil && !github.IsNotFound(err) {
		return store.Move{}, err
	}
	within := mapping.DefaultWithin
	var named mapping.Environment
	ok := false
	if current.File != nil {
		if named, ok = current.File.Environment(env.Name); ok {
			within = named.Redeploy
		}
	}
	switch {
	case ledger.Rebuilt(env.Live, env.Desired, last.Live, within):
		if ok {
			err = p.rebuild(ctx, repo, &move, current.File, named)
		}
		return move, err
	case last.ID == "" || !ledger.Resend(env.Live, env.Desired, last.FirstSent):
		return move, nil
	}
	old, err := p.Store.Purge(ctx, last.ID)
	if err != nil {
		return store.Move{}, err
	}
	// sent reads the store while it is ranged over. It can't return an error then, so
	// failure has to be asked after each pass: a list that broke off would look complete.
	sent, failure := p.Store.Sent(ctx, old.ID)
	targets := p.planner.Again(repo, current.File, last.Rollback, sent)
	targets.Unmatched = old.Unmatched
	if err := failure(); err != nil || targets.Len() == 0 {
		return move, err
	}
	if ok {
		move.Asks = p.asks(current.File, repo, env, named)
		if v := move.Asks.Verify; v != nil && len(v.Marker) == 0 {
			unawaited(v) // the first deployment may have brought the pages to the origin already
		}
	}
	err = p.begin(ctx, repo, &move, &targets, ledger.Purge{
		Environment: old.Environment, Cause: ledger.CauseAgain, From: old.From, To: env.Desired, Network: old.Network,
		Note: cmp.Or(targets.Held, "deployed again"),
	}, env.Desired)
	return move, errors.Join(err, failure())
}

// rebuild plans what a rebuild of the live commit purges, by the rules that are for
// rebuilds. A rebuild that purges nothing gets a purge of its own only where the last
// purge went well: it must not replace the words of one that failed or is under way.
func (p *Pipeline) rebuild(ctx context.Context, repo ledger.Repository, move *store.Move, file *mapping.File, env mapping.Environment) error {
	targets, err := p.planner.Map(ctx, repo, file, planner.Change{Environment: env.Name, Rebuild: true, By: policy.Deployment()})
	if err != nil {
		return err
	}
	defer targets.Release()
	if targets.Len() == 0 {
		if all, err := p.Store.PurgesOf(ctx, move.Env.ID, 1); err != nil || len(all) == 0 || all[0].State != ledger.Done || all[0].Counts.Failed > 0 {
			return err
		}
	}
	if move.Asks = p.asks(file, repo, move.Env, env); move.Asks.Verify != nil {
		move.Asks.Verify.Marker = nil // it has shown this commit for long: it confirms nothing
		unawaited(move.Asks.Verify)
	}
	return p.begin(ctx, repo, move, &targets, ledger.Purge{
		Environment: contextName(env), Cause: ledger.CauseRebuild, From: move.To, To: move.To, Network: env.Network, Note: targets.Held,
	}, move.To)
}

// logMove logs that live moved, and the purge that goes with the move, if any.
func (p *Pipeline) logMove(ctx context.Context, repo ledger.Repository, m store.Move) {
	attrs := []slog.Attr{
		slog.String("repository", repo.FullName()), slog.String("environment", m.Env.Name),
		slog.String("from", report.Short(m.Env.Live.SHA)), slog.String("to", report.Short(m.To.SHA)),
	}
	if m.Purge != nil {
		attrs = append(attrs, slog.String("purge", m.Purge.ID), slog.String("cause", string(m.Purge.Cause)))
	}
	p.Log.LogAttrs(ctx, slog.LevelInfo, "live moved", attrs...)
}
