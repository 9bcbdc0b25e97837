package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/probe"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
	"github.com/purgebot/purgebot/verify"
)

const (
	// lookTime bounds the looks of one job. It is shorter than proveLease, which starts
	// earlier: a job that uses all of lookTime can still settle within its lease.
	//
	// waitTime and waitLease are the same pair while a purge waits for its origin. They
	// are shorter, since a claim that dies with its replica delays the purge itself: it
	// may wait waitLease longer than its rules say.
	lookTime   = 40 * time.Second
	proveLease = 50 * time.Second
	waitTime   = 10 * time.Second
	waitLease  = 15 * time.Second

	// looksAtOnce is how many pages one job looks at side by side.
	looksAtOnce = 10

	// pollEvery is how often a proof looks whether its purge has been sent. Nobody waits
	// for the proof, so it polls rather than being woken.
	pollEvery = 2 * time.Second

	// laterAsked is how many later commits of the environment an origin may show instead
	// of the purge's own. Once a later deployment is out, the origin never shows this
	// one.
	laterAsked = 3

	// overtakenTries is how often a look is put off for a later purge: a minute together,
	// at one try every pollEvery. After that the pages are judged as they are.
	overtakenTries = 30
)

// prove takes the proof of one purge one step further. It claims the proof, looks at
// pages outside any transaction, and settles what it saw in one. If the process dies
// between, the lease runs out and the look is made again: looks change nothing. No error
// here touches a purge that Akamai has accepted.
func (p *Pipeline) prove(ctx context.Context, job store.ProveJob) error {
	proof, err := p.Store.ClaimProof(ctx, job.PurgeID, waitLease, proveLease)
	// The proof is done, not due yet, or claimed by another worker.
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	purge, err := p.Store.Purge(ctx, proof.PurgeID)
	if err != nil {
		return err
	}
	repo, err := p.Store.Repository(ctx, proof.RepoID)
	if err != nil {
		return err
	}
	look := &proving{Pipeline: p, proof: proof, purge: purge, grant: p.Policy().For(repo.FullName()), now: p.Now()}
	looking, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	step, err := look.step(looking)
	if err != nil {
		return err
	}
	// Not ok: the lease ran out and another worker has the proof. What it sees counts.
	if ok, err := p.Store.SettleProof(ctx, step); err != nil || !ok {
		return err
	}
	// Only after settling, so that a step that is made twice counts once.
	p.timings.warmed.Add(float64(step.Warmed - proof.Warmed))
	if step.State != proof.State || step.Open {
		p.Log.LogAttrs(ctx, slog.LevelInfo, "proof", slog.String("purge", purge.ID), slog.String("repository", repo.FullName()),
			slog.String("state", string(step.State)), slog.String("words", step.Words), slog.Int("pages", len(step.Pages)))
	}
	if step.State != ledger.ProofDone {
		return snooze{max(step.After, time.Millisecond)}
	}
	return nil
}

// proving is one step of a proof under way. Its methods change the copy in proof; only
// SettleProof writes it back.
type proving struct {
	*Pipeline
	proof store.Proof
	purge ledger.Purge
	grant policy.Grant
	now   time.Time
}

// step decides what the proof does next. The state of the purge comes first, since people
// cancel and release purges meanwhile; only then comes what the proof itself still has to
// do. Nobody looks at the edge before Akamai's own estimate (DoneAt) has passed: a page
// that is stale until then proves nothing.
func (l *proving) step(ctx context.Context) (store.ProofStep, error) {
	switch {
	case l.purge.State == ledger.Cancelled:
		return l.done(), nil
	case l.proof.State == ledger.ProofOrigin && l.purge.State == ledger.Held:
		return l.origin(ctx)
	case l.proof.State == ledger.ProofOrigin: // somebody released it
		l.proof.State, l.proof.Words = ledger.ProofPurged, ""
		return l.later(0), nil
	// The purge waits for a person. Its proof can only ask again.
	case l.purge.State == ledger.Held:
		return l.later(time.Minute), nil
	// Targets are still being sent. DoneAt is not final yet.
	case l.purge.State == ledger.Open:
		return l.later(pollEvery), nil
	case l.now.Before(l.purge.DoneAt):
		return l.later(l.purge.DoneAt.Sub(l.now)), nil
	}
	switch l.proof.State {
	case ledger.ProofPurged:
		return l.edge(ctx)
	case ledger.ProofAgain:
		return l.edgeAgain(ctx)
	case ledger.ProofWarm:
		return l.warm(ctx)
	case ledger.ProofNone, ledger.ProofOrigin, ledger.ProofDone:
	}
	return l.done(), nil
}

