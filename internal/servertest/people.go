package servertest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/standin/github"
)

// People gives the people of these tests their roles.
func (w *World) People() {
	w.T.Helper()
	for login, role := range map[string]string{
		"rita": "read", "walt": "write", "mona": "maintain", "adam": "admin", "custom": "publisher:write",
	} {
		if err := w.GitHub.SetPermission(w.FullName(), login, role); err != nil {
			w.T.Fatal(err)
		}
	}
}

// Pull opens a pull request with one commit on a branch of its own.
func (w *World) Pull(branch string, files map[string]string, change func(*github.PullRequest)) int {
	w.T.Helper()
	w.Git("checkout", "--quiet", "-b", branch)
	sha := w.Commit("a pull request", files)
	w.Git("checkout", "--quiet", "main")
	if _, err := w.GitHub.Push(w.T.Context(), w.FullName(), branch, sha, github.PushOptions{}); err != nil {
		w.T.Fatal(err)
	}
	p := github.PullRequest{Title: "Change", Login: "walt", Head: branch}
	if change != nil {
		change(&p)
	}
	number, err := w.GitHub.OpenPullRequest(w.T.Context(), w.FullName(), p)
	if err != nil {
		w.T.Fatal(err)
	}
	return number
}

// Say comments on a pull request and returns the comment's id.
func (w *World) Say(number int, login, body string) int64 {
	w.T.Helper()
	id, err := w.GitHub.Comment(w.T.Context(), w.FullName(), number, login, body)
	if err != nil {
		w.T.Fatal(err)
	}
	return id
}

// Reactions are our reactions to a comment, in order.
func (w *World) Reactions(comment int64) (all []string) {
	for _, r := range w.GitHub.Reactions(w.FullName(), comment) {
		all = append(all, r.Content)
	}
	return all
}

// Reacted waits for our reactions to a comment, in any order.
func (w *World) Reacted(comment int64, want ...string) {
	w.T.Helper()
	slices.Sort(want)
	if !w.Awaits("reactions "+strings.Join(want, ", "), func() bool {
		got := w.Reactions(comment)
		slices.Sort(got)
		return slices.Equal(got, want)
	}) {
		w.T.Errorf("reactions: %v", w.Reactions(comment))
	}
}

// Replies are our comments on a pull request, in order.
func (w *World) Replies(number int) (all []github.Comment) {
	for _, c := range w.GitHub.Comments(w.FullName(), number) {
		if strings.HasSuffix(c.Login, "[bot]") {
			all = append(all, c)
		}
	}
	return all
}

// Replied waits until our last reply contains all of the words.
func (w *World) Replied(number int, want ...string) github.Comment {
	w.T.Helper()
	var last github.Comment
	if !w.Awaits("a reply with "+strings.Join(want, " … "), func() bool {
		all := w.Replies(number)
		if len(all) == 0 {
			return false
		}
		last = all[len(all)-1]
		return !slices.ContainsFunc(want, func(words string) bool { return !strings.Contains(last.Body, words) })
	}) {
		w.T.Fatalf("last reply:\n%s", last.Body)
	}
	return last
}

// Runs are our check runs of a commit with a name. An empty sha means all commits.
func (w *World) Runs(sha, name string) (all []github.CheckRun) {
	for _, c := range w.GitHub.CheckRuns(w.FullName(), sha) {
		if c.Name == name && c.App == "purgebot" {
			all = append(all, c)
		}
	}
	return all
}

// Run waits until our newest check run with a name is as wanted.
func (w *World) Run(sha, name, conclusion string, words ...string) github.CheckRun {
	w.T.Helper()
	var last github.CheckRun
	w.Awaits("a check run "+name+", "+conclusion, func() bool {
		all := w.Runs(sha, name)
		if len(all) == 0 {
			return false
		}
		last = all[len(all)-1]
		text := last.Title + "\n" + last.Summary + "\n" + last.Text
		return last.Conclusion == conclusion &&
			!slices.ContainsFunc(words, func(s string) bool { return !strings.Contains(text, s) })
	})
	if w.T.Failed() {
		w.T.Fatalf("want %q; the last one: %s %s\n%s\n%s\n%s", words, last.Status, last.Conclusion, last.Title, last.Summary, last.Text)
	}
	return last
}

// Press presses a check run's button.
func (w *World) Press(run github.CheckRun, button, login string) {
	w.T.Helper()
	if _, err := w.GitHub.Press(w.T.Context(), run.ID, button, login); err != nil {
		w.T.Fatal(err)
	}
}

// LimitedAnswer is GitHub's refusal by a secondary limit.
func LimitedAnswer(status int, header http.Header) github.Fault {
	return github.Fault{Status: status, Header: header, Body: `{"message":"You have exceeded a secondary rate limit. ` +
		`Please wait a few minutes before you try again.","documentation_url":"https://docs.github.com/rest"}`}
}
