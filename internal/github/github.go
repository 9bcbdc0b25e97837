// Package github is the App's REST side: it reads commits, trees, rules files,
// deployments and pull requests, and writes statuses, check runs and comments.
//
// It promises three things. What it says has changed between two commits is
// exact, or an error; never a guess and never empty by mistake. Every error
// tells whether waiting helps ([RetryAfter]), whether the thing is not there
// ([IsNotFound]) and whether the operator must mend something
// ([OperatorFault]). And no key or token is ever part of an error or a log.
//
// Requests are built by go-github and signed by ghinstallation, but sent by
// this package: go-github v60 takes a 429 for an ordinary error, and a
// secondary limit without retry-after for a wait until the primary limit's
// reset, up to an hour.
package github

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/golang-jwt/jwt/v4"
	gh "github.com/google/go-github/v60/github"
)

const (
	defaultTimeout   = 30 * time.Second
	defaultUserAgent = "purgebot"

	// concurrentReads is how many requests one installation has in the air.
	// GitHub's secondary limit is 100; others use the same App's installation.
	concurrentReads = 8

	cacheBytes = 32 << 20
)

// Config is what an [App] needs.
type Config struct {
	// APIURL is the REST API's address, used as it is:
	// https://api.github.com, https://HOST/api/v3, http://127.0.0.1:8080.
	APIURL string
	AppID  int64
	// PrivateKey is the App's RSA key as PEM, PKCS#1 or PKCS#8. Line breaks
	// that an environment variable turned into "\n" are mended.
	PrivateKey []byte
	// Transport sends the requests; nil: a clone of http.DefaultTransport.
	Transport http.RoundTripper
	// Timeout bounds each request, the reading of its answer included; 0: 30 s.
	// Whole trees and comparisons, which are many megabytes, get four times that.
	Timeout time.Duration
	// UserAgent names the program to GitHub; "": "purgebot".
	UserAgent string
	// Unpaced sends calls as fast as they come, whatever limits GitHub tells of.
	Unpaced bool
	// Log gets one debug line a request; nil: none.
	Log *slog.Logger
}

// App speaks to GitHub as one GitHub App. It is safe for concurrent use.
type App struct {
	base      *url.URL
	id        int64
	key       *rsa.PrivateKey
	transport http.RoundTripper
	timeout   time.Duration
	userAgent string
	unpaced   bool
	log       *slog.Logger
	cache     *cache
	own       *client // authenticated as the App, by JWT

	comparisons comparisons
	clock       clock
	refusals    atomic.Int64

	mu            sync.Mutex
	installations map[int64]*client
	found         map[string]int64  // "owner/name", folded → installation
	grants        map[int64]granted // of each installation; 0: what the App asks for
}

