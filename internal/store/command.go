package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// Command is what a person asked for by one comment on a pull request.
type Command struct {
	RepoID  int64
	Comment int64
	Number  int       // of the pull request
	Person  int64     // GitHub's id of the account
	Login   string    // of the same account; it is not stored
	At      time.Time // when the comment was made, by GitHub's clock

	// The environment, and the head whose rules and files the command goes by. Both are
	// empty until BindCommand.
	Environment string
	SHA         string

	Outcome string // "" while it is under way
}

// limited is the outcome of a command over the rate.
const limited = "too many"

// BeginCommand notes a command. It does not react yet: a person who may not ask gets no
// more than a refusal. A command that is known already comes back as it stands, so a job
// that runs twice goes on with the first run's result. If the person asks for more in
// this repository than the rate allows, the outcome is set, and the only answer is the
// reaction "confused".
func (s *Store) BeginCommand(ctx context.Context, c Command, rate Rate) (Command, error) {
	err := s.write(ctx, func(t *tx) error {
		n, err := t.exec(ctx, `INSERT INTO command (repo_id, comment_id, number, person, at) VALUES ($1,$2,$3,$4,$5)
			ON CONFLICT (repo_id, comment_id) DO NOTHING`, c.RepoID, c.Comment, c.Number, c.Person, ms(c.At))
		if err != nil {
			return err
		}
		if n == 0 {
			err := t.row(ctx, `SELECT environment, sha, outcome FROM command WHERE repo_id = $1 AND comment_id = $2`,
				c.RepoID, c.Comment).Scan(&c.Environment, &c.SHA, &c.Outcome)
			// Its delivery was set aside and is replayed: the command is under way again.
			if c.Outcome == OutcomeSetAside {
				c.Outcome = ""
			}
			return err
		}
		may, err := mayAsk(ctx, t, c.RepoID, c.Person, "comment/"+strconv.FormatInt(c.Comment, 10), c.At, rate)
		if err != nil {
			return err
		}
		if !may {
			c.Outcome = limited
			_, err := s.answer(ctx, t, Answer{Command: c, Outcome: limited, Reaction: "confused", Denies: true})
			return err
		}
		return nil
	})
	if err != nil {
		return c, fmt.Errorf("note comment %d: %w", c.Comment, err)
	}
	return c, nil
}

// Acknowledge wants the reaction "eyes": the person may ask, and the command is under
// way.
func (s *Store) Acknowledge(ctx context.Context, c Command) error {
	err := s.write(ctx, func(t *tx) error { return react(ctx, t, c, "eyes", "eyes", "") })
	if err != nil {
		return fmt.Errorf("acknowledge comment %d: %w", c.Comment, err)
	}
	return nil
}

// BindCommand binds a command to the head of an environment's branch, and returns what it
// is bound to. A second handling gets what the first one bound: the branch may have moved
// since, and one comment must not purge by two commits.
func (s *Store) BindCommand(ctx context.Context, c Command, environment, sha string) (Command, error) {
	err := s.write(ctx, func(t *tx) error {
		return t.row(ctx, `UPDATE command SET environment = CASE WHEN sha = '' THEN $3 ELSE environment END,
				sha = CASE WHEN sha = '' THEN $4 ELSE sha END
			WHERE repo_id = $1 AND comment_id = $2 RETURNING environment, sha`,
			c.RepoID, c.Comment, environment, sha).Scan(&c.Environment, &c.SHA)
	})
	if err != nil {
		return c, fmt.Errorf("bind comment %d: %w", c.Comment, err)
	}
	return c, nil
}

// Answer is the answer to a command. It is stored once only, in the transaction of what
// the command did.
type Answer struct {
	Command
	Outcome  string      // for the log and the record; never empty
	Reaction string      // rocket or confused; "": what the end of the purge calls for
	PurgeID  string      // the purge that the reply, and a reaction without a word, speak for; "": none
	Asks     ledger.Asks // what to look at after that purge

	// Words are the reply, in Markdown; if there is a purge, they stand before the
	// purge's own words. Without words and without a purge there is no reply.
	Words string
	// Denies says that the person may not ask. One person hears that only deniedMost
	// times an hour in a repository, and not at all where GitHub's limits are near.
	Denies bool
	// Once makes the reply the only one of this name on the pull request; "": the
	// comment's id is the name.
	Once string
}

// ErrAnswered says that a command was answered before: nothing was done.
var ErrAnswered = errors.New("the command was answered already")

