package github

import (
	"bytes"
	"cmp"
	"crypto/sha1" //nolint:gosec // git's object ids are SHA-1
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/purgebot/purgebot/mapping"
)

// ID is a git object's SHA-1. Equal ids mean equal content, for files and for whole
// folders.
type ID [20]byte

// ParseID reads 40 hexadecimal digits. Callers use it before an id becomes part of a
// path: a branch name there would be resolved at the time of the call.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return ID{}, fmt.Errorf("%q is no object id of 40 hexadecimal digits", s)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("%q is no object id: %w", s, err)
	}
	return id, nil
}

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Mode is an entry's mode as git writes it in octal: its type and permissions.
type Mode uint32

// The modes that git's trees have.
const (
	ModeFile       Mode = 0o100644
	ModeExecutable Mode = 0o100755
	ModeSymlink    Mode = 0o120000 // the blob holds the target's path
	ModeSubmodule  Mode = 0o160000 // the id is a commit of another repository
	modeFolder     Mode = 0o040000 // never in a [Tree], which lists files only
)

func parseMode(s string) (Mode, error) {
	m, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no file mode", s)
	}
	return Mode(m), nil
}

// Entry is one file, symbolic link or submodule of a [Tree].
type Entry struct {
	Path string
	Mode Mode
	ID   ID
}

// Tree is the whole content of one commit: every path with its mode and content id,
// sorted by path and without the folders. It is immutable, so any number of goroutines
// may read it. It is compact: an entry takes the bytes of its path and 28 bytes more.
type Tree struct {
	commit string   // SHA; "" for a tree below a folder
	walked bool     // GitHub truncates its listing, so the next one is walked at once
	paths  string   // all paths, one after the other
	ends   []uint32 // ends[i] is where path i ends in paths
	modes  []Mode
	ids    []ID
}

// Commit is the SHA of the commit whose tree this is.
func (t *Tree) Commit() string { return t.commit }

// Len is the number of entries.
func (t *Tree) Len() int { return len(t.ids) }

// Entry gives the i-th entry in the order of paths.
func (t *Tree) Entry(i int) Entry {
	return Entry{Path: t.path(i), Mode: t.modes[i], ID: t.ids[i]}
}

// path is a part of paths, not a copy: it costs no memory, and it keeps the tree alive.
func (t *Tree) path(i int) string {
	start := uint32(0)
	if i > 0 {
		start = t.ends[i-1]
	}
	return t.paths[start:t.ends[i]]
}

// All yields the entries in the order of their paths.
func (t *Tree) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for i := range t.Len() {
			if !yield(t.Entry(i)) {
				return
			}
		}
	}
}

// Paths yields the paths in order.
func (t *Tree) Paths() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range t.Len() {
			if !yield(t.path(i)) {
				return
			}
		}
	}
}

// Lookup finds an entry by its path.
func (t *Tree) Lookup(path string) (Entry, bool) {
	i := t.search(0, t.Len(), path)
	if i == t.Len() || t.path(i) != path {
		return Entry{}, false
	}
	return t.Entry(i), true
}

// search gives the first index in [from, to) whose path does not sort before path; to if
// there is none. It relies on the order of paths.
func (t *Tree) search(from, to int, path string) int {
	for from < to {
		if middle := int(uint(from+to) >> 1); t.path(middle) < path {
			from = middle + 1
		} else {
			to = middle
		}
	}
	return from
}

// Diff is the exact net difference between two trees, sorted by path. An entry whose
// content, mode or type changed is modified. If a file became a folder, the file is
// removed and the folder's files are added. A nil tree counts as empty.
func Diff(before, after *Tree) []mapping.Change {
	return changesOf(diff(before, after))
}

// edit is one changed path. entry is its new state; of a removed path it has only the
// Path.
type edit struct {
	op    mapping.Op
	entry Entry
}

func changesOf(edits []edit) []mapping.Change {
	changes := make([]mapping.Change, len(edits))
	for i, e := range edits {
		changes[i] = mapping.Change{Path: e.entry.Path, Op: e.op}
	}
	return changes
}

// diff merges two sorted listings. A file that moved appears as one removed and one added
// path, because its old address must be purged as well as its new one.
func diff(before, after *Tree) []edit {
	if before == nil {
		before = &Tree{}
	}
	if after == nil {
		after = &Tree{}
	}
	var edits []edit
	i, j := 0, 0
	for i < before.Len() || j < after.Len() {
		switch order := compareAt(before, i, after, j); {
		case order < 0:
			edits = append(edits, edit{mapping.Removed, Entry{Path: before.path(i)}})
			i++
		case order > 0:
			edits = append(edits, edit{mapping.Added, after.Entry(j)})
			j++
		default:
			if before.ids[i] != after.ids[j] || before.modes[i] != after.modes[j] {
				edits = append(edits, edit{mapping.Modified, after.Entry(j)})
			}
			i++
			j++
		}
	}
	return edits
}

