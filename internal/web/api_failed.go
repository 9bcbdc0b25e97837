package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
)

const (
	pageFailed  = 50 // purges that one page looks at; it may list fewer
	mostReasons = 3  // reasons listed for each purge
)

// refused lists the purges with refused objects, for a retry of many. A page looks at a
// fixed number of purges and leaves out those that don't fit the query. So it may be
// empty and still have a next page.
func (w *Web) refused(r *http.Request) (any, error) {
	ctx, query := r.Context(), r.URL.Query()
	since, err := time.Parse(time.RFC3339, query.Get("since"))
	if err != nil {
		return nil, problem(http.StatusBadRequest, "since=%s is not a time as in 2026-11-22T10:00:00Z", query.Get("since"))
	}
	scope := ledger.Scope{Repositories: query.Get("repo"), Account: query.Get("account")}
	if fault := scope.Fault(w.Ledger.Accounts()...); fault != "" {
		return nil, problem(http.StatusBadRequest, "%s", fault)
	}
	purges, err := w.Ledger.Failed(ctx, since, strings.ToUpper(query.Get("from")), pageFailed)
	if err != nil {
		return nil, err
	}
	doc := Failed{At: w.Now().UTC(), Purges: []FailedPurge{}}
	if len(purges) == pageFailed {
		doc.Next = purges[pageFailed-1].ID
	}
	for _, p := range purges {
		if !scope.In(p.Repository) || scope.Account != "" && scope.Account != p.Account {
			continue
		}
		one := FailedPurge{Purge: w.purgeDoc(p.Purge, p.Repository)}
		if one.Objects, one.Reasons, err = w.reasons(ctx, p.ID, about(query.Get("reason"))); err != nil {
			return nil, err
		}
		if one.Objects > 0 {
			doc.Purges = append(doc.Purges, one)
		}
	}
	return doc, nil
}

// reasons counts a purge's objects whose reason passes such, and lists the most frequent
// reasons in the words that people read.
func (w *Web) reasons(ctx context.Context, purge string, such func(reason string) bool) (objects int, first []Reason, err error) {
	counts := map[string]int{}
	err = w.Ledger.Refused(ctx, purge, func(reason string, n int) {
		if such(reason) {
			counts[report.Refusal(reason)] += n
			objects += n
		}
	})
	first = []Reason{}
	for reason, n := range counts {
		first = append(first, Reason{Reason: reason, Objects: n})
	}
	slices.SortFunc(first, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(b.Objects, a.Objects), strings.Compare(a.Reason, b.Reason))
	})
	return objects, first[:min(len(first), mostReasons)], err
}

// about returns a test of whether a reason contains words, in any case. It looks at the
// reason as the purge's page shows it and as statuses say it. refused counts with it and
// act retries with it, so that both mean the same objects. Empty words match all.
func about(words string) func(reason string) bool {
	words = strings.ToLower(words)
	return func(reason string) bool {
		return strings.Contains(strings.ToLower(reason), words) || strings.Contains(strings.ToLower(report.Refusal(reason)), words)
	}
}
