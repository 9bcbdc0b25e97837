package github

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Deployment is a deployment as one of its statuses left it.
type Deployment struct {
	ID          int64
	SHA         string // the deployed commit; unlike Ref it never changes
	Ref         string // as it was asked for: a branch, a tag or a SHA
	Environment string // the status's, or else the deployment's: a status may change it
	Creator     string // login of the status's creator; may differ from the deployment's
	App         string // slug of the App that made the status; "": none
	StatusID    int64
	State       string    // GitHub's word; may be one that this package does not know
	CreatedAt   time.Time // of the status
}

// deploymentAnswer is a deployment in GitHub's answers.
type deploymentAnswer struct {
	ID          int64     `json:"id"`
	SHA         string    `json:"sha"`
	Ref         string    `json:"ref"`
	Environment string    `json:"environment"`
	Original    string    `json:"original_environment"` // the environment that it was made for
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// touched is when the deployment or its newest status was made, whichever is later. Real
// payloads show that a status sets the deployment's updated_at; GitHub does not document
// it.
func (d deploymentAnswer) touched() time.Time {
	if d.UpdatedAt.After(d.CreatedAt) {
		return d.UpdatedAt
	}
	return d.CreatedAt
}

// isOf reports whether a deployment may have a status for an environment. It compares
// both names, because a status can move a deployment to another environment. "" is every
// one.
func (d deploymentAnswer) isOf(environment string) bool {
	return environment == "" || strings.EqualFold(d.Environment, environment) || strings.EqualFold(d.Original, environment)
}

// statusAnswer is a deployment's status in GitHub's answers.
type statusAnswer struct {
	ID          int64  `json:"id"`
	State       string `json:"state"`
	Environment string `json:"environment"`
	Creator     struct {
		Login string `json:"login"`
	} `json:"creator"`
	App struct {
		Slug string `json:"slug"`
	} `json:"performed_via_github_app"`
	CreatedAt time.Time `json:"created_at"`
}

// The bounds of a search. A page has 100 elements.
const (
	deploymentPages = 10 // the newest 1,000 deployments
	statusPages     = 3  // at most 300 statuses of one deployment

	// lateStatus is how long after a deployment was made its statuses are looked for on
	// the pages after the first.
	lateStatus = 24 * time.Hour
)

// LastSuccess finds the last successful deployment to an environment: the success that
// GitHub recorded last, strictly before a moment. The status exceptStatus does not count,
// nor does one that accept refuses; a nil accept refuses none. Environment names compare
// without regard to case, as hosts spell them differently.
//
// It searches the repository's newest 1,000 deployments, then the newest 1,000 that
// GitHub lists under the name exactly as given. A success beyond these is not found.
func (r *Repository) LastSuccess(ctx context.Context, environment string, before time.Time, exceptStatus int64, accept func(Deployment) bool) (last Deployment, found bool, err error) {
	wanted := func(d Deployment) bool {
		return d.StatusID != exceptStatus && d.CreatedAt.Before(before) && (accept == nil || accept(d))
	}
	// The list without a filter comes first, because isOf ignores case and knows both
	// names of a deployment. Whether GitHub's filter does so is not confirmed. The
	// filtered list reaches further back in time.
	for _, filter := range []string{"", environment} {
		last, found, err = r.lastSuccess(ctx, environment, filter, before, wanted)
		if found || err != nil {
			return last, found, err
		}
	}
	return Deployment{}, false, nil
}

// lastSuccess goes through the pages of deployments, the newest first, until a page has a
// success that is wanted. GitHub orders deployments by when they were made, but the last
// success may belong to an older one. So within a page it asks all deployments that were
// touched later than the best success so far. A later success of a deployment on the next
// page is not seen.
func (r *Repository) lastSuccess(ctx context.Context, environment, filter string, before time.Time, wanted func(Deployment) bool) (last Deployment, found bool, err error) {
	err = r.deployments(ctx, filter, func(page []deploymentAnswer) (bool, error) {
		page = slices.DeleteFunc(page, func(d deploymentAnswer) bool { return !d.isOf(environment) })
		slices.SortStableFunc(page, func(a, b deploymentAnswer) int { return b.touched().Compare(a.touched()) })
		for _, d := range page {
			if found && d.touched().Before(last.CreatedAt) {
				break // none of its statuses is later, and so on for the rest of the page
			}
			if !d.CreatedAt.Before(before) {
				continue // all its statuses are later than it, so none is before the moment
			}
			successes, err := r.statuses(ctx, d, environment, "success")
			if err != nil {
				return false, err
			}
			for _, s := range successes {
				if wanted(s) && (!found || later(s, last) > 0) {
					last, found = s, true
				}
			}
		}
		return !found, nil
	})
	return last, found, err
}

// later orders by when GitHub recorded the status, then by its id: GitHub's times have
// whole seconds.
func later(a, b Deployment) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.StatusID, b.StatusID))
}

