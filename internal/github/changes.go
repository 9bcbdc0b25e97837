package github

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/purgebot/purgebot/mapping"
)

// ErrGone means that the commit to compare from cannot be read any more: GitHub does not
// have it, as happens after a force-push, and no remembered tree replaces it. Nobody can
// then say what changed. The caller must not take this for "nothing changed".
var ErrGone = errors.New("GitHub no longer has the commit")

// Way says how a difference was found. It is empty where none was found.
type Way string

// The ways, from the cheapest to the most expensive in API calls.
const (
	WaySame    Way = "same"    // the two commits are the same one: no call
	WayCompare Way = "compare" // GitHub's comparison: one call
	WayTrees   Way = "trees"   // recursive listings: one call for each tree that is not remembered
	WayWalk    Way = "walk"    // folder by folder, because GitHub truncates a listing
)

// Relation says how a head commit stands to its base, in the words of GitHub's
// comparison. It is empty if nobody asked, or if GitHub could not tell.
type Relation string

// The relations of a head to its base. The first four are GitHub's own values of
// "status"; Unrelated is ours, for the 404 that GitHub answers instead.
const (
	Identical Relation = "identical"
	Ahead     Relation = "ahead"     // the base is an ancestor of the head
	Behind    Relation = "behind"    // the head is an ancestor of the base
	Diverged  Relation = "diverged"  // they have a common ancestor
	Unrelated Relation = "unrelated" // they have none
)

// Changes is the exact net difference between the trees of two commits. A file that was
// changed and changed back is not in it, and the history between the two does not matter.
type Changes struct {
	Files []mapping.Change // sorted by path, each path once
	// Tree is the new commit's tree, or nil if it was not read whole. A caller that keeps
	// it saves calls the next time: see [Repository.Changes].
	Tree     *Tree
	Way      Way      // "" if Files is not known
	Relation Relation // "" if GitHub was not asked or did not tell
}

// compareFiles is the most files that a comparison lists, over all its pages. A
// comparison with exactly this many may have been cut, so it counts as incomplete.
// https://docs.github.com/rest/commits/commits#compare-two-commits
const compareFiles = 300

// Changes finds the exact net difference between two commits, whatever their history. It
// takes the cheapest way that is sure to be exact.
//
// remembered may be nil or any tree of this repository. The tree of from saves the most
// calls; any other tree still saves the calls for the folders that both have.
//
// The error is [ErrGone] if from is gone and was not remembered. If to is missing, the
// error is an ordinary not-found: see [IsNotFound].
func (r *Repository) Changes(ctx context.Context, from, to string, remembered *Tree) (Changes, error) {
	if from == to {
		return Changes{Way: WaySame, Relation: Identical}, nil
	}
	c, err := r.compared(ctx, from, to)
	if err != nil || c.Way != "" {
		return c, err
	}
	// The comparison was no answer. Trees compare two commits whatever their history is,
	// so they are right after a rollback and a force-push too.
	before, after, err := r.bothTrees(ctx, from, to, remembered)
	switch {
	case err != nil:
		return Changes{}, err
	// Neither listing is whole, and there is no tree to start from: compare the two sides
	// folder by folder. No whole tree comes out of that.
	case before == nil && after == nil:
		edits, err := (&walk{repository: r}).run(ctx, from, to)
		return Changes{changesOf(edits), nil, WayWalk, c.Relation}, err
	// One side is whole. The other is computed from it by the folders that differ.
	case after == nil:
		after, err = r.walkFrom(ctx, before, to)
	case before == nil:
		before, err = r.walkFrom(ctx, after, from)
	}
	if err != nil {
		return Changes{}, err
	}
	way := WayTrees
	if before.walked || after.walked {
		way = WayWalk
	}
	return Changes{Diff(before, after), after, way, c.Relation}, nil
}