// done is the step that ends the proof.
func (l *proving) done() store.ProofStep {
	l.proof.State = ledger.ProofDone
	return l.later(0)
}

// later keeps the proof as it is now, and takes it up again after d.
func (l *proving) later(d time.Duration) store.ProofStep {
	return store.ProofStep{Proof: l.proof, After: d}
}

// allow says why a URL may not be fetched. A fetch may go only to hosts that the
// repository may purge and to the operator's own fetch.origins. It guards every request
// and every redirect: the rules file names URLs, and its author must not reach the inside
// of the operator's network with them.
func (l *proving) allow(u *url.URL) error {
	if l.grant.Host(u.Hostname()) || l.fetchOrigin(u.Host) || l.fetchOrigin(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("neither policy nor fetch.origins allows host %s", u.Hostname())
}

// fetchOrigin compares a host, or HOST:PORT, with the operator's list exactly.
func (l *proving) fetchOrigin(host string) bool { return slices.Contains(l.FetchOrigins, host) }

// originOf gives the origin that the rules name, if the operator lets this repository
// reach it. Otherwise host is empty, and refusal says why in public words; both are empty
// where the rules name no origin.
func (l *proving) originOf() (host, refusal string) {
	v := l.proof.Asks.Verify
	if v == nil || v.Origin == "" {
		return "", ""
	}
	if err := l.allow(&url.URL{Host: v.Origin}); err != nil {
		return "", "the origin is not looked at: " + err.Error()
	}
	return v.Origin, ""
}

// origin takes a purge that is held for its origin one step further. The first step
// chooses the pages that stand for the purge and sees what the edge has of them. Each
// further step looks at the origin, and decides whether the purge goes out, waits, or
// fails. The pages are stored with the first step, so that "before" and "after" are about
// the same pages even if another replica takes over.
func (l *proving) origin(ctx context.Context) (store.ProofStep, error) {
	looking, cancel := context.WithTimeout(ctx, waitTime)
	defer cancel()
	host, refusal := l.originOf()
	if len(l.proof.Pages) == 0 {
		if err := l.choose(ctx); err != nil {
			return store.ProofStep{}, err
		}
		l.lookBefore(looking)
		if host != "" && (len(l.proof.Pages) > 0 || len(l.proof.Asks.Verify.Marker) > 0) {
			l.proof.Words = report.WaitsForOrigin(l.purge.To.SHA, "")
			if len(l.proof.Pages) > 0 {
				return l.later(0), nil
			}
		} else {
			// There is nothing to wait for: no origin may be asked, or no page stands for
			// the purge.
			l.proof.Words = refusal
			return l.open(), nil
		}
	}
	sight, err := l.lookAtOrigin(ctx, looking, host)
	if err != nil {
		return store.ProofStep{}, err
	}
	deletes, err := l.Store.Deletes(ctx, l.purge.ID)
	if err != nil {
		return store.ProofStep{}, err
	}
	waited := l.now.Sub(l.proof.Began)
	switch l.proof.Asks.Origin(sight, waited, deletes) {
	case ledger.OriginOpen:
		// Only a marker confirms the whole deployment. A sampled page that has changed
		// says nothing about the pages that have not.
		l.proof.Confirmed, l.proof.Words = sight.Shows && len(l.proof.Asks.Verify.Marker) > 0, ""
		return l.open(), nil
	case ledger.OriginFail:
		l.proof.State = ledger.ProofPurged // if a person releases it, its pages are looked at all the same
		l.proof.Words = ""
		step := l.later(time.Minute)
		step.Close = report.OriginLate(l.purge.To.SHA, l.proof.Asks.Verify.Wait)
		return step, nil
	case ledger.OriginWait:
	}
	l.proof.Words = report.WaitsForOrigin(l.purge.To.SHA, sight.Sick)
	return l.later(ledger.LookEvery(waited, l.proof.Asks.Verify.Wait)), nil
}

// open is the step that lets the held purge go, in the transaction that settles it.
func (l *proving) open() store.ProofStep {
	l.proof.State = ledger.ProofPurged
	step := l.later(pollEvery)
	step.Open = true
	return step
}

// choose takes the pages that stand for the purge: a sample of its URLs, spread over the
// rules in their order, and the pages that the rules name. A page comes once.
func (l *proving) choose(ctx context.Context) error {
	v := l.proof.Asks.Verify
	spans, err := l.spans(ctx)
	if err != nil {
		return err
	}
	sizes := make([]int, len(spans))
	for i, span := range spans {
		sizes[i] = span.URLs
	}
	add := func(page ledger.Page) {
		if !slices.ContainsFunc(l.proof.Pages, func(p ledger.Page) bool { return p.URL == page.URL }) {
			l.proof.Pages = append(l.proof.Pages, page)
		}
	}
	for i, share := range ledger.Share(sizes, v.Sample) {
		span := spans[i]
		for _, at := range ledger.Spread(int(span.To-span.From)+1, share) {
			found, err := l.Store.URLsFrom(ctx, l.purge.ID, span.Rule, span.From+int64(at), 1)
			if err != nil {
				return err
			}
			for _, t := range found {
				add(ledger.Page{URL: t.Object, Delete: t.Action == mapping.Delete})
			}
		}
	}
	for _, u := range v.URLs {
		add(ledger.Page{URL: u, Named: true})
	}
	return nil
}

// spans are the URLs of the purge, grouped by rule, in the order of the rules file: the
// most important rule comes first. A rule that Asks does not know comes last.
func (l *proving) spans(ctx context.Context) ([]store.URLSpan, error) {
	spans, err := l.Store.URLSpans(ctx, l.purge.ID)
	place := func(rule string) int {
		if i := slices.Index(l.proof.Asks.Rules, rule); i >= 0 {
			return i
		}
		return len(l.proof.Asks.Rules)
	}
	slices.SortStableFunc(spans, func(a, b store.URLSpan) int { return place(a.Rule) - place(b.Rule) })
	return spans, err
}

// each calls do for every index below n, at most atOnce of them at a time, and returns
// when all calls have returned. It starts every call even if a context has ended: do must
// return soon then. Calls for different indexes run at once, so do may write only to its
// own index.
func each(n, atOnce int, do func(i int)) {
	var all sync.WaitGroup
	turns := make(chan struct{}, atOnce)
	for i := range n {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			do(i)
		})
	}
	all.Wait()
}

