package github

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// storedTree is how a tree is stored: encoded by gob and compressed by zstd, whose
// checksum reveals damage. Ids do not compress, so an entry takes at least 20 bytes. gob
// matches fields by name; renaming one here makes stored trees unreadable.
type storedTree struct {
	Commit  string
	Walked  bool
	Paths   string
	Lengths []uint32 // of each path in Paths, in bytes
	Modes   []Mode
	IDs     []byte // 20 bytes for each entry
}

// errTreeEncoding means that a stored tree is of no use. The caller can read the tree
// from GitHub again.
var errTreeEncoding = errors.New("this is no tree that was stored here, or it was damaged")

// MarshalBinary encodes the tree compactly.
func (t *Tree) MarshalBinary() ([]byte, error) {
	s := storedTree{Commit: t.commit, Walked: t.walked, Paths: t.paths, Modes: t.modes}
	for i := range t.Len() {
		s.Lengths = append(s.Lengths, uint32(len(t.path(i)))) //nolint:gosec // ends are 32 bits, too
		s.IDs = append(s.IDs, t.ids[i][:]...)
	}
	return s.encode()
}

// encode gives the stored bytes. Closing the writer flushes it and writes the checksum.
func (s storedTree) encode() ([]byte, error) {
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("encode tree: %w", err)
	}
	if err := errors.Join(gob.NewEncoder(w).Encode(s), w.Close()); err != nil {
		return nil, fmt.Errorf("encode tree: %w", err)
	}
	return out.Bytes(), nil
}

// UnmarshalBinary decodes what MarshalBinary made. Damaged data give an error, never
// another tree: a wrong tree would make the next difference wrong. It checks the order of
// paths too, on which every search relies. On error the tree is unchanged.
func (t *Tree) UnmarshalBinary(data []byte) error {
	r, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("%w: %w", errTreeEncoding, err)
	}
	defer r.Close()
	var s storedTree
	if err := gob.NewDecoder(r).Decode(&s); err != nil {
		return fmt.Errorf("%w: %w", errTreeEncoding, err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // the checksum comes last, and is checked only when it is read
		return fmt.Errorf("%w: %w", errTreeEncoding, err)
	}
	const id = len(ID{})
	if len(s.Modes) != len(s.Lengths) || len(s.IDs) != id*len(s.Lengths) {
		return errTreeEncoding
	}
	b := treeBuilder{commit: s.Commit, walked: s.Walked}
	b.grow(len(s.Lengths), len(s.Paths))
	last, rest := "", s.Paths
	for i, n := range s.Lengths {
		if uint64(n) > uint64(len(rest)) || i > 0 && last >= rest[:n] {
			return errTreeEncoding
		}
		last, rest = rest[:n], rest[n:]
		b.add(last, s.Modes[i], ID(s.IDs[i*id:]))
	}
	if rest != "" {
		return errTreeEncoding
	}
	*t = *b.sorted()
	return nil
}
