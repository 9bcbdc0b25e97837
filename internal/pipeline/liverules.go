package pipeline

import (
	"context"
	"errors"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/store"
)

// rememberedMost is the largest rules file that is remembered with what is
// live; a larger one is read anew.
const rememberedMost = 64 << 10

// liveRules reads the rules that were remembered of what is live: in one
// environment, or, if env is empty, in that of the repository which moved
// last. Not ok: none are.
func (p *Pipeline) liveRules(ctx context.Context, repo ledger.Repository, env string) (sha string, r rules, ok bool, err error) {
	known, err := p.Store.LiveRules(ctx, repo.ID, env)
	if errors.Is(err, store.ErrNotFound) {
		return "", rules{}, false, nil
	}
	if err != nil {
		return "", rules{}, false, err
	}
	key := rulesKey(repo, known.SHA)
	if r, ok = p.rules.get(key); !ok || !r.plain {
		if known.Path != "" {
			r = parseRules(known.Path, known.Source)
		}
		r.plain = true
		r = p.rules.put(key, r)
	}
	return known.SHA, r, true, nil
}

// remember gives the rules of a commit that becomes live, to be remembered,
// or nil.
func (p *Pipeline) remember(ctx context.Context, repo ledger.Repository, sha string, r rules) (*store.Rules, error) {
	if r.fault != "" || len(r.source) > rememberedMost {
		return nil, nil //nolint:nilnil // nothing to remember
	}
	r, err := p.plain(ctx, repo, sha, r)
	if err != nil || !r.plain {
		return nil, err
	}
	return &store.Rules{SHA: sha, Path: r.path, Source: r.source}, nil
}

// plain finds out whether a commit's rules file is no symbolic link.
func (p *Pipeline) plain(ctx context.Context, repo ledger.Repository, sha string, r rules) (rules, error) {
	if r.plain || r.file == nil {
		return r, nil
	}
	var err error
	if r.plain, err = p.repository(repo).PlainRulesFile(ctx, sha, r.path); err != nil {
		return r, err
	}
	return p.rules.put(rulesKey(repo, sha), r), nil
}

// same gives the rules of a commit where they are those of another: what
// changed between the two is known and touches neither place of the file.
func (p *Pipeline) same(repo ledger.Repository, sha string, other rules, changes github.Changes) (rules, bool) {
	if r, ok := p.rules.get(rulesKey(repo, sha)); ok {
		return r, true
	}
	if _, touched := rulesTouched(changes.Files); touched || changes.Way == "" || !other.plain {
		return rules{}, false
	}
	return p.rules.put(rulesKey(repo, sha), other), true
}

// authorityNear is authority where it is read for a comparison: one call tells
// the head of the default branch, its rules, and what a purge up to it would
// be. head is "" where there is no default branch.
func (p *Pipeline) authorityNear(ctx context.Context, repo ledger.Repository) (head string, r rules, err error) {
	live, known, ok, err := p.liveRules(ctx, repo, "")
	if err != nil {
		return "", rules{}, err
	}
	var changes github.Changes
	if ok {
		head, changes, err = p.repository(repo).ChangesToBranch(ctx, live, repo.DefaultBranch)
	} else {
		head, err = p.repository(repo).Head(ctx, repo.DefaultBranch)
	}
	if github.IsNotFound(err) { // an empty repository
		return "", rules{}, nil
	}
	if err != nil {
		return "", rules{}, err
	}
	if r, same := p.same(repo, head, known, changes); same {
		return head, r, nil
	}
	r, err = p.rulesAt(ctx, repo, head)
	return head, r, err
}
