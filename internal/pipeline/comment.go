package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/purgebot/purgebot/internal/command"
	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/webhook"
)

// askRate is what one person may ask for in one repository, by comments and
// buttons together. What is more is not read; a comment gets a reaction.
func askRate() store.Rate { return store.Rate{Most: 20, Within: time.Minute} }

// commented does what a comment on a pull request asks for.
func (p *Pipeline) commented(ctx context.Context, repo ledger.Repository, e *webhook.IssueComment, d store.Delivery) (string, error) {
	if !e.IsPullRequest {
		return "not on a pull request", nil
	}
	asked, mistake := command.Parse(e.Body)
	if errors.Is(mistake, command.ErrNone) {
		return "no command", nil
	}
	// Whoever may write may edit another's comment, and an App may write in a
	// person's name: the one who acts must be the author, and a person.
	if e.Sender.ID != e.User.ID || e.Sender.Type != "User" || e.PerformedViaApp {
		return "not by a person", nil
	}
	at := e.CreatedAt
	if at.IsZero() {
		at = d.ReceivedAt
	}
	cmd, err := p.Store.BeginCommand(ctx, store.Command{
		RepoID: repo.ID, Comment: e.ID, Number: e.Number, Person: e.Sender.ID, Login: e.Sender.Login, At: at,
	}, askRate())
	if err != nil || cmd.Outcome != "" {
		return cmd.Outcome, err
	}
	a := &asking{Pipeline: p, repo: repo, asked: asked, cmd: cmd, grant: p.Policy.For(repo.FullName())}
	answer, err := a.do(ctx, mistake)
	if answer, err = a.hopeless(ctx, answer, err); err != nil {
		return "", err
	}
	if answer == nil { // stored with what it answers
		return "done", nil
	}
	answer.Command = cmd
	_, err = p.Store.Answer(ctx, *answer)
	return answer.Outcome, err
}

// asking is one command under way.
type asking struct {
	*Pipeline
	repo  ledger.Repository
	asked command.Command
	cmd   store.Command
	role  policy.Role
	grant policy.Grant
}

// do does what was asked. The answer is nil if it was stored together with
// what it did.
func (a *asking) do(ctx context.Context, mistake error) (*store.Answer, error) {
	var err error
	if a.role, err = a.roleOf(ctx, a.cmd.Login); err != nil {
		return nil, err
	}
	if !a.grant.Listed() {
		return &store.Answer{
			Outcome: "unlisted", Reaction: "confused", Words: report.Unlisted(a.repo.FullName()),
			Once: fmt.Sprintf("denied-%d-unlisted", a.cmd.Person),
		}, nil
	}
	if need := a.grant.Command(); !a.role.AtLeast(need) {
		return a.denied(need, "purge"), nil
	}
	if wrong := (*command.Error)(nil); errors.As(mistake, &wrong) {
		return &store.Answer{Outcome: "mistake", Reaction: "confused", Words: report.Mistaken(wrong.What, wrong.Nearest)}, nil
	}
	switch a.asked.Verb {
	case command.Purge:
		return a.purge(ctx)
	case command.Retry:
		return a.act(ctx, store.Retry)
	case command.Release:
		return a.act(ctx, store.Release)
	case command.Cancel:
		return a.act(ctx, store.Cancel)
	case command.Status:
		return a.status(ctx)
	case command.Help:
		return a.help(ctx)
	}
	return nil, fmt.Errorf("unknown verb %q", a.asked.Verb)
}

// roleOf asks GitHub what somebody may do here. Trouble that may pass, and
// what the operator can mend, is an error; any other is no role at all.
func (a *asking) roleOf(ctx context.Context, login string) (policy.Role, error) {
	role, err := a.repository(a.repo).Permission(ctx, login)
	if err == nil {
		return policy.Role(role), nil
	}
	if passes(ctx, err) {
		return policy.None, err
	}
	a.Log.LogAttrs(ctx, slogWarn, "permission can't be read: it counts as none", slog.String("login", login), errAttr(err))
	return policy.None, nil
}

