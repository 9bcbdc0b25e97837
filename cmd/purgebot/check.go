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

// checkCmd is purgebot check. It looks at pages: it needs no server and no credentials,
// and changes nothing.
type checkCmd struct {
	Values []string `arg:"" optional:"" name:"url" help:"Pages to look at. Without any, or for -, standard input: one a line; blank lines and lines that begin with # are skipped."`

	Origin   string   `help:"Compare with this server, which serves the same paths without the CDN." placeholder:"HOST[:PORT]"`
	Resolve  []string `help:"Ask Akamai at this address, in the place of those that the name has; repeatable." placeholder:"IP"`
	Contains string   `help:"A text that the page has only if it is new, such as the commit." placeholder:"TEXT"`
	Pragma   bool     `help:"Ask Akamai what its cache did (some properties refuse that)."`
	JSON     bool     `name:"json" help:"Print the result as JSON."`
}

// Run prints each page's finding as soon as it is known. A list may be long, and a person
// who stops the command keeps what was found until then.
//
// A stale page has an exit code of its own (3), so that a pipeline can tell "not purged"
// from "could not be seen" (1). Stale wins over unknown and broken pages. A wrong URL or
// an empty list exits with 2.
func (c *checkCmd) Run(ctx context.Context, std streams) error {
	if err := c.usage(); err != nil {
		return usage("%w", err)
	}
	// fetch.Config has no Address, so no address is refused: the person who calls this
	// command can reach them all anyway.
	fetcher := fetch.New(fetch.Config{Agent: userAgent(), PerHost: 16})
	defer fetcher.Close()
	values, readErr := valuesOr(ctx, std, c.Values, "URL")
	var wrong error // the first value that is not a URL; it ends the list. Read it only after results has ended
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
	// end also runs after a wrong URL, so that the JSON is complete whatever the exit
	// code is.
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

// usage finds faults in the flags, and in pages on the command line, before anything is
// fetched. Pages from standard input are checked one by one as they arrive.
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
	if fromStdin(c.Values) {
		return nil
	}
	for _, value := range c.Values {
		if err := pageURL(value); err != nil {
			return err
		}
	}
	return nil
}

// pageURL returns an error for a value that is not an absolute http or https URL.
func pageURL(value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Errorf("%q is not an absolute http or https URL", value)
	}
	return nil
}

// checked is a page that was looked at, with the evidence and what follows from it.
type checked struct {
	url      string
	evidence verify.Evidence
	finding  verify.Finding
}

// results looks at several pages at the same time and yields them in the order of the
// list, each URL once.
//
// The channel of channels keeps the order: a page gets its place in it before its look
// begins. Its capacity bounds how many looks wait for their turn. If the consumer stops
// early, the deferred cancel ends the reader and all looks; each look can always store
// its result, because its own channel has room for it.
func (c *checkCmd) results(ctx context.Context, g probe.Getter, urls iter.Seq[string]) iter.Seq[checked] {
	const beside = 8 // results that may wait in the channel
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

// look collects the evidence of one page and judges it. Without --resolve it asks each of
// several addresses of the host, because each can be another edge server of Akamai with a
// cache of its own.
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

// maxAddresses is how many addresses of one host are asked.
const maxAddresses = 4

// addressesOf resolves the host of a URL. It returns nil if that fails; the look then
// reports why. It asks for IPv4 first and takes IPv6 only if there is none, because many
// machines have no route for IPv6.
func addressesOf(ctx context.Context, value string) (all []string) {
	u, err := url.Parse(value)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, family := range []string{"ip4", "ip6"} { // the first family that has addresses is enough
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

// printer writes results as they come. end is called once, after the last.
type printer interface {
	one(r checked) error
	end() error
}

// printer makes the printer for the format that the flags ask for.
func (c *checkCmd) printer(std streams) printer {
	if c.JSON {
		return &checkJSON{out: std.out}
	}
	return &checkText{out: std.out}
}

// checkText prints results for people.
type checkText struct {
	out   io.Writer
	pages int
}

// one prints a page: the verdict, its cause, and the evidence line by line. Looks with
// the same line are printed once. It writes a page in one call, so that an interruption
// does not cut it in the middle.
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

// describeLook is the evidence of one look on one line: where the answer came from, then
// its status or fault, and the headers that tell about caches.
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

// checkJSON prints results for programs as one JSON document. It writes the document page
// by page, so that a long list takes no memory. Only end completes the document: a run
// that is interrupted leaves it incomplete.
type checkJSON struct {
	out   io.Writer
	pages int // printed so far; decides about the opening and the commas
}

// freshJSON is one page in the document. docs/cli.md promises its fields.
type freshJSON struct {
	URL     string         `json:"url"`
	Verdict verify.Verdict `json:"verdict"`
	Cause   string         `json:"cause"`
	Causes  []verify.Kind  `json:"causes"`
	Edge    sideJSON       `json:"edge"`
	Origin  any            `json:"origin"` // sideJSON; {} without --origin
}

// sideJSON is one side of a page, Akamai or the origin: the fields of where the first
// look ended, and all looks.
type sideJSON struct {
	verify.Answer
	Looks []verify.Look `json:"looks"`
}

// one writes a page. [probe.Ask] always makes at least one look at the edge, so Edge[0]
// exists.
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

// end closes the document. Without a page it also opens it, so that an empty list is
// valid JSON.
func (p *checkJSON) end() error {
	begin := ""
	if p.pages == 0 {
		begin = `{"results":[`
	}
	_, err := fmt.Fprintln(p.out, begin+"]}")
	return err
}
