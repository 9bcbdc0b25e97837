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

// askRate is how much one person may ask for in one repository, by comments and buttons
// together. A comment beyond that is not carried out and gets only a reaction.
func askRate() store.Rate { return store.Rate{Most: 20, Within: time.Minute} }

// commented carries out a command in a comment on a pull request. BeginCommand stores the
// command under the comment's id, so a second delivery of the comment finds the outcome.
// After a crash before the answer, the command has no outcome, and the next handling
// carries it out.
//
// Role and policy are read anew each time the command is handled.
func (p *Pipeline) commented(ctx context.Context, repo ledger.Repository, e *webhook.IssueComment, d store.Delivery) (string, error) {
	if !e.IsPullRequest {
		return "not on a pull request", nil
	}
	asked, mistake := command.Parse(e.Body)
	if errors.Is(mistake, command.ErrNone) {
		return "no command", nil
	}
	// Anybody with write access may edit another person's comment, and an App may write
	// in a person's name. So the sender must be the author, and a person.
	if e.Sender.ID != e.User.ID || e.Sender.Type != "User" || e.PerformedViaApp {
		return "not by a person", nil
	}
	at := e.CreatedAt
	if at.IsZero() {
		at = d.At
	}
	cmd, err := p.Store.BeginCommand(ctx, store.Command{
		RepoID: repo.ID, Comment: e.ID, Number: e.Number, Person: e.Sender.ID, Login: e.Sender.Login, At: at,
	}, askRate())
	if err != nil || cmd.Outcome != "" {
		return cmd.Outcome, err
	}
	a := &commandRun{Pipeline: p, repo: repo, parsed: asked, cmd: cmd, steps: commandSteps, grant: p.Policy().For(repo.FullName())}
	answer, err := a.do(ctx, mistake)
	if answer, err = a.giveUp(ctx, answer, err); err != nil {
		return "", err
	}
	if answer == nil { // it was stored together with what the command did
		return "done", nil
	}
	answer.Command, answer.Words = cmd, report.Notes(answer.Words, report.Unread(asked.Unread))
	_, err = p.Store.Answer(ctx, *answer)
	return answer.Outcome, err
}

// commandRun is one command under way. Buttons of a check run use it as well, without a
// comment and without parsed.
type commandRun struct {
	*Pipeline
	repo   ledger.Repository
	parsed command.Command
	cmd    store.Command
	steps  int // of matching and mapping that it may take; see commandSteps
	role   policy.Role
	grant  policy.Grant
}

// by is the person for the policy's judge. The role must be read before: see roleOf.
func (a *commandRun) by() policy.By { return policy.Person(a.cmd.Login, a.role) }

