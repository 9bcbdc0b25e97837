// Package git asks the git command about a local clone: revisions, files, the exact
// difference of two trees, and the rules of a commit. The command line plans with it what
// the server plans with GitHub's API, and the demo's replay compares the two.
//
// A clone may come from somebody else. So git is only asked, without a pager, and nothing
// that is named on the command line is taken for an option or a pattern.
package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os/exec"
	"strings"

	"github.com/purgebot/purgebot/mapping"
)

// Clone is a local clone. Its methods start the git command and may be called
// concurrently, except that nobody may change a field meanwhile.
type Clone struct {
	Dir string // any folder of the clone; "": the working directory
	// Base is the content of another repository's rules file. The clone's rules may
	// extend it, and it counts where a commit has no rules; nil: there is none.
	Base []byte
}

// command prepares a call of git. --literal-pathspecs makes git take each path as it is,
// though it may contain * or start with a colon.
func (g Clone) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-pager", "--literal-pathspecs"}, args...)...) //nolint:gosec // git, with revisions checked and paths of ours
	cmd.Dir = g.Dir
	return cmd
}

// Output runs git and gives what it printed; the error has git's own words.
func (g Clone) Output(ctx context.Context, args ...string) ([]byte, error) {
	out, err := g.command(ctx, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return nil, fmt.Errorf("git %s: %s", args[0], bytes.TrimSpace(exit.Stderr))
	}
	if err != nil {
		return nil, fmt.Errorf("git %s: %w", args[0], err)
	}
	return out, nil
}

// Line is Output for commands that print one line; "" if git fails for any reason.
func (g Clone) Line(ctx context.Context, args ...string) string {
	out, err := g.Output(ctx, args...)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// Revision returns the id of a commit or of a tree. The empty tree stands for a site that
// was never deployed.
func (g Clone) Revision(ctx context.Context, rev string) (string, error) {
	for _, kind := range []string{"commit", "tree"} {
		if id := g.Line(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", rev+"^{"+kind+"}"); id != "" {
			return id, nil
		}
	}
	// Tell a folder that is no clone from a revision that the clone does not have.
	if _, err := g.Output(ctx, "rev-parse", "--git-dir"); err != nil {
		return "", fmt.Errorf("look into the clone %s: %w", g.Dir, err)
	}
	return "", fmt.Errorf("unknown revision %q in %s", rev, g.Dir)
}

// IsRollback reports whether to is an ancestor of from. It is false if git fails, for
// example for a tree.
func (g Clone) IsRollback(ctx context.Context, from, to string) bool {
	if from == to {
		return false
	}
	_, err := g.Output(ctx, "merge-base", "--is-ancestor", to, from)
	return err == nil
}

// file reads a file of a commit. ok is false if there is none, or if a folder or a
// submodule is there.
func (g Clone) file(ctx context.Context, commit, path string) (content []byte, ok bool, err error) {
	out, err := g.Output(ctx, "ls-tree", "-z", "--full-tree", commit, "--", path)
	if err != nil {
		return nil, false, err
	}
	// <mode> SP <type> SP <id> TAB <path> NUL
	meta, _, _ := strings.Cut(string(out), "\t")
	fields := strings.Fields(meta)
	if len(fields) != 3 || fields[1] != "blob" {
		return nil, false, nil
	}
	content, err = g.Output(ctx, "cat-file", "blob", fields[2])
	return content, err == nil, err
}

// Changes yields the exact difference of two trees as git reports it. The sequence ends
// early on an error; call the second result after the sequence to get it. Range over the
// sequence once.
func (g Clone) Changes(ctx context.Context, from, to string) (seq iter.Seq[mapping.Change], err func() error) {
	var failure error
	seq = func(yield func(mapping.Change) bool) {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		// These options make the result independent of the clone's configuration: renames
		// are a removal and an addition, and the paths start at the root.
		cmd := g.command(ctx, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-relative",
			"--ignore-submodules=none", from, to)
		var words bytes.Buffer
		cmd.Stderr = &words
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			failure = fmt.Errorf("git diff-tree: %w", err)
			return
		}
		// Wait must follow the last read from the pipe. A consumer that stops early
		// leaves git writing, so it is ended first.
		done, err := readRaw(out, yield)
		if done && err == nil {
			if err = cmd.Wait(); err == nil {
				return
			}
		} else {
			stop()
			_ = cmd.Wait() // it was ended; its exit code means nothing
		}
		if err != nil {
			failure = fmt.Errorf("git diff-tree: %w %s", err, bytes.TrimSpace(words.Bytes()))
		}
	}
	return seq, func() error { return failure }
}

