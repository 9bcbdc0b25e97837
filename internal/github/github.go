// Package github is the App's REST side. It reads commits, trees, rules files,
// deployments and pull requests, and it writes statuses, check runs and comments.
//
// It promises three things. What it reports as changed between two commits is exact, or
// it returns an error; it never guesses, and it never reports an empty list by mistake.
// Every error tells whether waiting helps ([RetryAfter]), whether the thing is missing
// ([IsNotFound]) and whether the operator must fix something ([OperatorFault]). No key or
// token is ever part of an error or a log line.
//
// go-github builds the requests and ghinstallation signs them, but this package sends
// them. go-github v60 takes a 429 for an ordinary error. It also takes a secondary limit
// without retry-after for a wait until the primary limit's reset, which may be an hour
// away.
//
// A request passes, in this order: cached (installations only), pacedTransport, tokens or
// the App's own signature, headers, the network.
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
	defaultTimeout   = 30 * time.Second // for one attempt; see [Config]
	defaultUserAgent = "purgebot"

	// concurrentReads is the most requests that one installation has under way. GitHub's
	// secondary limit is 100 at a time, and other programs may use the same installation.
	// https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
	concurrentReads = 8

	// cacheBytes bounds the memory of kept answers, over all installations.
	cacheBytes = 32 << 20
)

// Config configures an [App]. APIURL, AppID and PrivateKey are required.
type Config struct {
	// APIURL is the address of the REST API. It is used as it is, for example
	// https://api.github.com, https://HOST/api/v3 or http://127.0.0.1:8080.
	APIURL string
	// AppID is the number on the App's settings page. It must be positive.
	AppID int64
	// PrivateKey is the App's RSA key as PEM, in PKCS#1 or PKCS#8. GitHub hands out
	// PKCS#1. Line breaks that an environment variable turned into "\n" are restored.
	PrivateKey []byte
	// Transport sends the requests. nil means a clone of http.DefaultTransport.
	Transport http.RoundTripper
	// Timeout bounds each attempt, from sending to the end of the answer. 0 means 30 s.
	// Whole trees and comparisons get four times as long, because they are many
	// megabytes. Waiting for a place or for points does not count.
	Timeout time.Duration
	// UserAgent names the program to GitHub. "" means "purgebot".
	UserAgent string
	// Unpaced switches off the counting of points per minute. Calls then leave at once,
	// and GitHub itself must refuse what is too much. The pause after a refusal remains.
	Unpaced bool
	// Log gets one debug line for each request. nil means no log.
	Log *slog.Logger
}

// App speaks to GitHub as one GitHub App. It is safe for concurrent use. The fields above
// mu do not change after [New], or lock themselves.
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
	own       *client // authenticated as the App, by JWT: app/… accepts no installation token

	comparisons comparisons
	clock       clock
	refusals    atomic.Int64 // how often GitHub refused our words: see [App.WordsRefused]

	// mu guards the maps below. It is never held during a call to GitHub.
	mu            sync.Mutex
	installations map[int64]*client
	found         map[string]int64  // "owner/name" in lower case → installation
	grants        map[int64]granted // by installation; 0: what the App itself asks for
}

// New makes an App. It never touches the network. Every error is a [*ConfigError]: it is
// about the configuration and has public words.
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
	// Everything that leaves goes through headers, so each answer corrects the clock.
	a.transport = &headers{next: tr, userAgent: a.userAgent, clock: &a.clock}
	spent := new(pointLimit)
	a.own = a.newClient(spent, a.paced(spent, ghinstallation.NewAppsTransportFromPrivateKey(a.transport, a.id, a.key)))
	return a, nil
}

// ID is the App's id. Check runs with another App's id are not ours.
func (a *App) ID() int64 { return a.id }

// ConfigError tells the operator what is wrong with a [Config].
type ConfigError struct{ words string }

func (e *ConfigError) Error() string { return e.words }

// Public gives words that anybody may read; they hold no secret.
func (e *ConfigError) Public() string { return e.words }

// defaultTransport keeps more idle connections than the two per host that net/http keeps.
// Over HTTP/1.1 most of the concurrent reads would otherwise open a new connection.
func defaultTransport() http.RoundTripper {
	tr, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	tr = tr.Clone()
	tr.MaxIdleConnsPerHost = 2 * concurrentReads
	return tr
}