// compareAt compares the next paths of two trees. A tree that is at its end sorts last,
// so that the other one's remaining entries are taken.
func compareAt(a *Tree, i int, b *Tree, j int) int {
	switch {
	case i == a.Len():
		return 1
	case j == b.Len():
		return -1
	}
	return strings.Compare(a.path(i), b.path(j))
}

// apply makes a new tree of this one and the edits that lead to commit. The edits must be
// sorted by path, one for each path, as [settled] leaves them.
func (t *Tree) apply(commit string, edits []edit) (*Tree, error) {
	b := treeBuilder{commit: commit, walked: true}
	b.grow(t.Len(), len(t.paths))
	i := 0
	for _, e := range edits {
		for ; i < t.Len() && t.path(i) < e.entry.Path; i++ {
			b.add(t.path(i), t.modes[i], t.ids[i])
		}
		if i < t.Len() && t.path(i) == e.entry.Path {
			i++
		}
		if e.op != mapping.Removed {
			b.add(e.entry.Path, e.entry.Mode, e.entry.ID)
		}
	}
	for ; i < t.Len(); i++ {
		b.add(t.path(i), t.modes[i], t.ids[i])
	}
	return b.tree()
}

// treeBuilder gathers entries in any order. It is for one goroutine.
type treeBuilder struct {
	commit string
	walked bool
	paths  []byte
	ends   []uint32
	modes  []Mode
	ids    []ID
}

// maxPathBytes is the most that the 32-bit offsets in ends can address.
const maxPathBytes = 1<<32 - 1

var errTooLarge = errors.New("the paths of this commit's tree are longer than 4 GiB")

// grow makes room ahead of many calls of add.
func (b *treeBuilder) grow(entries, pathBytes int) {
	b.ends = slices.Grow(b.ends, entries)
	b.modes = slices.Grow(b.modes, entries)
	b.ids = slices.Grow(b.ids, entries)
	b.paths = slices.Grow(b.paths, pathBytes)
}

func (b *treeBuilder) add(path string, mode Mode, id ID) {
	b.paths = append(b.paths, path...)
	b.ends = append(b.ends, uint32(len(b.paths))) //nolint:gosec // tree checks it
	b.modes = append(b.modes, mode)
	b.ids = append(b.ids, id)
}

// tree gives the entries that were gathered, in the order of paths. The builder must not
// be used afterwards. Git lists a tree's files in that order already, so a sort is rarely
// needed.
func (b *treeBuilder) tree() (*Tree, error) {
	if len(b.paths) > maxPathBytes {
		return nil, errTooLarge
	}
	t := b.sorted()
	for i := 1; i < t.Len(); i++ {
		if t.path(i-1) >= t.path(i) {
			return reordered(t), nil
		}
	}
	return t, nil
}

// sorted takes the entries as they are; the caller has made sure of their order. Clip
// gives back the spare memory, since a tree may live for long.
func (b *treeBuilder) sorted() *Tree {
	return &Tree{
		commit: b.commit,
		walked: b.walked,
		paths:  string(b.paths),
		ends:   slices.Clip(b.ends),
		modes:  slices.Clip(b.modes),
		ids:    slices.Clip(b.ids),
	}
}

// reordered sorts a tree by path. Names that are not UTF-8 look the same in JSON. Of two
// such names one entry remains, and its id mixes both ids. A change in either then shows
// as a change.
func reordered(t *Tree) *Tree {
	order := make([]int, t.Len())
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		return cmp.Or(strings.Compare(t.path(i), t.path(j)),
			cmp.Compare(t.modes[i], t.modes[j]), bytes.Compare(t.ids[i][:], t.ids[j][:]))
	})
	b := treeBuilder{commit: t.commit, walked: t.walked}
	b.grow(t.Len(), len(t.paths))
	last := ""
	for n, i := range order {
		if path := t.path(i); n == 0 || path != last {
			b.add(path, t.modes[i], t.ids[i])
			last = path
			continue
		}
		mixed := &b.ids[len(b.ids)-1]
		*mixed = sha1.Sum(append(mixed[:], t.ids[i][:]...)) //nolint:gosec // no secrecy here
	}
	return b.sorted()
}