// do carries out the command. The answer is nil if it was stored together with what the
// command did.
//
// The order guards against strangers. The role is read first. A person who may not use
// commands gets one short refusal for each pull request: nothing else is read for them,
// and their refusals are dropped first where GitHub's limits are near (Denies). Only
// after that come the reaction "eyes" and the explanation of a mistake.
func (a *commandRun) do(ctx context.Context, mistake error) (*store.Answer, error) {
	var err error
	if a.role, err = a.roleOf(ctx, a.cmd.Login); err != nil {
		return nil, err
	}
	if !a.grant.Listed() {
		return &store.Answer{
			Outcome: "unlisted", Reaction: "confused", Denies: true, Words: report.Unlisted(a.repo.FullName()),
			Once: fmt.Sprintf("denied-%d-unlisted", a.cmd.Person),
		}, nil
	}
	if need := a.grant.Command(); !a.role.AtLeast(need) {
		answer := a.denied(need, "purging")
		answer.Denies, answer.Once = true, fmt.Sprintf("denied-%d-%s", a.cmd.Person, need)
		return answer, nil
	}
	if err := a.Store.Acknowledge(ctx, a.cmd); err != nil {
		return nil, err
	}
	if wrong := (*command.Error)(nil); errors.As(mistake, &wrong) {
		nearest, err := a.firstThatWorks(ctx, wrong.Nearest)
		return &store.Answer{Outcome: "mistake", Reaction: "confused", Words: report.Mistaken(wrong.What, nearest)}, err
	}
	switch a.parsed.Verb {
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
	return nil, fmt.Errorf("unknown verb %q", a.parsed.Verb)
}

// roleOf asks GitHub what a person may do here. Trouble that passes, or that the operator
// can fix, is an error, and the command is tried again. Any other refusal counts as no
// role: in doubt nobody may purge.
func (a *commandRun) roleOf(ctx context.Context, login string) (policy.Role, error) {
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

// passes reports whether trouble may pass by itself or be fixed by the operator, so that
// trying again makes sense.
func passes(ctx context.Context, err error) bool {
	_, waitable := github.RetryAfter(err)
	_, mendable := github.OperatorFault(err)
	return waitable || mendable || ctx.Err() != nil
}

// giveUp turns a refusal of GitHub's that waiting does not change into an answer. Without
// it the comment would be tried again for ever and its author would hear nothing. All
// other results go through unchanged.
func (a *commandRun) giveUp(ctx context.Context, answer *store.Answer, err error) (*store.Answer, error) {
	refusal, ok := errors.AsType[*github.Error](err)
	if !ok || passes(ctx, err) {
		return answer, err
	}
	a.Log.LogAttrs(ctx, slogWarn, "command can't be done", slog.String("repository", a.repo.FullName()),
		slog.Int64("comment", a.cmd.Comment), errAttr(err))
	return refuse(report.Quote(refusal.Public())), nil
}

// denied answers that a role is not enough: a reaction each time, and one reply for each
// person, role and pull request (Once). A person who may use commands here gets it like
// any other answer. For a person who may not use commands at all, do also sets Denies.
func (a *commandRun) denied(need policy.Role, what string) *store.Answer {
	return &store.Answer{
		Outcome: "denied", Reaction: "confused",
		Words: report.Denied(a.cmd.Login, string(a.role), string(need), what),
		Once:  fmt.Sprintf("lacks-%d-%s", a.cmd.Person, need),
	}
}

// refuse is the answer to a command that was understood and can't be carried out.
func refuse(what string) *store.Answer {
	return &store.Answer{Outcome: "refused", Reaction: "confused", Words: report.Refused(what)}
}

// tell is the answer to a command that changes nothing and went well.
func tell(outcome, words string) *store.Answer {
	return &store.Answer{Outcome: outcome, Reaction: "rocket", Words: words}
}

// act retries, releases or cancels the purge that is meant. The store changes the purge
// and answers the comment in one transaction, so a comment that is handled twice acts
// once.
func (a *commandRun) act(ctx context.Context, verb store.Verb) (*store.Answer, error) {
	purge, err := a.findPurge(ctx, verb)
	if errors.Is(err, store.ErrNotFound) {
		return refuse(nothingTo(verb)), nil
	}
	if err != nil {
		return nil, err
	}
	// A release sends all that is held, so the person needs the role for every target. A
	// retry judges each target by itself, and a cancel purges nothing.
	if verb == store.Release {
		if need, what, err := a.missingRole(ctx, purge); err != nil || need != "" {
			return a.denied(need, what), err
		}
	}
	answer := &store.Answer{
		Command: a.cmd, Outcome: string(verb), Words: report.Notes(report.Acted(string(verb), a.cmd.Login, purge.Counts.Failed), report.Unread(a.parsed.Unread)),
	}
	if verb == store.Cancel {
		answer.Reaction = "rocket" // the cancelling is done, however the purge itself ended
	}
	j, _, err := a.Pipeline.act(ctx, a.repo.FullName(), verb, purge, a.by(), store.Act{By: a.cmd.Login, Answer: answer})
	switch {
	case errors.Is(err, store.ErrNothing) && j.Need != "":
		return a.denied(j.Need, j.What), nil
	case errors.Is(err, store.ErrNothing) && j.Reason != "":
		return refuse("still refused: " + report.Quote(j.Reason)), nil
	case errors.Is(err, store.ErrNothing):
		return refuse(nothingTo(verb)), nil
	case errors.Is(err, store.ErrAnswered):
		return nil, nil //nolint:nilnil // somebody else answered
	}
	return nil, err
}

// nothingTo says, as part of a reply, that there is no purge for the verb.
func nothingTo(verb store.Verb) string {
	switch verb {
	case store.Release:
		return "no purge here needs approval."
	case store.Cancel:
		return "no purge here is waiting or being sent."
	case store.Retry:
	}
	return "no purge here has refused items."
}

// findPurge finds the purge that is meant: that of this pull request, else that of the
// environment that is named or is the default. ErrNotFound: there is none that the verb
// applies to.
func (a *commandRun) findPurge(ctx context.Context, verb store.Verb) (ledger.Purge, error) {
	name := a.parsed.Env
	if name == "" {
		purge, err := a.Store.FindPurge(ctx, a.repo.ID, a.cmd.Number, "", verb)
		if !errors.Is(err, store.ErrNotFound) {
			return purge, err
		}
		file, err := a.planner.Authority(ctx, a.repo)
		if err != nil {
			return ledger.Purge{}, err
		}
		if file.File == nil {
			return ledger.Purge{}, store.ErrNotFound
		}
		if name = defaultEnvironment(file.File); name == "" {
			return ledger.Purge{}, store.ErrNotFound
		}
	}
	env, err := a.Store.FindEnvironment(ctx, a.repo.ID, name)
	if err != nil {
		return ledger.Purge{}, err
	}
	return a.Store.FindPurge(ctx, a.repo.ID, a.cmd.Number, env.ID, verb)
}

// missingRole gives the role that the targets of a purge need and that the person lacks,
// and what it is needed for; "" if the person has what they need.
func (a *commandRun) missingRole(ctx context.Context, purge ledger.Purge) (need policy.Role, what string, err error) {
	tallies, err := a.Store.Tallies(ctx, purge.ID)
	if err != nil {
		return "", "", err
	}
	for _, t := range tallies {
		if !a.grant.May(a.role, t.Kind, t.Action) {
			return a.grant.Required(t.Kind, t.Action), policy.Privilege(t.Kind, t.Action), nil
		}
	}
	return "", "", nil
}

// status tells what is live and what waits. It asks GitHub for the rules and nothing
// else.
func (a *commandRun) status(ctx context.Context) (*store.Answer, error) {
	file, err := a.planner.Authority(ctx, a.repo)
	if err != nil {
		return nil, err
	}
	var names []string
	switch {
	case a.parsed.Env != "":
		names = []string{a.parsed.Env}
	case file.File == nil:
		return refuse(rulesMissing(file, a.repo.DefaultBranch)), nil
	default:
		names = environments(file.File)
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
	if account := queue.Account(a.accountOf(a.repo.FullName())); account.Paused {
		paused = account.Words
	}
	pauses, err := a.pausesOf(ctx, a.repo)
	if err != nil {
		return nil, err
	}
	return tell("status", report.StatusReply(envs, unfinished, paused, pauses, a.Now())), nil
}

// help tells what this person may do here.
func (a *commandRun) help(ctx context.Context) (*store.Answer, error) {
	file, err := a.planner.Authority(ctx, a.repo)
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
	if file.File != nil {
		r.Environments = environments(file.File)
	}
	return tell("help", report.Help(r)), nil
}

// environments lists the names that the file's keys give. Keys with globs are left out: a
// glob is no name.
func environments(file *mapping.File) (names []string) {
	for _, env := range file.Environments() {
		if !env.Glob {
			names = append(names, env.Key)
		}
	}
	return names
}

// defaultEnvironment is the environment that a command means where it names none:
// production, else the only one. "": there are several, and purgebot does not guess.
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
	if r.Fault != "" {
		return "the rules file on " + report.Quote(branch) + " has an error: " + report.Quote(r.Fault)
	}
	return "there is no " + cmp.Or(r.Path, mapping.RootPlace) + " on " + report.Quote(branch) +
		". That file names the environments."
}
