package web

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/printable"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
)

const (
	mostEnvironments = 200 // in one status
	lastPurges       = 3   // listed for each environment
	mostPurges       = 50  // listed in the queue
)

// status answers what is live and what is desired in each environment. It reads one row
// more than it shows, to know whether there are more. A repository or an environment of
// which nothing is known is a 404; no filter and nothing known is an empty list.
func (w *Web) status(r *http.Request) (any, error) {
	ctx := r.Context()
	repo, env := r.URL.Query().Get("repo"), r.URL.Query().Get("env")
	if owner, name, ok := strings.Cut(repo, "/"); repo != "" && (!ok || owner == "" || name == "" || strings.Contains(name, "/")) {
		return nil, problem(http.StatusBadRequest, "%q is not a repository; write OWNER/NAME", repo)
	}
	places, err := w.Ledger.Places(ctx, repo, env, mostEnvironments+1)
	if err != nil {
		return nil, err
	}
	if len(places) == 0 && repo+env != "" {
		return nil, problem(http.StatusNotFound, "%s", unheard(repo, env))
	}
	doc := Status{At: w.Now().UTC(), Environments: []Environment{}}
	if doc.More = len(places) > mostEnvironments; doc.More {
		places = places[:mostEnvironments]
	}
	for _, p := range places {
		one, err := w.environment(ctx, p)
		if err != nil {
			return nil, err
		}
		doc.Environments = append(doc.Environments, one)
	}
	if doc.Pauses, err = w.pauseDocs(ctx); err != nil {
		return nil, err
	}
	slices.SortStableFunc(doc.Environments, func(a, b Environment) int { return cmp.Compare(a.urgency(), b.urgency()) })
	counts, err := w.Ledger.Queue(ctx)
	doc.Accounts, doc.Pause = accountDocs(counts.Accounts)
	return doc, err
}

// unheard says that nothing is known of what was asked for.
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

// environment is one environment with its newest purges.
func (w *Web) environment(ctx context.Context, p store.Place) (Environment, error) {
	doc := Environment{
		Repository: p.Repository, Environment: p.Name, Live: pointDoc(p.Live), Desired: pointDoc(p.Desired),
		Reconciled: p.Next(w.Now()) == ledger.StepNone, Fault: p.Fault, Purges: []Purge{},
	}
	if !doc.Reconciled {
		doc.DueAt = p.DueAt
	}
	held, err := w.Ledger.HeldOf(ctx, p.ID)
	if err != nil {
		return doc, err
	}
	if held.Total() > 0 {
		doc.Held = report.Objects(held)
	}
	purges, err := w.Ledger.PurgesOf(ctx, p.ID, lastPurges)
	for _, one := range purges {
		doc.Purges = append(doc.Purges, w.purgeDoc(one, p.Repository))
	}
	return doc, err
}

// urgency is the order of environments in a status: first those that wait for a person or
// have failed, then those that go on by themselves, last those where all is well.
func (e Environment) urgency() int {
	// The empty purge stands for an environment without any.
	newest := slices.Concat(e.Purges, []Purge{{}})[0]
	switch {
	case e.Fault != "", e.Held != "", newest.Failed > 0, newest.Result == "failure":
		return 0
	case !e.Reconciled, newest.Result == "pending":
		return 1
	default:
		return 2
	}
}

// accountDocs lists the accounts. first is the pause of the first account with which
// nothing is sent, nil if there is none.
func accountDocs(accounts []store.Account) (docs []Account, first *Pause) {
	docs = []Account{}
	for _, a := range accounts {
		doc := Account{Account: a.Name, Objects: a.Targets}
		if a.Paused {
			doc.Pause = &Pause{Account: a.Name, Until: a.Until, Words: a.Words}
			first = cmp.Or(first, doc.Pause)
		}
		docs = append(docs, doc)
	}
	return docs, first
}