// lookBefore notes what the edge serves before the purge. A page that can't be fetched
// has no Before, and then differs from nothing.
func (l *proving) lookBefore(ctx context.Context) {
	each(len(l.proof.Pages), looksAtOnce, func(i int) {
		page := &l.proof.Pages[i]
		if end := l.Pages.Get(ctx, l.request(page.URL, "")).End(); end.Fault == "" {
			page.Before = &end
		}
	})
}

// lookAtOrigin sees whether the origin serves what was deployed, or a later commit. With
// a marker every marker must show one of the commits. Without one it is enough that one
// page differs from what the edge had. ctx is for the database, looking is the shorter
// one for pages: a slow origin must not make the job fail.
func (l *proving) lookAtOrigin(ctx, looking context.Context, host string) (ledger.Sight, error) {
	later, _, err := l.Store.LaterShas(ctx, l.purge, laterAsked)
	if err != nil {
		return ledger.Sight{}, err
	}
	if marker := l.proof.Asks.Verify.Marker; len(marker) > 0 {
		return l.lookAtMarker(looking, host, marker, append([]string{l.purge.To.SHA}, later...)), nil
	}
	sights := make([]ledger.Sight, len(l.proof.Pages))
	each(len(sights), looksAtOnce, func(i int) {
		page := l.proof.Pages[i]
		end := l.Pages.Get(looking, l.request(page.URL, host)).End()
		sights[i].Sick = verify.Sick(end)
		sights[i].Shows = sights[i].Sick == "" && page.Before != nil && verify.Differs(*page.Before, end)
	})
	return ledger.Either(sights), nil
}

// lookAtMarker looks for the id of one of the commits in each marker; all markers must
// show one. It stops at a sick answer: the next commit would get the same.
func (l *proving) lookAtMarker(ctx context.Context, host string, markers, shas []string) ledger.Sight {
	shown := make([]ledger.Sight, len(markers))
	each(len(markers), looksAtOnce, func(i int) {
		for _, sha := range shas {
			r := l.request(markers[i], host)
			r.Contains = report.Short(sha)
			end := l.Pages.Get(ctx, r).End()
			shown[i].Sick = verify.Sick(end)
			if shown[i].Shows = shown[i].Sick == "" && end.Contains; shown[i].Shows || shown[i].Sick != "" {
				return
			}
		}
	})
	return ledger.Together(shown)
}

