package web

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
)

const (
	mostEnvironments = 200 // of one status
	lastPurges       = 3   // of each environment
	mostPurges       = 50  // of the queue
)

// status tells what is live, and what is desired.
func (a *API) status(r *http.Request) (any, error) {
	ctx := r.Context()
	repo, env := r.URL.Query().Get("repo"), r.URL.Query().Get("env")
	if owner, name, ok := strings.Cut(repo, "/"); repo != "" && (!ok || owner == "" || name == "" || strings.Contains(name, "/")) {
		return nil, problem(http.StatusBadRequest, "%q is not a repository; write OWNER/NAME", repo)
	}
	places, err := a.Store.Places(ctx, repo, env, mostEnvironments+1)
	if err != nil {
		return nil, err
	}
	if len(places) == 0 && repo+env != "" {
		return nil, problem(http.StatusNotFound, "%s", unheard(repo, env))
	}
	doc := Status{At: a.Now().UTC(), Environments: []Environment{}}
	if doc.More = len(places) > mostEnvironments; doc.More {
		places = places[:mostEnvironments]
	}
	for _, p := range places {
		one, err := a.environment(ctx, p)
		if err != nil {
			return nil, err
		}
		doc.Environments = append(doc.Environments, one)
	}
	counts, err := a.Store.Queue(ctx)
	if err != nil || !counts.Pause.Paused {
		return doc, err
	}
	b, err := a.Store.Backlog(ctx)
	doc.Pause = pauseDoc(counts, b)
	return doc, err
}

func unheard(repo, env string) string {
	switch {
	case env == "":
		return "nothing is known of repository " + repo + ": no push and no deployment of it came yet"
	case repo == "":
		return "nothing is known of an environment " + env + ": no push and no deployment for it came yet"
	default:
		return "nothing is known of environment " + env + " of " + repo + ": no push and no deployment for it came yet"
	}
}

func (a *API) environment(ctx context.Context, p store.Place) (Environment, error) {
	doc := Environment{
		Repository: p.Repository, Environment: p.Name, Live: pointDoc(p.Live), Desired: pointDoc(p.Desired),
		Reconciled: p.Next(a.Now()) == ledger.StepNone, Fault: p.Fault, Purges: []Purge{},
	}
	if !doc.Reconciled {
		doc.DueAt = p.DueAt
	}
	purges, err := a.Store.PurgesOf(ctx, p.ID, lastPurges)
	for _, one := range purges {
		doc.Purges = append(doc.Purges, a.purgeDoc(one, p.Repository))
	}
	return doc, err
}

// pauseDoc tells why nothing is sent; nil: it is.
func pauseDoc(counts store.Queue, b store.Backlog) *Pause {
	if !counts.Pause.Paused {
		return nil
	}
	return &Pause{Until: b.PausedUntil, Words: counts.Pause.Words}
}

// queue tells what waits and how full the budget is.
func (a *API) queue(r *http.Request) (any, error) {
	ctx := r.Context()
	counts, err := a.Store.Queue(ctx)
	if err != nil {
		return nil, err
	}
	b, err := a.Store.Backlog(ctx)
	if err != nil {
		return nil, err
	}
	doc := Queue{
		At: a.Now().UTC(), Deliveries: counts.Deliveries, Environments: counts.Environments, Statuses: counts.Posts,
		Waiting: []Waiting{}, Requests: requestDocs(b.Requests), Held: Held{Purges: b.Held, Objects: b.HeldTargets},
		Budget: budgetDocs(b.Budget), Pause: pauseDoc(counts, b), Purges: []Purge{},
	}
	for _, w := range b.Waiting {
		doc.Waiting = append(doc.Waiting, Waiting{Kind: string(w.Kind), Lane: laneName(w.Lane), Objects: w.Targets, Since: w.Since})
	}
	purges, err := a.Store.Unended(ctx, mostPurges)
	if err != nil {
		return nil, err
	}
	names := map[int64]string{}
	for _, p := range purges {
		if names[p.RepoID] == "" {
			repo, err := a.Store.Repository(ctx, p.RepoID)
			if err != nil {
				return nil, err
			}
			names[p.RepoID] = repo.FullName()
		}
		doc.Purges = append(doc.Purges, a.purgeDoc(p, names[p.RepoID]))
	}
	return doc, nil
}

func requestDocs(flying []store.Flying) []Requests {
	docs := []Requests{}
	for _, f := range flying { // sorted by kind
		if n := len(docs); n == 0 || docs[n-1].Kind != string(f.Kind) {
			docs = append(docs, Requests{Kind: string(f.Kind)})
		}
		doc := &docs[len(docs)-1]
		doc.Objects += f.Objects
		if f.State == "ready" {
			doc.Ready = f.Requests
		} else {
			doc.Sending = f.Requests
		}
	}
	return docs
}

func budgetDocs(budget []store.Bucket) []Bucket {
	docs := make([]Bucket, len(budget))
	for i, b := range budget {
		docs[i] = Bucket{Bucket: b.Name, Tokens: b.Available(), Capacity: int(b.Capacity), PerSecond: b.PerSecond}
	}
	return docs
}

// purge tells of one purge, with a page of its objects.
func (a *API) purge(r *http.Request) (any, error) {
	p, repo, err := a.find(r)
	if err != nil {
		return nil, err
	}
	from := int64(0)
	if text := r.URL.Query().Get("from"); text != "" {
		if from, err = strconv.ParseInt(text, 10, 64); err != nil || from < 0 {
			return nil, problem(http.StatusBadRequest, "from=%s is not the next of another page", text)
		}
	}
	lines, err := a.Store.Targets(r.Context(), p.ID, from, pageTargets+1)
	if err != nil {
		return nil, err
	}
	doc := PurgeDetail{Purge: a.purgeDoc(p, repo), Objects: []Object{}}
	if len(lines) > pageTargets {
		doc.Next, lines = lines[pageTargets].Seq, lines[:pageTargets]
	}
	for _, l := range lines {
		doc.Objects = append(doc.Objects, Object{
			Seq: l.Seq, Kind: string(l.Kind), Action: string(l.Action), Object: l.Object, Rule: l.Rule,
			Path: quotePath(l.Path), State: string(l.Fate), Reason: l.Reason, AkamaiID: l.AkamaiID,
		})
	}
	return doc, nil
}

// find reads the purge that a request is about, by its id, in upper or lower
// case, or by the key of its page.
func (a *API) find(r *http.Request) (p ledger.Purge, repository string, err error) {
	ctx, id := r.Context(), r.PathValue("id")
	p, err = a.Store.Purge(ctx, strings.ToUpper(id))
	if errors.Is(err, store.ErrNotFound) {
		p, err = a.Store.PurgeByKey(ctx, id)
	}
	if errors.Is(err, store.ErrNotFound) {
		return p, "", problem(http.StatusNotFound, "there is no purge %q; purgebot status and purgebot queue list them", id)
	}
	if err != nil {
		return p, "", err
	}
	repo, err := a.Store.Repository(ctx, p.RepoID)
	return p, repo.FullName(), err
}
