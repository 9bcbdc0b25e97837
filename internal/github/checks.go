package github

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	gh "github.com/google/go-github/v60/github"
)

// GitHub's limits of a check run. All but CheckActions are in characters.
// https://docs.github.com/rest/checks/runs#create-a-check-run
const (
	CheckText         = 65_535 // of the summary and of the text, each
	CheckActions      = 3      // buttons on one run
	ActionLabel       = 20
	ActionDescription = 40
	ActionIdentifier  = 20

	annotationsPerCall = 50 // more are added by further updates
)

// CheckRun is the content of a check run. An empty field is left out of the request,
// except Actions: without any, the run's buttons disappear.
type CheckRun struct {
	Name        string
	HeadSHA     string
	Status      string // queued, in_progress or completed
	Conclusion  string // only with completed: success, failure, neutral, action_required, …
	DetailsURL  string // "": GitHub links to the App's home page
	ExternalID  string // our own id, by which FindCheckRun finds the run again
	Title       string // needed for Summary, Text and Annotations to show
	Summary     string // Markdown, at most CheckText characters
	Text        string // Markdown, at most CheckText characters
	Annotations []Annotation
	Actions     []CheckAction // buttons, at most CheckActions
}

// Annotation is a message on lines of a file in the commit.
type Annotation struct {
	Path               string
	StartLine, EndLine int    // counted from 1
	StartColumn        int    // counted from 1; 0: none; only if both lines are the same
	EndColumn          int    // counted from 1; 0: none
	Level              string // notice, warning or failure
	Title, Message     string
}

// CheckAction is a button on a check run. GitHub sends its Identifier back when somebody
// presses it.
type CheckAction struct {
	Label, Description, Identifier string
}

// CreateCheckRun makes a check run and gives its id. With more than 50 annotations it
// takes several calls. If a later one fails, the id comes together with the error, so
// that the caller does not create a second run.
func (r *Repository) CreateCheckRun(ctx context.Context, c CheckRun) (id int64, err error) {
	op := "create check run " + c.Name
	if err := c.validate(op); err != nil {
		return 0, err
	}
	var rest []Annotation
	err = tell(ctx, r.app, c.plainer(), func(c CheckRun) (err error) {
		var first []Annotation
		first, rest = splitAnnotations(c.Annotations)
		id, err = r.create(ctx, op, "check-runs", c.body(first))
		return err
	})
	if err != nil || len(rest) == 0 {
		return id, err
	}
	c.Annotations = rest
	return id, r.UpdateCheckRun(ctx, id, c)
}

// UpdateCheckRun replaces what a check run shows, its buttons too. Annotations are added
// to those that the run has, because GitHub cannot remove any. Passing the same
// annotations again would show them twice.
func (r *Repository) UpdateCheckRun(ctx context.Context, id int64, c CheckRun) error {
	op := "update check run " + strconv.FormatInt(id, 10)
	if err := c.validate(op); err != nil {
		return err
	}
	return tell(ctx, r.app, c.plainer(), func(c CheckRun) error {
		for rest := c.Annotations; ; {
			var batch []Annotation
			batch, rest = splitAnnotations(rest)
			_, err := r.do(ctx, call{
				op: op, method: http.MethodPatch, path: fmt.Sprintf("check-runs/%d", id), body: c.body(batch),
			}, nil)
			if err != nil || len(rest) == 0 {
				return err
			}
		}
	})
}

// checkPages is the most pages that FindCheckRun reads. GitHub keeps 1,000 check runs of
// one name in a suite, which is ten pages.
// https://docs.github.com/rest/checks/runs#create-a-check-run
const checkPages = 10

