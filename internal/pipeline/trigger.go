package pipeline

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

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
	id       int64 // grows with time among signals of one kind
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
		sha: e.HeadSHA, branches: []string{e.HeadBranch}, only: true, id: e.ID, at: e.CompletedAt,
	}
}

func workflowSignal(e *webhook.WorkflowRun) signal {
	return signal{
		kind: mapping.OnWorkflow, name: e.Path, result: e.Conclusion, by: e.Sender.Login,
		sha: e.HeadSHA, branches: []string{e.HeadBranch}, only: true, id: e.ID, at: e.UpdatedAt,
	}
}

func (p *Pipeline) statusSet(ctx context.Context, repo ledger.Repository, e *webhook.Status, received time.Time) (string, error) {
	if ownStatus(e.Context) {
		return "a status of purgebot's own", nil
	}
	return p.signalled(ctx, repo, statusSignal(e), received)
}

// ownStatus reports whether a context is one of purgebot's: no trigger, whoever
// set it.
func ownStatus(context string) bool {
	return strings.HasPrefix(strings.ToLower(context), report.Context(""))
}

func (p *Pipeline) workflowRan(ctx context.Context, repo ledger.Repository, e *webhook.WorkflowRun, received time.Time) (string, error) {
	switch {
	case e.HeadRepoID != e.Repository.ID:
		return "a fork's run", nil
	case strings.HasPrefix(e.Event, "pull_request"):
		return "a pull request's run", nil
	}
	return p.signalled(ctx, repo, workflowSignal(e), received)
}

// signalled takes a signal for a deployment of each environment whose trigger
// it is: a success moves what is desired, a failure only says so.
func (p *Pipeline) signalled(ctx context.Context, repo ledger.Repository, s signal, received time.Time) (string, error) {
	return p.signalledBy(ctx, p.told(repo), repo, s, received)
}

func (p *Pipeline) signalledBy(ctx context.Context, by telling, repo ledger.Repository, s signal, received time.Time) (string, error) {
	state := s.state()
	if state == "" {
		return s.result + " decides nothing", nil
	}
	if grant := p.Policy.For(repo.FullName()); grant.Listed() && !grant.Creator(s.by) {
		return "policy does not count deployments by " + s.by, nil
	}
	if s.at.IsZero() {
		s.at = received
	}
	s.at = s.at.Truncate(time.Second)
	file, err := by.authority(ctx)
	if err != nil || file.file == nil {
		return "no rules", err
	}
	outcome := "triggers nothing"
	for _, env := range file.file.Environments() {
		if env.Glob || !s.triggers(env.Trigger) {
			continue
		}
		on, err := p.signalOn(ctx, repo, s, branchOf(env, repo))
		switch {
		case err != nil:
			return "", err
		case !on:
			outcome = s.sha + " is not on " + branchOf(env, repo)
			continue
		case !createdBy(env, s.by):
			outcome = "the rules do not count deployments by " + s.by
			continue
		}
		if outcome, err = p.signalDeploys(ctx, by, repo, env, s, state); err != nil {
			return "", err
		}
	}
	return outcome, nil
}

// signalDeploys notes that a signal deployed an environment, or failed to.
func (p *Pipeline) signalDeploys(ctx context.Context, by telling, repo ledger.Repository, env mapping.Environment, s signal, state string) (string, error) {
	deploy := ledger.Deploy{Point: ledger.Point{SHA: s.sha, Status: s.id, At: s.at}, State: state, Creator: s.by}
	known, moved, err := by.desire(ctx, repo.ID, env.Name, deploy, s.at.Add(env.Settle))
	switch {
	case err != nil:
		return "", err
	case state == "failure":
		return "deploy failed", p.deployFailed(ctx, repo, known, env, deploy)
	case moved:
		return "desired", nil
	case deploy.Point == known.Desired || deploy.Point == known.Live:
		return "known already", nil
	default:
		return "overtaken", p.overtaken(ctx, repo, known, env, deploy)
	}
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
		return strings.EqualFold(s.name, t.Name) && !ownStatus(s.name)
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
