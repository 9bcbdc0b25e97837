package pipeline

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/webhook"
)

// signal is how a host that makes no GitHub deployments says that it deployed: by a
// commit status, a check run or a workflow run.
type signal struct {
	kind   mapping.TriggerKind
	name   string // the status's context, the check's name, the workflow's path
	result string // GitHub's state or conclusion
	by     string // login of the account that set it off, as GitHub names the sender
	sha    string
	// branches are those that GitHub says the commit is on. only says that the signal ran
	// for these and no others; otherwise there may be more, which GitHub does not name.
	branches []string
	only     bool
	id       int64
	began    time.Time // zero: not known, see begun
	at       time.Time
}

// statusSignal is a commit status. GitHub names at most ten branches of its commit.
func statusSignal(e *webhook.Status) signal {
	s := signal{
		kind: mapping.OnStatus, name: e.Context, result: e.State, by: e.Sender.Login,
		sha: e.SHA, id: e.ID, at: e.UpdatedAt,
	}
	for _, b := range e.Branches {
		s.branches = append(s.branches, b.Name)
	}
	return s
}

// checkSignal is a check run. Its suite's branch may be of the repository itself or of a
// fork, where a workflow ran on a fork's pull request. So signalOn also looks whether the
// commit is on the branch.
func checkSignal(e *webhook.CheckRun) signal {
	return signal{
		kind: mapping.OnCheck, name: e.Name, result: e.Conclusion, by: e.Sender.Login,
		sha: e.HeadSHA, branches: []string{e.HeadBranch}, only: true, id: e.ID, began: e.StartedAt, at: e.CompletedAt,
	}
}

// workflowSignal is a workflow run; workflowRan has kept out forks and pull requests.
func workflowSignal(e *webhook.WorkflowRun) signal {
	return signal{
		kind: mapping.OnWorkflow, name: e.Path, result: e.Conclusion, by: e.Sender.Login,
		sha: e.HeadSHA, branches: []string{e.HeadBranch}, only: true, id: e.ID, began: e.StartedAt, at: e.UpdatedAt,
	}
}

// statusSet takes a commit status for a deployment. Statuses of purgebot's own come back
// as webhooks too, and are none.
func (p *Pipeline) statusSet(ctx context.Context, repo ledger.Repository, e *webhook.Status, received time.Time) (Outcome, error) {
	if isOurStatus(e.Context) {
		return otherwise("a status of purgebot's own"), nil
	}
	return p.signalled(ctx, p.fromWebhook(repo), repo, statusSignal(e), received)
}

// isOurStatus reports whether a context begins like purgebot's own. Such a status
// triggers nothing, even if another account set it: anybody who can push can set one.
func isOurStatus(context string) bool {
	return strings.HasPrefix(strings.ToLower(context), report.Context(""))
}

// workflowRan takes a workflow run for a deployment. Runs of forks and of pull requests
// are left out: their authors need no write access.
func (p *Pipeline) workflowRan(ctx context.Context, repo ledger.Repository, e *webhook.WorkflowRun, received time.Time) (Outcome, error) {
	switch {
	case e.HeadRepoID != e.Repository.ID:
		return otherwise("a fork's run"), nil
	case strings.HasPrefix(e.Event, "pull_request"):
		return otherwise("a pull request's run"), nil
	}
	return p.signalled(ctx, p.fromWebhook(repo), repo, workflowSignal(e), received)
}

