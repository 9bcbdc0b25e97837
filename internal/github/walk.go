package github

import (
	"cmp"
	"context"
	"crypto/sha1" //nolint:gosec // git's object ids are SHA-1
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/purgebot/purgebot/mapping"
)

// walk finds the difference of two trees that GitHub does not list whole. It goes down
// level by level, several calls at a time, and enters a folder only if its ids differ on
// the two sides. Equal ids mean equal content, so nothing below such a folder can have
// changed.
//
// Folders of a remembered tree cost no call. Folders that were read before are in the
// cache. So if a rate limit stops a walk, the next attempt continues where it was. A walk
// is used for one run, by one caller.
type walk struct {
	repository *Repository
	folders    map[ID][]folderEntry // of the remembered tree, by id; nil: none. Only read during a run
	root       ID                   // of the remembered tree
}

// manyFolders is the number of changed folders inside one folder above which the walk
// asks for that folder's whole listing, old and new. That costs two calls, while each
// changed folder costs up to two.
const manyFolders = 4

// step is one folder's old and new tree. A nil id means that the folder is not on that
// side.
type step struct {
	path          string // ends with a slash; "" at the root
	before, after *ID
}

// run gives the edits from one commit to another, sorted by path. An empty from is the
// empty tree. If a tree is remembered, run starts from that tree and ignores from.
func (w *walk) run(ctx context.Context, from, to string) ([]edit, error) {
	after, err := ParseID(to)
	if err != nil {
		return nil, fmt.Errorf("walk trees of %s: %w", w.repository, err)
	}
	start := step{after: &after}
	switch {
	case w.folders != nil:
		start.before = &w.root
	case from != "":
		before, err := ParseID(from)
		if err != nil {
			return nil, fmt.Errorf("walk trees of %s: %w", w.repository, err)
		}
		start.before = &before
	}
	var edits []edit
	for level := []step{start}; len(level) > 0; {
		var found []edit
		if found, level, err = w.level(ctx, level); err != nil {
			return nil, err
		}
		edits = append(edits, found...)
	}
	return settled(edits), nil
}

// level takes all steps of one depth at the same time. The order of its results is
// random; settled sorts them. The first error stops the others through the group's
// context.
func (w *walk) level(ctx context.Context, steps []step) (edits []edit, next []step, err error) {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrentReads)
	for _, s := range steps {
		group.Go(func() error {
			found, deeper, err := w.step(ctx, s)
			mu.Lock()
			defer mu.Unlock()
			edits = append(edits, found...)
			next = append(next, deeper...)
			return err
		})
	}
	err = group.Wait()
	return edits, next, err
}

// step compares one folder. If only one side has the folder, or if many folders in it
// changed, it asks for the whole listing instead. At the root it never does: that listing
// is known to be truncated.
func (w *walk) step(ctx context.Context, s step) ([]edit, []step, error) {
	oneSided := (s.before == nil || s.after == nil) && s.path != ""
	if oneSided {
		if edits, ok, err := w.whole(ctx, s); ok || err != nil {
			return edits, nil, err
		}
	}
	var before, after []folderEntry
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { before, err = w.list(groupCtx, s.before, s.path == ""); return err })
	group.Go(func() (err error) { after, err = w.list(groupCtx, s.after, s.path == ""); return err })
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	edits, next := compareFolders(s.path, before, after)
	if len(next) > manyFolders && !oneSided && s.path != "" {
		if all, ok, err := w.whole(ctx, s); ok || err != nil {
			return all, nil, err
		}
	}
	return edits, next, nil
}

// compareFolders merges two folders' entries by name. It gives what changed in them and
// the folders below that must be entered.
func compareFolders(path string, before, after []folderEntry) (edits []edit, next []step) {
	before, after = byName(before), byName(after)
	for i, j := 0, 0; i < len(before) || j < len(after); {
		var old, now *folderEntry
		if i < len(before) && (j == len(after) || before[i].name <= after[j].name) {
			old = &before[i]
		}
		if j < len(after) && (i == len(before) || after[j].name <= before[i].name) {
			now = &after[j]
		}
		if old != nil {
			i++
		}
		if now != nil {
			j++
		}
		edits, next = compareEntry(path, old, now, edits, next)
	}
	return edits, next
}

// byName sorts by name. Git sorts a folder as if its name ended with a slash, so a file
// and a folder of the same name may stand apart in git's order.
func byName(entries []folderEntry) []folderEntry {
	return slices.SortedStableFunc(slices.Values(entries), func(a, b folderEntry) int {
		return strings.Compare(a.name, b.name)
	})
}

// compareEntry compares the two entries of one name. nil means that this side has none. A
// folder gives no edit itself but a step. If a file became a folder, there are both: the
// file is removed, and the step finds the folder's files.
func compareEntry(path string, old, now *folderEntry, edits []edit, next []step) ([]edit, []step) {
	if old != nil && now != nil && *old == *now {
		return edits, next
	}
	var deeper step
	if old != nil && old.mode == modeFolder {
		deeper.path = path + old.name + "/"
		deeper.before, old = &old.id, nil
	}
	if now != nil && now.mode == modeFolder {
		deeper.path = path + now.name + "/"
		deeper.after, now = &now.id, nil
	}
	switch {
	case old != nil && now != nil:
		edits = append(edits, edit{mapping.Modified, Entry{path + now.name, now.mode, now.id}})
	case old != nil:
		edits = append(edits, edit{op: mapping.Removed, entry: Entry{Path: path + old.name}})
	case now != nil:
		edits = append(edits, edit{mapping.Added, Entry{path + now.name, now.mode, now.id}})
	}
	if deeper.before != nil || deeper.after != nil {
		next = append(next, deeper)
	}
	return edits, next
}

