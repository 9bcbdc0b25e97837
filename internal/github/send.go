package github

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	gh "github.com/google/go-github/v60/github"
)

// client sends calls with one identity: the App's or one installation's.
type client struct {
	builder *gh.Client // builds requests, never sends
	http    *http.Client
	timeout time.Duration
	log     *slog.Logger
	slots   chan struct{}
	points  *pointLimit

	mu     sync.Mutex
	reads  pause // also holds up writes
	writes pause
}

// pause is a rate limit that was met: until when, and the refusal that began it.
type pause struct {
	until time.Time
	why   Error
}

// call is one request of the API.
type call struct {
	op     string // for errors: verb and object
	method string // "": GET
	path   string // escaped, relative to the API's address
	query  url.Values
	body   any
	accept string
	// pinned is for an answer that can't change, as its address holds the
	// object's own hash: it is asked once while it stays in the cache.
	pinned bool
	// slow is for an answer of many megabytes: it gets four times the time.
	slow bool
	// most is how many bytes the answer can need; 0: answerBytes.
	most int64
}

// What an answer can need, in bytes. What is longer is not read to its end.
const (
	answerBytes = 1 << 20 // one thing
	// textBytes is for what holds texts of people: a commit with its message,
	// a page of a list.
	textBytes = 16 << 20
	// listingBytes is for trees and comparisons. GitHub cuts trees at 7 MB and
	// 100,000 entries, which is about 40 MB of JSON.
	listingBytes = 64 << 20
)

// reader reads a whole answer. It is called anew when a read is tried again.
type reader func(io.Reader) error

const readAttempts = 3

// do sends a call and reads its answer as JSON into a value, or through a
// [reader]; nil: the answer's body does not matter. Reads that meet a 5xx or
// a dropped connection are tried again a little later; writes never are, for
// the first may have arrived.
func (c *client) do(ctx context.Context, call call, into any) (http.Header, error) {
	for attempt := 1; ; attempt++ {
		header, err := c.once(ctx, call, into)
		if err == nil {
			return header, nil
		}
		again := attempt < readAttempts && call.method == "" &&
			err.kind == kindUnavailable && err.RetryAfter == 0
		if !again || !wait(ctx, backoff(attempt)) {
			return nil, err
		}
	}
}

// backoff is 100 to 300 ms, then 400 ms to 1.2 s.
func backoff(attempt int) time.Duration {
	base := 200 * time.Millisecond << (2 * (attempt - 1))
	return base/2 + rand.N(base) //nolint:gosec // jitter needs no secrecy
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// once makes one call. The waits come first, each of which ends with ctx: for a limit
// that GitHub told of, for the points of a minute, and for a place among those that
// are under way; the time limit counts from then on. What GitHub refuses as a limit is
// noted, and the calls after it wait without asking.
func (c *client) once(ctx context.Context, call call, into any) (http.Header, *Error) {
	if err := c.pause(call); err != nil {
		return nil, err
	}
	if err := c.points.await(ctx); err != nil {
		return nil, unanswered(ctx, call.op, err)
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, unanswered(ctx, call.op, ctx.Err())
	}
	timeout := c.timeout
	if call.slow {
		timeout *= 4
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := c.request(limited, call)
	if err != nil {
		return nil, &Error{Op: call.op, Message: err.Error(), err: err}
	}
	start := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		failed := unanswered(ctx, call.op, err)
		c.note(failed, false)
		c.logCall(ctx, req, failed.Status, start)
		return nil, failed
	}
	defer func() {
		_, _ = io.CopyN(io.Discard, resp.Body, errorBodyBytes) // so that the connection is used again
		_ = resp.Body.Close()
	}()
	c.logCall(ctx, req, resp.StatusCode, start)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		failed := refused(call.op, resp)
		c.note(failed, call.method != "" && resp.Header.Get("X-Ratelimit-Remaining") != "0")
		return nil, failed
	}
	if err := read(resp, cmp.Or(call.most, answerBytes), into); err != nil {
		if cause := ctx.Err(); cause != nil {
			return nil, unanswered(ctx, call.op, cause)
		}
		return nil, notJSON(call.op, resp.StatusCode, err)
	}
	return resp.Header, nil
}

