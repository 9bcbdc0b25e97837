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

// headers gives every request, those for tokens too, what GitHub asks of each.
type headers struct {
	next      http.RoundTripper
	userAgent string
	clock     *clock
}

// RoundTrip reads GitHub's clock from each answer, too: see Ahead.
func (h *headers) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", h.userAgent)
	req.Header.Set("X-GitHub-Api-Version", apiVersion)
	accept := req.Header.Get("Accept")
	if accept == "" || strings.HasPrefix(accept, "application/vnd.github.v3+json") {
		accept = mediaType
	}
	req.Header.Set("Accept", accept) // ghinstallation adds a second one
	sent := time.Now()
	resp, err := h.next.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	h.clock.heed(resp.Header, sent, time.Now())
	return resp, nil
}

// sameHost follows GitHub's redirects of renamed and transferred repositories,
// but never to another host: authentication is added to every request, so a
// redirect would take the token there. It refuses as well what net/http would
// do to a write, which is to turn it into a read.
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

type redirectError struct{ words string }

func (e *redirectError) Error() string { return e.words }

// tokens signs requests with an installation's token. ghinstallation renews
// it by the clock; a 401 says that the clock was wrong, or the token revoked,
// and then a new one is fetched and the request sent once more.
type tokens struct {
	app *App
	id  int64

	mu      sync.Mutex
	current *ghinstallation.Transport
}

func newTokens(a *App, installation int64) *tokens {
	return &tokens{app: a, id: installation, current: a.installationTransport(installation)}
}

// installationTransport makes a fresh one, with no token yet. Each has its own
// AppsTransport: ghinstallation writes to that at every renewal.
func (a *App) installationTransport(id int64) *ghinstallation.Transport {
	app := ghinstallation.NewAppsTransportFromPrivateKey(&tokenAnswers{a.transport}, a.id, a.key)
	tr := ghinstallation.NewFromAppsTransport(app, id)
	tr.BaseURL = strings.TrimSuffix(a.base.String(), "/")
	return tr
}

// tokenAnswers lets no answer through that says 201 and has no token:
// ghinstallation panics at one, or goes on with an empty token.
type tokenAnswers struct{ next http.RoundTripper }

// RoundTrip passes on an answer with a token, and whatever is no answer to a
// request for one.
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

var errNoToken = errors.New("the answer has no installation token")

// RoundTrip sends a request once more where GitHub refuses its token: an owner may
// have revoked it long before it ends. What has a body that can't be read twice is
// not sent again.
func (t *tokens) RoundTrip(req *http.Request) (*http.Response, error) {
	tr := t.transport()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.app.forgetInstallation(t.id) // it may have been installed anew, under another id
		return nil, fmt.Errorf("installation %d: %w", t.id, err)
	}
	if resp.StatusCode != http.StatusUnauthorized || (req.Body != nil && req.GetBody == nil) {
		return resp, nil
	}
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

// renew drops a token that GitHub refused, unless somebody else already has.
func (t *tokens) renew(refused *ghinstallation.Transport) *ghinstallation.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == refused {
		t.current = t.app.installationTransport(t.id)
	}
	return t.current
}

type pinnedKey struct{}

// cached answers reads from what it has seen before: an answer that can't
// change at once, any other if GitHub says 304, which costs none of the
// hourly budget. It sits above authentication, so each installation sees only
// what itself was shown.
type cached struct {
	cache *cache
	scope int64
	next  http.RoundTripper
}

// cachedBodyBytes is the largest answer worth keeping; a recursive tree is not.
const cachedBodyBytes = 1 << 20

// RoundTrip asks with the tag of what is known, or, where the caller says that the
// answer can't change (a commit by its id), doesn't ask at all. GitHub counts no 304:
// https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
func (c *cached) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet {
		return c.send(req)
	}
	pinned, _ := req.Context().Value(pinnedKey{}).(bool)
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

// keep stores an answer once it was read whole. One that turns out too large
// goes on as it comes.
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

// answer is one kept 200.
type answer struct {
	key    string
	etag   string
	header http.Header
	body   []byte
}

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

func (a *answer) size() int { return len(a.body) + len(a.key) + 1024 }

// cache keeps the answers used last, up to a number of bytes.
type cache struct {
	mu     sync.Mutex
	most   int
	size   int
	byKey  map[string]*list.Element
	recent *list.List
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

func (c *cache) drop(e *list.Element) {
	a, ok := c.recent.Remove(e).(*answer)
	if !ok {
		return
	}
	delete(c.byKey, a.key)
	c.size -= a.size()
}