// compared tries GitHub's comparison. A result with an empty Way means that the
// comparison is no exact answer; the caller then reads the trees.
//
// GitHub compares the head with the merge base, not with the base. The two are the same
// commit only if the head is ahead of its base. For a rollback GitHub answers "behind"
// and lists no file, although files differ; for a force-push it leaves out what
// disappeared.
// https://docs.github.com/rest/commits/commits#compare-two-commits
func (r *Repository) compared(ctx context.Context, from, to string) (Changes, error) {
	if c, ok := r.app.comparisons.get(r, from, to); ok {
		return c, nil
	}
	// This asks without paging. GitHub documents that even a page with one commit lists
	// every file, but if that is wrong the purge misses files.
	answer, err := r.comparePage(ctx, from, to, 0, 0)
	if err != nil {
		_, operator := OperatorFault(err)
		// Trees would fail for the same reason as the comparison: a key or a permission,
		// a rate limit, or a caller that gave up.
		if e, ok := errors.AsType[*Error](err); !ok || operator || e.kind == kindLimited || ctx.Err() != nil {
			return Changes{}, err
		}
		// After any other error the trees are asked. Not found: one of the commits may be
		// gone, and reading the trees shows which. 5xx: the comparison may be too large
		// for GitHub, while trees are cheap for it.
		if unrelated(err) {
			return Changes{Relation: Unrelated}, nil
		}
		return Changes{}, nil
	}
	c := answer.changes(from)
	r.app.comparisons.put(r, from, to, c) // a deployment asks again what its push asked
	return c, nil
}

// changes gives what the comparison proves about a head and its base: the relation
// always, the files only if the list is certain to be whole and to start at the base.
func (a *compareAnswer) changes(base string) Changes {
	c := Changes{Relation: a.Status}
	// An empty list is no proof that nothing changed; the trees decide that.
	whole := a.Status == Ahead && a.MergeBase.SHA == base &&
		len(a.Files) > 0 && len(a.Files) < compareFiles
	if !whole {
		return c
	}
	if files, ok := fileChanges(a.Files); ok {
		c.Files, c.Way = files, WayCompare
	}
	return c
}

// ChangesToBranch finds a branch's head and, if GitHub's comparison tells it for sure,
// the difference from a commit to that head. Otherwise the Way of the result is empty.
//
// It costs one call in the usual case. For a while afterwards [Repository.Changes]
// between the same two commits needs no comparison. A not-found error means that the
// branch does not exist.
func (r *Repository) ChangesToBranch(ctx context.Context, from, branch string) (head string, c Changes, err error) {
	// The full name matters: a short name could be taken for a tag of the same name.
	answer, err := r.compareRefs(ctx, from, "refs/heads/"+branch)
	if err == nil {
		if head = answer.head(from); head != "" {
			if head == from {
				return head, Changes{Way: WaySame, Relation: Identical}, nil
			}
			c = answer.changes(from)
			r.app.comparisons.put(r, from, head, c)
			return head, c, nil
		}
	} else if e, ok := errors.AsType[*Error](err); !ok || e.kind != kindNotFound && e.Status < 500 {
		return "", Changes{}, err
	}
	// The base may be gone, the comparison may be too large for GitHub, or it does not
	// list all commits. In each case the branch itself still tells its head.
	head, err = r.Head(ctx, branch)
	return head, Changes{}, err
}

// head gives the SHA of the commit that was compared with the base, or "" if the answer
// does not tell. GitHub lists at most 250 commits without paging, oldest first, so the
// last one is the head only if all ahead_by commits are listed.
// https://docs.github.com/rest/commits/commits#compare-two-commits
func (a *compareAnswer) head(base string) string {
	switch {
	case a.Status == Identical:
		return base
	case a.Status == Behind:
		return a.MergeBase.SHA
	case len(a.Commits) > 0 && len(a.Commits) == a.Ahead:
		return a.Commits[len(a.Commits)-1].SHA // oldest first
	}
	return ""
}