// Deployments lists the successes and failures that GitHub recorded for an environment,
// at or after a moment, the oldest first. An empty environment means all of them.
//
// If a status came more than a day after its deployment was made, it is seen only while
// that deployment is among the newest 100. seen may be nil. Otherwise it gives the time
// up to which a deployment's statuses are known, and a deployment without anything newer
// is not asked about.
func (r *Repository) Deployments(ctx context.Context, environment string, since time.Time, seen func(deployment int64) time.Time) ([]Deployment, error) {
	since = since.Truncate(time.Second) // GitHub records whole seconds; without this a status in the same second is lost
	var all []Deployment
	err := r.deployments(ctx, "", func(page []deploymentAnswer) (bool, error) {
		for _, d := range page {
			touched := d.touched()
			if !d.isOf(environment) || touched.Before(since) || seen != nil && !touched.After(seen(d.ID)) {
				continue
			}
			decided, err := r.statuses(ctx, d, environment, "success", "failure", "error")
			if err != nil {
				return false, err
			}
			for _, s := range decided {
				if !s.CreatedAt.Before(since) {
					all = append(all, s)
				}
			}
		}
		oldest := page[len(page)-1].CreatedAt
		return !oldest.Before(since.Add(-lateStatus)), nil
	})
	slices.SortFunc(all, later)
	return all, err
}

// deployments reads the repository's deployments page by page, the newest first, while
// each wants more, and at most the newest 1,000. each never gets an empty page.
func (r *Repository) deployments(ctx context.Context, environment string, each func([]deploymentAnswer) (bool, error)) error {
	c := call{op: "list deployments", path: "deployments"}
	if environment != "" {
		c.query = url.Values{"environment": {environment}}
	}
	wanted := true
	_, err := pages(c, deploymentPages, func(c call) (http.Header, error) {
		var page []deploymentAnswer
		header, err := r.do(ctx, c, &page)
		if err != nil || len(page) == 0 {
			wanted = false
			return header, err
		}
		wanted, err = each(page)
		return header, err
	}, func() bool { return wanted })
	return err
}

// statuses reads one deployment's statuses that have one of the states, for an
// environment. A state that is not asked for is skipped: GitHub may add new ones.
func (r *Repository) statuses(ctx context.Context, d deploymentAnswer, environment string, states ...string) ([]Deployment, error) {
	var all []Deployment
	c := call{
		op:   "list statuses of deployment " + strconv.FormatInt(d.ID, 10),
		path: fmt.Sprintf("deployments/%d/statuses", d.ID),
	}
	_, err := pages(c, statusPages, func(c call) (http.Header, error) {
		var page []statusAnswer
		header, err := r.do(ctx, c, &page)
		for _, s := range page {
			name := cmp.Or(s.Environment, d.Environment)
			if !slices.Contains(states, s.State) || environment != "" && !strings.EqualFold(name, environment) {
				continue
			}
			all = append(all, Deployment{
				ID: d.ID, SHA: d.SHA, Ref: d.Ref, Environment: name,
				Creator: s.Creator.Login, App: s.App.Slug,
				StatusID: s.ID, State: s.State, CreatedAt: s.CreatedAt,
			})
		}
		return header, err
	}, func() bool { return true })
	return all, err
}
