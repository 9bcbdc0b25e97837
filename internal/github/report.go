package github

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf8"

	gh "github.com/google/go-github/v60/github"
)

// State is a commit status's state.
type State string

// The states of a commit status. While one is pending or failed, GitHub refuses a
// deployment of that commit that does not set required_contexts. So a status that waits
// for a deployment must not be pending.
const (
	StatePending State = "pending"
	StateSuccess State = "success"
	StateFailure State = "failure"
	StateError   State = "error"
)

// Status is a commit status. GitHub shows the newest one of each context.
type Status struct {
	State       State
	Context     string // names the status; compares without regard to case
	Description string // at most [StatusDescription] characters
	TargetURL   string // what the status links to; "": nothing
}

// StatusDescription is the most characters that GitHub accepts in a status's description.
// With more it answers 422.
const StatusDescription = 140

// PostStatus posts a commit status. If GitHub refuses the words, it posts the status
// again in plainer words. GitHub accepts 1,000 statuses for one commit and context, then
// answers 422 to each, so a caller must post only what changed.
func (r *Repository) PostStatus(ctx context.Context, sha string, s Status) error {
	op := "post status " + s.Context + " on " + sha
	if _, err := ParseID(sha); err != nil {
		return fmt.Errorf("post status of %s: %w", r, err)
	}
	if err := fits(op, "description", s.Description, StatusDescription); err != nil {
		return err
	}
	return tell(ctx, r.app, s.plainer(), func(s Status) error {
		body := gh.RepoStatus{State: (*string)(&s.State), Context: &s.Context, Description: &s.Description}
		if s.TargetURL != "" {
			body.TargetURL = &s.TargetURL
		}
		_, err := r.do(ctx, call{op: op, method: http.MethodPost, path: "statuses/" + sha, body: body}, nil)
		return err
	})
}

// fits refuses a text that is too long, since GitHub would refuse it or cut it silently.
// It counts characters, not bytes.
func fits(op, what, text string, most int) error {
	if n := utf8.RuneCountInString(text); n > most {
		return fmt.Errorf("%s: the %s has %d characters; GitHub takes %d", op, what, n, most)
	}
	return nil
}

// CommentBody is the most characters that GitHub accepts in the body of a comment.
const CommentBody = 65_536

// CreateComment writes a comment on an issue or pull request and gives its id. It is
// never sent again after a lost answer, so the caller may have to look with FindComment
// first.
func (r *Repository) CreateComment(ctx context.Context, issue int, body string) (id int64, err error) {
	op := "comment on #" + strconv.Itoa(issue)
	if err := fits(op, "body", body, CommentBody); err != nil {
		return 0, err
	}
	err = tell(ctx, r.app, []string{body, ascii(body)}, func(body string) (err error) {
		id, err = r.create(ctx, op, fmt.Sprintf("issues/%d/comments", issue), gh.IssueComment{Body: &body})
		return err
	})
	return id, err
}

// EditComment replaces the text of one of our own comments.
func (r *Repository) EditComment(ctx context.Context, id int64, body string) error {
	op := "edit comment " + strconv.FormatInt(id, 10)
	if err := fits(op, "body", body, CommentBody); err != nil {
		return err
	}
	return tell(ctx, r.app, []string{body, ascii(body)}, func(body string) error {
		_, err := r.do(ctx, call{
			op: op, method: http.MethodPatch, path: fmt.Sprintf("issues/comments/%d", id), body: gh.IssueComment{Body: &body},
		}, nil)
		return err
	})
}

// Reaction is an emoji on a comment.
type Reaction string

// The reactions that purgebot uses.
const (
	ReactionEyes     Reaction = "eyes"
	ReactionRocket   Reaction = "rocket"
	ReactionConfused Reaction = "confused"
)

// React puts a reaction on a comment and gives its id. Doing it again is no error and
// gives the same id: GitHub answers 200 instead of 201.
// https://docs.github.com/rest/reactions/reactions
func (r *Repository) React(ctx context.Context, comment int64, reaction Reaction) (int64, error) {
	return r.create(ctx, "react to comment "+strconv.FormatInt(comment, 10), fmt.Sprintf("issues/comments/%d/reactions", comment),
		gh.Reaction{Content: (*string)(&reaction)})
}

// Unreact removes one of our own reactions. A reaction that is already gone is no error.
// https://docs.github.com/rest/reactions/reactions#delete-an-issue-comment-reaction
func (r *Repository) Unreact(ctx context.Context, comment, reaction int64) error {
	_, err := r.do(ctx, call{
		op: "take back a reaction to comment " + strconv.FormatInt(comment, 10), method: http.MethodDelete,
		path: fmt.Sprintf("issues/comments/%d/reactions/%d", comment, reaction),
	}, nil)
	if IsNotFound(err) {
		return nil
	}
	return err
}

// create posts a body and gives the id of what GitHub made.
func (r *Repository) create(ctx context.Context, op, path string, body any) (int64, error) {
	var answer struct {
		ID int64 `json:"id"`
	}
	_, err := r.do(ctx, call{op: op, method: http.MethodPost, path: path, body: body}, &answer)
	return answer.ID, err
}
