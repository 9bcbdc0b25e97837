package planner

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
	"github.com/purgebot/purgebot/mapping"
)

// Rules is what a commit says of its rules: a good file, a broken one, or none. It is an
// error instead if GitHub could not be asked.
type Rules struct {
	Path   string
	File   *mapping.File // nil: broken, or none
	Fault  string        // the first fault, in public words; "" unless broken
	Shared string        // OWNER/NAME@SHA of the other repository's file that counts, alone or beneath the commit's own; "": none does
	source []byte        // of a good file
	// plain says that the file is known to be no symbolic link, or that there is none.
	// Only then does another commit that changes neither place have the same rules: what
	// a link leads to may change without the link.
	plain bool
}

// None reports whether the commit has no rules file.
func (r Rules) None() bool { return r.File == nil && r.Fault == "" }

// rulesKey is the cache's key of a commit's own rules.
func rulesKey(repo ledger.Repository, sha string) string {
	if repo.ID == 0 { // a repository that is only known by name, as others take rules from it
		return repo.FullName() + "/" + sha
	}
	return fmt.Sprintf("%d/%s", repo.ID, sha)
}

// repository gives the App's view of a repository of the ledger.
func (p *Planner) repository(r ledger.Repository) *github.Repository {
	return p.GitHub.Repository(r.Installation, r.Owner, r.Name)
}

// RulesAt reads the rules of a commit, together with those that other repositories share
// with it.
func (p *Planner) RulesAt(ctx context.Context, repo ledger.Repository, sha string) (Rules, error) {
	own, err := p.ownAt(ctx, repo, sha)
	if err != nil {
		return Rules{}, err
	}
	return p.effective(ctx, repo, own)
}

// ownAt reads the rules file of a commit, without what others share. A commit never
// changes, so its rules are cached for good, broken ones as well. Errors are not cached.
func (p *Planner) ownAt(ctx context.Context, repo ledger.Repository, sha string) (Rules, error) {
	key := rulesKey(repo, sha)
	if r, ok := p.cache.get(key); ok {
		return r, nil
	}
	file, found, err := p.repository(repo).RulesFile(ctx, sha)
	var unusable *github.RulesFileError
	switch {
	case errors.Is(err, github.ErrTwoRulesFiles):
		return p.cache.put(key, Rules{Path: mapping.RootPlace, Fault: mapping.BothPlaces()[0].In(mapping.RootPlace)}), nil
	case errors.As(err, &unusable):
		return p.cache.put(key, Rules{Path: file.Path, Fault: unusable.Public()}), nil
	case err != nil:
		return Rules{}, err
	case !found:
		return p.cache.put(key, Rules{plain: true}), nil
	}
	return p.cache.put(key, parseRules(file.Path, file.Source)), nil
}

// parseRules reads a rules file; of a broken one it keeps the first fault.
func parseRules(path string, source []byte) Rules {
	parsed, faults := mapping.Parse(source)
	if parsed == nil {
		return Rules{Path: path, Fault: faults.Errors()[0].In(path)}
	}
	return Rules{Path: path, File: parsed, source: source}
}

// Authority reads the rules of the default branch. An environment's creators, trigger and
// branch count only there, so that a commit can't authorise itself.
func (p *Planner) Authority(ctx context.Context, repo ledger.Repository) (Rules, error) {
	head, err := p.repository(repo).Head(ctx, repo.DefaultBranch)
	if github.IsNotFound(err) { // no default branch: an empty repository
		return Rules{}, nil
	}
	if err != nil {
		return Rules{}, err
	}
	return p.RulesAt(ctx, repo, head)
}

// Trusted is the authority that decides what triggers, whose deployments count and which
// branch an environment follows. While the default branch has a broken file, or GitHub
// does not show the branch, the last good file still decides: a broken file must not lift
// the limits on who may deploy.
func (p *Planner) Trusted(ctx context.Context, repo ledger.Repository) (Rules, error) {
	r, err := p.Authority(ctx, repo)
	if err != nil {
		return Rules{}, err
	}
	return p.Trust(ctx, repo, r)
}

// Trust gives the rules that decide where the default branch has r: see Trusted. It
// stores a good file in the ledger, for restarts and other replicas. A process stores the
// same file of a repository once.
func (p *Planner) Trust(ctx context.Context, repo ledger.Repository, r Rules) (Rules, error) {
	switch {
	case r.File != nil && r.Shared != "": // not stored: the file is whole only with the other repository's
		return r, nil
	case r.File != nil:
		// Comparing digests saves a write to the ledger at each push and deployment.
		digest := sha256.Sum256(append([]byte(r.Path+"\x00"), r.source...))
		if known, ok := p.known.Load(repo.ID); ok && known == digest {
			return r, nil
		}
		err := p.Ledger.RememberAuthority(ctx, repo.ID, store.Rules{Path: r.Path, Source: r.source})
		if err == nil {
			p.known.Store(repo.ID, digest)
		}
		return r, err
	case r.Fault == "" && r.plain: // the file was removed on purpose
		return r, nil
	}
	last, err := p.LastGood(ctx, repo)
	if err != nil || last.File != nil {
		return last, err
	}
	return r, nil
}

