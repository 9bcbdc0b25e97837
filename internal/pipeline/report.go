package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
)

const (
	// postTime bounds one writing; it is below the lease, which is how long a
	// replica's death holds up what it was writing.
	postTime  = 12 * time.Second
	postLease = 15 * time.Second
)

// errNewerPost is of a surface that only a newer release knows: it is left to
// that one.
var errNewerPost = errors.New("a newer release knows what to write")

// words is what one surface shows at a moment.
type words struct {
	status github.Status   // of a status
	purge  ledger.Purge    // whose end a status tells; zero: it tells none
	body   string          // of a reply
	react  github.Reaction // of a reaction; "": none yet
	run    report.Check    // of a check run
	shows  string          // tells one from another
	until  time.Time       // when it changes by the clock alone; zero: never
	quiet  time.Duration   // for so long its progress is not worth a write
}

// report writes one surface on GitHub: the words of this moment, if they are
// not there yet.
func (p *Pipeline) report(ctx context.Context, job store.ReportJob) error {
	post, err := p.Store.ClaimPost(ctx, job.Surface, postLease)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if post.Wait > 0 {
		return snooze{post.Wait}
	}
	w, err := p.words(ctx, post, p.Now())
	if errors.Is(err, errNewerPost) {
		return p.Store.PutOff(ctx, post, postLease)
	}
	if err != nil {
		return err
	}
	posted := func() error {
		wait := p.StatusEvery
		if left := w.until.Sub(p.Now()); left > 0 {
			wait = left
		}
		return p.Store.Posted(ctx, post, w.shows, w.until.IsZero(), wait)
	}
	if w.shows == post.Posted {
		return posted()
	}
	repo, err := p.Store.Repository(ctx, post.RepoID)
	if err != nil {
		return err
	}
	if repo.Gone != "" { // it goes on when that comes back
		return p.Store.PutOff(ctx, post, 0)
	}
	wait, err := p.pace(ctx, repo, post, w)
	if err != nil {
		return err
	}
	if wait > 0 && post.Refuses() {
		return nil // dropped
	}
	if wait > 0 {
		return snooze{wait}
	}
	writing, cancel := context.WithTimeout(ctx, postTime)
	defer cancel()
	if err := p.write(writing, repo, &post, w); err != nil {
		return p.notPosted(ctx, repo, post, err)
	}
	p.timings.told(w.purge)
	return posted()
}

// words renders a surface at a moment: a purge's own words, or those that
// were announced.
func (p *Pipeline) words(ctx context.Context, post store.Post, now time.Time) (w words, err error) {
	var purge ledger.Purge
	if post.PurgeID != "" {
		if purge, err = p.Store.Purge(ctx, post.PurgeID); err != nil {
			return w, err
		}
	}
	switch post.Kind() {
	case store.ReactionPost:
		content := post.State
		if post.PurgeID != "" {
			content, w.until = report.Reaction(purge, now)
		}
		if content == "" { // it goes on: what is there stays
			content = post.Posted
		}
		w.react, w.shows = github.Reaction(content), content
		return w, nil
	case store.ReplyPost:
		return p.reply(ctx, post, purge, now)
	case store.CheckPost:
		return p.check(ctx, post, purge, now)
	case store.LivePost:
		return p.live(ctx, post, purge, now)
	case store.StatusPost:
	default:
		return w, errNewerPost
	}
	s := report.Status{State: post.State, Description: report.Line(post.Words)}
	if post.PurgeID != "" {
		s, w.quiet = report.Purge(purge, now), quiet(purge, now)
	}
	w.status = github.Status{
		State: github.State(s.State), Context: post.Context, Description: s.Description, TargetURL: p.page(purge),
	}
	w.shows, w.until = s.State+" "+s.Description, s.Until
	if s.State != "pending" {
		w.purge = purge
	}
	return w, nil
}

// page is the address of a purge's page.
func (p *Pipeline) page(purge ledger.Purge) string {
	if p.PublicURL == "" || purge.Key == "" {
		return ""
	}
	return p.PublicURL + "/purges/" + purge.Key
}

// reply renders a reply: its own words, and a purge's behind them. Its last
// line, which GitHub does not show, tells it from every other comment.
func (p *Pipeline) reply(ctx context.Context, post store.Post, purge ledger.Purge, now time.Time) (w words, err error) {
	w.body = post.Words
	if post.PurgeID != "" {
		account, err := p.Store.Summary(ctx, purge.ID, report.Listed)
		if err != nil {
			return w, err
		}
		pauses, err := p.pausesFor(ctx, purge)
		if err != nil {
			return w, err
		}
		r := report.Reply{
			Pauses: pauses,
			Before: post.Words, Purge: purge, Failed: account.Failed, Others: account.Others, Akamai: account.Akamai, Link: p.page(purge),
		}
		w.body, w.until = r.Markdown(now), report.Purge(purge, now).Until
	}
	w.body += "\n\n" + mark(post)
	sum := sha256.Sum256([]byte(w.body))
	w.shows = hex.EncodeToString(sum[:])
	return w, nil
}

