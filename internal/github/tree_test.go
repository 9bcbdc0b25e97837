package github_test

import (
	"bytes"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/mapping"
)

func entry(path string, mode github.Mode, text string) github.Entry {
	return github.Entry{Path: path, Mode: mode, ID: sha1.Sum([]byte(text))}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	const file = github.ModeFile
	type entries = []github.Entry
	for _, test := range []struct {
		name          string
		before, after entries
		want          []mapping.Change
	}{
		{"nothing", nil, nil, nil},
		{"the same", entries{entry("a", file, "1")}, entries{entry("a", file, "1")}, nil},
		{"added", nil, entries{entry("a", file, "1")}, []mapping.Change{{Path: "a", Op: mapping.Added}}},
		{"removed", entries{entry("a", file, "1")}, nil, []mapping.Change{{Path: "a", Op: mapping.Removed}}},
		{"content", entries{entry("a", file, "1")}, entries{entry("a", file, "2")}, []mapping.Change{{Path: "a", Op: mapping.Modified}}},
		{"mode", entries{entry("a", file, "1")}, entries{entry("a", github.ModeExecutable, "1")}, []mapping.Change{{Path: "a", Op: mapping.Modified}}},
		{"type", entries{entry("a", file, "1")}, entries{entry("a", github.ModeSymlink, "1")}, []mapping.Change{{Path: "a", Op: mapping.Modified}}},
		{"submodule", entries{entry("a", github.ModeSubmodule, "1")}, entries{entry("a", github.ModeSubmodule, "2")}, []mapping.Change{{Path: "a", Op: mapping.Modified}}},
		{
			"a rename",
			entries{entry("a", file, "1")},
			entries{entry("b", file, "1")},
			[]mapping.Change{{Path: "a", Op: mapping.Removed}, {Path: "b", Op: mapping.Added}},
		},
		{
			"a file became a folder",
			entries{entry("a", file, "1"), entry("a-b", file, "1")},
			entries{entry("a/x", file, "1"), entry("a/y", file, "2"), entry("a-b", file, "1")},
			[]mapping.Change{{Path: "a", Op: mapping.Removed}, {Path: "a/x", Op: mapping.Added}, {Path: "a/y", Op: mapping.Added}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := github.Diff(github.MakeTree("", test.before...), github.MakeTree("", test.after...))
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := github.Diff(nil, nil); len(got) != 0 {
		t.Errorf("of nil trees: %v", got)
	}
}

func TestTreeFindsItsEntries(t *testing.T) {
	t.Parallel()
	all := []github.Entry{entry("b", github.ModeFile, "1"), entry("a/x", github.ModeFile, "2"), entry("a-b", github.ModeSymlink, "3")}
	tree := github.MakeTree(anySHA, all...)
	for _, want := range all {
		if got, ok := tree.Lookup(want.Path); !ok || got != want {
			t.Errorf("%s is found as %+v, %v", want.Path, got, ok)
		}
	}
	for _, path := range []string{"", "a", "a/", "a/xx", "c"} {
		if got, ok := tree.Lookup(path); ok {
			t.Errorf("%q is found as %+v", path, got)
		}
	}
	if got, want := slices.Collect(tree.Paths()), []string{"a-b", "a/x", "b"}; !slices.Equal(got, want) {
		t.Errorf("the paths are %q; want %q", got, want)
	}
}

// Two names that are not UTF-8 may look the same in GitHub's JSON. A change of either
// file must show.
func TestNamesThatLookTheSame(t *testing.T) {
	t.Parallel()
	pair := func(one, other string) *github.Tree {
		return github.MakeTree("", entry("\ufffd", github.ModeFile, one), entry("\ufffd", github.ModeFile, other), entry("z", github.ModeFile, "1"))
	}
	if got := github.Diff(pair("1", "2"), pair("2", "1")); len(got) != 0 {
		t.Errorf("the same two, in another order: %v", got)
	}
	want := []mapping.Change{{Path: "\ufffd", Op: mapping.Modified}}
	for _, after := range []*github.Tree{pair("1", "3"), pair("3", "2"), github.MakeTree("", entry("\ufffd", github.ModeFile, "1"), entry("z", github.ModeFile, "1"))} {
		if diff := cmp.Diff(want, github.Diff(pair("1", "2"), after)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// siteTree is a tree with the paths of a large site.
func siteTree(files int, text string) *github.Tree {
	entries := make([]github.Entry, files)
	for i := range entries {
		entries[i] = entry(fmt.Sprintf("content/en/docs/section-%03d/topic-%02d/page-%06d/index.md", i/500, i/50%10, i), github.ModeFile, fmt.Sprint(text, i))
	}
	return github.MakeTree(anySHA, entries...)
}

func TestTreeIsStoredAndRead(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	trees := []*github.Tree{github.MakeTree(""), github.MakeTree(anySHA), siteTree(2000, "x")}
	for range 30 {
		files := map[string]content{}
		for range 40 {
			mutate(random, files)
		}
		var entries []github.Entry
		for path, f := range files {
			var mode github.Mode
			if _, err := fmt.Sscanf(f.mode, "%o", &mode); err != nil {
				t.Fatal(err)
			}
			entries = append(entries, entry(path, mode, f.data))
		}
		trees = append(trees, github.MakeTree(anySHA, entries...))
	}
	for _, tree := range trees {
		data, err := tree.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var back github.Tree
		if err := back.UnmarshalBinary(data); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(slices.Collect(tree.All()), slices.Collect(back.All())); diff != "" || back.Commit() != tree.Commit() {
			t.Errorf("commit %q and %q (-stored +read):\n%s", tree.Commit(), back.Commit(), diff)
		}
		if per := len(data) / max(tree.Len(), 1); tree.Len() == 2000 && per > 30 {
			t.Errorf("%d bytes an entry", per)
		}
	}
}

func TestDamagedTreesAreRefused(t *testing.T) {
	t.Parallel()
	tree := github.MakeTree(anySHA, entry("a/b", github.ModeFile, "1"), entry("a/c", github.ModeFile, "2"))
	data, err := tree.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for _, damaged := range [][]byte{data[:i], slices.Concat(data[:i], []byte{data[i] ^ 0x40}, data[i+1:])} {
			var back github.Tree
			if err := back.UnmarshalBinary(damaged); err == nil && !slices.Equal(slices.Collect(back.All()), slices.Collect(tree.All())) {
				t.Fatalf("damaged at byte %d of %d, it is read as %d entries", i, len(data), back.Len())
			}
		}
	}
}

// FuzzTreeUnmarshalBinary: any stored bytes are either refused, or read as a tree that
// can be stored again.
func FuzzTreeUnmarshalBinary(f *testing.F) {
	f.Add("a/ba/c", []byte{3, 3}, []byte{1, 2}, bytes.Repeat([]byte("1"), 40))
	f.Add("a/ca/b", []byte{3, 3}, []byte{1, 2}, bytes.Repeat([]byte("1"), 40)) // out of order
	f.Add("a/b", []byte{4}, []byte{1}, bytes.Repeat([]byte("1"), 20))          // too long a path
	f.Add("a/b", []byte{2}, []byte{1}, bytes.Repeat([]byte("1"), 20))          // a rest
	f.Add("a/b", []byte{3}, []byte{1, 2}, bytes.Repeat([]byte("1"), 19))       // too few ids
	f.Fuzz(func(t *testing.T, paths string, lengths, modes, ids []byte) {
		var wide []uint32
		for _, n := range lengths {
			wide = append(wide, uint32(n))
		}
		var kinds []github.Mode
		for _, m := range modes {
			kinds = append(kinds, github.Mode(m))
		}
		var tree github.Tree
		if tree.UnmarshalBinary(github.Stored(anySHA, paths, wide, kinds, ids)) != nil {
			return
		}
		again, err := tree.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var back github.Tree
		if err := back.UnmarshalBinary(again); err != nil {
			t.Fatalf("what was read can't be read again: %v", err)
		}
		if diff := cmp.Diff(slices.Collect(tree.All()), slices.Collect(back.All())); diff != "" {
			t.Fatalf("it changes by storing:\n%s", diff)
		}
	})
}

func FuzzDecodeTree(f *testing.F) {
	f.Add([]byte(`{"sha": "x", "tree": [{"path": "a", "mode": "100644", "type": "blob", "sha": "` + anySHA + `"}], "truncated": false}`))
	f.Add([]byte(`{"truncated": true, "tree": []}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		paths, truncated, err := github.DecodeTree(bytes.NewReader(data))
		if err != nil {
			return
		}
		var plain map[string]json.RawMessage
		if err := json.NewDecoder(bytes.NewReader(data)).Decode(&plain); err != nil {
			t.Fatalf("what is no JSON object is read as %q: %v", paths, err)
		}
		if bytes.Count(data, []byte("tree")) > 1 || bytes.Count(data, []byte("truncated")) > 1 || bytes.ContainsRune(data, '\\') {
			return // a key may occur twice
		}
		var want []struct {
			Path string `json:"path"`
		}
		if err := json.Unmarshal(plain["tree"], &want); err != nil || len(want) != len(paths) {
			t.Fatalf("%q is read as %q: %v", plain["tree"], paths, err)
		}
		for i := range want {
			if want[i].Path != paths[i] && bytes.Count(data, []byte("path")) == len(paths) {
				t.Fatalf("%q is read as %q", want[i].Path, paths[i])
			}
		}
		if truncated != bytes.Equal(plain["truncated"], []byte("true")) {
			t.Fatalf("%s is read as truncated: %v", data, truncated)
		}
	})
}

// watchHeap returns a function that tells the largest growth of the heap since then, in
// bytes, including garbage.
func watchHeap(t testing.TB) func() uint64 {
	t.Helper()
	runtime.GC()
	start := heapBytes()
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		highest := start
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				highest = max(highest, heapBytes())
			case <-stop:
				peak <- max(highest, heapBytes()) - start
				return
			}
		}
	}()
	return func() uint64 {
		close(stop)
		return <-peak
	}
}

func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
