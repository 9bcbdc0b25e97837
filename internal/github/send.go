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

// client sends calls with one identity: the App's or one installation's. GitHub counts
// its limits per identity, so there must be one client for each. It is safe for
// concurrent use.
type client struct {
	builder *gh.Client // builds requests and never sends one
	http    *http.Client
	timeout time.Duration // of one attempt
	log     *slog.Logger
	slots   chan struct{} // holds one element for each request under way
	points  *pointLimit   // shared with the transport, which does the counting

	mu     sync.Mutex
	reads  pause // holds up writes too
	writes pause // holds up writes only
}

// pause is the time during which no call is sent, because GitHub named a rate limit. The
// zero value is no pause.
type pause struct {
	until time.Time
	why   Error
}

// call is one request to the API.
type call struct {
	op     string // for errors: verb and object
	method string // "": GET. A call with a method counts as a write
	path   string // already escaped, relative to the API's address
	query  url.Values
	body   any    // sent as JSON; nil: none
	accept string // media type; "": GitHub's JSON
	// pinned is for an answer that cannot change, because its address holds a hash. Such
	// an answer is asked for once while it stays in the cache. Setting it for an address
	// with a branch name would serve an old answer for ever.
	pinned bool
	// slow is for an answer of many megabytes. It gets four times the timeout.
	slow bool
	// most is the largest body that this answer can need, in bytes. 0 means answerBytes.
	most int64
}

// The sizes that an answer can need, in bytes. A longer body is an error: it is not read
// to its end, so that a wrong server cannot fill the memory.
const (
	answerBytes = 1 << 20 // for one thing
	// textBytes is for answers that hold texts written by people: a commit with its
	// message, or a page of a list.
	textBytes = 16 << 20
	// listingBytes is for trees and comparisons. GitHub truncates a tree at 7 MB or
	// 100,000 entries, which is about 40 MB of JSON.
	listingBytes = 64 << 20
)

// reader reads a whole answer. It is called again for each attempt, so it must begin by
// dropping what an earlier attempt left.
type reader func(io.Reader) error

// readAttempts is the number of times that a read is sent at most.
const readAttempts = 3

// do sends a call and reads its answer: as JSON into a value, or through a [reader]. With
// nil the body is ignored.
//
// A read that meets a 5xx or a dropped connection is tried again after [backoff]. A write
// never is, because the first one may have arrived. If GitHub names a time to wait, do
// returns at once, and the caller waits with its own means.
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

// backoff is the wait after a failed attempt: 100 to 300 ms after the first, 400 ms to
// 1.2 s after the second. It is random so that callers do not come back together.
func backoff(attempt int) time.Duration {
	base := 200 * time.Millisecond << (2 * (attempt - 1))
	return base/2 + rand.N(base) //nolint:gosec // jitter needs no secrecy
}

// wait sleeps for d. It is false if ctx ended first.
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

// once makes one attempt. Three checks come first, and any wait in them ends with ctx: a
// limit that GitHub named earlier, the points of a minute, and a place among the requests
// under way. The timeout starts only after them, so that a long queue is not mistaken for
// a slow GitHub.
//
// An answer that is a rate limit is noted. Later calls then fail at once, without asking.
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
	if err := c.pause(call); err != nil { // one of those that it waited for met a limit
		return nil, err
	}
	timeout := c.timeout
	if call.slow {
		timeout *= 4
	}
	// unanswered gets ctx, not limited: our own timeout is GitHub's trouble and worth
	// another attempt, the caller's end is not.
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
		c.note(failed, false) // also a limit met while fetching a token
		c.logCall(ctx, req, failed.Status, start)
		return nil, failed
	}
	defer func() {
		// Only a body that was read to its end lets the connection be used again. A
		// longer rest is not worth reading.
		_, _ = io.CopyN(io.Discard, resp.Body, errorBodyBytes)
		_ = resp.Body.Close()
	}()
	c.logCall(ctx, req, resp.StatusCode, start)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		failed := refused(call.op, resp)
		// A refused write while the primary budget still has calls left is taken for a
		// limit on content, which holds up writes alone. With none left every call would
		// be refused.
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

// request builds the HTTP request of a call. go-github encodes the body and gives the
// request a GetBody, which tokens needs to send a write again after a 401.
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

// atMost reads up to a number of bytes, then fails with errTooLong. io.LimitReader would
// end silently there, and a cut answer would look like broken JSON.
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

// read reads the answer of a call: see [client.do]. It does not close the body.
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

// pause refuses a call while a rate limit lasts. GitHub's documentation warns that an
// integration which goes on asking may be banned. The error is a copy of the refusal that
// began the pause, with the time that is left.
// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
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

// note begins a pause if an answer is a rate limit. A later end replaces an earlier one,
// never the reverse, as answers to concurrent calls arrive in any order.
//
// GitHub's limit on creating content, 80 a minute and 500 an hour, is for writes alone
// and holds up no read. Finding out what to purge must not wait for posting a status.
// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
func (c *client) note(e *Error, writesAlone bool) {
	if e.kind != kindLimited || e.Status == 0 { // Status 0: our own refusal, which pointLimit renews itself
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

// logCall writes one debug line. It leaves out the query and all headers: the
// Authorization header holds the token.
func (c *client) logCall(ctx context.Context, req *http.Request, status int, start time.Time) {
	c.log.DebugContext(ctx, "github call",
		"method", req.Method, "path", req.URL.Path, "status", status, "ms", time.Since(start).Milliseconds())
}

// pages reads a list page by page. do reads one page, and wanted then says whether the
// next one is needed. At most `most` pages of 100 are read. more says that the list went
// on after the last of them, so that what was read is not complete.
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
		// Lists differ in how they name the next page: by number, or by a cursor. Only
		// these keys are taken over, so that GitHub cannot change what is asked for.
		for _, k := range []string{"page", "cursor", "after", "since"} {
			if v := next.Get(k); v != "" {
				c.query.Set(k, v)
			}
		}
	}
	return true, nil
}

// nextPage gives the query of a Link header's rel="next". It ignores the host: behind a
// proxy that is another one, and the token must not go there.
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