// baseURL checks the API's address and adds the slash at its end. Without that slash
// go-github refuses to build a request.
func baseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return nil, &ConfigError{"github.api_url is not an http(s) address; for github.com it is https://api.github.com, for GitHub Enterprise Server https://HOST/api/v3"}
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, &ConfigError{"github.api_url has a user, a query or a fragment; it is an address and a path alone, as https://HOST/api/v3"}
	}
	if !strings.HasSuffix(u.Path, "/") { // go-github insists on it
		u.Path += "/"
	}
	return u, nil
}

// WebURL gives the address where people see what a REST API serves, without a slash at
// its end: https://github.com, the host of a GitHub Enterprise Server, or a company's own
// https://COMPANY.ghe.com. It is "" if the API's address does not tell.
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

// privateKey reads the App's key. It also accepts what an environment variable may hold:
// the key in quotes, with \n instead of line breaks. The parser does not accept that
// form.
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
	// The parser's own message is dropped, because it may quote what it could not read.
	key, err := jwt.ParseRSAPrivateKeyFromPEM(pem)
	switch {
	// An encrypted key fails in the parser with no useful error, so this case comes
	// first.
	case bytes.Contains(pem, []byte("ENCRYPTED")):
		return nil, &ConfigError{"the GitHub App's private key is encrypted: give it without a passphrase, as GitHub's download has it"}
	case errors.Is(err, jwt.ErrNotRSAPrivateKey):
		return nil, &ConfigError{"the GitHub App's private key is not an RSA key: give the PEM file that GitHub gave you"}
	case err != nil:
		return nil, &ConfigError{"the GitHub App's private key can't be read: give the whole PEM file that GitHub gave you, from BEGIN to END"}
	}
	return key, nil
}

// paced puts a transport behind the count of points, unless the operator switched that
// off.
func (a *App) paced(spent *pointLimit, next http.RoundTripper) http.RoundTripper {
	if a.unpaced {
		return next
	}
	return &pacedTransport{points: spent, next: next}
}

// newClient makes the client of one identity. spent must be the same counter that auth
// counts with: the client waits for points that only the transport below takes.
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

// installation gives the client of one installation. All callers share it. They must: its
// token, its points and its pauses are what GitHub counts for that installation.
func (a *App) installation(id int64) *client {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, ok := a.installations[id]
	if !ok {
		// The cache is outermost: an answer from it costs neither a point nor a
		// signature.
		spent := new(pointLimit)
		c = a.newClient(spent, &cached{cache: a.cache, scope: id, next: a.paced(spent, newTokens(a, id))})
		a.installations[id] = c
	}
	return c
}

// Repository is one repository as one installation sees it. It holds no state of its own,
// is cheap to make and is safe for concurrent use.
type Repository struct {
	app          *App
	installation int64 // 0: found out at each call, see [App.Repository]
	owner, name  string
}

// Repository makes the handle of a repository without asking GitHub. With installation 0
// the first call asks GitHub which installation has the repository.
func (a *App) Repository(installation int64, owner, name string) *Repository {
	return &Repository{app: a, installation: installation, owner: owner, name: name}
}

// String is the repository's full name, owner/name.
func (r *Repository) String() string { return r.owner + "/" + r.name }

// client gives the client whose token may read this repository.
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

// do sends one call about this repository. The call's path is relative to
// repos/{owner}/{name}; an empty path is the repository itself.
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

// findInstallation asks which installation may see a repository. The answer is kept by
// name until a call with it fails, because an App that was installed again has another
// id. Two callers may ask at the same time; both get the same answer.
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
			// Here a 404 means that the App is not installed. As kindNotFound it would
			// read as a missing commit or file.
			e.kind = kindInstallation
		}
		return 0, err
	}
	a.mu.Lock()
	a.found[key] = answer.ID
	a.mu.Unlock()
	return answer.ID, nil
}

// forgetInstallation drops the names that were found to belong to an installation, so
// that the next call by name asks again.
func (a *App) forgetInstallation(id int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, found := range a.found {
		if found == id {
			delete(a.found, name)
		}
	}
}

// repositoryPath escapes owner and name. It refuses names that would lead the request to
// another endpoint: a slash or ".." would change the path that is called.
func repositoryPath(owner, name string) (string, error) {
	for _, s := range []string{owner, name} {
		if s == "" || s == "." || s == ".." || strings.Contains(s, "/") {
			return "", fmt.Errorf("%q is no repository's name", owner+"/"+name)
		}
	}
	return "repos/" + url.PathEscape(owner) + "/" + url.PathEscape(name), nil
}

// escapePath escapes each element of a path or branch name and keeps the slashes between
// them.
func escapePath(path string) string {
	elements := strings.Split(path, "/")
	for i, e := range elements {
		elements[i] = url.PathEscape(e)
	}
	return strings.Join(elements, "/")
}