// LastGood gives the last good file of a repository's default branch that is remembered.
// It asks GitHub nothing. File is nil where there is none, where the file is good only
// together with another repository's, and where a later release refuses what was good.
func (p *Planner) LastGood(ctx context.Context, repo ledger.Repository) (Rules, error) {
	good, err := p.Ledger.Authority(ctx, repo.ID)
	if errors.Is(err, store.ErrNotFound) {
		return Rules{}, nil
	}
	if err != nil {
		return Rules{}, err
	}
	return parseRules(good.Path, good.Source), nil
}

// AuthorityNear is Authority for recovery. One call to GitHub compares the live commit
// with the default branch: it tells the branch's head, whether the rules changed, and
// what a purge up to it would be. head is "" where there is no default branch.
func (p *Planner) AuthorityNear(ctx context.Context, repo ledger.Repository) (head string, r Rules, err error) {
	live, known, ok, err := p.ownLive(ctx, repo, "")
	if err != nil {
		return "", Rules{}, err
	}
	var changes github.Changes
	if ok {
		head, changes, err = p.repository(repo).ChangesToBranch(ctx, live, repo.DefaultBranch)
	} else {
		head, err = p.repository(repo).Head(ctx, repo.DefaultBranch)
	}
	if github.IsNotFound(err) { // an empty repository
		return "", Rules{}, nil
	}
	if err != nil {
		return "", Rules{}, err
	}
	own, same := p.same(repo, head, known, changes)
	if !same {
		own, err = p.ownAt(ctx, repo, head)
	}
	if err == nil {
		r, err = p.effective(ctx, repo, own)
	}
	return head, r, err
}

// LiveRules gives the rules that the ledger remembers of what is live in an environment,
// with those that other repositories share. ok is false if it remembers none.
func (p *Planner) LiveRules(ctx context.Context, repo ledger.Repository, env string) (sha string, r Rules, ok bool, err error) {
	sha, own, ok, err := p.ownLive(ctx, repo, env)
	if err == nil && ok {
		r, err = p.effective(ctx, repo, own)
	}
	return sha, r, ok, err
}

// ownLive gives the rules file that the ledger remembers of what is live in one
// environment, or, if env is empty, in the environment of the repository that moved last.
// ok is false if it remembers none.
func (p *Planner) ownLive(ctx context.Context, repo ledger.Repository, env string) (sha string, r Rules, ok bool, err error) {
	known, err := p.Ledger.LiveRules(ctx, repo.ID, env)
	if errors.Is(err, store.ErrNotFound) {
		return "", Rules{}, false, nil
	}
	if err != nil {
		return "", Rules{}, false, err
	}
	key := rulesKey(repo, known.SHA)
	if r, ok = p.cache.get(key); !ok || !r.plain {
		if known.Path != "" {
			r = parseRules(known.Path, known.Source)
		}
		r.plain = true
		r = p.cache.put(key, r)
	}
	return known.SHA, r, true, nil
}

// rememberedMost is the size in bytes up to which a rules file is remembered with what is
// live. A larger one is read again.
const rememberedMost = 64 << 10

// Remember gives the rules file of the commit that becomes live, for the ledger; nil if
// it is not to be remembered: it is broken, too large, or a symbolic link.
func (p *Planner) Remember(ctx context.Context, repo ledger.Repository, sha string, plan *Plan) (*store.Rules, error) {
	r := plan.own
	if r.Fault != "" || len(r.source) > rememberedMost {
		return nil, nil //nolint:nilnil // nothing to remember
	}
	r, err := p.plain(ctx, repo, sha, r)
	if err != nil || !r.plain {
		return nil, err
	}
	return &store.Rules{SHA: sha, Path: r.Path, Source: r.source}, nil
}

// plain finds out whether a commit's rules file is a plain file and no symbolic link. It
// costs a call unless that is known.
func (p *Planner) plain(ctx context.Context, repo ledger.Repository, sha string, r Rules) (Rules, error) {
	if r.plain || r.File == nil {
		return r, nil
	}
	var err error
	if r.plain, err = p.repository(repo).PlainRulesFile(ctx, sha, r.Path); err != nil {
		return r, err
	}
	return p.cache.put(rulesKey(repo, sha), r), nil
}

// same gives the rules of a commit if they are those of another: the changes between the
// two are known (Way is set), and touch neither place of the file.
func (p *Planner) same(repo ledger.Repository, sha string, other Rules, changes github.Changes) (Rules, bool) {
	if r, ok := p.cache.get(rulesKey(repo, sha)); ok {
		return r, true
	}
	touched := slices.ContainsFunc(changes.Files, func(c mapping.Change) bool {
		return c.Path == mapping.RootPlace || c.Path == mapping.GitHubPlace
	})
	if touched || changes.Way == "" || !other.plain {
		return Rules{}, false
	}
	return p.cache.put(rulesKey(repo, sha), other), true
}

// rulesCache keeps the parsed rules of commits. An entry never becomes wrong, as a commit
// never changes.
type rulesCache struct {
	mu  sync.Mutex
	all map[string]Rules
}

// rulesKept bounds the cache. When it is full, all entries are dropped at once.
const rulesKept = 256

func (c *rulesCache) get(key string) (Rules, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.all[key]
	return r, ok
}

func (c *rulesCache) put(key string, r Rules) Rules {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil || len(c.all) >= rulesKept {
		c.all = make(map[string]Rules, rulesKept)
	}
	c.all[key] = r
	return r
}
