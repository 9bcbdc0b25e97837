package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/web"
)

// A grant is missing for one host, and the policy does not list another. When the grant
// is there, what Akamai refused is counted and then sent, each object once. What the
// policy refuses stays refused.
func TestOperatorRetriesAllThatWasRefused(t *testing.T) {
	o := newOperated(t, strings.Replace(servertest.Rules, "hosts: [www", "hosts: [www.evil.com, www", 1))
	pages := []string{"one", "two", "three"}
	var heads []string
	for _, page := range pages {
		o.Akamai.Refuse("https://m.acme.com/index/"+page+"/", 0, "")
		head := o.Commit(page, map[string]string{"content/index/" + page + ".md": page})
		o.Deploy("production", head, "success")
		o.Await(head, "production", "failure", "1 purged, 2 refused: ")
		heads = append(heads, head)
	}
	o.Sent()
	all := []string{"retry", "--failed", "--since", "1h"}
	narrow := append(slices.Clip(all), "--reason", "DOESN'T LET purgebot", "--repo", "Acme/*")

	var count retriedDoc
	o.asks(&count, all...)
	if !count.DryRun || len(count.Purges) != 3 || count.Objects != 6 || count.Freed != 0 {
		t.Errorf("all that was refused: %+v", count)
	}
	count = retriedDoc{}
	o.asks(&count, narrow...)
	if len(count.Purges) != 3 || count.Objects != 3 || count.Purges[0].Purge.To != heads[0] || len(count.Purges[0].Reasons) != 1 {
		t.Errorf("what Akamai refused: %+v", count)
	}
	out, _ := o.ask(exitDone, append(slices.Clip(narrow), "--repo", "other/*")...)
	wantWords(t, out, "No such object was refused")
	out, _ = o.ask(exitDone, narrow...)
	wantWords(t, out, count.Purges[2].Purge.ID+"  acme/site   production   1 ", "\n3 refused objects of 3 purges would be tried again; nothing was done: add --yes to do it\n")
	o.WantSent()

	for _, page := range pages {
		o.Akamai.Allow("https://m.acme.com/index/" + page + "/")
	}
	out, _ = o.ask(exitDone, append(slices.Clip(narrow), "--yes", "--by", "ann")...)
	wantWords(t, out, "1 object will be sent again, "+count.Purges[0].Purge.ID+" of acme/site production", "\n3 objects of 3 purges will be sent again\n")
	for _, head := range heads {
		o.Await(head, "production", "failure", "2 purged, 1 refused: policy doesn't allow host www.evil.com")
	}
	var want []string
	for _, page := range pages {
		want = append(want, "production invalidate url https://m.acme.com/index/"+page+"/")
	}
	o.WantSent(want...)

	out, _ = o.ask(exitDone, append(slices.Clip(narrow), "--yes")...) // once more, as after an interruption
	wantWords(t, out, "0 objects of 0 purges will be sent again")
	out, _ = o.ask(exitFailed, append(slices.Clip(all), "--yes")...)
	wantWords(t, out, count.Purges[0].Purge.ID+" of acme/site production: nothing was done: every refused object is still refused: policy doesn't allow host www.evil.com",
		"\n0 objects of 3 purges will be sent again, 3 objects stay refused\n")
	o.WantSent()
	_, err := o.ask(exitUsage, append(slices.Clip(all), "--repo", "acme/[")...)
	wantWords(t, err, "\"acme/[\" is not a glob of repositories")
}

// The server goes away in the middle. What was done is reported, and the next run does
// the rest. A purge that can't be retried does not stop the others.
func TestRetryAllGoesOn(t *testing.T) {
	t.Parallel()
	refused := map[string]bool{"01A": true, "01B": true, "01C": true, "01D": true}
	away := true
	var retries []string
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, code int, doc any) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(doc)
	}
	mux.HandleFunc("GET /api/failed", func(w http.ResponseWriter, r *http.Request) { // two a page, whatever is left of them
		page := web.Failed{At: time.Now(), Purges: []web.FailedPurge{}, Next: "01B"}
		ids := []string{"01A", "01B"}
		if r.FormValue("from") == "01B" {
			ids, page.Next = []string{"01C", "01D"}, ""
		}
		for _, id := range ids {
			if refused[id] {
				page.Purges = append(page.Purges, web.FailedPurge{Purge: web.Purge{ID: id}, Objects: 2})
			}
		}
		answer(w, http.StatusOK, page)
	})
	mux.HandleFunc("POST /api/purges/{id}/retry", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		retries = append(retries, id)
		switch {
		case id == "01B":
			answer(w, http.StatusConflict, web.Problem{Error: "nothing was done: no"})
		case id == "01D" && away:
			answer(w, http.StatusServiceUnavailable, web.Problem{Error: "the disk is full"})
		case id == "01C":
			delete(refused, id)
			answer(w, http.StatusOK, web.Acted{Purge: web.Purge{ID: id}, Freed: 1, Refused: "policy says no"})
		default:
			delete(refused, id)
			answer(w, http.StatusOK, web.Acted{Purge: web.Purge{ID: id}, Freed: 2})
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	c := retryCmd{Failed: true, Since: time.Hour, Yes: true}
	api := &operator{server: mustURL(t, server.URL), tokens: []string{"token"}, http: server.Client()}
	run := func() (out string, err error) {
		var said strings.Builder
		doc := retriedDoc{}
		if err := c.count(t.Context(), api, &doc); err != nil {
			t.Fatal(err)
		}
		err = c.retry(t.Context(), api, &doc, &said)
		return said.String(), err
	}
	out, err := run()
	if err == nil || err.Error() != "3 of 4 purges retried, then: the disk is full; run it again for the rest" {
		t.Errorf("interrupted: %v", err)
	}
	wantWords(t, out, "01B of", "nothing was done: no", "01C of", "; 1 object stays refused: policy says no")
	away = false
	out, err = run()
	if err == nil || err.Error() != "exit 1" {
		t.Errorf("something stays refused: %v", err)
	}
	wantWords(t, out, "2 objects of 2 purges will be sent again, 2 objects stay refused")
	if diff := cmp.Diff("01A 01B 01C 01D 01B 01D", strings.Join(retries, " ")); diff != "" {
		t.Errorf("retried (-want +got):\n%s", diff)
	}
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
