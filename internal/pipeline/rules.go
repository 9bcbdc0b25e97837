package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
)

// rules is what one commit says of its rules: a good file, a broken one, or
// none. That GitHub could not be asked is an error instead.
type rules struct {
	path   string
	file   *mapping.File // nil: broken or none
	fault  string        // the first fault, in public words; "" unless broken
	source []byte        // of a good file
	// plain says that the file is known to be no symbolic link, or that there
	// is none: another commit that changes neither place has the same rules.
	plain bool
}

func (r rules) none() bool { return r.file == nil && r.fault == "" }

func rulesKey(repo ledger.Repository, sha string) string { return fmt.Sprintf("%d/%s", repo.ID, sha) }

// rulesAt reads the rules of a commit.
func (p *Pipeline) rulesAt(ctx context.Context, repo ledger.Repository, sha string) (rules, error) {
	key := rulesKey(repo, sha)
	if r, ok := p.rules.get(key); ok {
		return r, nil
	}
	file, found, err := p.repository(repo).RulesFile(ctx, sha)
	var unusable *github.RulesFileError
	switch {
	case errors.Is(err, github.ErrTwoRulesFiles):
		return p.rules.put(key, rules{path: mapping.RootPlace, fault: mapping.BothPlaces()[0].In(mapping.RootPlace)}), nil
	case errors.As(err, &unusable):
		return p.rules.put(key, rules{path: file.Path, fault: unusable.Public()}), nil
	case err != nil:
		return rules{}, err
	case !found:
		return p.rules.put(key, rules{plain: true}), nil
	}
	return p.rules.put(key, parseRules(file.Path, file.Source)), nil
}

func parseRules(path string, source []byte) rules {
	parsed, faults := mapping.Parse(source)
	if parsed == nil {
		return rules{path: path, fault: faults.Errors()[0].In(path)}
	}
	return rules{path: path, file: parsed, source: source}
}

// authority reads the rules of the default branch: there alone an
// environment's creators, trigger and branch count, so that a commit can't
// authorise itself.
func (p *Pipeline) authority(ctx context.Context, repo ledger.Repository) (rules, error) {
	head, err := p.repository(repo).Head(ctx, repo.DefaultBranch)
	if github.IsNotFound(err) { // no default branch: an empty repository
		return rules{}, nil
	}
	if err != nil {
		return rules{}, err
	}
	return p.rulesAt(ctx, repo, head)
}

// contextName is the environment's name in its statuses: as the file writes
// it, so that GitHub's "Production" and the file's "production" are one.
func contextName(env mapping.Environment) string {
	if env.Glob {
		return env.Name
	}
	return env.Key
}

func branchOf(env mapping.Environment, repo ledger.Repository) string {
	if env.Branch != "" {
		return env.Branch
	}
	return repo.DefaultBranch
}

// rulesCache keeps parsed files of commits; a commit's file never changes.
type rulesCache struct {
	mu  sync.Mutex
	all map[string]rules
}

const rulesKept = 256

func (c *rulesCache) get(key string) (rules, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.all[key]
	return r, ok
}

func (c *rulesCache) put(key string, r rules) rules {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil || len(c.all) >= rulesKept {
		c.all = make(map[string]rules, rulesKept)
	}
	c.all[key] = r
	return r
}
