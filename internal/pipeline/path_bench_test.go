package pipeline_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	ghstandin "github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/purger"
)

// BenchmarkDeployPath measures the time from a deployment's success until Akamai has
// accepted the last batch, with 50 ms to GitHub and to Akamai:
//
//	go test ./internal/pipeline -run '^$' -bench DeployPath -benchtime 10x
//
// x-path is that time as a multiple of the time of the calls that can't be avoided. The
// benchmark makes those calls in turns with the deployments, by the same clients and
// without anything else: the head of the default branch, which says who may deploy, at
// the same time as the comparison with the live commit, and then the purge requests side
// by side. calls is the number of calls to GitHub for the whole deployment, from the push
// to the last status.
func BenchmarkDeployPath(b *testing.B) {
	for _, files := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(files), func(b *testing.B) {
			p := newPath(b, files)
			var took, least time.Duration
			var calls int
			for b.Loop() {
				from, to := p.push(b)
				took += p.deploy(b, to)
				calls += p.calls(b)
				least += p.unavoidable(b, from, to)
			}
			n := float64(b.N)
			b.ReportMetric(took.Seconds()*1000/n, "ms/deploy")
			b.ReportMetric(least.Seconds()*1000/n, "ms/path")
			b.ReportMetric(took.Seconds()/least.Seconds(), "x-path")
			b.ReportMetric(float64(calls)/n, "calls")
		})
	}
}

const pathTrip = 50 * time.Millisecond

// path is a stage with a site of 1,200 pages. Each push changes some of them.
type path struct {
	*stage.Stage
	site  *stage.Site
	files int
	live  string
	round int
}

// newPath opens the stage with so many changed files for each push, and deploys once.
func newPath(b *testing.B, files int) *path {
	b.Helper()
	site, err := stage.NewSite(b.Context(), filepath.Join(b.TempDir(), "site"))
	if err != nil {
		b.Fatal(err)
	}
	p := &path{site: site, files: files}
	all := map[string]string{"purge-rules.yaml": servertest.Rules}
	for i := range 1200 {
		all[page(i)] = "first"
	}
	if p.live, err = site.Commit(b.Context(), "first", all); err != nil {
		b.Fatal(err)
	}
	p.Stage, err = stage.Open(b.Context(), stage.Config{
		Dir: b.TempDir(), Policy: servertest.Policy(), Latency: pathTrip, StatusEvery: 3 * time.Second,
		Repositories: []ghstandin.Repository{{ID: 1, Owner: "acme", Name: "site", Dir: site.Dir}},
		Akamai:       akamai.Config{Estimate: time.Second, Latency: pathTrip, Limits: akamai.Limits{Unlimited: true}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := p.Close(context.WithoutCancel(b.Context())); err != nil {
			b.Error(err)
		}
	})
	if err := p.Start(context.WithoutCancel(b.Context())); err != nil {
		b.Fatal(err)
	}
	p.deploy(b, p.live)
	return p
}

func page(i int) string {
	return fmt.Sprintf("content/section-%02d/a-page-with-a-name-%04d.md", i/50, i)
}

// push pushes a commit that changes the files, and waits until it is announced.
func (p *path) push(b *testing.B) (from, to string) {
	b.Helper()
	p.round++
	changed := map[string]string{}
	for i := range p.files {
		changed[page(i)] = fmt.Sprint(p.round)
	}
	to, err := p.site.Commit(b.Context(), "next", changed)
	if err != nil {
		b.Fatal(err)
	}
	p.GitHub.ResetCalls()
	if _, err := p.GitHub.Push(b.Context(), p.FullName(), "main", to, ghstandin.PushOptions{}); err != nil {
		b.Fatal(err)
	}
	p.idle(b)
	return p.live, to
}

func (p *path) idle(b *testing.B) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), servertest.Patience)
	defer cancel()
	if err := p.Server.Idle(ctx); err != nil {
		b.Fatal(err)
	}
}

// deploy deploys a commit and gives the time until the last object was
// accepted.
func (p *path) deploy(b *testing.B, sha string) time.Duration {
	b.Helper()
	id, err := p.GitHub.Deploy(b.Context(), p.FullName(), ghstandin.Deployment{SHA: sha, Environment: "production"})
	if err != nil {
		b.Fatal(err)
	}
	before := len(p.Akamai.Accepted())
	start := time.Now()
	if _, err := p.GitHub.DeployStatus(b.Context(), p.FullName(), id, ghstandin.DeploymentStatus{State: "success"}); err != nil {
		b.Fatal(err)
	}
	p.idle(b)
	ctx, cancel := context.WithTimeout(b.Context(), servertest.Patience)
	defer cancel()
	if _, err := p.AwaitStatus(ctx, sha, "production", "success", "…"); err != nil {
		b.Fatal(err)
	}
	p.live = sha
	accepted := p.Akamai.Accepted()[before:]
	if len(accepted) == 0 {
		return 0 // the first deployment, which has nothing before it
	}
	return accepted[len(accepted)-1].At.Sub(start)
}

// calls counts the calls to GitHub since the push.
func (p *path) calls(b *testing.B) int {
	b.Helper()
	p.idle(b)
	return len(p.GitHub.Calls())
}

// unavoidable makes the calls that can't be avoided, each as early as what it needs is
// known, and gives the time that they take together.
func (p *path) unavoidable(b *testing.B, from, to string) time.Duration {
	b.Helper()
	ctx := b.Context()
	app, err := github.New(p.ServerConfig().GitHub)
	if err != nil {
		b.Fatal(err)
	}
	repo := app.Repository(1, "acme", "site")
	known, err := repo.Tree(ctx, from) // fetches a token too, as the server has one
	if err != nil {
		b.Fatal(err)
	}
	client, err := p.Purger()
	if err != nil {
		b.Fatal(err)
	}
	var requests []purger.Request
	for i := range p.files {
		for _, host := range []string{"www.acme.com", "m.acme.com"} {
			if n := len(requests); n == 0 || len(requests[n-1].Objects) == perRequest {
				requests = append(requests, purger.Request{Kind: purger.URL, Network: purger.Production, Action: purger.Invalidate})
			}
			r := &requests[len(requests)-1]
			name := page(i)
			r.Objects = append(r.Objects, "https://"+host+name[len("content"):len(name)-len(".md")]+"/")
		}
	}
	start := time.Now()
	var reads, sends sync.WaitGroup
	reads.Go(func() {
		if _, err := repo.Head(ctx, "main"); err != nil {
			b.Error(err)
		}
	})
	reads.Go(func() {
		if c, err := repo.Changes(ctx, from, to, known); err != nil || len(c.Files) != p.files {
			b.Errorf("%d files, %v", len(c.Files), err)
		}
	})
	reads.Wait()
	for _, r := range requests {
		sends.Go(func() {
			if a := client.Send(ctx, r); a.Verdict != purger.Accepted {
				b.Errorf("%s", a.Words())
			}
		})
	}
	sends.Wait()
	return time.Since(start)
}

// perRequest is how many of the pages' URLs fill a request's 50,000 bytes.
const perRequest = 700