// New makes an App and never touches the network. Errors are about the
// configuration and have public words.
func New(cfg Config) (*App, error) {
	base, err := baseURL(cfg.APIURL)
	if err != nil {
		return nil, err
	}
	if cfg.AppID <= 0 {
		return nil, &ConfigError{"the GitHub App's id is missing: set github.app_id to the number on the App's settings page"}
	}
	key, err := privateKey(cfg.PrivateKey)
	if err != nil {
		return nil, err
	}
	a := &App{
		base:          base,
		id:            cfg.AppID,
		key:           key,
		timeout:       cfg.Timeout,
		userAgent:     cfg.UserAgent,
		unpaced:       cfg.Unpaced,
		log:           cfg.Log,
		cache:         newCache(cacheBytes),
		installations: map[int64]*client{},
		found:         map[string]int64{},
		grants:        map[int64]granted{},
	}
	if a.timeout <= 0 {
		a.timeout = defaultTimeout
	}
	if a.userAgent == "" {
		a.userAgent = defaultUserAgent
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	tr := cfg.Transport
	if tr == nil {
		tr = defaultTransport()
	}
	a.transport = &headers{next: tr, userAgent: a.userAgent, clock: &a.clock}
	spent := new(pointLimit)
	a.own = a.newClient(spent, a.paced(spent, ghinstallation.NewAppsTransportFromPrivateKey(a.transport, a.id, a.key)))
	return a, nil
}

// ID is the App's id: check runs of another App are none of ours.
func (a *App) ID() int64 { return a.id }

// ConfigError says what is wrong with a [Config], for the operator.
type ConfigError struct{ words string }

func (e *ConfigError) Error() string { return e.words }

// Public gives the words that people may read; they hold no secret.
func (e *ConfigError) Public() string { return e.words }

func defaultTransport() http.RoundTripper {
	tr, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	tr = tr.Clone()
	tr.MaxIdleConnsPerHost = 2 * concurrentReads
	return tr
}

func baseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return nil, &ConfigError{"github.api_url is not an http(s) address; for github.com it is https://api.github.com, for GitHub Enterprise Server https://HOST/api/v3"}
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, &ConfigError{"github.api_url has a user, a query or a fragment; it is an address and a path alone, as https://HOST/api/v3"}
	}
	if !strings.HasSuffix(u.Path, "/") { // go-github resolves paths against it
		u.Path += "/"
	}
	return u, nil
}

// WebURL is where people see what the REST API at an address serves, without a
// slash at its end: https://github.com, a GitHub Enterprise Server's host, or
// a company's own https://COMPANY.ghe.com. "" where the address does not tell.
// https://docs.github.com/en/rest/using-the-rest-api/getting-started-with-the-rest-api
func WebURL(apiURL string) string {
	u, err := baseURL(apiURL)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Host)
	company, isAPI := strings.CutPrefix(host, "api.")
	switch {
	case u.Path == "/api/v3/":
		return u.Scheme + "://" + host
	case u.Path == "/" && isAPI && (company == "github.com" || strings.HasSuffix(company, ".ghe.com")):
		return u.Scheme + "://" + company
	}
	return ""
}

// privateKey reads the App's key, also as a variable may hold it: in quotes, with \n
// for its line breaks.
func privateKey(pem []byte) (*rsa.PrivateKey, error) {
	pem = bytes.TrimSpace(pem)
	if len(pem) == 0 {
		return nil, &ConfigError{"the GitHub App's private key is missing: set github.private_key_file to the PEM file that GitHub gave you"}
	}
	if !bytes.Contains(pem, []byte("\n")) {
		pem = bytes.Trim(pem, `"'`)
		pem = bytes.ReplaceAll(pem, []byte(`\r`), nil)
		pem = bytes.ReplaceAll(pem, []byte(`\n`), []byte("\n"))
	}
	// The parser's own words are dropped: they may quote what they could not read.
	key, err := jwt.ParseRSAPrivateKeyFromPEM(pem)
	switch {
	case bytes.Contains(pem, []byte("ENCRYPTED")):
		return nil, &ConfigError{"the GitHub App's private key is encrypted: give it without a passphrase, as GitHub's download has it"}
	case errors.Is(err, jwt.ErrNotRSAPrivateKey):
		return nil, &ConfigError{"the GitHub App's private key is not an RSA key: give the PEM file that GitHub gave you"}
	case err != nil:
		return nil, &ConfigError{"the GitHub App's private key can't be read: give the whole PEM file that GitHub gave you, from BEGIN to END"}
	}
	return key, nil
}

// paced counts what goes through a transport.
func (a *App) paced(spent *pointLimit, next http.RoundTripper) http.RoundTripper {
	if a.unpaced {
		return next
	}
	return &pacedTransport{points: spent, next: next}
}