// edge looks at the pages once the purge has taken effect, by Akamai's own estimate. It
// sends stale pages out once more, by delete, where that can help. The second purge is
// opened by SettleProof, in the transaction that moves the proof to again: two workers
// can't both send it.
func (l *proving) edge(ctx context.Context) (store.ProofStep, error) {
	if l.proof.Asks.Verify == nil {
		return l.checked(ctx)
	}
	if len(l.proof.Pages) == 0 { // nobody looked before the purge: a person asked for it, or somebody released it
		if err := l.choose(ctx); err != nil {
			return store.ProofStep{}, err
		}
	}
	if len(l.proof.Pages) == 0 {
		return l.checked(ctx)
	}
	if wait, err := l.overtaken(ctx); err != nil || wait {
		return l.later(pollEvery), err
	}
	if err := l.confirm(ctx); err != nil {
		return store.ProofStep{}, err
	}
	urls := make([]string, len(l.proof.Pages))
	for i := range l.proof.Pages {
		page := &l.proof.Pages[i]
		urls[i], page.Verdict, page.Again = page.URL, "", ""
	}
	// Akamai refused these, so they were not purged: they prove nothing.
	refused, err := l.Store.RefusedURLs(ctx, l.purge.ID, urls)
	if err != nil {
		return store.ProofStep{}, err
	}
	if err := l.look(ctx, func(p ledger.Page) bool { return !slices.Contains(refused, p.URL) }); err != nil {
		return store.ProofStep{}, err
	}
	var stale []mapping.Target
	for _, page := range l.proof.Pages {
		if l.purge.Cause == ledger.CauseComment { // the person who asked may lack the role for a delete
			break
		}
		t := mapping.Target{Kind: mapping.URL, Action: mapping.Delete, Object: page.Again, Rule: "still stale"}
		if page.Again != "" && l.grant.Check(t, policy.Deployment()).Reason == "" {
			stale = append(stale, t)
		}
	}
	if len(stale) == 0 {
		return l.checked(ctx)
	}
	// If the process dies from here on, a purge in state planning is left over. Nobody
	// sees or sends it, and Prune removes it.
	once, err := l.Store.Begin(ctx, ledger.Purge{
		RepoID: l.purge.RepoID, Environment: l.purge.Environment, Cause: ledger.CauseStale, By: l.purge.By,
		From: l.purge.From, To: l.purge.To, Network: l.purge.Network, Account: l.purge.Account, Lane: l.purge.Lane,
	})
	if err != nil {
		return store.ProofStep{}, err
	}
	// The targets were judged above: only those that policy allows are in stale.
	judge := func(mapping.Target) string { return "" }
	if err := l.Store.AddTargets(ctx, once, slices.Values(stale), judge); err != nil {
		return store.ProofStep{}, err
	}
	l.proof.State, l.proof.Again = ledger.ProofAgain, once.ID
	step := l.later(pollEvery)
	step.Begun = once.ID
	return step, nil
}

// overtaken reports whether to wait for a later purge of the environment that is under
// way: it may be about to purge what is stale now. Each wait counts in Tries, up to
// overtakenTries.
func (l *proving) overtaken(ctx context.Context) (wait bool, err error) {
	if l.proof.Tries >= overtakenTries {
		return false, nil
	}
	_, wait, err = l.Store.LaterShas(ctx, l.purge, 0)
	if wait {
		l.proof.Tries++
	}
	return wait, err
}

// edgeAgain looks once more at the pages that were stale, after their second purge. It
// never sends a third one.
func (l *proving) edgeAgain(ctx context.Context) (store.ProofStep, error) {
	// Not found: the second purge was pruned. The verdicts of the first look stand.
	once, err := l.Store.Purge(ctx, l.proof.Again)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.ProofStep{}, err
	}
	const patience = 10 * time.Minute // with Akamai; then the first verdicts stand
	switch waited := l.now.Sub(once.CreatedAt); {
	case err == nil && once.State == ledger.Open && waited < patience:
		return l.later(pollEvery), nil
	case err == nil && l.now.Before(once.DoneAt):
		return l.later(once.DoneAt.Sub(l.now)), nil
	case err == nil && once.State == ledger.Done:
		if wait, err := l.overtaken(ctx); err != nil || wait {
			return l.later(pollEvery), err
		}
		if err := l.look(ctx, func(p ledger.Page) bool { return p.Verdict == verify.Stale }); err != nil {
			return store.ProofStep{}, err
		}
	}
	return l.checked(ctx)
}

