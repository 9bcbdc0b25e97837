package pipeline

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/webhook"
)

// checked reads the event of a check run. Another App's run that completed may be a
// deployment. On a run of our own a person may have pressed a button, or "Re-run".
func (p *Pipeline) checked(ctx context.Context, repo ledger.Repository, e *webhook.CheckRun, d store.Delivery) (Outcome, error) {
	switch {
	case e.AppID == p.GitHub.ID() && e.Action == "completed":
		return otherwise("our own"), nil
	case e.AppID != p.GitHub.ID() && e.Action == "completed":
		return p.signalled(ctx, p.fromWebhook(repo), repo, checkSignal(e), d.At)
	case e.AppID != p.GitHub.ID():
		return otherwise("another App's button"), nil
	case e.Sender.Type != "User":
		return otherwise("not by a person"), nil
	}
	button := e.RequestedAction
	if e.Action == "rerequested" {
		button = "" // "Re-run": press retries, or renders the preview again
	}
	checks, err := p.Store.Checks(ctx, repo.ID, e.HeadSHA, e.Name)
	if err != nil {
		return Outcome{}, err
	}
	// A commit's run shows its newest purge. A button on a run that showed an earlier
	// purge was pressed too late, and must not act on the newer one.
	checks = slices.DeleteFunc(checks, func(c store.Post) bool {
		if c.PurgeID == "" {
			return !strings.HasPrefix(e.ExternalID, previewPrefix)
		}
		return c.PurgeID != e.ExternalID
	})
	return saidAs(p.pressedOn(ctx, repo, checks, e.Sender, button, d))
}

// suiteAgain does again what all our check runs of a commit are about ("Re-run all
// checks").
func (p *Pipeline) suiteAgain(ctx context.Context, repo ledger.Repository, e *webhook.CheckSuite, d store.Delivery) (string, error) {
	switch {
	case e.AppID != p.GitHub.ID():
		return "another App's suite", nil
	case e.Sender.Type != "User":
		return "not by a person", nil
	}
	checks, err := p.Store.Checks(ctx, repo.ID, e.HeadSHA, "")
	if err != nil {
		return "", err
	}
	// A surface without a RemoteID shows no run on GitHub, so nobody can have meant it.
	checks = slices.DeleteFunc(checks, func(c store.Post) bool { return c.RemoteID == 0 })
	return p.pressedOn(ctx, repo, checks, e.Sender, "", d)
}

// pressedOn carries out a button on some check runs. The store knows which purges they
// show; nothing in the event decides that. MayPress counts the delivery once, however
// often it is handled.
func (p *Pipeline) pressedOn(ctx context.Context, repo ledger.Repository, checks []store.Post, by webhook.User, button string, d store.Delivery) (outcome string, err error) {
	if len(checks) == 0 {
		return "no such check run", nil
	}
	may, err := p.Store.MayPress(ctx, store.Press{RepoID: repo.ID, Person: by.ID, GUID: d.GUID, At: d.ReceivedAt}, askRate())
	if err != nil || !may {
		return "too many", err
	}
	for _, c := range checks {
		if c.PurgeID == "" {
			outcome, err = p.previewAgain(ctx, repo, c)
		} else {
			outcome, err = p.pressed(ctx, repo, c, by, button, d.GUID)
		}
		if err != nil {
			return "", err
		}
	}
	return outcome, nil
}

// previewAgain renders a preview anew. A merge queue's group never changes, so its stored
// words are posted again.
func (p *Pipeline) previewAgain(ctx context.Context, repo ledger.Repository, c store.Post) (string, error) {
	if c.Number != 0 {
		return p.previewPull(ctx, repo, c.Number, c.SHA, true)
	}
	err := p.Store.WantCheck(ctx, store.Check{RepoID: c.RepoID, SHA: c.SHA, Name: c.Context, Words: c.Words}, true)
	return "previewed", err
}

// pressed carries out a button of a purge's check run, if the person who pressed it may:
// the rules are the same as for a command in a comment. The answer appears in the run.
//
// The note with the delivery's id is stored in the transaction that acts on the purge. So
// a delivery that is handled twice finds its own id in Pressed and does not act again.
func (p *Pipeline) pressed(ctx context.Context, repo ledger.Repository, c store.Post, by webhook.User, button, guid string) (string, error) {
	if c.Pressed == guid {
		return Outcome{result: known}.String(), nil // it was carried out, and the process died before the delivery was closed
	}
	purge, err := p.Store.Purge(ctx, c.PurgeID)
	if err != nil {
		return "", err
	}
	verb, known := map[string]store.Verb{
		"": store.Retry, "retry": store.Retry, "release": store.Release, "cancel": store.Cancel,
	}[button]
	if !known {
		return "no such button", nil
	}
	a := &commandRun{
		Pipeline: p, repo: repo, grant: p.Policy().For(repo.FullName()),
		cmd: store.Command{RepoID: repo.ID, Person: by.ID, Login: by.Login},
	}
	note := store.Note{Surface: c.Surface, GUID: guid, Words: report.Acted(string(verb), by.Login, purge.Counts.Failed)}
	refusal, err := a.press(ctx, verb, purge, note)
	if err != nil {
		return "", err
	}
	outcome := string(verb)
	if refusal != "" {
		outcome, note.Words = "refused", report.NotPressed(by.Login, cmp.Or(button, "re-run"), refusal)
	}
	p.Log.LogAttrs(ctx, slog.LevelInfo, "button pressed", slog.String("repository", repo.FullName()), slog.String("purge", purge.ID),
		slog.String("button", string(verb)), slog.String("by", by.Login), slog.String("outcome", outcome))
	return outcome, p.Store.NoteCheck(ctx, note) // for a refusal; an act has stored its note already
}