// FindCheckRun finds this App's check run of a name on a commit by its external id. If a
// page has several, it takes the one with the highest id, which is the newest.
// annotations is the number that GitHub has, so that the caller adds only the missing
// ones.
// https://docs.github.com/rest/checks/runs#list-check-runs-for-a-git-reference
func (r *Repository) FindCheckRun(ctx context.Context, sha, name, externalID string) (id int64, annotations int, found bool, err error) {
	c := call{
		op:   "list check runs " + name + " of " + sha,
		path: "commits/" + url.PathEscape(sha) + "/check-runs",
		query: url.Values{
			"check_name": {name}, "app_id": {strconv.FormatInt(r.app.id, 10)}, "filter": {"all"},
		},
	}
	_, err = pages(c, checkPages, func(c call) (http.Header, error) {
		var page struct {
			Runs []struct {
				ID         int64  `json:"id"`
				ExternalID string `json:"external_id"`
				App        struct {
					ID int64 `json:"id"`
				} `json:"app"`
				Output struct {
					Annotations int `json:"annotations_count"`
				} `json:"output"`
			} `json:"check_runs"`
		}
		header, err := r.do(ctx, c, &page)
		for _, run := range page.Runs {
			// The query names the App already; this check does not rely on the server
			// obeying it.
			if run.App.ID == r.app.id && run.ExternalID == externalID && run.ID > id {
				id, annotations, found = run.ID, run.Output.Annotations, true
			}
		}
		return header, err
	}, func() bool { return !found })
	return id, annotations, found, err
}

// splitAnnotations takes off as many annotations as one call may carry.
func splitAnnotations(all []Annotation) (first, rest []Annotation) {
	n := min(len(all), annotationsPerCall)
	return all[:n], all[n:]
}

// validate refuses before the call what GitHub would refuse. GitHub's own answer to a
// field that is too long does not say which field it is.
// https://docs.github.com/en/rest/checks/runs#create-a-check-run
func (c CheckRun) validate(op string) error {
	if err := fits(op, "summary", c.Summary, CheckText); err != nil {
		return err
	}
	if err := fits(op, "text", c.Text, CheckText); err != nil {
		return err
	}
	if c.Title == "" && (c.Summary != "" || c.Text != "" || len(c.Annotations) > 0) {
		return fmt.Errorf("%s: it has no title, and GitHub shows nothing without one", op)
	}
	if len(c.Actions) > CheckActions {
		return fmt.Errorf("%s: it has %d actions; GitHub takes %d", op, len(c.Actions), CheckActions)
	}
	for _, a := range c.Actions {
		for _, field := range []struct {
			name, text string
			most       int
		}{
			{"action's label", a.Label, ActionLabel},
			{"action's description", a.Description, ActionDescription},
			{"action's identifier", a.Identifier, ActionIdentifier},
		} {
			if err := fits(op, field.name, field.text, field.most); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkBody is a check run in a request. go-github's own type leaves out an empty list of
// actions, so it could never remove a button.
type checkBody struct {
	Name       string               `json:"name"`
	HeadSHA    string               `json:"head_sha,omitempty"`
	Status     string               `json:"status,omitempty"`
	Conclusion string               `json:"conclusion,omitempty"`
	DetailsURL string               `json:"details_url,omitempty"`
	ExternalID string               `json:"external_id,omitempty"`
	Output     *gh.CheckRunOutput   `json:"output,omitempty"`
	Actions    []*gh.CheckRunAction `json:"actions"`
}

// body makes the request of a check run with these annotations instead of its own.
// Actions is never nil there: as JSON it must be [], not null.
func (c CheckRun) body(annotations []Annotation) checkBody {
	body := checkBody{
		Name: c.Name, HeadSHA: c.HeadSHA, Status: c.Status, Conclusion: c.Conclusion,
		DetailsURL: c.DetailsURL, ExternalID: c.ExternalID, Output: c.output(annotations),
		Actions: []*gh.CheckRunAction{},
	}
	for _, a := range c.Actions {
		body.Actions = append(body.Actions, &gh.CheckRunAction{Label: a.Label, Description: a.Description, Identifier: a.Identifier})
	}
	return body
}

// output makes the part of the request that readers see. GitHub accepts columns only for
// an annotation on one line.
func (c CheckRun) output(annotations []Annotation) *gh.CheckRunOutput {
	if c.Title == "" {
		return nil
	}
	out := &gh.CheckRunOutput{Title: &c.Title, Summary: &c.Summary, Text: optional(c.Text)}
	for _, a := range annotations {
		one := &gh.CheckRunAnnotation{
			Path: &a.Path, StartLine: &a.StartLine, EndLine: &a.EndLine,
			AnnotationLevel: &a.Level, Message: &a.Message, Title: optional(a.Title),
		}
		if a.StartLine == a.EndLine && a.StartColumn > 0 && a.EndColumn > 0 {
			one.StartColumn, one.EndColumn = &a.StartColumn, &a.EndColumn
		}
		out.Annotations = append(out.Annotations, one)
	}
	return out
}

// optional makes nil of an empty text, so that the request leaves the field out.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
