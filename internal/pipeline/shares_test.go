package pipeline_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/server"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/internal/store"
)

const shop = "acme/shop"

// withShop is a world of two repositories; the first one's questions about
// roles hang from hang on, which counts them.
func withShop(t *testing.T, change func(*stage.Config)) (w *world, first string, hang func() *atomic.Int64, mend func()) {
	t.Helper()
	w, first = newWorld(t, func(cfg *stage.Config) {
		other := cfg.Repositories[0]
		other.ID, other.Name = 2, "shop"
		cfg.Repositories = append(cfg.Repositories, other)
		change(cfg)
	})
	w.People()
	return w, first, func() *atomic.Int64 {
		var hanging atomic.Int64
		w.GitHub.Fault(func(r *http.Request) github.Fault {
			f := hangs(r)
			if f.Delay > 0 {
				hanging.Add(1)
			}
			return f
		})
		return &hanging
	}, func() { w.GitHub.Fault(nil) }
}

// hangs lets questions about roles in the first repository hang.
func hangs(r *http.Request) (f github.Fault) {
	if strings.Contains(r.URL.Path, "/acme/site/collaborators/") {
		f.Delay = time.Hour
	}
	return f
}

// deployShop deploys to the other repository, and waits until that is purged.
func deployShop(tb testing.TB, s *stage.Stage, sha string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), servertest.Patience)
	defer cancel()
	id, err := s.GitHub.Deploy(ctx, shop, github.Deployment{SHA: sha, Environment: "production", RequiredContexts: []string{}})
	if err == nil {
		_, err = s.GitHub.DeployStatus(ctx, shop, id, github.DeploymentStatus{State: "success"})
	}
	if err == nil {
		_, err = s.GitHub.AwaitStatus(ctx, shop, sha, "purge/production", func(s github.Status) bool { return s.State == "success" })
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// One repository's deliveries hold up no other repository, however many there are and
// however long each takes.
func TestSecurityOneRepositoryHoldsUpNoOther(t *testing.T) {
	w, first, hang, _ := withShop(t, func(cfg *stage.Config) { cfg.HandleTime = time.Hour })
	w.Begin(func(cfg *server.Config) { cfg.Drain = time.Millisecond })
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.Settled()
	hanging := hang()
	for i := range 50 {
		w.Say(number, []string{"walt", "mona"}[i%2], fmt.Sprintf("/purge https://www.acme.com/%d", i))
	}
	deployShop(t, w.Stage, first)
	deployShop(t, w.Stage, w.Home("second"))
	if n := hanging.Load(); n != 2 {
		t.Errorf("the other repository has %d workers at once, want 2 of 8", n)
	}
}

// BenchmarkHostile deploys to a repository alone, and then while 50 deliveries of another
// repository hang in their handling. x-alone is the second time divided by the first,
// measured in turns:
//
//	go test ./internal/pipeline -run '^$' -bench Hostile -benchtime 10x
func BenchmarkHostile(b *testing.B) {
	site, err := stage.NewSite(b.Context(), filepath.Join(b.TempDir(), "site"))
	if err != nil {
		b.Fatal(err)
	}
	commit := func(n int) string {
		sha, err := site.Commit(b.Context(), fmt.Sprint(n), map[string]string{"purge-rules.yaml": servertest.Rules, "content/index/home.md": fmt.Sprint(n)})
		if err != nil {
			b.Fatal(err)
		}
		return sha
	}
	first := commit(0)
	s, err := stage.Open(b.Context(), stage.Config{
		Dir: b.TempDir(), Policy: servertest.Policy(), Akamai: akamai.Config{Estimate: time.Millisecond}, StatusEvery: 50 * time.Millisecond,
		HandleTime:   3 * time.Second,
		Repositories: []github.Repository{{ID: 1, Owner: "acme", Name: "site", Dir: site.Dir}, {ID: 2, Owner: "acme", Name: "shop", Dir: site.Dir}},
	})
	if err == nil {
		err = s.Start(context.WithoutCancel(b.Context()))
	}
	if err == nil {
		err = s.GitHub.SetPermission("acme/site", "walt", "write")
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	if _, err := s.GitHub.Push(b.Context(), "acme/site", "topic", first, github.PushOptions{}); err != nil {
		b.Fatal(err)
	}
	number, err := s.GitHub.OpenPullRequest(b.Context(), "acme/site", github.PullRequest{Title: "Change", Login: "walt", Head: "topic"})
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	timed := func() time.Duration {
		n++
		sha := commit(n)
		began := time.Now()
		deployShop(b, s, sha)
		return time.Since(began)
	}
	deployShop(b, s, first)
	var alone, beside time.Duration
	for b.Loop() {
		s.GitHub.Fault(nil)
		if err := s.Server.Idle(b.Context()); err != nil {
			b.Fatal(err)
		}
		alone += timed()
		s.GitHub.Fault(hangs)
		for i := range 50 {
			if _, err := s.GitHub.Comment(b.Context(), "acme/site", number, "walt", fmt.Sprintf("/purge https://www.acme.com/%d", i)); err != nil {
				b.Fatal(err)
			}
		}
		beside += timed()
	}
	b.ReportMetric(beside.Seconds()/alone.Seconds(), "x-alone")
	b.ReportMetric(float64(alone.Milliseconds())/float64(b.N), "ms/alone")
}

// panicking panics where a repository is asked for somebody's role, as long as
// it is armed.
type panicking struct {
	http.RoundTripper
	armed atomic.Bool
	times atomic.Int64
}

func (p *panicking) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.armed.Load() && strings.Contains(r.URL.Path, "/collaborators/") {
		p.times.Add(1)
		panic("a fault of ours")
	}
	return p.RoundTripper.RoundTrip(r)
}

// A delivery over which purgebot panics is set aside like one that hangs. After a person
// presses Redeliver at GitHub, it is handled anew.
func TestSecurityPanicIsSetAside(t *testing.T) {
	w, _, _, _ := withShop(t, func(*stage.Config) {})
	p := &panicking{RoundTripper: http.DefaultTransport}
	w.Begin(func(cfg *server.Config) { cfg.GitHub.Transport = p })
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.Settled()
	p.armed.Store(true)
	comment := w.Say(number, "walt", "/purge https://www.acme.com/x/")
	w.Replied(number, "purgebot failed at it, three times")
	w.Reacted(comment, "confused")
	aside, _, err := w.Server.Store().DeliveriesSetAside(t.Context(), 10)
	if err != nil || len(aside) != 1 || aside[0].Reason != "its handling failed inside purgebot, 3 times" || p.times.Load() != 3 {
		t.Fatalf("set aside after %d panics: %+v, %v", p.times.Load(), aside, err)
	}
	w.Settled()
	w.WantSent()

	p.armed.Store(false)
	d, err := w.GitHub.Redeliver(t.Context(), aside[0].GUID)
	if err != nil || d.StatusCode != http.StatusAccepted {
		t.Fatalf("redelivered: %d %s, %v", d.StatusCode, d.Response, err)
	}
	w.Replied(number, "1 URL purged")
	w.WantSent("production invalidate url https://www.acme.com/x/")
	if d, err := w.GitHub.Redeliver(t.Context(), aside[0].GUID); err != nil || d.StatusCode != http.StatusOK {
		t.Errorf("redelivered once more: %d %s, %v", d.StatusCode, d.Response, err)
	}
	w.Settled()
	w.WantSent()
}

// A delivery that can't be handled in reasonable time is set aside with its reason. Its
// author is told, and the operator can have it replayed.
func TestSecurityPoisonIsSetAside(t *testing.T) {
	w, _, hang, mend := withShop(t, func(cfg *stage.Config) { cfg.HandleTime = 300 * time.Millisecond })
	w.Begin()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.Settled()
	hang()
	comment := w.Say(number, "walt", "/purge https://www.acme.com/x/")
	w.Replied(number, "it took more than 300ms, three times")
	w.Reacted(comment, "confused")

	var aside []store.SetAside
	w.Eventually("the delivery is set aside", func() bool {
		var err error
		if aside, _, err = w.Server.Store().DeliveriesSetAside(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		return len(aside) == 1
	})
	if d := aside[0]; d.Event != "issue_comment" || d.Repository != "acme/site" || d.Reason != "its handling took more than 300ms, 3 times" {
		t.Errorf("set aside: %+v", d)
	}
	w.Settled()
	w.WantSent()

	mend()
	if err := w.Server.Store().Replay(t.Context(), aside[0].GUID); err != nil {
		t.Fatal(err)
	}
	w.Replied(number, "1 URL purged")
	w.WantSent("production invalidate url https://www.acme.com/x/")
	if err := w.Server.Store().Replay(t.Context(), aside[0].GUID); err == nil {
		t.Error("it was replayed twice")
	}
}
