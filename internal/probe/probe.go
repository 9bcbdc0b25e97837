// Package probe looks at a page at Akamai's edge and at its origin, until the evidence is
// enough to judge or until more looks would not help. Package verify says what the
// evidence means; this package does the looking.
//
// A fresh page takes one look at each place. Only other pages are looked at again, past
// the cache and in other variants. Each of those looks reaches the origin, and a purge of
// many pages must not become load there.
package probe

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"sync"

	"github.com/purgebot/purgebot/internal/fetch"
	"github.com/purgebot/purgebot/verify"
)

// Getter GETs a page, as [fetch.Fetcher] does. Get is called by several goroutines at
// once. Its look has at least one answer; an error is a fault in it.
type Getter interface {
	Get(ctx context.Context, r fetch.Request) verify.Look
}

// Question is a page to look at, and what is known of it.
type Question struct {
	// Known is the evidence to begin with: the URL, what the page should contain, what it
	// was before, the purge.
	Known verify.Evidence
	// Origin is HOST or HOST:PORT of the server behind the edge; "": nobody named one, so
	// none is asked.
	Origin string
	// Edges are addresses of the edge to ask, each; none: whichever address the host's
	// name gives.
	Edges []string
	// Variants asks for the uncompressed copies too, which browsers don't get.
	Variants bool
	// Allow says why a URL may not be fetched; nil allows all.
	Allow func(*url.URL) error
}

// Ask looks once at each place, all at the same time. If that is not enough for "fresh",
// it looks again, and at what tells one cause from another. It has at most two rounds. If
// ctx ends, the finding is about what was seen until then.
func Ask(ctx context.Context, g Getter, q Question) (verify.Evidence, verify.Finding) {
	p := &asking{getter: g, question: q, evidence: q.Known}
	p.first(ctx)
	finding := verify.Judge(p.evidence)
	if finding.Verdict != verify.Fresh && ctx.Err() == nil {
		p.again(ctx)
		finding = verify.Judge(p.evidence)
	}
	return p.evidence, finding
}

// asking is one question while it is asked. Only one goroutine uses it; look starts
// others that each fill their own look.
type asking struct {
	getter   Getter
	question Question
	evidence verify.Evidence
	round    []want // the fetches of the coming round; look empties it
}

// want is a fetch of the coming round, and the list that its look goes to.
type want struct {
	into *[]verify.Look
	fetch.Request
}

// first asks each server of the edge, as browsers do and perhaps uncompressed, and the
// origin once.
func (p *asking) first(ctx context.Context) {
	edges := p.edges()
	variants := []bool{true}
	if p.question.Variants {
		variants = append(variants, false)
	}
	for _, edge := range edges {
		for _, compressed := range variants {
			p.want(&p.evidence.Edge, p.request(p.evidence.URL, edge, compressed))
		}
	}
	if p.question.Origin != "" {
		p.origin(1)
	}
	p.look(ctx)
}

// again asks the origin often enough to see whether it agrees with itself, and each
// server of the edge once more. It also asks for other addresses of the page. They tell a
// copy in the cache from what comes from behind it. The looks of the first round stay in
// the evidence.
func (p *asking) again(ctx context.Context) {
	if p.question.Origin != "" {
		p.origin(3)
	}
	// If the edge gave no answer at all, its other addresses would not either.
	var spellings, uncached []verify.Look
	if u, err := url.Parse(p.evidence.URL); err == nil && p.answered() {
		for _, other := range spellingsOf(u) {
			p.want(&spellings, p.request(other, p.edges()[0], true))
		}
		for range 2 { // an edge may keep an error; the second try has another address
			p.want(&uncached, p.request(alone(p.end(u)), p.edges()[0], true))
		}
	}
	for _, edge := range p.edges() {
		p.want(&p.evidence.Edge, p.request(p.evidence.URL, edge, true))
	}
	p.look(ctx)
	p.evidence.Spellings = spellings
	for _, l := range uncached {
		// The last good look counts; a bad one only if there is no other.
		if end := l.End(); p.evidence.Uncached == nil || end.Fault == "" && end.Status < 500 {
			p.evidence.Uncached = &l
		}
	}
}

// answered reports whether a look at the edge ended without a fault.
func (p *asking) answered() bool {
	for _, l := range p.evidence.Edge {
		if l.End().Fault == "" {
			return true
		}
	}
	return false
}

// end returns where the page's redirects lead, or u if no look got there.
func (p *asking) end(u *url.URL) *url.URL {
	for _, l := range p.evidence.Edge {
		if end, err := url.Parse(l.End().URL); err == nil && l.End().Fault == "" {
			return end
		}
	}
	return u
}

// edges returns the addresses to connect to; "" is the one that the URL's host gives. It
// always has one at least.
func (p *asking) edges() []string {
	if len(p.question.Edges) == 0 {
		return []string{""}
	}
	return p.question.Edges
}

// request makes a GET of an address by way of via.
func (p *asking) request(at, via string, compressed bool) fetch.Request {
	return fetch.Request{
		URL: at, Via: via, Allow: p.question.Allow, Compressed: compressed,
		Pragma: p.evidence.Pragma, Contains: p.evidence.Contains,
	}
}

// origin adds looks at the origin to the round. They ask for the uncompressed page, and
// without Pragma, which only Akamai understands.
func (p *asking) origin(times int) {
	r := p.request(p.evidence.URL, p.question.Origin, false)
	r.Pragma = false
	for range times {
		p.want(&p.evidence.Origin, r)
	}
}

// want adds a fetch to the round. into must stay valid until look has run.
func (p *asking) want(into *[]verify.Look, r fetch.Request) {
	p.round = append(p.round, want{into, r})
}

// look fetches the round, all at the same time, and appends the looks in the order in
// which they were wanted: the judge goes by that order.
func (p *asking) look(ctx context.Context) {
	looks := make([]verify.Look, len(p.round))
	var all sync.WaitGroup
	for i, w := range p.round {
		all.Go(func() { looks[i] = p.getter.Get(ctx, w.Request) })
	}
	all.Wait()
	for i, w := range p.round {
		*w.into = append(*w.into, looks[i])
	}
	p.round = nil
}

// alone returns an address of the page that no cache can have: with a random field in its
// query.
func alone(u *url.URL) string {
	other := *u
	if other.RawQuery != "" {
		other.RawQuery += "&"
	}
	other.RawQuery += "purgebot-check=" + strings.ToLower(rand.Text())
	return other.String()
}

// spellingsOf returns other addresses by which a purge may have meant the page: without
// the query, and in lower case.
func spellingsOf(u *url.URL) (all []string) {
	if u.RawQuery != "" {
		other := *u
		other.RawQuery = ""
		all = append(all, other.String())
	}
	if lower := strings.ToLower(u.Path); lower != u.Path {
		other := *u
		other.Path, other.RawPath = lower, ""
		all = append(all, other.String())
	}
	return all
}