// Answer answers a command that changed nothing. It reports false if the command was
// answered before.
func (s *Store) Answer(ctx context.Context, a Answer) (fresh bool, err error) {
	err = s.write(ctx, func(t *tx) error {
		fresh, err = s.answer(ctx, t, a)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("answer comment %d: %w", a.Comment, err)
	}
	return fresh, nil
}

// OpenManual opens a planned purge that a comment asked for, or holds it, and answers the
// comment, in one transaction. If the comment was answered before, OpenManual throws the
// planned purge away and returns ErrAnswered. So a comment that is handled twice purges
// once.
func (s *Store) OpenManual(ctx context.Context, purge string, hold bool, a Answer) error {
	a.PurgeID = purge
	fresh := false
	err := s.write(ctx, func(t *tx) (err error) {
		if fresh, err = s.answer(ctx, t, a); err != nil {
			return err
		}
		if !fresh {
			return nil
		}
		if err := s.openTold(ctx, t, purge, hold); err != nil {
			return err
		}
		return s.prove(ctx, t, ledger.Purge{ID: purge, RepoID: a.RepoID}, a.Asks, ledger.ProofPurged)
	})
	if err == nil && !fresh {
		err = s.discard(ctx, purge)
	}
	if err != nil {
		return fmt.Errorf("open purge %s: %w", purge, err)
	}
	if !fresh {
		return ErrAnswered
	}
	return nil
}

// answer settles a command, and wants its reply and its reaction. fresh is false if the
// command has an outcome already. A command that was set aside may be answered once more,
// with any other outcome.
func (s *Store) answer(ctx context.Context, t *tx, a Answer) (fresh bool, err error) {
	n, err := t.exec(ctx, `UPDATE command SET outcome = $3, purge_id = $4 WHERE repo_id = $1 AND comment_id = $2 AND outcome IN ('', $5) AND outcome <> $3`,
		a.RepoID, a.Comment, a.Outcome, a.PurgeID, OutcomeSetAside)
	if err != nil || n == 0 {
		return false, err
	}
	if a.Denies {
		said, err := deniedWithin(ctx, t, a.Command, time.Hour)
		if err != nil || said > deniedMost {
			return true, err
		}
	}
	if a.Words != "" || a.PurgeID != "" {
		if err := reply(ctx, t, a); err != nil {
			return false, err
		}
	}
	if a.Denies {
		return true, react(ctx, t, a.Command, denied, a.Reaction, "")
	}
	if a.Reaction != "" {
		return true, react(ctx, t, a.Command, a.Reaction, a.Reaction, "")
	}
	return true, react(ctx, t, a.Command, "end", "", a.PurgeID)
}

// deniedMost is how many refusals an hour one person hears in one repository.
const deniedMost = 5

// deniedWithin counts a person's commands in a repository that were denied, this one
// included, since a time before this one.
func deniedWithin(ctx context.Context, t *tx, c Command, d time.Duration) (n int, err error) {
	err = t.row(ctx, `SELECT COUNT(*) FROM command WHERE repo_id = $1 AND person = $2 AND at > $3 AND outcome IN ('denied', 'unlisted', $4)`,
		c.RepoID, c.Person, ms(c.At.Add(-d)), limited).Scan(&n)
	return n, err
}

// reply wants a reply. A reply of that name that exists already stays as it is.
func reply(ctx context.Context, t *tx, a Answer) error {
	name := a.Once
	if name == "" {
		name = strconv.FormatInt(a.Comment, 10)
	}
	return want(ctx, t, Post{
		Surface: fmt.Sprintf("%s/%d/%d/%s", ReplyPost, a.RepoID, a.Number, name), RepoID: a.RepoID,
		PurgeID: a.PurgeID, Words: a.Words, Number: a.Number, Comment: a.Comment,
	})
}

// react wants a reaction: content, or, where content is "", what the end of a purge calls
// for.
func react(ctx context.Context, t *tx, c Command, name, content, purge string) error {
	return want(ctx, t, Post{
		Surface: fmt.Sprintf("%s/%d/%d/%s", ReactionPost, c.RepoID, c.Comment, name), RepoID: c.RepoID,
		PurgeID: purge, State: content, Number: c.Number, Comment: c.Comment,
	})
}

// want makes a surface, unless one of its name exists.
func want(ctx context.Context, t *tx, p Post) error {
	n, err := t.exec(ctx, `INSERT INTO post (surface, repo_id, env_id, sha, context, purge_id, state, words, at, version, number, comment_id)
		VALUES ($1,$2,'','','',$3,$4,$5,0,1,$6,$7) ON CONFLICT (surface) DO NOTHING`,
		p.Surface, p.RepoID, p.PurgeID, p.State, p.Words, p.Number, p.Comment)
	if err == nil && n > 0 {
		t.enqueue(ReportJob{Surface: p.Surface})
	}
	return err
}

// PullRequest is the number of the pull request whose comment asked for a purge, or that
// was merged as the deployed commit; 0 if that is not known, or is not known any more.
func (s *Reader) PullRequest(ctx context.Context, p ledger.Purge) (number int, err error) {
	err = s.read(ctx, func(t *tx) error {
		if p.Cause != ledger.CauseComment {
			return t.row(ctx, `SELECT COALESCE(MAX(number), 0) FROM merged WHERE repo_id = $1 AND sha = $2`, p.RepoID, p.To.SHA).Scan(&number)
		}
		// The first command made the purge; later ones acted on it.
		return t.row(ctx, `SELECT COALESCE(MIN(number), 0) FROM command WHERE repo_id = $1 AND purge_id = $2
			AND at = (SELECT MIN(at) FROM command WHERE repo_id = $1 AND purge_id = $2)`, p.RepoID, p.ID).Scan(&number)
	})
	if err != nil {
		return 0, fmt.Errorf("read pull request of purge: %w", err)
	}
	return number, nil
}