func mark(post store.Post) string { return "<!-- purgebot " + post.Surface + " -->" }

// write writes one surface. The id of what it made is noted in the post.
func (p *Pipeline) write(ctx context.Context, repo ledger.Repository, post *store.Post, w words) (err error) {
	r := p.repository(repo)
	attrs := []slog.Attr{slog.String("what", string(post.Kind())), slog.String("repository", repo.FullName())}
	switch post.Kind() {
	case store.ReactionPost:
		attrs = append(attrs, slog.Int64("comment", post.Comment), slog.String("reaction", string(w.react)))
		err = writeReaction(ctx, r, post, w.react)
	case store.ReplyPost, store.LivePost:
		attrs = append(attrs, slog.Int("number", post.Number), slog.Int64("to", post.Comment))
		err = p.writeReply(ctx, r, post, w.body)
	case store.CheckPost:
		attrs = append(attrs, slog.String("sha", report.Short(post.SHA)), slog.String("name", post.Context),
			slog.String("state", w.run.Status+" "+w.run.Conclusion), slog.String("words", w.run.Title))
		err = p.writeCheck(ctx, r, post, w.run)
	case store.StatusPost:
		attrs = append(attrs, slog.String("sha", report.Short(post.SHA)), slog.String("context", post.Context),
			slog.String("state", string(w.status.State)), slog.String("words", w.status.Description))
		err = r.PostStatus(ctx, post.SHA, w.status)
	}
	if err == nil {
		p.Log.LogAttrs(ctx, slog.LevelInfo, "posted", attrs...)
	}
	return err
}

// writeReaction reacts to a comment, and takes back what the same surface said
// before: the last word is the only one.
func writeReaction(ctx context.Context, r *github.Repository, post *store.Post, reaction github.Reaction) error {
	id, err := r.React(ctx, post.Comment, reaction)
	if err != nil {
		return err
	}
	if before := post.RemoteID; before != 0 && before != id {
		if err := r.Unreact(ctx, post.Comment, before); err != nil {
			return err
		}
	}
	post.RemoteID = id
	return nil
}

// replyAge bounds how far back a lost reply is looked for.
const replyAge = 24 * time.Hour

// writeReply edits the reply, or makes it. Where an earlier attempt may have
// made it without living to note its id, it is looked for first.
func (p *Pipeline) writeReply(ctx context.Context, r *github.Repository, post *store.Post, body string) (err error) {
	if post.RemoteID == 0 && post.Claims > 1 {
		id, found, err := r.FindComment(ctx, post.Number, mark(*post), p.Now().Add(-replyAge))
		if err != nil {
			return err
		}
		if found {
			post.RemoteID = id
		}
	}
	if post.RemoteID != 0 {
		return r.EditComment(ctx, post.RemoteID, body)
	}
	post.RemoteID, err = r.CreateComment(ctx, post.Number, body)
	return err
}

// unseenTries is how often a commit may be unknown to GitHub before that is
// believed, with growing pauses of together more than a minute: right after a
// push GitHub says so of what is there seconds later.
const unseenTries = 7

// notPosted gives the surface back. What GitHub shows is best effort:
// GitHub's trouble is waited for, and what GitHub will never take is given up.
func (p *Pipeline) notPosted(ctx context.Context, repo ledger.Repository, post store.Post, err error) error {
	p.Log.LogAttrs(ctx, slogWarn, "not posted", slog.String("surface", post.Surface), errAttr(err))
	ctx = context.WithoutCancel(ctx)
	after, waitable := github.RetryAfter(err)
	trouble, mendable := github.OperatorFault(err)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		waitable = true // our own end, or a slow GitHub: it says nothing of the surface
	case github.IsNotFound(err):
		again, failed := p.unseen(ctx, repo, post)
		if failed != nil {
			return failed
		}
		waitable = again
	}
	if !waitable && !mendable {
		return p.Store.GiveUpPost(ctx, post, github.Words(err))
	}
	wait := pause(after, post.Tries)
	if err := p.Store.NotPosted(ctx, post, wait, trouble); err != nil {
		return err
	}
	return snooze{wait}
}

// unseen reports whether what GitHub does not know may come to be known: a
// commit that was just pushed, or anything of a repository that is out of the
// App's sight, which waits until that is back.
func (p *Pipeline) unseen(ctx context.Context, repo ledger.Repository, post store.Post) (again bool, err error) {
	ofCommit := post.Kind() == store.StatusPost || post.Kind() == store.CheckPost
	if ofCommit && post.Tries+1 < unseenTries {
		return true, nil
	}
	if err := p.hidden(ctx, repo); err != nil {
		return true, nil //nolint:nilerr // GitHub can't be asked now either
	}
	if repo, err = p.Store.Repository(ctx, repo.ID); err != nil {
		return false, err
	}
	return repo.Gone != "" || ofCommit && post.Tries < unseenTries, nil
}
