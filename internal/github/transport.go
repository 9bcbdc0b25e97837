package github

import (
	"bytes"
	"container/list"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
)

const (
	apiVersion = "2022-11-28" // https://docs.github.com/rest/about-the-rest-api/api-versions
	mediaType  = "application/vnd.github+json"
)

// headers gives every request the headers that GitHub asks for. The requests for tokens
// pass here too.
type headers struct {
	next      http.RoundTripper
	userAgent string
	clock     *clock
}

// RoundTrip sends a copy of the request: a RoundTripper must not change its argument. It
// also learns GitHub's clock from each answer; see [App.Ahead].
func (h *headers) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", h.userAgent)
	req.Header.Set("X-GitHub-Api-Version", apiVersion)
	accept := req.Header.Get("Accept")
	// Set, not Add: ghinstallation adds a second Accept header. go-github's default is
	// the old media type; a special one, such as .sha, stays.
	if accept == "" || strings.HasPrefix(accept, "application/vnd.github.v3+json") {
		accept = mediaType
	}
	req.Header.Set("Accept", accept)
	sent := time.Now()
	resp, err := h.next.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	h.clock.heed(resp.Header, sent, time.Now())
	return resp, nil
}

// sameHost lets the client follow GitHub's redirects of renamed and transferred
// repositories, but never to another host or scheme. Every request is signed below this
// point, so a redirect would carry the token to the other host.
//
// It also refuses a redirect that changes the method. On a 301 or 302 net/http turns a
// write into a read; the answer would then look like success although nothing was
// written.
func sameHost(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case req.URL.Host != first.URL.Host || req.URL.Scheme != first.URL.Scheme:
		return &redirectError{"GitHub redirects to another host"}
	case req.Method != first.Method:
		return &redirectError{"GitHub redirects a write: the repository moved"}
	case len(via) > 5:
		return &redirectError{"GitHub redirects in a circle"}
	}
	return nil
}

// redirectError is a redirect that is not followed. Trying again gives the same answer.
type redirectError struct{ words string }

func (e *redirectError) Error() string { return e.words }

// tokens signs requests with an installation's token. A token lasts an hour, and
// ghinstallation renews it by this machine's clock. A 401 means that the clock was wrong
// or that the token was revoked. Then tokens gets a new token and sends the request once
// more.
type tokens struct {
	app *App
	id  int64

	// mu guards current. It is not held while a request is under way.
	mu      sync.Mutex
	current *ghinstallation.Transport
}

func newTokens(a *App, installation int64) *tokens {
	return &tokens{app: a, id: installation, current: a.installationTransport(installation)}
}

// installationTransport makes a fresh transport that has no token yet. Each has its own
// AppsTransport, because ghinstallation writes to that at every renewal: sharing one
// would be a data race.
func (a *App) installationTransport(id int64) *ghinstallation.Transport {
	app := ghinstallation.NewAppsTransportFromPrivateKey(&tokenAnswers{a.transport}, a.id, a.key)
	tr := ghinstallation.NewFromAppsTransport(app, id)
	tr.BaseURL = strings.TrimSuffix(a.base.String(), "/") // ghinstallation does not take it from anywhere else
	return tr
}

// tokenAnswers stops a 2xx answer that should hold a token but does not. ghinstallation
// would panic at such an answer, or go on with an empty token.
type tokenAnswers struct{ next http.RoundTripper }

// RoundTrip checks answers to requests for a token, and passes on all others unread.
func (t *tokenAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil || !strings.HasSuffix(req.URL.Path, "/access_tokens") || resp.StatusCode/100 != 2 {
		return resp, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, errorBodyBytes))
	if err != nil {
		return nil, fmt.Errorf("read installation token: %w", err)
	}
	var answer struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Token == "" || answer.ExpiresAt.IsZero() {
		return nil, errNoToken
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// errNoToken wraps nothing: the answer's body may hold part of a token.
var errNoToken = errors.New("the answer has no installation token")

// RoundTrip sends a request again, once, if GitHub refuses its token. An owner may revoke
// a token long before it expires. A request whose body cannot be read twice is not sent
// again. GitHub rejected the first attempt before acting on it, so a write does not
// happen twice.
func (t *tokens) RoundTrip(req *http.Request) (*http.Response, error) {
	tr := t.transport()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.app.forgetInstallation(t.id) // the App may have been installed again, with another id
		return nil, fmt.Errorf("installation %d: %w", t.id, err)
	}
	if resp.StatusCode != http.StatusUnauthorized || (req.Body != nil && req.GetBody == nil) {
		return resp, nil
	}
	// Reading the body to its end lets the connection be used again.
	_, _ = io.CopyN(io.Discard, resp.Body, errorBodyBytes)
	_ = resp.Body.Close()
	again := req.Clone(req.Context())
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return nil, fmt.Errorf("repeat request: %w", err)
		}
	}
	resp, err = t.renew(tr).RoundTrip(again)
	if err != nil {
		t.app.forgetInstallation(t.id)
		return nil, fmt.Errorf("installation %d: %w", t.id, err)
	}
	return resp, nil
}

func (t *tokens) transport() *ghinstallation.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.current
}

