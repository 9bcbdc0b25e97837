package github_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/purgebot/purgebot/internal/github"
	ghstandin "github.com/purgebot/purgebot/internal/standin/github"
)

func TestTheAppsOwnCalls(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 6, 2)
	g, app := serveConfig(t, ghstandin.Config{
		WebhookURL: "http://127.0.0.1:1/webhook", WebhookSecret: "x", BasePath: "/",
		Repositories: []ghstandin.Repository{
			{ID: 1, Owner: "acme", Name: "site", Dir: h.dir},
			{ID: 2, Owner: "acme", Name: "docs", Dir: h.dir},
			{ID: 3, Owner: "other", Name: "x", Dir: h.dir, Installation: 5},
		},
	})
	self, err := app.Self(t.Context())
	if err != nil || self.Slug != "purgebot" || self.ID != g.AppID() || self.Permissions["contents"] != "read" || !slices.Contains(self.Events, "push") {
		t.Errorf("self is %+v, %v", self, err)
	}
	if err := g.Suspend(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	installations, err := app.Installations(t.Context())
	if err != nil || len(installations) != 2 || installations[0].Account != "acme" || installations[0].Suspended || !installations[1].Suspended {
		t.Errorf("installations are %+v, %v", installations, err)
	}
	repositories, err := app.Repositories(t.Context(), 1)
	want := []github.Info{{ID: 1, Owner: "acme", Name: "site", DefaultBranch: "main"}, {ID: 2, Owner: "acme", Name: "docs", DefaultBranch: "main"}}
	if diff := cmp.Diff(want, repositories, cmpopts.IgnoreFields(github.Info{}, "PushedAt"), cmpopts.SortSlices(func(a, b github.Info) bool { return a.ID < b.ID })); diff != "" || err != nil {
		t.Errorf("repositories: %v (-want +got):\n%s", err, diff)
	}
	if _, err := app.Repository(5, "other", "x").Head(t.Context(), "main"); err == nil {
		t.Error("a suspended installation answers")
	} else if words, ok := github.OperatorFault(err); !ok || !strings.Contains(words, "suspended") {
		t.Errorf("a suspended installation: %q, %v", words, err)
	}
	if _, err := app.Repository(0, "nobody", "nothing").Head(t.Context(), "main"); err == nil {
		t.Error("a repository without the App answers")
	} else if words, ok := github.OperatorFault(err); !ok || !strings.Contains(words, "not installed") {
		t.Errorf("a repository without the App: %q, %v", words, err)
	}
}

func TestFailedDeliveries(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 6, 2)
	hook := newHook(t)
	g, app := serveConfig(t, ghstandin.Config{
		WebhookURL: hook.url, WebhookSecret: "x", Events: []string{"deployment"},
		Repositories: []ghstandin.Repository{{ID: 1, Owner: "acme", Name: "site", Dir: h.dir, Branches: map[string]string{"main": h.commits[0]}}},
	})
	deploy := func(healthy bool) string {
		t.Helper()
		hook.healthy.Store(healthy)
		if _, err := g.Deploy(t.Context(), "acme/site", ghstandin.Deployment{SHA: h.commits[0]}); err != nil {
			t.Fatal(err)
		}
		all := g.Deliveries()
		return all[len(all)-1].GUID
	}
	deploy(true)
	lost := deploy(false)
	recovered := deploy(false)
	hook.healthy.Store(true)
	if _, err := g.Redeliver(t.Context(), recovered); err != nil {
		t.Fatal(err)
	}
	failed, _, err := app.FailedDeliveries(t.Context(), time.Now().Add(-time.Hour))
	if err != nil || len(failed) != 1 || failed[0].GUID != lost || failed[0].Event != "deployment" || failed[0].Repository != 1 {
		t.Fatalf("failed are %+v, %v; want %s alone", failed, err, lost)
	}
	if err := app.Redeliver(t.Context(), failed[0].ID); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := g.Await(ctx, func() bool {
		all := g.Deliveries()
		return all[len(all)-1].GUID == lost
	}); err != nil {
		t.Fatalf("the lost delivery did not come again: %v", err)
	}
	if hook.count(lost) != 2 {
		t.Errorf("it came %d times", hook.count(lost))
	}
	if failed, _, err := app.FailedDeliveries(t.Context(), time.Now().Add(-time.Hour)); len(failed) != 0 || err != nil {
		t.Errorf("after the redelivery failed are %+v, %v", failed, err)
	}
	if failed, _, err := app.FailedDeliveries(t.Context(), time.Now().Add(time.Hour)); len(failed) != 0 || err != nil {
		t.Errorf("since the future failed are %+v, %v", failed, err)
	}
}

// A list that is longer than what is read is told from a whole one.
func TestMoreDeliveriesThanAreRead(t *testing.T) {
	t.Parallel()
	var page atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := page.Add(1)
		w.Header().Set("Link", fmt.Sprintf(`<https://api.github.com/app/hook/deliveries?cursor=%d>; rel="next"`, n))
		fmt.Fprintf(w, `[{"id": %d, "guid": "%d", "status_code": 502, "delivered_at": %q}]`, n, n, time.Now().Add(-time.Duration(n)*time.Minute).Format(time.RFC3339))
	}))
	t.Cleanup(server.Close)
	app, err := github.New(github.Config{APIURL: server.URL, AppID: 1, PrivateKey: keyPEM(newKey(t))})
	if err != nil {
		t.Fatal(err)
	}
	for name, since := range map[string]struct {
		ago   time.Duration
		reads int
		more  bool
	}{"all of an hour": {time.Hour, 60, false}, "some of a day": {24 * time.Hour, 100, true}} {
		page.Store(0)
		failed, more, err := app.FailedDeliveries(t.Context(), time.Now().Add(-since.ago))
		if err != nil || more != since.more || len(failed) > since.reads || len(failed) < since.reads-1 {
			t.Errorf("%s: %d, more: %t, %v", name, len(failed), more, err)
		}
	}
}