// queue answers what waits and how full the budget is.
func (w *Web) queue(r *http.Request) (any, error) {
	ctx := r.Context()
	counts, err := w.Ledger.Queue(ctx)
	if err != nil {
		return nil, err
	}
	b, err := w.Ledger.Backlog(ctx)
	if err != nil {
		return nil, err
	}
	doc := Queue{
		At: w.Now().UTC(), Deliveries: counts.Deliveries, Environments: counts.Environments, Statuses: counts.Posts,
		Waiting: []Waiting{}, Requests: requestDocs(b.Requests), Held: Held{Purges: b.Held, Objects: b.HeldTargets},
		Budget: budgetDocs(b.Budget), Purges: []Purge{},
	}
	doc.Accounts, doc.Pause = accountDocs(counts.Accounts)
	for _, w := range b.Waiting {
		doc.Waiting = append(doc.Waiting, Waiting{Account: w.Account, Kind: string(w.Kind), Lane: laneName(w.Lane), Objects: w.Targets, Since: w.Since})
	}
	if doc.Pauses, err = w.pauseDocs(ctx); err != nil {
		return nil, err
	}
	if doc.SetAside, doc.SetAsideAll, err = w.setAside(ctx); err != nil {
		return nil, err
	}
	purges, err := w.Ledger.Unended(ctx, mostPurges)
	if err != nil {
		return nil, err
	}
	names := map[int64]string{}
	for _, p := range purges {
		if names[p.RepoID] == "" {
			repo, err := w.Ledger.Repository(ctx, p.RepoID)
			if err != nil {
				return nil, err
			}
			names[p.RepoID] = repo.FullName()
		}
		doc.Purges = append(doc.Purges, w.purgeDoc(p, names[p.RepoID]))
	}
	return doc, nil
}

// requestDocs adds up the requests of each account and kind. The rows come sorted by
// account and kind, with one row for each state.
func requestDocs(flying []store.Flying) []Requests {
	docs := []Requests{}
	for _, f := range flying { // sorted by account and kind
		if n := len(docs); n == 0 || docs[n-1].Kind != string(f.Kind) || docs[n-1].Account != f.Account {
			docs = append(docs, Requests{Account: f.Account, Kind: string(f.Kind)})
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

// budgetDocs are the token buckets as the server models them.
func budgetDocs(budget []store.Bucket) []Bucket {
	docs := make([]Bucket, len(budget))
	for i, b := range budget {
		docs[i] = Bucket{Account: b.Account, Bucket: b.Name, Tokens: b.Available(), Capacity: int(b.Capacity), PerSecond: b.PerSecond}
	}
	return docs
}

// purgeDetail answers with one purge and a page of its objects. It reads one object more
// than it shows: that one is where the next page starts.
func (w *Web) purgeDetail(r *http.Request) (any, error) {
	p, repo, err := w.find(r)
	if err != nil {
		return nil, err
	}
	from := int64(0)
	if text := r.URL.Query().Get("from"); text != "" {
		if from, err = strconv.ParseInt(text, 10, 64); err != nil || from < 0 {
			return nil, problem(http.StatusBadRequest, "from=%s is not the next of another page", text)
		}
	}
	lines, err := w.Ledger.Targets(r.Context(), p.ID, from, pageTargets+1)
	if err != nil {
		return nil, err
	}
	doc := PurgeDetail{Purge: w.purgeDoc(p, repo), Objects: []Object{}}
	if len(lines) > pageTargets {
		doc.Next, lines = lines[pageTargets].Seq, lines[:pageTargets]
	}
	for _, l := range lines {
		doc.Objects = append(doc.Objects, Object{
			Seq: l.Seq, Kind: string(l.Kind), Action: string(l.Action), Object: l.Object, Rule: l.Rule,
			Path: quotePath(l.Path), State: string(l.Fate), Reason: l.Reason,
			AkamaiID: l.Answer.PurgeID, SupportID: l.Answer.SupportID, Status: l.Answer.Status, AnsweredAt: l.Answer.At,
		})
	}
	return doc, nil
}

// quotePath quotes a path as Go does if it has characters that can't be printed.
func quotePath(path string) string {
	if printable.Text(path, "") == path {
		return path
	}
	return strconv.Quote(path)
}

// find reads the purge that a request names: by its id, in upper or lower case, or by the
// key of its page.
func (w *Web) find(r *http.Request) (p ledger.Purge, repository string, err error) {
	ctx, id := r.Context(), r.PathValue("id")
	p, err = w.Ledger.Purge(ctx, strings.ToUpper(id))
	if errors.Is(err, store.ErrNotFound) {
		p, err = w.Ledger.PurgeByKey(ctx, id)
	}
	if errors.Is(err, store.ErrNotFound) {
		return p, "", problem(http.StatusNotFound, "there is no purge %q; purgebot status and purgebot queue list them", id)
	}
	if err != nil {
		return p, "", err
	}
	repo, err := w.Ledger.Repository(ctx, p.RepoID)
	return p, repo.FullName(), err
}
