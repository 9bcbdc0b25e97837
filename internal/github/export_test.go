package github

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
)

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

// WithoutChecksum cuts off the end of an encoded tree, and WithChecksum puts
// it there.
func WithoutChecksum(data []byte) []byte { return data[:len(data)-checksumBytes] }

// WithChecksum makes data pass the checksum.
func WithChecksum(data []byte) []byte {
	return binary.BigEndian.AppendUint32(slices.Clone(data), crc32.ChecksumIEEE(data))
}