// passes reports whether trouble may pass, or be mended.
func passes(ctx context.Context, err error) bool {
	_, waitable := github.RetryAfter(err)
	_, mendable := github.OperatorFault(err)
	return waitable || mendable || ctx.Err() != nil
}

// hopeless turns GitHub's refusal that no waiting changes into an answer.
func (a *asking) hopeless(ctx context.Context, answer *store.Answer, err error) (*store.Answer, error) {
	refusal, ok := errors.AsType[*github.Error](err)
	if !ok || passes(ctx, err) {
		return answer, err
	}
	a.Log.LogAttrs(ctx, slogWarn, "command can't be done", slog.String("repository", a.repo.FullName()),
		slog.Int64("comment", a.cmd.Comment), errAttr(err))
	return refuse(report.Quote(refusal.Public())), nil
}

// denied answers that a role is not enough: a reaction each time, and one
// reply a person, role and pull request.
func (a *asking) denied(need policy.Role, what string) *store.Answer {
	return &store.Answer{
		Outcome: "denied", Reaction: "confused",
		Words: report.Denied(a.cmd.Login, string(a.role), string(need), what),
		Once:  fmt.Sprintf("denied-%d-%s", a.cmd.Person, need),
	}
}

func refuse(what string) *store.Answer {
	return &store.Answer{Outcome: "refused", Reaction: "confused", Words: report.Refusal(what)}
}

func tell(outcome, words string) *store.Answer {
	return &store.Answer{Outcome: outcome, Reaction: "rocket", Words: words}
}

// act retries, releases or cancels the purge that is meant.
func (a *asking) act(ctx context.Context, deed store.Deed) (*store.Answer, error) {
	purge, err := a.meant(ctx, deed)
	if errors.Is(err, store.ErrNotFound) {
		return refuse(nothingTo(deed)), nil
	}
	if err != nil {
		return nil, err
	}
	if deed == store.Release {
		if need, what, err := a.needs(ctx, purge); err != nil || need != "" {
			return a.denied(need, what), err
		}
	}
	answer := &store.Answer{
		Command: a.cmd, Outcome: string(deed), Words: report.Acted(string(deed), a.cmd.Login, purge.Counts.Failed),
	}
	if deed == store.Cancel {
		answer.Reaction = "rocket" // what was asked for is done, whatever became of the purge
	}
	j := &judgement{grant: a.grant, role: a.role, purge: purge}
	_, err = a.Act(ctx, a.repo.FullName(), deed, store.Act{Purge: purge.ID, By: a.cmd.Login, Answer: answer}, j.again)
	switch {
	case errors.Is(err, store.ErrNothing) && j.need != "":
		return a.denied(j.need, j.what), nil
	case errors.Is(err, store.ErrNothing) && j.reason != "":
		return refuse("policy still refuses it: " + report.Quote(j.reason)), nil
	case errors.Is(err, store.ErrNothing):
		return refuse(nothingTo(deed)), nil
	case errors.Is(err, store.ErrAnswered):
		return nil, nil //nolint:nilnil // somebody else answered
	}
	return nil, err
}

func nothingTo(deed store.Deed) string {
	switch deed {
	case store.Release:
		return "no purge is held here."
	case store.Cancel:
		return "no purge waits or is under way here."
	case store.Retry:
	}
	return "no purge has failed objects here."
}

// meant finds the purge that is meant: of this pull request, else of the
// environment.
func (a *asking) meant(ctx context.Context, deed store.Deed) (ledger.Purge, error) {
	name := a.asked.Env
	if name == "" {
		purge, err := a.Store.MeantPurge(ctx, a.repo.ID, a.cmd.Number, "", deed)
		if !errors.Is(err, store.ErrNotFound) {
			return purge, err
		}
		file, err := a.authority(ctx, a.repo)
		if err != nil {
			return ledger.Purge{}, err
		}
		if file.file == nil {
			return ledger.Purge{}, store.ErrNotFound
		}
		if name = defaultEnvironment(file.file); name == "" {
			return ledger.Purge{}, store.ErrNotFound
		}
	}
	env, err := a.Store.FindEnvironment(ctx, a.repo.ID, name)
	if err != nil {
		return ledger.Purge{}, err
	}
	return a.Store.MeantPurge(ctx, a.repo.ID, a.cmd.Number, env.ID, deed)
}