// signalled takes a signal for a deployment of each environment that it triggers: a
// success moves desired, a failure is only said on the commit. An environment that is
// named by a glob has no signal. The outcome is that of the last environment that the
// signal triggers; an error for one environment hides none of the others.
func (p *Pipeline) signalled(ctx context.Context, by factSource, repo ledger.Repository, s signal, received time.Time) (outcome Outcome, err error) {
	if s.state() == "" {
		return otherwise("%s decides nothing", s.result), nil
	}
	if grant := p.Policy().For(repo.FullName()); grant.Listed() && !grant.Creator(s.by) {
		return otherwise("policy does not count deployments by %s", s.by), nil
	}
	if s.at.IsZero() {
		s.at = received
	}
	s.at = s.at.Truncate(time.Second)
	file, err := by.authority(ctx)
	if err != nil || file.File == nil {
		return otherwise("no rules"), err
	}
	outcome = otherwise("triggers nothing")
	err = independently(ctx, slices.Values(file.File.Environments()), func(env mapping.Environment) error {
		if env.Glob || !s.triggers(env.Trigger) {
			return nil
		}
		on, err := p.signalOn(ctx, repo, s, branchOf(env, repo))
		switch {
		case err != nil:
			return err
		case !on:
			outcome = outcome.with(otherwise("%s is not on %s", s.sha, branchOf(env, repo)))
			return nil
		case !createdBy(env, s.by):
			outcome = outcome.with(otherwise("the rules do not count deployments by %s", s.by))
			return nil
		}
		// Only once for all environments: after that s.began is set.
		if s, err = p.begun(ctx, repo, s); err != nil {
			return err
		}
		one, err := p.ended(ctx, by, repo, env, env.Name, ledger.Deploy{
			Point: ledger.Point{SHA: s.sha, Status: s.id, Began: s.began, At: s.at}, State: s.state(), Creator: s.by,
		})
		outcome = outcome.with(one)
		return err
	})
	return outcome, err
}

// begun finds out when the work began that a signal ended. Rollbacks and crossings are
// told apart by that. A commit status does not say it, but the earlier statuses of the
// same context do. Where nothing is known, it is when the signal ended.
func (p *Pipeline) begun(ctx context.Context, repo ledger.Repository, s signal) (signal, error) {
	if s.began.IsZero() && s.kind == mapping.OnStatus {
		all, err := p.repository(repo).CommitStatuses(ctx, s.sha, s.name)
		if err != nil && !github.IsNotFound(err) {
			return s, err
		}
		if i := slices.IndexFunc(all, func(g github.Signal) bool { return g.ID == s.id }); i >= 0 {
			s.began = all[i].Began
		}
	}
	if s.began.IsZero() {
		s.began = s.at
	}
	return s, nil
}

// state is how the work ended, in the words of a deployment status; "" decides nothing.
func (s signal) state() string {
	switch s.result {
	case "success":
		return "success"
	case "failure", "error", "timed_out", "startup_failure":
		return "failure"
	}
	return ""
}

// triggers reports whether an environment waits for this signal. Contexts compare without
// regard to case, as at GitHub; names of checks exactly. A workflow is named by its file,
// with or without the folder.
func (s signal) triggers(t mapping.Trigger) bool {
	if t.Kind != s.kind {
		return false
	}
	switch s.kind {
	case mapping.OnStatus:
		return strings.EqualFold(s.name, t.Name) && !isOurStatus(s.name)
	case mapping.OnWorkflow:
		file, _, _ := strings.Cut(s.name, "@") // GitHub may add the ref
		return file == t.Name || path.Base(file) == t.Name
	case mapping.OnCheck:
		return s.name == t.Name
	case mapping.OnDeployment, mapping.OnPush:
	}
	return false
}

// signalOn reports whether a signal is about a commit on a branch. A status may be about
// more branches than GitHub names, so a branch that is not named is looked up. A run
// names the branch that it ran for, which may be a fork's of the same name, so a branch
// that is named is looked up.
func (p *Pipeline) signalOn(ctx context.Context, repo ledger.Repository, s signal, branch string) (bool, error) {
	named := slices.Contains(s.branches, branch)
	switch {
	case s.only && !named:
		return false, nil
	case named && !s.only:
		return true, nil
	default:
		return p.onBranch(ctx, repo, s.sha, branch)
	}
}

// createdBy reports whether the rules count deployments of an account; without creators
// they count everybody's.
func createdBy(env mapping.Environment, login string) bool {
	return len(env.Creators) == 0 ||
		slices.ContainsFunc(env.Creators, func(c string) bool { return strings.EqualFold(c, login) })
}