// checked ends the looks at pages, and goes on with warming where the rules ask for it.
// Where they don't, it returns ctx's error: a proof must not end only because this job
// ran out of time.
func (l *proving) checked(ctx context.Context) (store.ProofStep, error) {
	if len(l.proof.Pages) > 0 {
		l.proof.Words, l.proof.Done = ledger.Count(l.proof.Pages).Words, l.Now()
	}
	if l.proof.Asks.Warm.Limit == 0 {
		return l.done(), ctx.Err()
	}
	l.proof.State = ledger.ProofWarm
	return l.later(0), nil
}

// confirm asks the markers whether the origin serves what was deployed, unless that was
// seen before the purge. It matters in look: after a deployment, a page that the origin
// serves as before counts as fresh only if a marker showed the commit.
func (l *proving) confirm(ctx context.Context) error {
	host, _ := l.originOf()
	marker := l.proof.Asks.Verify.Marker
	if l.proof.Confirmed || host == "" || len(marker) == 0 || l.purge.Cause == ledger.CauseComment {
		return nil
	}
	later, _, err := l.Store.LaterShas(ctx, l.purge, laterAsked)
	if err == nil {
		l.proof.Confirmed = l.lookAtMarker(ctx, host, marker, append([]string{l.purge.To.SHA}, later...)).Shows
	}
	return err
}

// tagsNamed is how many of the purge's tags a page's own tags are compared with. A purge
// with more tags is not compared at all: part of its tags would give a false account.
const tagsNamed = 20

// look judges the pages that which selects, and notes verdict, cause and what could help.
// A page that could not be judged before ctx ended is unknown, never stale: running out
// of time here is no fault of the page.
func (l *proving) look(ctx context.Context, which func(ledger.Page) bool) error {
	host, refusal := l.originOf()
	tags, err := l.Store.Tags(ctx, l.purge.ID, tagsNamed+1)
	if err != nil {
		return err
	}
	if len(tags) > tagsNamed {
		tags = nil
	}
	each(len(l.proof.Pages), looksAtOnce, func(i int) {
		page := &l.proof.Pages[i]
		if !which(*page) {
			return
		}
		purged := &verify.Purge{
			Delete: page.Delete || l.proof.State == ledger.ProofAgain,
			Ago:    max(l.Now().Sub(l.purge.DoneAt), 0),
		}
		// A named page was not purged by its address, so only the purge's tags can have
		// purged it. After the second purge it was purged by its address.
		if page.Named && l.proof.State == ledger.ProofPurged {
			purged.Tags = tags
		}
		evidence, finding := probe.Ask(ctx, l.Pages, probe.Question{
			Known: verify.Evidence{
				URL: page.URL, Before: page.Before, Confirmed: l.proof.Confirmed, Purge: purged,
				Deployed: l.purge.Cause != ledger.CauseComment,
			},
			Origin: host, Allow: l.allow,
		})
		page.Verdict, page.Cause, page.Again = finding.Verdict, finding.Cause(), mends(evidence, finding)
		if ctx.Err() != nil && page.Verdict != verify.Fresh {
			page.Verdict, page.Again = verify.Unknown, ""
		}
		if refusal != "" && page.Verdict == verify.Unknown {
			page.Cause = refusal
		}
	})
	return nil
}

// mends gives the URL to purge by delete so that a stale page may become fresh, or ""
// where a delete would not help or would do harm: the origin was not seen, it is sick or
// behind, or another cache lies between. A delete then shows readers an error, or fetches
// the same old page again. Of a page that redirects, the target is purged.
func mends(e verify.Evidence, f verify.Finding) string {
	if f.Verdict != verify.Stale || len(e.Origin) == 0 {
		return ""
	}
	harm := []verify.Kind{verify.OriginLags, verify.OriginSick, verify.OriginUneven, verify.CacheBehind, verify.ServedStale}
	if slices.ContainsFunc(harm, f.Has) {
		return ""
	}
	if f.Has(verify.RedirectTarget) {
		return e.Edge[0].End().URL
	}
	return e.URL
}
