// Package probe looks at a page at Akamai's edge and at its origin until the
// evidence is enough to judge, or until more looks would not help. What that
// evidence means is package verify's to say; this one has the network.
//
// A page that is fresh takes one look at each place. Only one that isn't is looked at
// again, past the cache and in other variants, since each of those looks reaches the
// origin: a purge of many pages must not become load there.
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

// Getter GETs a page; [fetch.Fetcher] does.
type Getter interface {
	Get(ctx context.Context, r fetch.Request) verify.Look
}

// Question is a page, and what is known of it.
type Question struct {
	// Known is what the evidence begins with: the URL, what the page should
	// contain, what it was before, the purge.
	Known verify.Evidence
	// Origin is HOST[:PORT] of the server behind the edge; "" if nobody named
	// it.
	Origin string
	// Edges are addresses of the edge; none: one of those that the name has.
	Edges []string
	// Variants: look at the uncompressed copies too, which browsers don't get.
	Variants bool
	// Allow says why a URL may not be fetched; nil allows all.
	Allow func(*url.URL) error
}

// Ask looks once at each place, side by side. Where that is not enough for
// "fresh" it looks again, and at what tells one cause from another.
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

// asking is one question being asked.
type asking struct {
	getter   Getter
	question Question
	evidence verify.Evidence
	round    []want
}

// want is a fetch of the coming round, and where its look belongs.
type want struct {
	into *[]verify.Look
	fetch.Request
}

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

// again asks the origin often enough to see whether it agrees with itself;
// each server of the edge once more; and other addresses of the page, which
// tell a copy in the cache from what comes from behind it.
func (p *asking) again(ctx context.Context) {
	if p.question.Origin != "" {
		p.origin(3)
	}
	var spellings, uncached []verify.Look
	if u, err := url.Parse(p.evidence.URL); err == nil && p.answered() {
		for _, other := range spellingsOf(u) {
			p.want(&spellings, p.request(other, p.edges()[0], true))
		}
		for range 2 { // an edge keeps errors: a second try has another address
			p.want(&uncached, p.request(alone(p.end(u)), p.edges()[0], true))
		}
	}
	for _, edge := range p.edges() {
		p.want(&p.evidence.Edge, p.request(p.evidence.URL, edge, true))
	}
	p.look(ctx)
	p.evidence.Spellings = spellings
	for _, l := range uncached {
		if end := l.End(); p.evidence.Uncached == nil || end.Fault == "" && end.Status < 500 {
			p.evidence.Uncached = &l
		}
	}
}

func (p *asking) answered() bool {
	for _, l := range p.evidence.Edge {
		if l.End().Fault == "" {
			return true
		}
	}
	return false
}

// end is where the page's redirects lead.
func (p *asking) end(u *url.URL) *url.URL {
	for _, l := range p.evidence.Edge {
		if end, err := url.Parse(l.End().URL); err == nil && l.End().Fault == "" {
			return end
		}
	}
	return u
}

func (p *asking) edges() []string {
	if len(p.question.Edges) == 0 {
		return []string{""}
	}
	return p.question.Edges
}

func (p *asking) request(at, via string, compressed bool) fetch.Request {
	return fetch.Request{
		URL: at, Via: via, Allow: p.question.Allow, Compressed: compressed,
		Pragma: p.evidence.Pragma, Contains: p.evidence.Contains,
	}
}

func (p *asking) origin(times int) {
	r := p.request(p.evidence.URL, p.question.Origin, false)
	r.Pragma = false
	for range times {
		p.want(&p.evidence.Origin, r)
	}
}

func (p *asking) want(into *[]verify.Look, r fetch.Request) {
	p.round = append(p.round, want{into, r})
}

// look fetches the round side by side.
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

// alone is the page under an address of its own.
func alone(u *url.URL) string {
	other := *u
	if other.RawQuery != "" {
		other.RawQuery += "&"
	}
	other.RawQuery += "purgebot-check=" + strings.ToLower(rand.Text())
	return other.String()
}

// spellingsOf are other addresses under which a purge may have meant the page.
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
