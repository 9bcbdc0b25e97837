package standin

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
)

// GitHubConfig describes the App, its installations and the repositories that a
// GitHub stand-in plays. The zero value of every field but Repositories is usable.
type GitHubConfig struct {
	AppID   int64          // 12345 if 0
	AppSlug string         // "purgebot" if empty; its bot is "<slug>[bot]"
	AppKey  *rsa.PublicKey // checks the App's JWTs; nil: the stand-in makes a pair, see [GitHub.PrivateKeyPEM]

	BasePath string // "/" as api.github.com (default), or "/api/v3/" as GitHub Enterprise Server
	URL      string // the API's base in webhook payloads; "https://api.github.com" if empty

	WebhookURL    string        // where events go; none are sent while it is empty
	WebhookSecret string        // signs them; GitHub sends no signature headers without one
	HookTimeout   time.Duration // 10 s if 0, as on github.com; GitHub Enterprise Server waits 30 s

	Repositories []GitHubRepository
	Permissions  map[string]string // what the App was granted; nil: what purgebot asks for
	Events       []string          // what the App subscribed to; nil: what purgebot asks for

	Limits  GitHubLimits
	Latency time.Duration    // before every answer of the API
	Now     func() time.Time // time.Now if nil
	Log     *slog.Logger     // silent if nil
}

// GitHubRepository is a repository of the stand-in. Its objects are those of the
// git repository in Dir; its branches are the stand-in's own and move by
// [GitHub.Push] alone.
type GitHubRepository struct {
	ID            int64
	Owner, Name   string
	Dir           string // bare or not
	DefaultBranch string // that of Dir's HEAD if empty
	Private       bool
	Installation  int64             // 1 if 0
	Branches      map[string]string // name to commit; nil: the branches of Dir as they are now
}

// GitHub plays GitHub's REST API and its webhooks for one App on real git
// repositories, as strictly as GitHub: see docs/standins.md. It is safe for
// concurrent use.
type GitHub struct {
	cfg        GitHubConfig
	privateKey []byte
	routes     []githubRoute
	client     *http.Client
	hooks      sync.WaitGroup // deliveries nobody waits for

	mu            sync.Mutex // guards all below
	changed       chan struct{}
	closed        bool
	underWay      int // requests not answered yet
	enforce       bool
	sequence      int64
	repos         []*githubRepo
	installations map[int64]*githubInstallation
	tokens        map[string]*githubToken
	users         map[string]int64
	meters        map[string]*githubMeter
	calls         []GitHubCall
	deliveries    []*GitHubDelivery
	held          []*GitHubDelivery
	fault         func(*http.Request) GitHubFault
	route         func(GitHubDelivery) GitHubRoute
}

// githubRepo is one repository's state. GitHub.mu guards it, but for git.
type githubRepo struct {
	GitHubRepository
	git         *githubGit
	archived    bool
	deleted     bool
	formerNames []string
	createdAt   time.Time
	pushedAt    time.Time
	refs        map[string]string // full name to object id
	statuses    []GitHubStatus
	deployments []*githubDeployment
	suites      []*githubSuite
	checks      []*githubCheck
	issues      []*githubIssue
	comments    []*githubComment
	runs        []githubObject    // of workflows, the oldest first
	roles       map[string]string // by lower-case login
}

func (r *githubRepo) fullName() string { return r.Owner + "/" + r.Name }

// NewGitHub makes a stand-in. Serve it with [net/http] and Close it at the end.
func NewGitHub(cfg GitHubConfig) (*GitHub, error) {
	g := &GitHub{
		cfg: cfg.withDefaults(),
		client: &http.Client{
			Transport:     http.DefaultTransport.(*http.Transport).Clone(), // of our own, to be closed
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		changed:       make(chan struct{}),
		sequence:      1000,
		installations: map[int64]*githubInstallation{},
		tokens:        map[string]*githubToken{},
		users:         map[string]int64{"github-actions[bot]": 41898282, "github-pages[bot]": 52472962},
		meters:        map[string]*githubMeter{},
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

func (c GitHubConfig) withDefaults() GitHubConfig {
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
	if c.Permissions == nil {
		c.Permissions = map[string]string{
			"metadata": "read", "contents": "read", "deployments": "read", "statuses": "write",
			"checks": "write", "issues": "read", "pull_requests": "write", "actions": "read",
		}
	}
	if c.Events == nil {
		c.Events = []string{
			"push", "deployment", "deployment_status", "pull_request", "issue_comment",
			"status", "check_run", "workflow_run", "merge_group",
		}
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

// makeKey makes the App's key pair, in PKCS#1 as GitHub hands it out.
func (g *GitHub) makeKey() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("make App key: %w", err)
	}
	g.cfg.AppKey = &key.PublicKey
	g.privateKey = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return nil
}

// PrivateKeyPEM is the App's private key if the stand-in made it, else nil.
func (g *GitHub) PrivateKeyPEM() []byte { return g.privateKey }

// AppID is the App's id.
func (g *GitHub) AppID() int64 { return g.cfg.AppID }

func (g *GitHub) addRepository(ctx context.Context, cfg GitHubRepository) error {
	repo := &githubRepo{
		GitHubRepository: cfg,
		git:              newGithubGit(ctx, cfg.Dir),
		roles:            map[string]string{strings.ToLower(cfg.Owner): "admin"},
		createdAt:        g.now(), pushedAt: g.now(),
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
		g.installations[repo.Installation] = &githubInstallation{id: repo.Installation, account: repo.Owner, createdAt: g.cfg.Now()}
	}
	return nil
}

// Close ends the git processes after the deliveries that are under way.
func (g *GitHub) Close() error {
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
func (g *GitHub) nextID() int64 {
	g.sequence++
	return g.sequence
}

// notify wakes everybody in Await. The caller holds g.mu.
func (g *GitHub) notify() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// now is the time as GitHub tells it: to the second, UTC.
func (g *GitHub) now() time.Time { return g.cfg.Now().UTC().Truncate(time.Second) }

// lookup finds a repository by its present OWNER/NAME. The caller holds g.mu.
func (g *GitHub) lookup(fullName string) (*githubRepo, error) {
	for _, r := range g.repos {
		if !r.deleted && strings.EqualFold(r.fullName(), fullName) {
			return r, nil
		}
	}
	return nil, fmt.Errorf("no repository %q in the GitHub stand-in", fullName)
}

// Await waits until done says true, asking it anew after every change of the
// stand-in's state. It is called without any lock held.
func (g *GitHub) Await(ctx context.Context, done func() bool) error {
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
