package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/fetch"
	"github.com/purgebot/purgebot/internal/probe"
	"github.com/purgebot/purgebot/verify"
)

// checkCmd is purgebot check: looks at pages, needs nothing, changes nothing.
type checkCmd struct {
	Values []string `arg:"" optional:"" name:"url" help:"Pages to look at. Without any, or for -, standard input: one a line; blank lines and lines that begin with # are skipped."`

	Origin   string   `help:"Compare with this server, which serves the same paths without the CDN." placeholder:"HOST[:PORT]"`
	Resolve  []string `help:"Ask Akamai at this address, in the place of those that the name has; repeatable." placeholder:"IP"`
	Contains string   `help:"A text that the page has only if it is new, such as the commit." placeholder:"TEXT"`
	Pragma   bool     `help:"Ask Akamai what its cache did (some properties refuse that)."`
	JSON     bool     `name:"json" help:"Print the result as JSON."`
}

// Run prints each page's finding as soon as there is one: a list may be long, and
// whoever stops it has what was found. A stale page has an exit code of its own, so
// that a pipeline can tell "not purged" from "could not be seen".
func (c *checkCmd) Run(ctx context.Context, std streams) error {
	if err := c.usage(); err != nil {
		return usage("%w", err)
	}
	// A person may look at whatever they can reach: no address is refused.
	fetcher := fetch.New(fetch.Config{Agent: userAgent(), PerHost: 16})
	defer fetcher.Close()
	values, readErr := valuesOr(ctx, std, c.Values, "URL")
	var wrong error // ends what is read
	urls := func(yield func(string) bool) {
		for value := range values {
			if wrong = pageURL(value); wrong != nil || !yield(value) {
				return
			}
		}
	}
	show := c.printer(std)
	counts := map[verify.Verdict]int{}
	var err error
	for result := range c.results(ctx, fetcher, urls) {
		counts[result.finding.Verdict]++
		if err = show.one(result); err != nil {
			break
		}
	}
	if err == nil {
		err = show.end()
	}
	if err == nil {
		err = readErr()
	}
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case wrong != nil:
		return usage("%w", wrong)
	case counts[verify.Stale] > 0:
		return &exitError{code: exitStale}
	case len(counts) == 0:
		return usage("no URL to look at")
	case counts[verify.Unknown]+counts[verify.Broken] > 0:
		return failed()
	}
	return nil
}

// usage tells what is wrong with the flags, and with pages on the command line,
// before anything is fetched. Those of standard input are judged one by one.
func (c *checkCmd) usage() error {
	for _, ip := range c.Resolve {
		if _, err := netip.ParseAddr(strings.Trim(ip, "[]")); err != nil {
			return fmt.Errorf("--resolve %q is not an IP address", ip)
		}
	}
	host, port, err := net.SplitHostPort(c.Origin)
	if err != nil { // no port
		host, port = strings.Trim(c.Origin, "[]"), "443"
	}
	if number, err := strconv.ParseUint(port, 10, 16); c.Origin != "" && (err != nil || number == 0 || host == "" || strings.ContainsAny(host, "/?#@ ")) {
		return fmt.Errorf("--origin %q is not HOST or HOST:PORT", c.Origin)
	}
	for _, value := range c.Values {
		if err := pageURL(value); err != nil && !slices.Equal(c.Values, []string{"-"}) {
			return err
		}
	}
	return nil
}

// pageURL tells what is wrong with a URL.
func pageURL(value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Errorf("%q is not an absolute http or https URL", value)
	}
	return nil
}

// checked is a page that was looked at.
type checked struct {
	url      string
	evidence verify.Evidence
	finding  verify.Finding
}

// results looks at a few pages side by side, and gives them in their order.
func (c *checkCmd) results(ctx context.Context, g probe.Getter, urls iter.Seq[string]) iter.Seq[checked] {
	const beside = 8
	return func(yield func(checked) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		waiting := make(chan chan checked, beside)
		go func() {
			defer close(waiting)
			seen := map[string]bool{}
			for value := range urls {
				if seen[value] {
					continue
				}
				seen[value] = true
				result := make(chan checked, 1)
				select {
				case waiting <- result:
					go func() { result <- c.look(ctx, g, value) }()
				case <-ctx.Done():
					return
				}
			}
		}()
		for result := range waiting {
			if !yield(<-result) {
				return
			}
		}
	}
}

func (c *checkCmd) look(ctx context.Context, g probe.Getter, value string) checked {
	r := checked{url: value}
	q := probe.Question{
		Known:  verify.Evidence{URL: value, Pragma: c.Pragma, Contains: c.Contains},
		Origin: c.Origin, Edges: c.Resolve, Variants: true,
	}
	if len(c.Resolve) == 0 {
		q.Edges = addressesOf(ctx, value)
	}
	r.evidence, r.finding = probe.Ask(ctx, g, q)
	return r
}

