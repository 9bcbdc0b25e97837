package github

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

const zeroID = "0000000000000000000000000000000000000000"

// gitReader reads the objects of a git repository. It keeps commits and trees once they
// are read.
type gitReader struct {
	dir   string
	batch func() *exec.Cmd // git cat-file --batch; it outlives the request that first needs it

	mu      sync.Mutex // guards everything below; only one question at a time goes down the pipe
	process *exec.Cmd  // nil before the first question
	in      io.WriteCloser
	out     *bufio.Reader
	commits map[string]*commit
	trees   map[string][]gitEntry
	latest  diffEntries
}

// diffEntries is the last comparison: clients ask for its pages one by one.
type diffEntries struct {
	from, to string
	files    []changedFile
}

type gitEntry struct{ mode, kind, id, name string }

type commit struct {
	id, tree          string
	parents           []string
	author, committer gitSignature
	message           string
}

type gitSignature struct {
	name, email string
	when        time.Time
}

var errGithubNoObject = errors.New("no such object")

func newGithubGit(ctx context.Context, dir string) *gitReader {
	s := &gitReader{dir: dir, commits: map[string]*commit{}, trees: map[string][]gitEntry{}}
	ctx = context.WithoutCancel(ctx)
	s.batch = func() *exec.Cmd { return s.command(ctx, "cat-file", "--batch") }
	return s
}

// command runs git in the repository, even if the caller's environment names another one.
func (s *gitReader) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", s.dir, "-c", "core.quotePath=false"}, args...)...) //nolint:gosec // our own arguments, no shell
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GIT_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "GIT_NO_REPLACE_OBJECTS=1", "LC_ALL=C")
	return cmd
}

func (s *gitReader) run(ctx context.Context, args ...string) (string, error) {
	cmd := s.command(ctx, args...)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(problems.String()))
	}
	return string(out), nil
}

// references lists branches and tags, and the branch to which HEAD points.
func (s *gitReader) references(ctx context.Context) (refs map[string]string, head string, err error) {
	out, err := s.run(ctx, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")
	if err != nil {
		return nil, "", err
	}
	refs = map[string]string{}
	for line := range strings.Lines(out) {
		if id, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok {
			refs[name] = id
		}
	}
	head, err = s.run(ctx, "symbolic-ref", "--quiet", "--short", "HEAD")
	if err != nil {
		return refs, "main", nil //nolint:nilerr // a detached HEAD names no branch
	}
	return refs, strings.TrimSpace(head), nil
}

// object reads one object by its id or by the beginning of it.
func (s *gitReader) object(id string) (kind, full string, data []byte, err error) {
	if !isHex(id) {
		return "", "", nil, errGithubNoObject
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kind, full, data, err = s.ask(id)
	if err != nil && !errors.Is(err, errGithubNoObject) {
		err = errors.Join(fmt.Errorf("read object %s: %w", id, err), s.stop())
	}
	return kind, full, data, err
}

// ask puts one question to git cat-file --batch and reads the whole answer, so that the
// pipe is in step for the next one. The caller holds s.mu.
func (s *gitReader) ask(id string) (kind, full string, data []byte, err error) {
	if s.process == nil {
		if err := s.start(); err != nil {
			return "", "", nil, err
		}
	}
	if _, err := io.WriteString(s.in, id+"\n"); err != nil {
		return "", "", nil, err
	}
	line, err := s.out.ReadString('\n')
	if err != nil {
		return "", "", nil, err
	}
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return "", "", nil, errGithubNoObject
	}
	size, err := strconv.Atoi(fields[2])
	if err != nil {
		return "", "", nil, errGithubNoObject // "<id> ambiguous" and the like
	}
	data = make([]byte, size+1)
	if _, err := io.ReadFull(s.out, data); err != nil {
		return "", "", nil, err
	}
	return fields[1], fields[0], data[:size], nil
}

// start starts the process. The caller holds s.mu.
func (s *gitReader) start() error {
	process := s.batch()
	in, err := process.StdinPipe()
	if err != nil {
		return err
	}
	out, err := process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := process.Start(); err != nil {
		return err
	}
	s.process, s.in, s.out = process, in, bufio.NewReaderSize(out, 64<<10)
	return nil
}

// stop ends the process. The caller holds s.mu.
func (s *gitReader) stop() error {
	if s.process == nil {
		return nil
	}
	process := s.process
	s.process = nil
	return errors.Join(s.in.Close(), process.Wait())
}

func (s *gitReader) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stop()
}

