package github

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// The encoding of a tree: a magic word, the numbers of entries and of packed
// bytes, the packed part, the ids as they are (they don't compress), a
// checksum of all that. The packed part, compressed by DEFLATE, has 1 for a tree
// that was walked, else 0, and the commit, then for each entry how many bytes of its path are those of the one before,
// how many follow, these, and its mode.
const (
	treeMagic     = "tree1\n"
	pathBytes     = 1 << 16 // git takes no longer path on any file system
	packedRatio   = 1100    // DEFLATE can't do better than 1 to 1,032
	checksumBytes = 4
)

var errTreeEncoding = errors.New("this is no tree that was stored here, or it was damaged")

// MarshalBinary encodes the tree compactly: about 20 bytes an entry for the
// ids, and a few for each path.
func (t *Tree) MarshalBinary() ([]byte, error) {
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.DefaultCompression)
	if err != nil {
		return nil, fmt.Errorf("encode tree: %w", err)
	}
	buf := []byte{0}
	if t.walked {
		buf[0] = 1
	}
	buf = appendNumber(buf, len(t.commit))
	buf = append(buf, t.commit...)
	last := ""
	for i := range t.Len() {
		path := t.path(i)
		if len(path) > pathBytes {
			return nil, fmt.Errorf("encode tree: a path is longer than %d bytes", pathBytes)
		}
		shared := sharedPrefix(last, path)
		buf = appendNumber(buf, shared)
		buf = appendNumber(buf, len(path)-shared)
		buf = append(buf, path[shared:]...)
		buf = binary.AppendUvarint(buf, uint64(t.modes[i]))
		last = path
		if len(buf) > 1<<15 {
			if _, err := w.Write(buf); err != nil {
				return nil, fmt.Errorf("encode tree: %w", err)
			}
			buf = buf[:0]
		}
	}
	_, err = w.Write(buf)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("encode tree: %w", err)
	}
	out := slices.Grow([]byte(treeMagic), packed.Len()+len(t.ids)*len(ID{})+32)
	out = appendNumber(out, t.Len())
	out = appendNumber(out, packed.Len())
	out = append(out, packed.Bytes()...)
	for i := range t.ids {
		out = append(out, t.ids[i][:]...)
	}
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out)), nil
}

func appendNumber(buf []byte, n int) []byte {
	return binary.AppendUvarint(buf, uint64(n)) //nolint:gosec // a length is never negative
}

func sharedPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// UnmarshalBinary decodes what MarshalBinary made. Damaged data are an error,
// never another tree.
func (t *Tree) UnmarshalBinary(data []byte) error {
	count, packed, ids, err := splitTree(data)
	if err != nil {
		return err
	}
	unpacked := flate.NewReader(bytes.NewReader(packed))
	buf, err := io.ReadAll(io.LimitReader(unpacked, int64(len(packed))*packedRatio+64))
	if err != nil {
		return fmt.Errorf("%w: %w", errTreeEncoding, err)
	}
	r := treeReader{data: buf}
	b := treeBuilder{walked: r.number() == 1}
	b.commit = string(r.take(r.number()))
	b.grow(count, 0)
	var path []byte
	for i := range count {
		shared, more := r.number(), r.number()
		if shared > len(path) || more > pathBytes-shared || len(b.paths) > maxPathBytes-shared-more {
			return errTreeEncoding
		}
		before := string(path)
		path = append(path[:shared], r.take(more)...)
		mode := Mode(r.number()) //nolint:gosec // number is at most 32 bits
		if r.bad || i > 0 && before >= string(path) {
			return errTreeEncoding
		}
		b.add(string(path), mode, ID(ids[i*len(ID{}):]))
	}
	if r.bad || len(r.data) > 0 {
		return errTreeEncoding
	}
	*t = *b.sorted()
	return nil
}

// splitTree checks the outer layer and takes it apart.
func splitTree(data []byte) (count int, packed, ids []byte, err error) {
	end := len(data) - checksumBytes
	if end < len(treeMagic) || string(data[:len(treeMagic)]) != treeMagic ||
		binary.BigEndian.Uint32(data[end:]) != crc32.ChecksumIEEE(data[:end]) {
		return 0, nil, nil, errTreeEncoding
	}
	r := treeReader{data: data[len(treeMagic):end]}
	count = r.number()
	packed = r.take(r.number())
	if r.bad || len(r.data)%len(ID{}) != 0 || len(r.data)/len(ID{}) != count {
		return 0, nil, nil, errTreeEncoding
	}
	return count, packed, r.data, nil
}

// treeReader takes values off the front of its data until something is bad.
type treeReader struct {
	data []byte
	bad  bool
}

func (r *treeReader) number() int {
	v, n := binary.Uvarint(r.data)
	if n <= 0 || v > maxPathBytes {
		r.bad = true
		return 0
	}
	r.data = r.data[n:]
	return int(v)
}

func (r *treeReader) take(n int) []byte {
	if n > len(r.data) {
		r.bad = true
		return nil
	}
	taken := r.data[:n]
	r.data = r.data[n:]
	return taken
}