func (a *App) newClient(spent *pointLimit, auth http.RoundTripper) *client {
	// go-github's own sending is not used, so no HTTP client is given to it.
	builder := gh.NewClient(nil)
	builder.BaseURL = a.base
	builder.UserAgent = a.userAgent
	return &client{
		builder: builder,
		http:    &http.Client{Transport: auth, CheckRedirect: sameHost},
		timeout: a.timeout,
		log:     a.log,
		points:  spent,
		slots:   make(chan struct{}, concurrentReads),
	}
}

// installation gives the client of one installation; all callers share it,
// and so its token.
func (a *App) installation(id int64) *client {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, ok := a.installations[id]
	if !ok {
		spent := new(pointLimit)
		c = a.newClient(spent, &cached{cache: a.cache, scope: id, next: a.paced(spent, newTokens(a, id))})
		a.installations[id] = c
	}
	return c
}

// Repository is one repository as one installation sees it. It holds no state
// of its own and is cheap to make.
type Repository struct {
	app          *App
	installation int64
	owner, name  string
}

// Repository makes the handle of a repository and asks nothing. Installation 0
// means that GitHub is asked which installation has it, at the first call.
func (a *App) Repository(installation int64, owner, name string) *Repository {
	return &Repository{app: a, installation: installation, owner: owner, name: name}
}

// String is the repository's full name, owner/name.
func (r *Repository) String() string { return r.owner + "/" + r.name }

func (r *Repository) client(ctx context.Context) (*client, error) {
	id := r.installation
	if id == 0 {
		var err error
		if id, err = r.app.findInstallation(ctx, r.owner, r.name); err != nil {
			return nil, err
		}
	}
	return r.app.installation(id), nil
}

// do sends one call about this repository; the call's path is relative to
// repos/{owner}/{name}.
func (r *Repository) do(ctx context.Context, c call, into any) (http.Header, error) {
	client, err := r.client(ctx)
	if err != nil {
		return nil, err
	}
	path, err := repositoryPath(r.owner, r.name)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", c.op, r, err)
	}
	if c.path != "" {
		path += "/" + c.path
	}
	c.path = path
	c.op += " of " + r.String()
	return client.do(ctx, c, into)
}

// findInstallation asks which installation may see a repository, once: the answer is
// kept by name until a call by it fails, since an App that was installed anew has
// another id.
func (a *App) findInstallation(ctx context.Context, owner, name string) (int64, error) {
	key := strings.ToLower(owner + "/" + name)
	a.mu.Lock()
	id, ok := a.found[key]
	a.mu.Unlock()
	if ok {
		return id, nil
	}
	path, err := repositoryPath(owner, name)
	if err != nil {
		return 0, fmt.Errorf("find installation of %s/%s: %w", owner, name, err)
	}
	var answer struct {
		ID int64 `json:"id"`
	}
	c := call{op: "find installation of " + owner + "/" + name, path: path + "/installation"}
	if _, err := a.own.do(ctx, c, &answer); err != nil {
		if e, ok := errors.AsType[*Error](err); ok && e.kind == kindNotFound {
			e.kind = kindInstallation
		}
		return 0, err
	}
	a.mu.Lock()
	a.found[key] = answer.ID
	a.mu.Unlock()
	return answer.ID, nil
}

func (a *App) forgetInstallation(id int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, found := range a.found {
		if found == id {
			delete(a.found, name)
		}
	}
}

// repositoryPath escapes owner and name, and refuses what would lead a request
// to another place.
func repositoryPath(owner, name string) (string, error) {
	for _, s := range []string{owner, name} {
		if s == "" || s == "." || s == ".." || strings.Contains(s, "/") {
			return "", fmt.Errorf("%q is no repository's name", owner+"/"+name)
		}
	}
	return "repos/" + url.PathEscape(owner) + "/" + url.PathEscape(name), nil
}

// escapePath escapes every element of a path or branch name, and keeps its
// slashes.
func escapePath(path string) string {
	elements := strings.Split(path, "/")
	for i, e := range elements {
		elements[i] = url.PathEscape(e)
	}
	return strings.Join(elements, "/")
}