// whole answers a step by the recursive listings of both sides. ok is false if GitHub
// truncates one of them; the caller then goes down one level more.
func (w *walk) whole(ctx context.Context, s step) (edits []edit, ok bool, err error) {
	var before, after *Tree
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { before, err = w.below(ctx, s.before); return err })
	group.Go(func() (err error) { after, err = w.below(ctx, s.after); return err })
	if err := group.Wait(); err != nil || before == nil || after == nil {
		return nil, false, err
	}
	edits = diff(before, after)
	for i := range edits {
		edits[i].entry.Path = s.path + edits[i].entry.Path
	}
	return edits, true, nil
}

// below gives all files below a folder, with paths relative to it. nil means that GitHub
// truncates the listing. A remembered folder is expanded without a call.
func (w *walk) below(ctx context.Context, id *ID) (*Tree, error) {
	if id == nil {
		return &Tree{}, nil
	}
	if _, ok := w.folders[*id]; !ok {
		return w.repository.recursive(ctx, id.String())
	}
	var b treeBuilder
	w.expand("", *id, &b)
	return b.tree()
}

// expand adds all files below a remembered folder. Every folder below it is remembered
// too.
func (w *walk) expand(path string, id ID, b *treeBuilder) {
	for _, e := range w.folders[id] {
		if e.mode == modeFolder {
			w.expand(path+e.name+"/", e.id, b)
			continue
		}
		b.add(path+e.name, e.mode, e.id)
	}
}

// list gives a folder's own entries. At the root the id may be a commit's: GitHub accepts
// that for its tree. Where a server does not, list finds the tree by way of the commit.
func (w *walk) list(ctx context.Context, id *ID, root bool) ([]folderEntry, error) {
	if id == nil {
		return nil, nil
	}
	if entries, ok := w.folders[*id]; ok {
		return entries, nil
	}
	entries, err := w.repository.folder(ctx, id.String())
	if !root || !IsNotFound(err) {
		return entries, err
	}
	commit, err := w.repository.Commit(ctx, id.String())
	if err != nil {
		return nil, err
	}
	return w.repository.folder(ctx, commit.Tree)
}

// remember computes the folders of a whole tree and their ids, as git does. If GitHub
// showed a mode or name that differs from what git has stored, the computed id differs
// from git's. The folder is then read although it was known. It is never taken for
// another folder.
func (w *walk) remember(t *Tree) {
	w.folders = map[ID][]folderEntry{}
	w.root = w.rememberFolder(t, 0, t.Len(), 0)
}

// rememberFolder takes the entries [from, to) of a tree. They are those below one folder,
// whose path, slash included, is skip bytes long. It gives the folder's id.
func (w *walk) rememberFolder(t *Tree, from, to, skip int) ID {
	var entries []folderEntry
	for i := from; i < to; {
		name, _, nested := strings.Cut(t.path(i)[skip:], "/")
		if !nested {
			entries = append(entries, folderEntry{name, t.modes[i], t.ids[i]})
			i++
			continue
		}
		folder := t.path(i)[:skip+len(name)]
		end := t.search(i, to, folder+"0") // "0" is the byte after "/"
		entries = append(entries, folderEntry{name, modeFolder, w.rememberFolder(t, i, end, skip+len(name)+1)})
		i = end
	}
	id := folderID(entries)
	w.folders[id] = entries
	return id
}

// folderID is git's id of a tree object. The entries must be in git's order, which is
// that of paths, with a slash at the end of a folder's. rememberFolder gives them in that
// order because a Tree is sorted by whole paths.
func folderID(entries []folderEntry) ID {
	var object []byte
	for _, e := range entries {
		object = fmt.Appendf(object, "%o %s\x00", e.mode, e.name)
		object = append(object, e.id[:]...)
	}
	return sha1.Sum(append(fmt.Appendf(nil, "tree %d\x00", len(object)), object...)) //nolint:gosec // git's id
}

// settled sorts edits by path. Names that are not UTF-8 look the same in JSON; several
// edits of one such path become one modification. It reuses the slice of its argument.
func settled(edits []edit) []edit {
	slices.SortStableFunc(edits, func(a, b edit) int { return strings.Compare(a.entry.Path, b.entry.Path) })
	kept := edits[:0]
	for _, e := range edits {
		if n := len(kept); n > 0 && kept[n-1].entry.Path == e.entry.Path {
			kept[n-1] = edit{mapping.Modified, e.entry}
			continue
		}
		kept = append(kept, e)
	}
	return kept
}

// sortedChanges lists a map of changes in the order of paths.
func sortedChanges(ops map[string]mapping.Op) []mapping.Change {
	changes := make([]mapping.Change, 0, len(ops))
	for path, op := range ops {
		changes = append(changes, mapping.Change{Path: path, Op: op})
	}
	slices.SortFunc(changes, func(a, b mapping.Change) int { return cmp.Compare(a.Path, b.Path) })
	return changes
}