// renew replaces the transport whose token GitHub refused. If another request has
// replaced it already, that one is used: ten refused requests fetch one new token, not
// ten.
func (t *tokens) renew(refused *ghinstallation.Transport) *ghinstallation.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == refused {
		t.current = t.app.installationTransport(t.id)
	}
	return t.current
}

// pinnedKey marks the context of a request whose answer can't change: see [call].
type pinnedKey struct{}

// cached answers reads from what it has seen before. An answer that cannot change is
// served at once. Any other is served if GitHub says 304, which does not count against
// the hourly budget.
//
// It sits above authentication, and the installation is part of the key. So an
// installation sees only what GitHub showed to that installation.
type cached struct {
	cache *cache
	scope int64 // the installation
	next  http.RoundTripper
}

// cachedBodyBytes is the largest body that is kept, in bytes. A folder or a commit fits;
// the recursive tree of a large repository would push out everything else.
const cachedBodyBytes = 1 << 20

// RoundTrip asks GitHub with the ETag of the known answer. If the caller says that the
// answer cannot change, such as a commit by its id, it does not ask at all. A 304 does
// not count against the primary rate limit:
// https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
func (c *cached) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet {
		return c.send(req)
	}
	pinned, _ := req.Context().Value(pinnedKey{}).(bool)
	// Accept is part of the key: one address gives a SHA or JSON, depending on it.
	key := fmt.Sprintf("%d %s %s", c.scope, req.Header.Get("Accept"), req.URL)
	known, ok := c.cache.get(key)
	if ok && pinned {
		return known.response(req, nil), nil
	}
	ok = ok && known.etag != ""
	if ok {
		req = req.Clone(req.Context())
		req.Header.Set("If-None-Match", known.etag)
	}
	resp, err := c.send(req)
	if err != nil {
		return nil, err
	}
	switch {
	case ok && resp.StatusCode == http.StatusNotModified:
		_ = resp.Body.Close()
		return known.response(req, resp.Header), nil
	// Without an ETag nothing can be asked again, so only a pinned answer is worth
	// keeping. An unknown length, -1, passes; keep then counts the bytes.
	case resp.StatusCode == http.StatusOK && (pinned || resp.Header.Get("Etag") != "") &&
		resp.ContentLength <= cachedBodyBytes:
		return c.keep(key, resp)
	}
	return resp, nil
}

func (c *cached) send(req *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("authenticate: %w", err)
	}
	return resp, nil
}

// keep stores an answer after reading it whole. A body that turns out too large is passed
// on without being kept. A body that breaks off is an error, and never kept: half an
// answer would be served again and again.
func (c *cached) keep(key string, resp *http.Response) (*http.Response, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, cachedBodyBytes+1))
	if err != nil {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if len(body) > cachedBodyBytes {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), resp.Body), resp.Body}
		return resp, nil
	}
	_ = resp.Body.Close()
	a := &answer{key: key, etag: resp.Header.Get("Etag"), header: resp.Header, body: body}
	c.cache.put(a)
	return a.response(resp.Request, nil), nil
}

// answer is one kept 200. It is shared by all readers and never changes.
type answer struct {
	key    string
	etag   string // "": it can't be asked for again, only served if pinned
	header http.Header
	body   []byte
}

// response makes a new response from a kept answer. newer is the header of a 304, or nil.
// Its values win, for example the rate limit's, but not those that describe the body: a
// 304 has none.
func (a *answer) response(req *http.Request, newer http.Header) *http.Response {
	header := a.header.Clone()
	for k, v := range newer {
		if k != "Content-Length" && k != "Content-Type" {
			header[k] = v
		}
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Request: req,
		ContentLength: int64(len(a.body)), Body: io.NopCloser(bytes.NewReader(a.body)),
	}
}

// size estimates the memory in bytes; 1024 stands for the header and the bookkeeping.
func (a *answer) size() int { return len(a.body) + len(a.key) + 1024 }

// cache keeps the answers that were used last, up to a number of bytes. Its methods may
// be called concurrently, except drop, which needs the lock.
type cache struct {
	mu     sync.Mutex
	most   int // bytes
	size   int // bytes, the sum of all answers' size()
	byKey  map[string]*list.Element
	recent *list.List // of *answer, the last used at the front
}

func newCache(most int) *cache {
	return &cache{most: most, byKey: map[string]*list.Element{}, recent: list.New()}
}

func (c *cache) get(key string) (*answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return nil, false
	}
	c.recent.MoveToFront(e)
	a, ok := e.Value.(*answer)
	return a, ok
}

// put stores an answer and drops those that were not used for longest. The newest always
// stays, even if it alone is larger than the bound.
func (c *cache) put(a *answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.byKey[a.key]; ok {
		c.drop(old)
	}
	c.byKey[a.key] = c.recent.PushFront(a)
	c.size += a.size()
	for c.size > c.most && c.recent.Len() > 1 {
		c.drop(c.recent.Back())
	}
}

// drop removes one answer. The caller holds the lock.
func (c *cache) drop(e *list.Element) {
	a, ok := c.recent.Remove(e).(*answer)
	if !ok {
		return
	}
	delete(c.byKey, a.key)
	c.size -= a.size()
}
