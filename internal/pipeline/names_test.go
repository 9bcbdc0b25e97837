package pipeline_test

import (
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/standin/github"
)

// A repository that is made again under its old name is another repository. Its
// deployments are purged once, although the ledger still knows the old one.
func TestRepositoryMadeAnew(t *testing.T) {
	var said servertest.Log
	w, first := newWorld(t, servertest.WithLog(&said))
	w.Deploy("production", first, "success")
	w.Begin()
	second := w.Home("second")
	w.Push(second)
	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "2 URLs purged")
	w.Settled()
	w.Sent()

	if err := w.GitHub.Delete(w.FullName()); err != nil { // and no webhook tells of it
		t.Fatal(err)
	}
	if err := w.GitHub.Create(t.Context(), github.Repository{ID: 2, Owner: "acme", Name: "site", Dir: w.Site.Dir}); err != nil {
		t.Fatal(err)
	}
	w.Deploy("production", second, "success")
	w.recompare(&said)
	w.Sent() // where the new repository starts is not this test's subject
	w.GitHub.Route(func(github.Delivery) github.Route { return github.Drop })
	third := w.Home("third")
	w.Push(third)
	w.Deploy("production", third, "success")
	w.recompare(&said)
	w.recompare(&said)
	w.Await(third, "production", "success", "2 URLs purged")
	w.Settled()
	w.WantSent(servertest.URLs("production", "/index/home/")...)
	if old, err := w.Server.Store().Repository(t.Context(), 1); err != nil || old.Gone == "" {
		t.Errorf("the one before is still there: %+v, %v", old, err)
	}
}

// A delivery from before a rename that comes late does not bring the old name back.
func TestALateDeliveryFromBeforeARename(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	second := w.Home("second")
	w.Push(second)
	w.Await(second, "production", "success", "")
	w.GitHub.Route(func(github.Delivery) github.Route { return github.Hold })
	w.Deploy("production", second, "success")
	w.GitHub.Route(nil)
	if err := w.GitHub.Rename(w.FullName(), "pages"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.GitHub.Send(t.Context(), "acme/pages", "repository", "renamed", "acme", nil); err != nil {
		t.Fatal(err)
	}
	name := func() string {
		r, err := w.Server.Store().Repository(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		return r.FullName()
	}
	w.Eventually("the rename is known", func() bool { return name() == "acme/pages" })
	w.GitHub.Release(t.Context())
	w.Eventually("the late delivery is handled", func() bool { return len(w.Akamai.Accepted()) > 0 })
	if got := name(); got != "acme/pages" {
		t.Errorf("it is called %s again", got)
	}
	for _, s := range w.GitHub.Statuses("acme/pages", second) {
		if strings.Contains(s.Description, "wait") && s.State == "pending" {
			t.Errorf("still %+v", s)
		}
	}
}