// maxAddresses is how many of a name's addresses are asked.
const maxAddresses = 4

// addressesOf are those that a URL's host has; none where that can't be told:
// the look will say why.
func addressesOf(ctx context.Context, value string) (all []string) {
	u, err := url.Parse(value)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, family := range []string{"ip4", "ip6"} { // the other family may not be routed here
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, family, u.Hostname())
		if err != nil || len(addrs) == 0 {
			continue
		}
		for _, a := range addrs[:min(len(addrs), maxAddresses)] {
			all = append(all, a.Unmap().String())
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	return nil
}

// printer writes results as they come.
type printer interface {
	one(r checked) error
	end() error
}

func (c *checkCmd) printer(std streams) printer {
	if c.JSON {
		return &checkJSON{out: std.out}
	}
	return &checkText{out: std.out}
}

// checkText is for people.
type checkText struct {
	out   io.Writer
	pages int
}

func (p *checkText) one(r checked) error {
	var b strings.Builder
	if p.pages++; p.pages > 1 {
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%s: %s\n  %s\n", r.finding.Verdict, oneLine(r.url), r.finding.Cause())
	for _, side := range []struct {
		name  string
		looks []verify.Look
	}{{"Akamai", r.evidence.Edge}, {"origin", r.evidence.Origin}} {
		said := map[string]bool{}
		for _, l := range side.looks {
			if line := describeLook(l); !said[line] {
				said[line] = true
				fmt.Fprintf(&b, "  %s %s\n", side.name, line)
			}
		}
	}
	_, err := io.WriteString(p.out, b.String())
	return err
}

func (p *checkText) end() error { return nil }

// describeLook is the evidence of a look in one line.
func describeLook(l verify.Look) string {
	end := l.End()
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if end.Fault != "" {
		add("%s", end.Fault)
	} else {
		add("%d", end.Status)
		add("%d bytes", end.Length)
		add("sha256 %.8s", end.SHA256)
	}
	if len(l.Hops) > 1 {
		add("after %s to %s", plural(len(l.Hops)-1, "redirect"), oneLine(end.URL))
	} else if end.Location != "" {
		add("to %s", oneLine(end.Location))
	}
	for _, x := range []struct{ name, value string }{
		{"Last-Modified", end.LastModified},
		{"ETag", end.ETag},
		{"X-Cache", end.XCache},
		{"X-Cache-Remote", end.XCacheRemote},
		{"Akamai-Cache-Status", end.CacheStatus},
		{"", end.Via},
	} {
		if x.value != "" {
			add("%s", oneLine(strings.TrimSpace(x.name+" "+x.value)))
		}
	}
	if end.Age != nil {
		add("age %d s", *end.Age)
	}
	if l.Compressed {
		add("compressed")
	}
	return strings.TrimSpace(end.From + ": " + strings.Join(parts, ", "))
}

// checkJSON is for programs. It is written page by page, so that a long list
// needs no memory.
type checkJSON struct {
	out   io.Writer
	pages int
}

type freshJSON struct {
	URL     string         `json:"url"`
	Verdict verify.Verdict `json:"verdict"`
	Cause   string         `json:"cause"`
	Causes  []verify.Kind  `json:"causes"`
	Edge    sideJSON       `json:"edge"`
	Origin  any            `json:"origin"` // sideJSON; {} if nobody named one
}

// sideJSON is where the first look ended, and all looks.
type sideJSON struct {
	verify.Answer
	Looks []verify.Look `json:"looks"`
}

func (p *checkJSON) one(r checked) error {
	separator := ","
	if p.pages++; p.pages == 1 {
		separator = `{"results":[`
	}
	doc := freshJSON{
		URL: r.url, Verdict: r.finding.Verdict, Cause: r.finding.Cause(), Causes: []verify.Kind{},
		Edge: sideJSON{r.evidence.Edge[0].End(), r.evidence.Edge}, Origin: struct{}{},
	}
	for _, cause := range r.finding.Causes {
		doc.Causes = append(doc.Causes, cause.Kind)
	}
	if len(r.evidence.Origin) > 0 {
		doc.Origin = sideJSON{r.evidence.Origin[0].End(), r.evidence.Origin}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.out, "%s%s", separator, text)
	return err
}

func (p *checkJSON) end() error {
	begin := ""
	if p.pages == 0 {
		begin = `{"results":[`
	}
	_, err := fmt.Fprintln(p.out, begin+"]}")
	return err
}