// bothTrees reads the two trees at the same time. A nil tree is one that GitHub truncates
// while no remembered tree is there to start from.
func (r *Repository) bothTrees(ctx context.Context, from, to string, remembered *Tree) (before, after *Tree, err error) {
	var fromErr, toErr error
	var both sync.WaitGroup
	if remembered != nil && remembered.commit == from {
		before = remembered
	} else {
		// The goroutine writes before and fromErr; nothing reads them until both.Wait
		// returns.
		both.Go(func() { before, fromErr = r.treeNear(ctx, remembered, from) })
	}
	after, toErr = r.treeNear(ctx, remembered, to)
	both.Wait()
	// GitHub says 404 for a whole repository as well. Only while it shows the
	// new commit is the old one known to be gone.
	switch {
	// GitHub also answers 404 when it hides the whole repository. Only while it shows the
	// new commit does a missing old commit mean that this commit is gone. So toErr comes
	// first.
	case toErr != nil:
		return nil, nil, toErr
	case IsNotFound(fromErr):
		return nil, nil, fmt.Errorf("read tree of %s at %s: %w (%v)", r, from, ErrGone, fromErr) //nolint:errorlint // it must not be taken for a missing repository
	case fromErr != nil:
		return nil, nil, fromErr
	}
	return before, after, nil
}

// Comparison says how a head stands to a base.
type Comparison struct {
	Relation      Relation
	Ahead, Behind int // number of commits that only the head, or only the base, has
	// Commits are the SHAs of the head's commits that the base does not have, oldest
	// first.
	Commits  []string
	Complete bool // whether Commits has all of them
}

// comparePages is the most pages that [Repository.Compare] reads. A page has 100 commits.
const comparePages = 10

// Compare asks how head stands to base, and lists the commits between them, at most the
// first 1,000. Commits without a common ancestor are [Unrelated], which is no error.
func (r *Repository) Compare(ctx context.Context, base, head string) (Comparison, error) {
	if base == head {
		return Comparison{Relation: Identical, Complete: true}, nil
	}
	var c Comparison
	for page := 1; page <= comparePages; page++ {
		answer, err := r.comparePage(ctx, base, head, 100, page)
		if unrelated(err) {
			return Comparison{Relation: Unrelated}, nil
		}
		if err != nil {
			return Comparison{}, err
		}
		c.Relation, c.Ahead, c.Behind = answer.Status, answer.Ahead, answer.Behind
		for _, commit := range answer.Commits {
			c.Commits = append(c.Commits, commit.SHA)
		}
		// An empty page ends the loop too, so that a wrong ahead_by costs no further
		// calls.
		c.Complete = len(c.Commits) >= c.Ahead
		if c.Complete || len(answer.Commits) == 0 {
			break
		}
	}
	return c, nil
}

// Ancestor reports whether one commit is an ancestor of another, or the same commit.
func (r *Repository) Ancestor(ctx context.Context, ancestor, of string) (bool, error) {
	if ancestor == of {
		return true, nil
	}
	answer, err := r.comparePage(ctx, ancestor, of, 1, 1)
	if unrelated(err) {
		return false, nil
	}
	return err == nil && answer.Status == Ahead, err
}

// compareAnswer is GitHub's comparison. It goes from the merge base to the head.
type compareAnswer struct {
	Status    Relation `json:"status"` // a value that is none of [Relation]'s proves nothing
	Ahead     int      `json:"ahead_by"`
	Behind    int      `json:"behind_by"`
	MergeBase struct {
		SHA string `json:"sha"`
	} `json:"merge_base_commit"`
	Commits []struct {
		SHA string `json:"sha"`
	} `json:"commits"`
	Files []fileAnswer `json:"files"`
}

// fileAnswer is one changed file of a comparison or a pull request.
type fileAnswer struct {
	Path     string `json:"filename"`
	Previous string `json:"previous_filename"` // only with the status "renamed"
	Status   string `json:"status"`
}