// needs gives the role that the targets of a purge take and that the person
// lacks; "" if none.
func (a *asking) needs(ctx context.Context, purge ledger.Purge) (need policy.Role, what string, err error) {
	tallies, err := a.Store.Tallies(ctx, purge.ID)
	if err != nil {
		return "", "", err
	}
	for _, t := range tallies {
		if !a.grant.May(a.role, t.Kind, t.Action) {
			return a.grant.Required(t.Kind, t.Action), deed(t.Kind, t.Action), nil
		}
	}
	return "", "", nil
}

// deed is what a role is needed for, in words.
func deed(kind mapping.Kind, action mapping.Action) string {
	switch {
	case kind == mapping.CPCode && action == mapping.Delete:
		return "delete a CP code"
	case kind == mapping.CPCode:
		return "purge a CP code"
	case action == mapping.Delete:
		return "delete"
	default:
		return "purge"
	}
}

// status tells what is live and what waits.
func (a *asking) status(ctx context.Context) (*store.Answer, error) {
	file, err := a.authority(ctx, a.repo)
	if err != nil {
		return nil, err
	}
	var names []string
	switch {
	case a.asked.Env != "":
		names = []string{a.asked.Env}
	case file.file == nil:
		return refuse(rulesMissing(file, a.repo.DefaultBranch)), nil
	default:
		names = environments(file.file)
	}
	var envs []report.EnvironmentStatus
	for _, name := range names[:min(len(names), namesShown)] {
		known, err := a.Store.FindEnvironment(ctx, a.repo.ID, name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		envs = append(envs, report.EnvironmentStatus{Name: name, Known: known})
	}
	unfinished, err := a.Store.Unfinished(ctx, a.repo.ID, 10)
	if err != nil {
		return nil, err
	}
	queue, err := a.Store.Queue(ctx)
	if err != nil {
		return nil, err
	}
	paused := ""
	if queue.Pause.Paused {
		paused = queue.Pause.Words
	}
	return tell("status", report.StatusReply(envs, unfinished, paused, a.Now())), nil
}

// help tells what this person may do here.
func (a *asking) help(ctx context.Context) (*store.Answer, error) {
	file, err := a.authority(ctx, a.repo)
	if err != nil {
		return nil, err
	}
	r := report.Rights{
		Login: a.cmd.Login, Role: string(a.role),
		Delete:    a.grant.May(a.role, mapping.URL, mapping.Delete),
		CPCode:    a.grant.May(a.role, mapping.CPCode, mapping.Invalidate),
		ForDelete: string(a.grant.Required(mapping.URL, mapping.Delete)),
		ForCode:   string(a.grant.Required(mapping.CPCode, mapping.Invalidate)),
	}
	if file.file != nil {
		r.Environments = environments(file.file)
	}
	return tell("help", report.Help(r)), nil
}

// environments lists the names that a file's keys are; globs are none.
func environments(file *mapping.File) (names []string) {
	for _, env := range file.Environments() {
		if !env.Glob {
			names = append(names, env.Key)
		}
	}
	return names
}

// defaultEnvironment is the environment meant where none is named:
// production, else the only one, else "".
func defaultEnvironment(file *mapping.File) string {
	if env, ok := file.Environment("production"); ok && !env.Glob {
		return env.Key
	}
	if names := environments(file); len(names) == 1 {
		return names[0]
	}
	return ""
}

// rulesMissing says why a branch's rules can't be used.
func rulesMissing(r rules, branch string) string {
	if r.fault != "" {
		return "the rules file on " + report.Quote(branch) + " can't be used: " + report.Quote(r.fault)
	}
	return "there is no " + cmp.Or(r.path, mapping.RootPlace) + " on " + report.Quote(branch) +
		", and only that names the environments."
}
