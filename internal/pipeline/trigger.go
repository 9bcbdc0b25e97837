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

// A signal is how a host that makes no deployments says that it deployed: a
// commit status, a check run or a workflow run.
type signal struct {
	kind   mapping.TriggerKind
	name   string // the status's context, the check's name, the workflow's path
	result string // GitHub's state or conclusion
	by     string // login of whoever set it off, as GitHub names the sender
	sha    string
	// branches are those that GitHub says the commit is on. only: it ran for
	// these and no others; else there may be more.
	branches []string
	only     bool
	id       int64
	began    time.Time // zero: GitHub is to be asked
	at       time.Time
}

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

// checkSignal is a check run. Its suite's branch is one of the repository
// itself, or, of a workflow on a fork's pull request, of the fork's: the
// commit has to be on it.
func checkSignal(e *webhook.CheckRun) signal {
	return signal{
		kind: mapping.OnCheck, name: e.Name, result: e.Conclusion, by: e.Sender.Login,
		sha: e.HeadSHA, branches: []string{e.HeadBranch}, only: true, id: e.ID, began: e.StartedAt, at: e.CompletedAt,
	}
}

func workflowSignal(e *webhook.WorkflowRun) signal {
	return signal{
		kind: mapping.OnWorkflow, name: e.Path, result: e.Conclusion, by: e.Sender.Login,
		sha: e.HeadSHA, branches: []string{e.HeadBranch}, only: true, id: e.ID, began: e.StartedAt, at: e.UpdatedAt,
	}
}

func (p *Pipeline) statusSet(ctx context.Context, repo ledger.Repository, e *webhook.Status, received time.Time) (Outcome, error) {
	if isOurStatus(e.Context) {
		return otherwise("a status of purgebot's own"), nil
	}
	return p.signalled(ctx, p.fromWebhook(repo), repo, statusSignal(e), received)
}

// isOurStatus reports whether a context is one of purgebot's: no trigger, whoever
// set it.
func isOurStatus(context string) bool {
	return strings.HasPrefix(strings.ToLower(context), report.Context(""))
}

func (p *Pipeline) workflowRan(ctx context.Context, repo ledger.Repository, e *webhook.WorkflowRun, received time.Time) (Outcome, error) {
	switch {
	case e.HeadRepoID != e.Repository.ID:
		return otherwise("a fork's run"), nil
	case strings.HasPrefix(e.Event, "pull_request"):
		return otherwise("a pull request's run"), nil
	}
	return p.signalled(ctx, p.fromWebhook(repo), repo, workflowSignal(e), received)
}

// signalled takes a signal for a deployment of each environment whose trigger
// it is: a success moves what is desired, a failure only says so.
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
			outcome = otherwise("%s is not on %s", s.sha, branchOf(env, repo))
			return nil
		case !createdBy(env, s.by):
			outcome = otherwise("the rules do not count deployments by %s", s.by)
			return nil
		}
		if s, err = p.begun(ctx, repo, s); err != nil {
			return err
		}
		outcome, err = p.ended(ctx, by, repo, env, env.Name, ledger.Deploy{
			Point: ledger.Point{SHA: s.sha, Status: s.id, Began: s.began, At: s.at}, State: s.state(), Creator: s.by,
		})
		return err
	})
	return outcome, err
}

// begun finds out when what a signal ended began. A commit status does not say:
// those before it do.
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

// state is a deployment status's word for how it ended; "" for what decides
// nothing.
func (s signal) state() string {
	switch s.result {
	case "success":
		return "success"
	case "failure", "error", "timed_out", "startup_failure":
		return "failure"
	}
	return ""
}

// triggers reports whether an environment waits for this signal. Contexts
// compare without regard to case, as at GitHub; a workflow is named by its
// file, with or without the folder.
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

// signalOn reports whether a signal is about a commit on a branch. GitHub
// names at most ten branches of a status's commit, and of a run the one it
// ran for, which may be a fork's of the same name.
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

// createdBy reports whether the rules count what somebody deploys.
func createdBy(env mapping.Environment, login string) bool {
	return len(env.Creators) == 0 ||
		slices.ContainsFunc(env.Creators, func(c string) bool { return strings.EqualFold(c, login) })
}
