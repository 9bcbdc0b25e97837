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

// ErrGone says that GitHub no longer has the commit to compare from, as
// happens after a force-push, and that its tree was not remembered either.
// What changed can't be known then.
var ErrGone = errors.New("GitHub no longer has the commit")

// Way is how a difference was found.
type Way string

// The ways, from the cheapest.
const (
	WaySame    Way = "same"    // it is the same commit: no call
	WayCompare Way = "compare" // GitHub's comparison: one call
	WayTrees   Way = "trees"   // whole listings: one call, two if the old one was not remembered
	WayWalk    Way = "walk"    // folder by folder, where GitHub truncates a listing
)

// Relation is how a commit stands to a base, in the words of GitHub's
// comparison; it is empty where it was not asked for or GitHub could not tell.
type Relation string

// The relations of a head to its base.
const (
	Identical Relation = "identical"
	Ahead     Relation = "ahead"     // the base is an ancestor of the head
	Behind    Relation = "behind"    // the head is an ancestor of the base
	Diverged  Relation = "diverged"  // they have a common ancestor
	Unrelated Relation = "unrelated" // they have none
)

// Changes is the exact net difference of two commits' trees.
type Changes struct {
	Files    []mapping.Change // sorted by path
	Tree     *Tree            // the new commit's, if it was read whole: worth remembering
	Way      Way
	Relation Relation
}

// compareFiles is how many files a comparison lists at most; with as many it
// may have cut the list. https://docs.github.com/rest/commits/commits#compare-two-commits
const compareFiles = 300

