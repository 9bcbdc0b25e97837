package github

import (
	"io"
)

// ConcurrentReads is concurrentReads, for the tests outside.
const ConcurrentReads = concurrentReads

// RootID computes the id of a tree's root as git does.
func RootID(t *Tree) ID {
	w := &walk{}
	w.remember(t)
	return w.root
}

// MakeTree makes a tree of entries in any order.
func MakeTree(commit string, entries ...Entry) *Tree {
	b := treeBuilder{commit: commit}
	for _, e := range entries {
		b.add(e.Path, e.Mode, e.ID)
	}
	t, err := b.tree()
	if err != nil {
		panic(err)
	}
	return t
}

// DecodeTree reads GitHub's JSON of a tree.
func DecodeTree(body io.Reader) (entries []string, truncated bool, err error) {
	err = decodeTree(body, func(e treeEntry) error {
		entries = append(entries, e.Path)
		return nil
	}, &truncated)
	return entries, truncated, err
}

// Stored is a tree's encoding with any content, valid or not, and a correct checksum.
func Stored(commit, paths string, lengths []uint32, modes []Mode, ids []byte) []byte {
	data, err := storedTree{Commit: commit, Paths: paths, Lengths: lengths, Modes: modes, IDs: ids}.encode()
	if err != nil {
		panic(err)
	}
	return data
}
