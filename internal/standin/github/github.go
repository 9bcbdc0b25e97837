// Package github is a stand-in for GitHub on loopback: the part of the REST API that an
// App uses, over a real git repository, and the sender of its webhooks. Tests and
// `purgebot demo` use it.
//
// It must never be more lenient than GitHub, or it would hide faults. It checks tokens,
// permissions, limits and the form of every request, and refuses in GitHub's words and
// shapes. If GitHub's behaviour is not documented, it takes the stricter reading, and a
// comment says so. It shares no code with purgebot's own client, so that the same mistake
// cannot be on both sides.
//
// It is strict with its own client, but not hardened against strangers: keep it off
// public networks.
package github

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/purgebot/purgebot/internal/needs"
)

// Config describes the App, its installations and the repositories of a GitHub stand-in.
// The zero value of every field except Repositories is usable.
type Config struct {
	AppID   int64          // 0: 12345
	AppSlug string         // "": "purgebot"; its bot is "<slug>[bot]"
	AppKey  *rsa.PublicKey // checks the App's JWTs; nil: the stand-in makes a key pair, see [Server.PrivateKeyPEM]

	BasePath string // "/" as on api.github.com (default), or "/api/v3/" as on GitHub Enterprise Server
	URL      string // the API's base in webhook payloads; "https://api.github.com" if empty

	WebhookURL    string        // where events are sent; "": nowhere
	WebhookSecret string        // signs them; without one GitHub sends no signature headers
	HookTimeout   time.Duration // 0: 10 s, as on github.com; GitHub Enterprise Server waits 30 s

	Repositories []Repository
	Permissions  map[string]string // granted to the App; nil: what purgebot setup asks for without options
	Events       []string          // to which the App subscribed; nil: likewise

	Limits  Limits
	Latency time.Duration    // before every answer of the API
	Now     func() time.Time // nil: time.Now
	Log     *slog.Logger     // nil: no log
}

// Repository is a repository of the stand-in. Its objects are those of the git repository
// in Dir. Its branches are the stand-in's own, and only [Server.Push] moves them.
type Repository struct {
	ID            int64
	Owner, Name   string
	Dir           string // bare or not
	DefaultBranch string // "": the branch of Dir's HEAD
	Private       bool
	Installation  int64             // 0 means 1
	Branches      map[string]string // name to commit; nil: Dir's branches at the start
}

// Server plays GitHub's REST API and its webhooks for one App, on real git repositories
// and as strictly as GitHub: see docs/standins.md. It is safe for concurrent use.
type Server struct {
	cfg        Config
	privateKey []byte
	routes     []endpoint
	client     *http.Client
	hooks      sync.WaitGroup // deliveries for which no caller waits

	mu            sync.Mutex // guards everything below
	changed       chan struct{}
	closed        bool
	underWay      int // requests without an answer yet
	enforce       bool
	sequence      int64
	repos         []*repository
	installations map[int64]*appInstallation
	tokens        map[string]*installationToken
	users         map[string]int64
	meters        map[string]*meter
	calls         []Call
	deliveries    []*Delivery
	held          []*Delivery
	fault         func(*http.Request) Fault
	route         func(Delivery) Route
}

// repository is one repository's state. Server.mu guards it, except git, which has its
// own lock.
type repository struct {
	Repository
	git         *gitReader
	archived    bool
	deleted     bool
	formerNames []string
	createdAt   time.Time
	pushedAt    time.Time
	refs        map[string]string // full name to object id
	statuses    []Status
	deployments []*deployment
	suites      []*suite
	checks      []*checkRun
	issues      []*issue
	comments    []*comment
	runs        []jsonObject      // workflow runs, the oldest first
	roles       map[string]string // by lower-case login
}

func (r *repository) fullName() string { return r.Owner + "/" + r.Name }