// Changes finds the exact net difference between two commits, whatever their
// history, by the cheapest way that is sure. Remembered may be nil or any tree
// of this repository; that of from saves the most. An error is [ErrGone] if
// from is gone and was not remembered; a missing to is an ordinary not-found.
func (r *Repository) Changes(ctx context.Context, from, to string, remembered *Tree) (Changes, error) {
	if from == to {
		return Changes{Way: WaySame, Relation: Identical}, nil
	}
	c, err := r.compared(ctx, from, to)
	if err != nil || c.Way != "" {
		return c, err
	}
	before, after, err := r.bothTrees(ctx, from, to, remembered)
	switch {
	case err != nil:
		return Changes{}, err
	case before == nil && after == nil:
		edits, err := (&walk{repository: r}).run(ctx, from, to)
		return Changes{changesOf(edits), nil, WayWalk, c.Relation}, err
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

// compared tries GitHub's comparison. It is exact only for a head that is
// ahead of its base, where the merge base is the base itself, and with fewer
// files than it lists. An empty Way says that it is no answer.
func (r *Repository) compared(ctx context.Context, from, to string) (Changes, error) {
	if c, ok := r.app.comparisons.get(r, from, to); ok {
		return c, nil
	}
	// Without paging: that a page of one commit lists every file all the same
	// is documented, and costs a purge if it is not so.
	answer, err := r.comparePage(ctx, from, to, 0, 0)
	if err != nil {
		_, operator := OperatorFault(err)
		if e, ok := errors.AsType[*Error](err); !ok || operator || e.kind == kindLimited || ctx.Err() != nil {
			return Changes{}, err
		}
		// Not found: one of the commits may be gone, and the trees will tell.
		// 5xx: too large a comparison for GitHub; trees are no work for it.
		if unrelated(err) {
			return Changes{Relation: Unrelated}, nil
		}
		return Changes{}, nil
	}
	c := answer.changes(from)
	r.app.comparisons.put(r, from, to, c) // a deployment asks what its push has asked
	return c, nil
}

// changes is what the comparison tells for sure of a head and its base.
func (a *compareAnswer) changes(base string) Changes {
	c := Changes{Relation: a.Status}
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

// ChangesToBranch finds a branch's head, and the difference to it from a
// commit if GitHub's comparison tells it for sure; else the Way is empty. It
// is one call, and [Repository.Changes] from the one to the other costs none
// for a while after it. Not found: there is no such branch.
func (r *Repository) ChangesToBranch(ctx context.Context, from, branch string) (head string, c Changes, err error) {
	// By its full name: a tag of the same name must not be taken for it.
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
	// The commit may be gone, the comparison too large for GitHub, or it lists
	// not all commits: the branch itself tells.
	head, err = r.Head(ctx, branch)
	return head, Changes{}, err
}

// head is the commit that was compared with the base; "" if it is not told.
func (a *compareAnswer) head(base string) string {
	switch {
	case a.Status == Identical:
		return base
	case a.Status == Behind:
		return a.MergeBase.SHA
	case len(a.Commits) > 0 && len(a.Commits) == a.Ahead:
		return a.Commits[len(a.Commits)-1].SHA // the oldest first
	}
	return ""
}

// bothTrees reads the two trees at once. A nil tree is one that GitHub
// truncates, where none is remembered to start from.
func (r *Repository) bothTrees(ctx context.Context, from, to string, remembered *Tree) (before, after *Tree, err error) {
	var fromErr, toErr error
	var both sync.WaitGroup
	if remembered != nil && remembered.commit == from {
		before = remembered
	} else {
		both.Go(func() { before, fromErr = r.treeNear(ctx, remembered, from) })
	}
	after, toErr = r.treeNear(ctx, remembered, to)
	both.Wait()
	// GitHub says 404 for a whole repository as well. Only while it shows the
	// new commit is the old one known to be gone.
	switch {
	case toErr != nil:
		return nil, nil, toErr
	case IsNotFound(fromErr):
		return nil, nil, fmt.Errorf("read tree of %s at %s: %w (%v)", r, from, ErrGone, fromErr) //nolint:errorlint // it must not be taken for a missing repository
	case fromErr != nil:
		return nil, nil, fromErr
	}
	return before, after, nil
}

// Comparison is how a head stands to a base.
type Comparison struct {
	Relation      Relation
	Ahead, Behind int
	// Commits are the head's commits that the base has not, oldest first.
	Commits  []string
	Complete bool // Commits has all of them
}

// comparePages is how many pages of 100 commits [Repository.Compare] reads.
const comparePages = 10

// Compare asks how head stands to base, and lists the commits between, the
// first 1,000. Commits without a common ancestor are [Unrelated].
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
		c.Complete = len(c.Commits) >= c.Ahead
		if c.Complete || len(answer.Commits) == 0 {
			break
		}
	}
	return c, nil
}

// Ancestor reports whether a commit is another's ancestor, or the same.
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

// compareAnswer is GitHub's comparison, from the merge base to the head.
type compareAnswer struct {
	Status    Relation `json:"status"`
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

// fileAnswer is a changed file of a comparison or a pull request.
type fileAnswer struct {
	Path     string `json:"filename"`
	Previous string `json:"previous_filename"`
	Status   string `json:"status"`
}

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

// compareRefs compares a commit with what a reference points to.
func (r *Repository) compareRefs(ctx context.Context, base, ref string) (answer compareAnswer, err error) {
	if _, err := ParseID(base); err != nil {
		return compareAnswer{}, fmt.Errorf("compare with %s of %s: %w", ref, r, err)
	}
	_, err = r.do(ctx, compareCall(base, ref), &answer)
	return answer, err
}

func compareCall(base, head string) call {
	return call{
		op:   "compare " + base + " with " + head,
		path: "compare/" + base + "..." + escapePath(head),
		slow: true,
		most: listingBytes,
	}
}

// comparisons keeps what was found out about pairs of commits, which never
// changes.
type comparisons struct {
	mu  sync.Mutex
	all map[comparisonKey]Changes
}

type comparisonKey struct {
	installation int64 // each sees only what itself was shown
	repository   string
	from, to     string
}

// comparisonsKept bounds them; a comparison lists at most 300 files.
const comparisonsKept = 256

func (c *comparisons) get(r *Repository, from, to string) (Changes, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.all[comparisonKey{r.installation, r.String(), from, to}]
	return found, ok
}

func (c *comparisons) put(r *Repository, from, to string, found Changes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil || len(c.all) >= comparisonsKept {
		c.all = make(map[comparisonKey]Changes, comparisonsKept)
	}
	c.all[comparisonKey{r.installation, r.String(), from, to}] = found
}

// unrelated knows the 404 by which GitHub says that two commits have no common
// history.
func unrelated(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.kind == kindNotFound && strings.Contains(strings.ToLower(e.Message), "no common ancestor")
}

// fileChanges turns GitHub's list into changes: a rename is one removed and one
// added, a copy one added. Not ok: a status that is not known.
func fileChanges(files []fileAnswer) (changes []mapping.Change, ok bool) {
	ops := make(map[string]mapping.Op, len(files))
	set := func(path string, op mapping.Op) {
		if old, twice := ops[path]; twice && old != op {
			op = mapping.Modified // the path of a file moved away, and of one moved here
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
