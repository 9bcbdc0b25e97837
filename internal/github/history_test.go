package github_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/github"
	"github.com/purgebot/purgebot/mapping"
)

// history is a real git repository with commits for comparison.
type history struct {
	dir     string
	commits []string
	trees   map[string][]github.Entry // by commit; only those that were read ahead
}

// pair is two commits and what changed between them according to git.
type pair struct {
	from, to string
	want     []mapping.Change
}

// pairs picks random pairs of commits and reads all their trees ahead. A third of the
// pairs are neighbours, for which a comparison is enough.
func (h *history) pairs(t testing.TB, random *rand.Rand, n int) []pair {
	t.Helper()
	trees := map[string][]github.Entry{}
	for _, c := range h.commits {
		trees[c] = h.tree(t, c)
	}
	h.trees = trees
	pairs := make([]pair, n)
	for i := range pairs {
		from, to := h.commits[random.IntN(len(h.commits))], h.commits[random.IntN(len(h.commits))]
		if i%3 == 0 {
			at := random.IntN(len(h.commits) - 1)
			from, to = h.commits[at], h.commits[at+1]
		}
		pairs[i] = pair{from, to, h.diff(t, from, to)}
	}
	return pairs
}

// git runs git in a repository, without the user's configuration.
func git(t testing.TB, dir string, stdin []byte, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// content is one file of a commit that is being made.
type content struct {
	mode string
	data string // for a submodule, a commit's id
}

// writer makes commits through git fast-import.
type writer struct {
	out   bytes.Buffer
	marks int
}

func (w *writer) commit(branch string, files map[string]content, parents ...int) int {
	w.marks++
	if len(parents) == 0 {
		fmt.Fprintf(&w.out, "reset refs/heads/%s\n\n", branch)
	}
	fmt.Fprintf(&w.out, "commit refs/heads/%s\nmark :%d\ncommitter A <a@example.com> %d +0000\ndata 1\nx\n",
		branch, w.marks, 1_700_000_000+w.marks)
	for i, p := range parents {
		fmt.Fprintf(&w.out, "%s :%d\n", []string{"from", "merge"}[min(i, 1)], p)
	}
	w.out.WriteString("deleteall\n")
	for _, path := range slices.Sorted(maps.Keys(files)) {
		f := files[path]
		if f.mode == "160000" {
			fmt.Fprintf(&w.out, "M 160000 %s %s\n", f.data, quote(path))
			continue
		}
		fmt.Fprintf(&w.out, "M %s inline %s\ndata %d\n%s\n", f.mode, quote(path), len(f.data), f.data)
	}
	w.out.WriteString("\n")
	return w.marks
}

// quote writes a path in the form that git fast-import reads.
func quote(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(path) + `"`
}

func (w *writer) finish(t testing.TB) history {
	t.Helper()
	dir := t.TempDir()
	git(t, dir, nil, "init", "--quiet", "--bare", "--initial-branch=main")
	git(t, dir, w.out.Bytes(), "fast-import", "--quiet", "--export-marks=marks")
	marks, err := os.ReadFile(dir + "/marks")
	if err != nil {
		t.Fatal(err)
	}
	h := history{dir: dir, commits: make([]string, w.marks)}
	for line := range strings.Lines(string(marks)) {
		var mark int
		var sha string
		if _, err := fmt.Sscanf(line, ":%d %s", &mark, &sha); err != nil {
			t.Fatal(err)
		}
		h.commits[mark-1] = sha
	}
	return h
}

// randomHistory makes branches, merges and an orphan from one seed.
func randomHistory(t testing.TB, seed uint64, commits int) history {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	var w writer
	files := map[string]content{}
	snapshots := map[int]map[string]content{}
	last := 0
	for range commits {
		var parents []int
		switch n := random.IntN(20); {
		case last == 0:
		case n == 0: // an orphan that still has much in common
		case n < 4: // a branch from an older commit
			last = 1 + random.IntN(w.marks)
			files = maps.Clone(snapshots[last])
			parents = []int{last}
		case n < 7 && w.marks > 1:
			parents = []int{last}
			if other := 1 + random.IntN(w.marks); other != last {
				parents = append(parents, other)
			}
		default:
			parents = []int{last}
		}
		for range 1 + random.IntN(12) {
			mutate(random, files)
		}
		last = w.commit("main", files, parents...)
		snapshots[last] = maps.Clone(files)
	}
	return w.finish(t)
}

// mutate makes one of the changes that people make to a tree.
func mutate(random *rand.Rand, files map[string]content) {
	paths := slices.Sorted(maps.Keys(files))
	some := func() string { return paths[random.IntN(len(paths))] }
	blob := func() content { return content{"100644", fmt.Sprint(random.IntN(50))} }
	n := random.IntN(14)
	if len(paths) == 0 {
		n = 0
	}
	switch n {
	case 0, 1, 2, 3:
		put(files, randomPath(random), blob())
	case 4, 5:
		put(files, some(), blob())
	case 6, 7:
		delete(files, some())
	case 8: // a rename
		from := some()
		f := files[from]
		delete(files, from)
		put(files, randomPath(random), f)
	case 9: // a mode
		p := some()
		if f := files[p]; f.mode == "100644" {
			put(files, p, content{"100755", f.data})
		}
	case 10:
		put(files, some(), content{"120000", "../target"})
	case 11:
		put(files, some(), content{"160000", fmt.Sprintf("%040x", 1+random.IntN(1000))})
	case 12: // a file becomes a folder
		put(files, some()+"/inside.md", blob())
	case 13: // a folder moves
		if folder, _, ok := strings.Cut(some(), "/"); ok {
			for _, p := range paths {
				if rest, in := strings.CutPrefix(p, folder+"/"); in {
					f := files[p]
					delete(files, p)
					put(files, "moved/"+rest, f)
				}
			}
		}
	}
}

// put writes a file and removes what cannot exist beside it.
func put(files map[string]content, path string, f content) {
	for p := range files {
		if strings.HasPrefix(p, path+"/") || strings.HasPrefix(path, p+"/") {
			delete(files, p)
		}
	}
	files[path] = f
}

func randomPath(random *rand.Rand) string {
	names := []string{
		"a", "b", "a-b", "a.md", "a b", "ä", "日本", "x#y", "50%", "a..b", "q?&+", "üñ\"\\", "line\nbreak", "z", "0", "+", "a0", "aa", "z~",
	}
	parts := make([]string, 1+random.IntN(4))
	for i := range parts {
		parts[i] = names[random.IntN(len(names))]
	}
	return strings.Join(parts, "/")
}

// diff is what changed according to git.
func (h history) diff(t testing.TB, from, to string) []mapping.Change {
	t.Helper()
	fields := strings.Split(git(t, h.dir, nil, "diff", "--name-status", "--no-renames", "-z", from, to), "\x00")
	var changes []mapping.Change
	for i := 0; i+1 < len(fields); i += 2 {
		op, ok := map[string]mapping.Op{
			"A": mapping.Added, "D": mapping.Removed, "M": mapping.Modified, "T": mapping.Modified,
		}[fields[i]]
		if !ok {
			t.Fatalf("git diff says %q", fields[i])
		}
		changes = append(changes, mapping.Change{Path: fields[i+1], Op: op})
	}
	slices.SortFunc(changes, func(a, b mapping.Change) int { return strings.Compare(a.Path, b.Path) })
	return changes
}

// tree is what a commit contains according to git.
func (h history) tree(t testing.TB, commit string) []github.Entry {
	t.Helper()
	if entries, ok := h.trees[commit]; ok {
		return entries
	}
	var entries []github.Entry
	for line := range strings.SplitSeq(strings.TrimSuffix(git(t, h.dir, nil, "ls-tree", "-r", "-z", commit), "\x00"), "\x00") {
		if line == "" {
			continue
		}
		head, path, _ := strings.Cut(line, "\t")
		var mode github.Mode
		var kind, sha string
		if _, err := fmt.Sscanf(head, "%o %s %s", &mode, &kind, &sha); err != nil {
			t.Fatal(err)
		}
		id, err := github.ParseID(sha)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, github.Entry{Path: path, Mode: mode, ID: id})
	}
	return entries
}