// New makes a stand-in. Serve it with [net/http] and Close it at the end.
func New(cfg Config) (*Server, error) {
	g := &Server{
		cfg: cfg.withDefaults(),
		client: &http.Client{
			Transport:     http.DefaultTransport.(*http.Transport).Clone(), // of our own, to be closed
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		changed:       make(chan struct{}),
		sequence:      1000,
		installations: map[int64]*appInstallation{},
		tokens:        map[string]*installationToken{},
		users:         map[string]int64{"github-actions[bot]": 41898282, "github-pages[bot]": 52472962},
		meters:        map[string]*meter{},
	}
	g.routes = g.routeTable()
	if g.cfg.AppKey == nil {
		if err := g.makeKey(); err != nil {
			return nil, err
		}
	}
	for _, r := range g.cfg.Repositories {
		if err := g.addRepository(context.Background(), r); err != nil {
			return nil, errors.Join(err, g.Close())
		}
	}
	return g, nil
}

// withDefaults fills in what the caller left empty.
func (c Config) withDefaults() Config {
	if c.AppID == 0 {
		c.AppID = 12345
	}
	if c.AppSlug == "" {
		c.AppSlug = "purgebot"
	}
	if c.BasePath = strings.Trim(c.BasePath, "/"); c.BasePath != "" {
		c.BasePath = "/" + c.BasePath
	}
	if c.URL = strings.TrimRight(c.URL, "/"); c.URL == "" {
		c.URL = "https://api.github.com"
	}
	if c.HookTimeout == 0 {
		c.HookTimeout = 10 * time.Second
	}
	asked := needs.Ask(needs.Chosen())
	if c.Permissions == nil {
		c.Permissions = asked.Permissions
	}
	if c.Events == nil {
		c.Events = asked.Events
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Limits = c.Limits.withDefaults()
	return c
}

// makeKey makes the App's key pair, in PKCS#1 like the keys that GitHub hands out.
func (g *Server) makeKey() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("make App key: %w", err)
	}
	g.cfg.AppKey = &key.PublicKey
	g.privateKey = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return nil
}

// PrivateKeyPEM is the App's private key if the stand-in made it, or else nil.
func (g *Server) PrivateKeyPEM() []byte { return g.privateKey }

// AppID is the App's id.
func (g *Server) AppID() int64 { return g.cfg.AppID }

// addRepository reads a repository's references and adds it.
func (g *Server) addRepository(ctx context.Context, cfg Repository) error {
	repo := &repository{
		Repository: cfg,
		git:        newGithubGit(ctx, cfg.Dir),
		roles:      map[string]string{strings.ToLower(cfg.Owner): "admin"},
		createdAt:  g.now(), pushedAt: g.now(),
	}
	if repo.Installation == 0 {
		repo.Installation = 1
	}
	refs, head, err := repo.git.references(ctx)
	if err != nil {
		return fmt.Errorf("read repository %s in %s: %w", repo.fullName(), cfg.Dir, err)
	}
	if repo.refs = refs; cfg.Branches != nil {
		repo.refs = make(map[string]string, len(cfg.Branches))
		for name, id := range cfg.Branches {
			repo.refs["refs/heads/"+name] = id
		}
	}
	if repo.DefaultBranch == "" {
		repo.DefaultBranch = head
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if repo.ID == 0 {
		repo.ID = g.nextID()
	}
	g.repos = append(g.repos, repo)
	if g.installations[repo.Installation] == nil {
		g.install(repo.Installation, repo.Owner)
	}
	return nil
}

// Close waits for the deliveries under way, then ends the git processes.
func (g *Server) Close() error {
	g.mu.Lock()
	g.closed = true
	repos := g.repos
	g.mu.Unlock()
	g.hooks.Wait()
	g.client.CloseIdleConnections()
	var errs []error
	for _, r := range repos {
		errs = append(errs, r.git.close())
	}
	return errors.Join(errs...)
}

// nextID gives the next id of any object. The caller holds g.mu.
func (g *Server) nextID() int64 {
	g.sequence++
	return g.sequence
}

// notify wakes every caller of Await. The caller holds g.mu.
func (g *Server) notify() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// now is the time as GitHub writes it: in whole seconds and in UTC.
func (g *Server) now() time.Time { return g.cfg.Now().UTC().Truncate(time.Second) }

// lookup finds a repository by its current OWNER/NAME. The caller holds g.mu.
func (g *Server) lookup(fullName string) (*repository, error) {
	for _, r := range g.repos {
		if !r.deleted && strings.EqualFold(r.fullName(), fullName) {
			return r, nil
		}
	}
	return nil, fmt.Errorf("no repository %q in the GitHub stand-in", fullName)
}

// Await waits until done returns true. It calls done again after every change of the
// stand-in's state, without holding any lock.
func (g *Server) Await(ctx context.Context, done func() bool) error {
	for {
		g.mu.Lock()
		changed := g.changed
		g.mu.Unlock()
		if done() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
