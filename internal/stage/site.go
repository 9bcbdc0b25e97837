package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Site is a git repository that the demo and the tests write to.
type Site struct{ Dir string }

// NewSite makes an empty repository with the branch main.
func NewSite(ctx context.Context, dir string) (*Site, error) {
	s := &Site{Dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	_, err := s.Git(ctx, "init", "--quiet", "--initial-branch=main")
	return s, err
}

// Git runs git in the repository, without the user's own configuration.
func (s *Site) Git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...) //nolint:gosec // git, with arguments of ours
	cmd.Dir = s.Dir
	cmd.Env = append(
		os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Editor", "GIT_AUTHOR_EMAIL=editor@example.com",
		"GIT_COMMITTER_NAME=Editor", "GIT_COMMITTER_EMAIL=editor@example.com",
	)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w%s", strings.Join(args, " "), err, stderrOf(err))
	}
	return strings.TrimRight(string(out), "\n"), nil
}

// Removed is the content of a file that a commit removes.
const Removed = "\x00removed"

// Commit writes files, removes those with the content Removed, and commits everything. It
// returns the commit's id.
func (s *Site) Commit(ctx context.Context, message string, files map[string]string) (string, error) {
	for name, content := range files {
		path := filepath.Join(s.Dir, filepath.FromSlash(name))
		if content == Removed {
			if err := os.Remove(path); err != nil {
				return "", err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	if _, err := s.Git(ctx, "add", "--all"); err != nil {
		return "", err
	}
	if _, err := s.Git(ctx, "commit", "--quiet", "--allow-empty", "--message", message); err != nil {
		return "", err
	}
	return s.Git(ctx, "rev-parse", "HEAD")
}

// stderrOf is what a failed command wrote to stderr, to be added to its error.
func stderrOf(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return ": " + strings.TrimSpace(string(exit.Stderr))
	}
	return ""
}
