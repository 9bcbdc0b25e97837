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
	// postTime bounds one write to GitHub, with the reads that its words need. It is
	// shorter than postLease: after that, another replica may write the surface. postLease
	// is also how long the death of a replica holds up the surface that it was writing.
	postTime  = 12 * time.Second
	postLease = 15 * time.Second
)

// errNewerPost is about a surface of a kind that this release does not know. A newer
// release runs beside this one, and writes it.
var errNewerPost = errors.New("a newer release knows what to write")

// words is what one surface shows at a moment. Only the fields of its kind are set, and
// shows for all.
type words struct {
	status github.Status   // of a commit status
	purge  ledger.Purge    // of a commit status that says how it ended; zero: it does not
	body   string          // of a reply or a live comment, in Markdown
	react  github.Reaction // of a reaction; "": none yet
	run    report.Check    // of a check run
	shows  string          // differs if and only if the words differ; kept as Post.Posted
	until  time.Time       // when the words change by the clock alone; zero: never
	quiet  time.Duration   // for how long progress is not worth a write; 0 or less: it is
}

// report writes one surface on GitHub, if its words are not there yet. The words are
// rendered now, from the purge as it is now: whichever of several jobs comes last writes
// the newest words, and a burst of changes costs one write
// (docs/decisions/0003-words-are-rendered-when-posted.md).
//
// The claim is a lease. If the process dies after the write and before Posted, the
// surface is written again: a commit status or a reaction twice is harmless, and replies
// and check runs are looked for first (see writeReply and writeCheck).
func (p *Pipeline) report(ctx context.Context, job store.ReportJob) error {
	post, err := p.Store.ClaimPost(ctx, job.Surface, postLease)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if post.Wait > 0 {
		// Too early, and the surface was not claimed.
		return snooze{post.Wait}
	}
	// One bound for the reads that the words need and for the write: the lease began above.
	working, cancel := context.WithTimeout(ctx, postTime)
	defer cancel()
	w, err := p.words(working, post, p.Now())
	if errors.Is(err, errNewerPost) {
		return p.Store.PutOff(ctx, post, postLease)
	}
	if _, ofGitHub := errors.AsType[*github.Error](err); ofGitHub {
		return p.notPosted(ctx, post, err)
	}
	if err != nil {
		return err
	}
	// Words that change by the clock are looked at again at that moment. Otherwise the
	// surface rests for StatusEvery, and is looked at when something has changed.
	posted := func() error {
		wait := p.StatusEvery
		if left := w.until.Sub(p.Now()); left > 0 {
			wait = left
		}
		return p.Store.Posted(ctx, post, w.shows, w.until.IsZero(), wait)
	}
	// Before everything that costs a call or a place in GitHub's limits.
	if w.shows == post.Posted {
		return posted()
	}
	repo, err := p.Store.Repository(ctx, post.RepoID)
	if err != nil {
		return err
	}
	if repo.Gone != "" { // the repository's return wakes it
		return p.Store.PutOff(ctx, post, 0)
	}
	wait, err := p.pace(ctx, repo, post, w)
	if err != nil {
		return err
	}
	if wait > 0 && post.Refuses() {
		return nil // pace has given the surface up
	}
	if wait > 0 {
		return snooze{wait}
	}
	if err := p.write(working, repo, &post, w); err != nil {
		return p.notPosted(ctx, post, err)
	}
	// Only after a write that worked: what nobody was told does not count.
	p.timings.told(w.purge)
	return posted()
}

// words renders a surface at a moment. Where a purge speaks on it, the words come from
// the purge; otherwise they are those that were stored with the surface.
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
		if content == "" { // the purge goes on: the reaction that is there stays
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
	// Only a status that is not pending tells how the purge ended.
	if s.State != "pending" {
		w.purge = purge
	}
	return w, nil
}

// page is the address of a purge's page; "" where there are no pages, or no purge.
func (p *Pipeline) page(purge ledger.Purge) string {
	if p.PublicURL == "" || purge.Key == "" {
		return ""
	}
	return p.PublicURL + "/purges/" + purge.Key
}

// reply renders a reply: its own words, and the purge's after them. Its last line is a
// mark that GitHub does not show: FindComment recognises the comment by it.
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

// mark is the line that tells a reply from every other comment: the surface's name in an
// HTML comment.
func mark(post store.Post) string { return "<!-- purgebot " + post.Surface + " -->" }

// write writes one surface, and notes in post the id of what it made, for Posted to
// store.
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

// writeReaction reacts to a comment, and then takes back what the same surface said
// before. The order means that a crash leaves two reactions and never none; the next
// attempt gets the id of the new one from GitHub and takes the old one back.
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

// replyAge bounds how far back a lost reply is looked for: FindComment reads the comments
// since.
const replyAge = 24 * time.Hour

// writeReply edits the reply, or makes it. If an earlier attempt may have made it and
// died before it noted the id (Claims above 1), the reply is looked for first: otherwise
// the pull request would get it twice.
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

// unseenTries is how often GitHub may say that a commit is unknown before purgebot
// believes it. The growing pauses add up to more than a minute: right after a push,
// GitHub answers 404 for a commit that it shows seconds later.
const unseenTries = 7

// notPosted gives the surface back after a failed write, or a failed read of what its
// words need. What GitHub shows is best
// effort, and no purge waits for it. There are three ways on: trouble that passes is
// waited for; trouble that somebody must fix is waited for too, and the check run of a
// status's purge says it; anything else GitHub will never take, so the surface is given
// up.
func (p *Pipeline) notPosted(ctx context.Context, post store.Post, err error) error {
	p.Log.LogAttrs(ctx, slogWarn, "not posted", slog.String("surface", post.Surface), errAttr(err))
	// What became of the write must be stored even if the write used up the time of ctx.
	ctx = context.WithoutCancel(ctx)
	after, waitable := github.RetryAfter(err)
	trouble, mendable := github.OperatorFault(err)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		waitable = true // this process ends, or GitHub is slow: that says nothing about the surface
	case github.IsNotFound(err):
		again, failed := p.unseen(ctx, post)
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

// unseen reports whether what GitHub does not know may still appear: a commit that was
// just pushed, or anything in a repository that the App can't see now. The latter waits
// until the repository is back.
func (p *Pipeline) unseen(ctx context.Context, post store.Post) (again bool, err error) {
	ofCommit := post.Kind() == store.StatusPost || post.Kind() == store.CheckPost
	if ofCommit && post.Tries+1 < unseenTries {
		return true, nil
	}
	repo, err := p.Store.Repository(ctx, post.RepoID)
	if err != nil {
		return false, err
	}
	asking, cancel := context.WithTimeout(ctx, postLease-postTime)
	defer cancel()
	if err := p.hidden(asking, repo); err != nil {
		return true, nil // GitHub can't be asked now either
	}
	if repo, err = p.Store.Repository(ctx, repo.ID); err != nil {
		return false, err
	}
	return repo.Gone != "" || ofCommit && post.Tries < unseenTries, nil
}