func (c *client) request(ctx context.Context, call call) (*http.Request, error) {
	method := call.method
	if method == "" {
		method = http.MethodGet
	}
	address := call.path
	if len(call.query) > 0 {
		address += "?" + call.query.Encode()
	}
	req, err := c.builder.NewRequest(method, address, call.body)
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	if call.accept != "" {
		req.Header.Set("Accept", call.accept)
	}
	if call.pinned {
		ctx = context.WithValue(ctx, pinnedKey{}, true)
	}
	return req.WithContext(ctx), nil
}

// atMost reads so many bytes and no more, and says so.
type atMost struct {
	io.Reader
	left int64
}

var errTooLong = errors.New("the answer is longer than it can need to be")

func (b *atMost) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.Reader.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func read(resp *http.Response, most int64, into any) error {
	body := &atMost{resp.Body, most}
	switch into := into.(type) {
	case nil:
		return nil
	case reader:
		return into(body)
	default:
		if err := json.NewDecoder(body).Decode(into); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		return nil
	}
}

// pause refuses a call during a rate limit: GitHub's documentation threatens
// integrations that go on asking.
func (c *client) pause(call call) *Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	met := c.reads
	if call.method != "" && c.writes.until.After(met.until) {
		met = c.writes
	}
	left := time.Until(met.until)
	if left <= 0 {
		return nil
	}
	e := met.why
	e.Op, e.RetryAfter = call.op, max(left.Round(time.Millisecond), time.Millisecond)
	return &e
}

// note begins a pause where an answer asks for one. A limit on writes alone,
// 80 a minute and 500 an hour, holds up no read: what is to be purged must
// not wait for what is to be said of it.
func (c *client) note(e *Error, writesAlone bool) {
	if e.kind != kindLimited || e.Status == 0 { // our own refusal knows when
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	met := &c.reads
	if writesAlone {
		met = &c.writes
	}
	if until := time.Now().Add(e.RetryAfter); until.After(met.until) {
		*met = pause{until, *e}
	}
}

func (c *client) logCall(ctx context.Context, req *http.Request, status int, start time.Time) {
	c.log.DebugContext(ctx, "github call",
		"method", req.Method, "path", req.URL.Path, "status", status, "ms", time.Since(start).Milliseconds())
}

// pages reads a list page by page; each reads one page and says whether the
// next is wanted. At most `most` pages are read; whether there were more is
// the result.
func pages(c call, most int, do func(call) (http.Header, error), wanted func() bool) (more bool, err error) {
	if c.query == nil {
		c.query = url.Values{}
	}
	c.query.Set("per_page", "100")
	c.most = cmp.Or(c.most, textBytes)
	for range most {
		header, err := do(c)
		if err != nil {
			return false, err
		}
		next := nextPage(header)
		if next == nil || !wanted() {
			return false, nil
		}
		for _, k := range []string{"page", "cursor", "after", "since"} {
			if v := next.Get(k); v != "" {
				c.query.Set(k, v)
			}
		}
	}
	return true, nil
}

// nextPage gives the query of a Link header's rel="next". Its host is not
// used: behind a proxy it is another, and a token must not go there.
func nextPage(header http.Header) url.Values {
	for link := range strings.SplitSeq(strings.Join(header.Values("Link"), ","), ",") {
		address, params, ok := strings.Cut(strings.TrimSpace(link), ">")
		if !ok || !strings.HasPrefix(address, "<") || !strings.Contains(params, `rel="next"`) {
			continue
		}
		if u, err := url.Parse(address[1:]); err == nil {
			return u.Query()
		}
	}
	return nil
}