// comparePage compares two commits by their full SHAs. Size 0 asks without paging. It
// refuses anything but a SHA: a name would make the answer depend on the time of the
// call, and answers are kept by the two SHAs.
func (r *Repository) comparePage(ctx context.Context, base, head string, size, page int) (compareAnswer, error) {
	for _, sha := range []string{base, head} {
		if _, err := ParseID(sha); err != nil {
			return compareAnswer{}, fmt.Errorf("compare commits of %s: %w", r, err)
		}
	}
	c := compareCall(base, head)
	if size > 0 {
		c.query = url.Values{"per_page": {strconv.Itoa(size)}, "page": {strconv.Itoa(page)}}
	}
	var answer compareAnswer
	_, err := r.do(ctx, c, &answer)
	return answer, err
}

// compareRefs compares a commit with the commit that a reference points to.
func (r *Repository) compareRefs(ctx context.Context, base, ref string) (answer compareAnswer, err error) {
	if _, err := ParseID(base); err != nil {
		return compareAnswer{}, fmt.Errorf("compare with %s of %s: %w", ref, r, err)
	}
	_, err = r.do(ctx, compareCall(base, ref), &answer)
	return answer, err
}

// compareCall is the call of a comparison. Only three dots are documented.
// https://docs.github.com/rest/commits/commits#compare-two-commits
func compareCall(base, head string) call {
	return call{
		op:   "compare " + base + " with " + head,
		path: "compare/" + base + "..." + escapePath(head),
		slow: true,
		most: listingBytes,
	}
}

// comparisons keeps the results for pairs of commits. A result never expires, because two
// SHAs always have the same difference. Methods may be called concurrently.
type comparisons struct {
	mu  sync.Mutex
	all map[comparisonKey]Changes
}

type comparisonKey struct {
	installation int64 // an installation must see only what GitHub showed to it
	repository   string
	from, to     string
}

// comparisonsKept bounds the number of results. One result lists fewer than 300 files.
const comparisonsKept = 256

func (c *comparisons) get(r *Repository, from, to string) (Changes, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.all[comparisonKey{r.installation, r.String(), from, to}]
	return found, ok
}

// put stores a result. A full map is thrown away whole; that costs calls, never
// exactness.
func (c *comparisons) put(r *Repository, from, to string, found Changes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil || len(c.all) >= comparisonsKept {
		c.all = make(map[comparisonKey]Changes, comparisonsKept)
	}
	c.all[comparisonKey{r.installation, r.String(), from, to}] = found
}

// unrelated recognises the 404 by which GitHub says that two commits have no common
// history. Only the message tells it from a 404 for a missing commit.
func unrelated(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.kind == kindNotFound && strings.Contains(strings.ToLower(e.Message), "no common ancestor")
}

// fileChanges turns GitHub's list into changes. A rename is one removed and one added
// file, because a purge needs both addresses. A copy is one added file. ok is false if a
// status is unknown: a file whose change is unclear must not be left out.
func fileChanges(files []fileAnswer) (changes []mapping.Change, ok bool) {
	ops := make(map[string]mapping.Op, len(files))
	set := func(path string, op mapping.Op) {
		if old, twice := ops[path]; twice && old != op {
			// One file moved away from this path and another one came to it: a net
			// modification.
			op = mapping.Modified
		}
		ops[path] = op
	}
	for _, f := range files {
		switch f.Status {
		case "added", "copied":
			set(f.Path, mapping.Added)
		case "removed":
			set(f.Path, mapping.Removed)
		case "modified", "changed":
			set(f.Path, mapping.Modified)
		case "renamed":
			if f.Previous == "" {
				return nil, false
			}
			set(f.Previous, mapping.Removed)
			set(f.Path, mapping.Added)
		case "unchanged":
		default:
			return nil, false
		}
	}
	return sortedChanges(ops), true
}