// press carries out a button, or says in Markdown why not.
func (a *commandRun) press(ctx context.Context, verb store.Verb, purge ledger.Purge, note store.Note) (refusal string, err error) {
	if a.role, err = a.roleOf(ctx, a.cmd.Login); err != nil {
		return "", err
	}
	if !a.grant.Listed() {
		return report.Unlisted(a.repo.FullName()), nil
	}
	if need := a.grant.Command(); !a.role.AtLeast(need) {
		return a.denied(need, "purging").Words, nil
	}
	if verb == store.Release {
		if need, what, err := a.missingRole(ctx, purge); err != nil || need != "" {
			return a.denied(need, what).Words, err
		}
	}
	j, _, err := a.Pipeline.act(ctx, a.repo.FullName(), verb, purge, a.by(), store.Act{By: a.cmd.Login, Note: &note})
	switch {
	case !errors.Is(err, store.ErrNothing):
		return "", err
	case j.Need != "":
		return a.denied(j.Need, j.What).Words, nil
	case j.Reason != "":
		return report.Refused("still refused: " + report.Quote(j.Reason)), nil
	default:
		return report.Refused(nothingTo(verb)), nil
	}
}

// check renders a check run: a preview from its stored words, or a purge as it is now. A
// purge gets a run only if there is something to read or to press. A run that exists is
// always kept up to date; where there is none, shows stays as posted and nothing is
// written.
func (p *Pipeline) check(ctx context.Context, post store.Post, purge ledger.Purge, now time.Time) (w words, err error) {
	if post.PurgeID == "" {
		if err := json.Unmarshal([]byte(post.Words), &w.run); err != nil {
			return w, fmt.Errorf("read what %s shows: %w", post.Surface, err)
		}
		w.shows = digest(post.Words)
		return w, nil
	}
	c := report.PurgeCheck{Purge: purge, Note: post.Words, Link: p.page(purge)}
	if c.Untold, err = p.Store.Untold(ctx, post); err != nil {
		return w, err
	}
	if post.RemoteID == 0 && !c.Wanted() {
		w.shows = post.Posted
		return w, nil
	}
	account, err := p.Store.Summary(ctx, purge.ID, report.Listed)
	if err != nil {
		return w, err
	}
	c.Failed, c.Others, c.Akamai = account.Failed, account.Others, account.Akamai
	if w.run, w.until = c.Check(now); post.RemoteID == 0 && !w.until.IsZero() {
		w.shows = post.Posted // a new run is not made before the purge has ended
		return w, nil
	}
	shows, err := json.Marshal(w.run)
	w.shows = digest(string(shows))
	return w, err
}

// digest stands for a text of any length in Post.Posted: it is only compared.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// writeCheck changes the check run, or makes it. GitHub only ever adds annotations to a
// run. So a preview's run is not changed: another run of the same name follows it, and
// GitHub shows the newer one.
//
// If an earlier attempt may have made the run and died before it noted the id (Claims
// above 1), the run is looked for first by its external id, and gets only the annotations
// that it lacks.
func (p *Pipeline) writeCheck(ctx context.Context, r *github.Repository, post *store.Post, run report.Check) (err error) {
	c := checkRun(post, run)
	if post.RemoteID != 0 && post.PurgeID != "" {
		return r.UpdateCheckRun(ctx, post.RemoteID, c)
	}
	if post.Claims > 1 {
		id, annotations, found, err := r.FindCheckRun(ctx, post.SHA, post.Context, c.ExternalID)
		if err != nil {
			return err
		}
		if found {
			post.RemoteID, c.Annotations = id, c.Annotations[min(annotations, len(c.Annotations)):]
			return r.UpdateCheckRun(ctx, id, c)
		}
	}
	c.HeadSHA = post.SHA
	post.RemoteID, err = r.CreateCheckRun(ctx, c)
	return err
}

// previewPrefix begins the external id of every preview, and of no purge.
const previewPrefix = "preview-"

// externalID tells a run of ours from all others of its name: by the purge that it shows,
// or by the version of the preview. checked compares it with the purge of now.
func externalID(post *store.Post) string {
	if post.PurgeID != "" {
		return post.PurgeID
	}
	return previewPrefix + strconv.FormatInt(post.Version, 10)
}

// checkRun is a check run in GitHub's form. HeadSHA is left out: only a new run takes it.
func checkRun(post *store.Post, run report.Check) github.CheckRun {
	c := github.CheckRun{
		Name: post.Context, Status: run.Status, Conclusion: run.Conclusion, DetailsURL: run.Link, ExternalID: externalID(post),
		Title: run.Title, Summary: run.Summary, Text: run.Text,
	}
	for _, a := range run.Annotations {
		c.Annotations = append(c.Annotations, github.Annotation{
			Path: a.Path, StartLine: a.Line, EndLine: a.Line, StartColumn: a.Column, EndColumn: a.Column, Level: a.Level, Message: a.Message,
		})
	}
	for _, b := range run.Buttons {
		c.Actions = append(c.Actions, github.CheckAction{Label: b.Label, Description: b.Description, Identifier: b.Identifier})
	}
	return c
}