// commit reads a commit. For an annotated tag it reads the tag's commit.
func (s *gitReader) commit(id string) (*commit, error) {
	s.mu.Lock()
	c := s.commits[id]
	s.mu.Unlock()
	if c != nil {
		return c, nil
	}
	kind, full, data, err := s.object(id)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "tag":
		target, _, _ := strings.Cut(strings.TrimPrefix(string(data), "object "), "\n")
		return s.commit(target)
	case "commit":
		c = parseCommit(full, string(data))
	default:
		return nil, errGithubNoObject
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits[full] = c
	return c, nil
}

// parseCommit reads the text of a commit object.
func parseCommit(id, text string) *commit {
	c := &commit{id: id}
	header, message, _ := strings.Cut(text, "\n\n")
	c.message = strings.TrimRight(message, "\n")
	for line := range strings.SplitSeq(header, "\n") {
		key, value, _ := strings.Cut(line, " ")
		switch key {
		case "tree":
			c.tree = value
		case "parent":
			c.parents = append(c.parents, value)
		case "author":
			c.author = parseSignature(value)
		case "committer":
			c.committer = parseSignature(value)
		}
	}
	return c
}

// parseSignature reads "Name <email> seconds zone".
func parseSignature(text string) gitSignature {
	name, rest, _ := strings.Cut(text, " <")
	email, when, _ := strings.Cut(rest, "> ")
	seconds, _, _ := strings.Cut(when, " ")
	unix, _ := strconv.ParseInt(seconds, 10, 64) // a broken date reads as 1970, as in git
	return gitSignature{name: name, email: email, when: time.Unix(unix, 0).UTC()}
}

// tree reads the entries of one tree.
func (s *gitReader) tree(id string) ([]gitEntry, error) {
	s.mu.Lock()
	entries, known := s.trees[id]
	s.mu.Unlock()
	if known {
		return entries, nil
	}
	kind, _, data, err := s.object(id)
	if err != nil {
		return nil, err
	}
	if kind != "tree" {
		return nil, errGithubNoObject
	}
	entries = parseTree(data, len(id)/2)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trees[id] = entries
	return entries, nil
}

// parseTree reads a tree object: for each entry its mode, its name and idBytes bytes of
// id. It writes modes with six digits, as GitHub does.
func parseTree(data []byte, idBytes int) []gitEntry {
	entries := []gitEntry{}
	for len(data) > 0 {
		head, rest, ok := bytes.Cut(data, []byte{0})
		mode, name, ok2 := strings.Cut(string(head), " ")
		if !ok || !ok2 || len(rest) < idBytes {
			return entries
		}
		e := gitEntry{mode: mode, kind: "blob", id: hex.EncodeToString(rest[:idBytes]), name: name}
		switch mode {
		case "40000":
			e.mode, e.kind = "040000", "tree"
		case "160000":
			e.kind = "commit"
		}
		entries, data = append(entries, e), rest[idBytes:]
	}
	return entries
}

// entry finds a path below a tree. "" is the tree itself.
func (s *gitReader) entry(tree, path string) (gitEntry, error) {
	at := gitEntry{mode: "040000", kind: "tree", id: tree}
	if path == "" {
		return at, nil
	}
	for name := range strings.SplitSeq(path, "/") {
		if at.kind != "tree" {
			return gitEntry{}, errGithubNoObject
		}
		entries, err := s.tree(at.id)
		if err != nil {
			return gitEntry{}, err
		}
		found := false
		for _, e := range entries {
			if e.name == name {
				at, found = e, true
			}
		}
		if !found {
			return gitEntry{}, errGithubNoObject
		}
	}
	return at, nil
}

func isHex(s string) bool {
	return len(s) >= 4 && len(s) <= 64 && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}