// readRaw reads git's raw format with -z, see git-diff-tree(1): the metadata and the path
// of each change, each ended by a NUL. done is false if yield asked to stop.
func readRaw(r io.Reader, yield func(mapping.Change) bool) (done bool, err error) {
	in := bufio.NewReader(r)
	for {
		meta, err := in.ReadString(0)
		if errors.Is(err, io.EOF) && meta == "" {
			return true, nil
		}
		if err != nil {
			return true, fmt.Errorf("read difference: %w", err)
		}
		path, err := in.ReadString(0)
		if err != nil {
			return true, fmt.Errorf("read difference: %w", err)
		}
		// :100644 100644 <id> <id> M
		c := mapping.Change{Path: path[:len(path)-1], Op: mapping.Modified}
		switch meta[len(meta)-2] {
		case 'A':
			c.Op = mapping.Added
		case 'D':
			c.Op = mapping.Removed
		}
		if !yield(c) {
			return false, nil
		}
	}
}

// Repository returns owner and name: the given ones, else those of the clone's remote,
// else both "". It is an error only if the given text is not OWNER/NAME. With several
// remotes it takes origin.
func (g Clone) Repository(ctx context.Context, asked string) (owner, name string, err error) {
	if asked != "" {
		owner, name, ok := strings.Cut(asked, "/")
		if !ok || owner == "" || name == "" || strings.Contains(name, "/") {
			return "", "", fmt.Errorf("--repository takes OWNER/NAME, not %q", asked)
		}
		return owner, name, nil
	}
	remote := "origin"
	if remotes := strings.Fields(g.Line(ctx, "remote")); len(remotes) == 1 {
		remote = remotes[0]
	}
	owner, name = remoteRepository(g.Line(ctx, "remote", "get-url", remote))
	return owner, name, nil
}

// remoteRepository reads owner and name from a remote of the form
// https://host/owner/name.git, ssh://… or git@host:owner/name.git. A path on this machine
// has neither.
func remoteRepository(remote string) (owner, name string) {
	path := ""
	if u, err := url.Parse(remote); err == nil && u.Host != "" {
		path = u.Path
	} else if host, p, ok := strings.Cut(remote, ":"); ok && !strings.Contains(host, "/") {
		path = p
	}
	parts := strings.Split(strings.TrimSuffix(strings.Trim(path, "/"), ".git"), "/")
	if len(parts) < 2 {
		return "", ""
	}
	return parts[len(parts)-2], parts[len(parts)-1]
}

// DefaultBranch is the remote's default branch as far as the clone knows, else the
// current branch, else main.
func (g Clone) DefaultBranch(ctx context.Context) string {
	if head := g.Line(ctx, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD"); head != "" {
		return strings.TrimPrefix(head, "origin/")
	}
	if head := g.Line(ctx, "symbolic-ref", "--quiet", "--short", "HEAD"); head != "" {
		return head
	}
	return "main"
}

// Parse parses rules of the clone, together with the ones that they extend.
func (g Clone) Parse(src []byte) (*mapping.File, mapping.Faults) {
	if g.Base == nil {
		return mapping.Parse(src)
	}
	return mapping.Extend(src, g.Base)
}

// Rules reads the rules of a commit. An empty place means that there are none. A nil file
// at a place means that faults say why. err is for trouble with git.
func (g Clone) Rules(ctx context.Context, commit string) (place string, file *mapping.File, faults mapping.Faults, err error) {
	for _, p := range []string{mapping.RootPlace, mapping.GitHubPlace} {
		src, ok, err := g.file(ctx, commit, p)
		switch {
		case err != nil:
			return "", nil, nil, fmt.Errorf("read %s at %.7s: %w", p, commit, err)
		case ok && place != "":
			return place, nil, mapping.BothPlaces(), nil
		case ok:
			place = p
			file, faults = g.Parse(src)
		}
	}
	if place == "" && g.Base != nil {
		place = mapping.RootPlace
		file, faults = mapping.Parse(g.Base)
	}
	return place, file, faults, nil
}

// Files lists the paths of all files of a commit or a tree.
func (g Clone) Files(ctx context.Context, rev string) ([]string, error) {
	out, err := g.Output(ctx, "ls-tree", "-r", "-z", "--name-only", "--full-tree", rev)
	if err != nil {
		return nil, err
	}
	if len(out) == 0 { // the empty tree
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"), nil
}

// Top is the root folder of the clone's working tree; "" outside a clone.
func (g Clone) Top(ctx context.Context) string { return g.Line(ctx, "rev-parse", "--show-toplevel") }
