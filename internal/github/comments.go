package github

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// commentPages is the most pages that FindComment reads. A page has 100 comments.
const commentPages = 30

// FindComment finds this App's own comment on an issue or pull request whose body holds
// the mark, among the comments made or changed since a moment. A comment of a person or
// of another App is never taken, even with the same mark: anybody can copy a mark, and
// the comment would then be edited as if it were ours.
func (r *Repository) FindComment(ctx context.Context, issue int, mark string, since time.Time) (id int64, found bool, err error) {
	c := call{
		op:    fmt.Sprintf("list comments on #%d", issue),
		path:  fmt.Sprintf("issues/%d/comments", issue),
		query: url.Values{"since": {since.UTC().Format(time.RFC3339)}},
	}
	_, err = pages(c, commentPages, func(c call) (http.Header, error) {
		var page []struct {
			ID   int64  `json:"id"`
			Body string `json:"body"`
			User struct {
				Type string `json:"type"`
			} `json:"user"`
			App *struct {
				ID int64 `json:"id"`
			} `json:"performed_via_github_app"`
		}
		header, err := r.do(ctx, c, &page)
		for _, comment := range page {
			ours := comment.User.Type == "Bot" // for servers that do not name the App, such as an older GHES
			if comment.App != nil {
				ours = comment.App.ID == r.app.id
			}
			if !found && ours && strings.Contains(comment.Body, mark) {
				id, found = comment.ID, true
			}
		}
		return header, err
	}, func() bool { return !found })
	return id, found, err
}
