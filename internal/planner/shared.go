package planner

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/mapping"
)

// effective gives the rules that count where own is a commit's own file: own alone, own
// upon the rules of the repository that it extends, or, if the commit has none, the rules
// of the repository that policy names for it. The operator must have named the other
// repository in either case.
//
// The other repository's file is read at the head of its default branch as it is now, for
// the old commit of a deployment as for the new one.
func (p *Planner) effective(ctx context.Context, repo ledger.Repository, own Rules) (Rules, error) {
	from := p.Policy().For(repo.FullName()).RulesFrom()
	name := ""
	switch {
	case own.None() && len(from) > 0 && !strings.EqualFold(from[0], repo.FullName()):
		name = from[0]
	case own.File != nil && own.File.Extends() != "":
		name = own.File.Extends()
		if !slices.ContainsFunc(from, func(named string) bool { return strings.EqualFold(named, name) }) {
			return own.broken("extends %s, which the operator's policy does not name for %s (rules_from)", name, repo.FullName()), nil
		}
	default:
		return own, nil
	}
	base, sha, err := p.sharedFile(ctx, name)
	// This is a fault and no error: trying again would not help before the operator acts.
	if _, away := github.OperatorFault(err); github.IsNotFound(err) || away {
		return own.broken("the rules of %s can't be read: purgebot's App must be installed there too", name), nil
	}
	if err != nil {
		return Rules{}, err
	}
	shared := name + "@" + short(sha)
	switch {
	case base.Fault != "":
		return own.broken("the rules of %s are broken: %s", shared, base.Fault), nil
	case base.None() && own.None():
		return own, nil
	case base.None():
		return own.broken("extends %s, which has no %s", name, mapping.RootPlace), nil
	case own.None() && base.File.Extends() != "":
		return own.broken("%s extends %s itself, and other repositories can't use it", shared, base.File.Extends()), nil
	case own.None():
		return Rules{Path: base.Path, File: base.File, Shared: shared}, nil
	}
	// The same two files always give the same rules, so both are in the key: the one by
	// its commit, the other by its content.
	key := fmt.Sprintf("%s/%x", sha, sha256.Sum256(own.source))
	if r, ok := p.cache.get(key); ok {
		return r, nil
	}
	r := Rules{Path: own.Path, Shared: shared}
	file, faults := mapping.Extend(own.source, base.source)
	if r.File = file; file == nil {
		r.Fault = faults.Errors()[0].In(own.Path)
	}
	return p.cache.put(key, r), nil
}

// broken gives rules with a fault in what they use from elsewhere.
func (r Rules) broken(format string, args ...any) Rules {
	fault := fmt.Sprintf(format, args...)
	if r.Path != "" {
		fault = r.Path + ": " + fault
	}
	return Rules{Path: r.Path, Fault: fault}
}

// Extend reads a file that is not in a commit's rules yet, such as that of a pull
// request, together with the file that it extends.
func (p *Planner) Extend(ctx context.Context, repo ledger.Repository, path string, source []byte) (*mapping.File, mapping.Faults, error) {
	file, faults := mapping.Parse(source)
	if file == nil || file.Extends() == "" {
		return file, faults, nil
	}
	r, err := p.effective(ctx, repo, Rules{Path: path, File: file, source: source})
	if err != nil || r.File == nil {
		return nil, append(faults, mapping.Fault{Line: 1, Column: 1, Severity: mapping.Error, Message: r.Fault}), err
	}
	return r.File, faults, nil
}

// sharedRules caches the heads of the repositories that others take rules from, by
// OWNER/NAME.
type sharedRules struct {
	mu    sync.Mutex
	heads map[string]sharedHead
}

// sharedHead is a head and until when it counts, by this machine's clock.
type sharedHead struct {
	sha   string
	until time.Time
}

// sharedFor is how long a head counts without being asked again: one deployment needs it
// several times. A push webhook of that repository ends it at once: see Forget.
const sharedFor = 10 * time.Second

// Forget makes the next plan ask for all those heads again.
func (p *Planner) Forget() {
	p.shared.mu.Lock()
	defer p.shared.mu.Unlock()
	p.shared.heads = nil
}

// sharedFile reads the rules file at the head of a repository's default branch, and gives
// the head. The lock is not held during the call, so two plans may ask at once: both get
// an answer that counts.
func (p *Planner) sharedFile(ctx context.Context, name string) (Rules, string, error) {
	owner, repo, _ := strings.Cut(name, "/")
	at := ledger.Repository{Owner: owner, Name: repo}
	p.shared.mu.Lock()
	head := p.shared.heads[name]
	p.shared.mu.Unlock()
	if time.Now().After(head.until) {
		sha, err := p.repository(at).DefaultHead(ctx)
		if err != nil {
			return Rules{}, "", err
		}
		head = sharedHead{sha, time.Now().Add(sharedFor)}
		p.shared.mu.Lock()
		if p.shared.heads == nil {
			p.shared.heads = map[string]sharedHead{}
		}
		p.shared.heads[name] = head
		p.shared.mu.Unlock()
	}
	r, err := p.ownAt(ctx, at, head.sha)
	return r, head.sha, err
}
