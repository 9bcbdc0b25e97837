package demo

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/fetch"
	"github.com/purgebot/purgebot/internal/probe"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/edge"
	"github.com/purgebot/purgebot/purger"
	"github.com/purgebot/purgebot/verify"
)

// front is what readers see of the story's production site: Akamai's edge and the origin
// behind it.
type front struct {
	*edge.Edge
	origin               *edge.Origin
	edgeAddr, originAddr string
	fetcher              *fetch.Fetcher
}

func newFront() *front {
	f := &front{origin: edge.NewOrigin(), fetcher: fetch.New(fetch.Config{Agent: "purgebot demo"})}
	f.Edge = edge.New(edge.Config{Origin: f.origin, Servers: 1})
	return f
}

// open serves both on loopback.
func (f *front) open(ctx context.Context, s *stage.Stage) error {
	for _, side := range []struct {
		handler http.Handler
		addr    *string
	}{{f.Edge, &f.edgeAddr}, {f.origin, &f.originAddr}} {
		address, err := s.Serve(ctx, side.handler)
		if err != nil {
			return err
		}
		*side.addr = strings.TrimPrefix(address, "http://")
	}
	return nil
}

// publish does what a deploy does: the origin serves a commit's files. Like many tools it
// gives a file the date of its content, so a rollback brings an older date.
func (f *front) publish(ctx context.Context, site *stage.Site, sha string) error {
	list, err := site.Git(ctx, "ls-tree", "-r", "-z", "--name-only", sha)
	if err != nil {
		return err
	}
	pages := map[string]edge.Page{}
	for file := range strings.SplitSeq(strings.Trim(list, "\x00"), "\x00") {
		at, ok := strings.CutPrefix(file, "static/")
		at = "/assets/" + at
		if page, content := strings.CutPrefix(file, "content/"); content {
			at, ok = "/"+strings.TrimSuffix(page, path.Ext(page))+"/", true
		}
		if !ok {
			continue
		}
		body, err := site.Git(ctx, "show", sha+":"+file)
		if err != nil {
			return err
		}
		changes, err := site.Git(ctx, "rev-list", "--count", sha, "--", file)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(strings.TrimSpace(changes))
		if err != nil {
			return fmt.Errorf("commits of %s: %w", file, err)
		}
		pages[at] = edge.Page{Body: body, Modified: time.Date(2026, 11, 1, n, 0, 0, 0, time.UTC)}
	}
	f.origin.Replace(pages)
	return nil
}

// look says whether a page is fresh, like purgebot check.
func (f *front) look(ctx context.Context, page string) (verify.Evidence, verify.Finding) {
	return probe.Ask(ctx, f.fetcher, probe.Question{
		Known: verify.Evidence{URL: page, Pragma: true}, Edges: []string{f.edgeAddr}, Origin: f.originAddr,
	})
}

// sees looks at a page until it is as told, because a purge takes a moment.
func (d *story) sees(ctx context.Context, page string, want verify.Verdict) {
	d.looks(ctx, page, string(want), func(_ verify.Evidence, f verify.Finding) bool { return f.Verdict == want })
}

// seesNotModified looks until the edge has asked the origin and kept its copy.
func (d *story) seesNotModified(ctx context.Context, page string) {
	d.looks(ctx, page, "stale, not modified", func(e verify.Evidence, f verify.Finding) bool {
		return f.Has(verify.NotModified) && slices.ContainsFunc(e.Edge, func(l verify.Look) bool {
			return strings.HasPrefix(l.End().XCache, "TCP_REFRESH_HIT")
		})
	})
}

// looks reads a page again and again until done is satisfied or demoWait has passed, and
// prints the result.
func (d *story) looks(ctx context.Context, page, told string, done func(verify.Evidence, verify.Finding) bool) {
	ctx, cancel := context.WithTimeout(ctx, demoWait)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		evidence, finding := d.front.look(ctx, page)
		if done(evidence, finding) {
			d.say("   purgebot check %s\n     %s: %s", page, finding.Verdict, finding.Cause())
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			d.wrongly("%s is %s (%s); told was %s", page, finding.Verdict, finding.Cause(), told)
			return
		}
	}
}

// byHand invalidates a page with the operator's credentials, like a person who does not
// wait for purgebot.
func (d *story) byHand(ctx context.Context, page string) error {
	client, err := d.stage.Purger()
	if err != nil {
		return err
	}
	answer := client.Send(ctx, purger.Request{
		Kind: purger.URL, Network: purger.Production, Action: purger.Invalidate, Objects: []string{page},
	})
	if answer.Verdict != purger.Accepted {
		return fmt.Errorf("invalidate %s: %s: %s", page, answer.Title, answer.Detail)
	}
	return nil
}
