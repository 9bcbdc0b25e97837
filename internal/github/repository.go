package github

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Info describes a repository at the time of the call. Every field except ID may change.
type Info struct {
	ID            int64  // stays the same through renames and transfers
	Owner, Name   string // as they are after a rename or transfer
	DefaultBranch string
	Private       bool
	Archived      bool
	PushedAt      time.Time // when any branch or tag moved last; zero: never
}

// repositoryAnswer is a repository in GitHub's answers.
type repositoryAnswer struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	Owner struct {
		Login string `json:"login"`
	} `json:"owner"`
	DefaultBranch string `json:"default_branch"`
	Private       bool   `json:"private"`
	Archived      bool   `json:"archived"`

	PushedAt time.Time `json:"pushed_at"`
}

func (a repositoryAnswer) info() Info {
	return Info{a.ID, a.Owner.Login, a.Name, a.DefaultBranch, a.Private, a.Archived, a.PushedAt}
}

// Info asks for the repository. After a rename or transfer GitHub redirects, and the
// answer has the new owner and name.
func (r *Repository) Info(ctx context.Context) (Info, error) {
	var answer repositoryAnswer
	if _, err := r.do(ctx, call{op: "read repository"}, &answer); err != nil {
		return Info{}, err
	}
	return answer.info(), nil
}

// Head gives the SHA of a branch's newest commit. It reads one exact reference, so a tag
// with the same name is not taken for the branch.
func (r *Repository) Head(ctx context.Context, branch string) (string, error) {
	var answer struct {
		Object struct {
			SHA  string `json:"sha"`
			Type string `json:"type"`
		} `json:"object"`
	}
	c := call{op: "read branch " + branch, path: "git/ref/heads/" + escapePath(branch)}
	if _, err := r.do(ctx, c, &answer); err != nil {
		return "", err
	}
	if _, err := ParseID(answer.Object.SHA); err != nil {
		return "", fmt.Errorf("read branch %s of %s: %w", branch, r, err)
	}
	return answer.Object.SHA, nil
}

// DefaultHead gives the SHA of the default branch's newest commit, whatever the branch is
// called. It asks for the media type that has nothing but the SHA.
func (r *Repository) DefaultHead(ctx context.Context) (string, error) {
	var sha string
	c := call{op: "read head", path: "commits/HEAD", accept: "application/vnd.github.sha"}
	_, err := r.do(ctx, c, reader(func(body io.Reader) error {
		text, err := io.ReadAll(body)
		sha = string(text)
		return err
	}))
	if err != nil {
		return "", err
	}
	if _, err := ParseID(sha); err != nil {
		return "", fmt.Errorf("read head of %s: %w", r, err)
	}
	return sha, nil
}

// Commit is one commit: the SHAs of its tree and of its parents, in git's order.
type Commit struct {
	SHA     string
	Tree    string
	Parents []string
}

// Commit reads a commit by its full SHA. A commit never changes, so it is asked for once.
func (r *Repository) Commit(ctx context.Context, sha string) (Commit, error) {
	if _, err := ParseID(sha); err != nil {
		return Commit{}, fmt.Errorf("read commit of %s: %w", r, err)
	}
	type object struct {
		SHA string `json:"sha"`
	}
	var answer struct {
		object
		Tree    object   `json:"tree"`
		Parents []object `json:"parents"`
	}
	c := call{op: "read commit " + sha, path: "git/commits/" + sha, pinned: true, most: textBytes}
	if _, err := r.do(ctx, c, &answer); err != nil {
		return Commit{}, err
	}
	commit := Commit{SHA: answer.SHA, Tree: answer.Tree.SHA}
	for _, p := range answer.Parents {
		commit.Parents = append(commit.Parents, p.SHA)
	}
	return commit, nil
}

// A rules file may stand in one of these two places.
const (
	rulesPath       = "purge-rules.yaml"
	rulesPathDotted = ".github/purge-rules.yaml"
)

// RulesFileBytes is the largest rules file that is read, in bytes. 1 MiB is also the most
// that GitHub's contents API gives as JSON.
const RulesFileBytes = 1 << 20

// RulesFile is the rules file of one commit.
type RulesFile struct {
	Path   string // purge-rules.yaml or .github/purge-rules.yaml
	Source []byte
}

// RulesFileError says, in public words, that a commit's rules file cannot be used,
// whatever is in it. The same commit always gives the same error: trying again is
// pointless.
type RulesFileError struct {
	Path  string
	words string
}

func (e *RulesFileError) Error() string { return e.Path + ": " + e.words }

// Public gives the words that people may read.
func (e *RulesFileError) Public() string { return e.Error() }

// ErrTwoRulesFiles says that a commit has a rules file in both places.
var ErrTwoRulesFiles error = &RulesFileError{
	rulesPath, "there is a " + rulesPathDotted + " as well; keep one of the two",
}

// RulesFile reads the rules file of a commit: purge-rules.yaml or
// .github/purge-rules.yaml.
//
// found is false, without an error, only if GitHub shows the commit and its tree has
// neither file. Files in both places are [ErrTwoRulesFiles]. A path that is no file, or a
// file over 1 MiB, is a [*RulesFileError].
func (r *Repository) RulesFile(ctx context.Context, sha string) (file RulesFile, found bool, err error) {
	if _, err := ParseID(sha); err != nil {
		return RulesFile{}, false, fmt.Errorf("read rules file of %s: %w", r, err)
	}
	paths := [2]string{rulesPath, rulesPathDotted}
	var sources [2][]byte
	var errs [2]error
	var both sync.WaitGroup
	for i := range paths {
		both.Go(func() { sources[i], errs[i] = r.content(ctx, sha, paths[i]) })
	}
	both.Wait()
	// An unusable file still counts as present, so that it together with a file in the
	// other place is ErrTwoRulesFiles. Any other error ends the call: it does not tell
	// whether the file is there.
	missing := 0
	for i, err := range errs {
		if IsNotFound(err) {
			missing++
			continue
		}
		_, unusable := errors.AsType[*RulesFileError](err)
		if err != nil && !unusable {
			return RulesFile{}, false, err
		}
		file = RulesFile{paths[i], sources[i]}
	}
	switch missing {
	case 0:
		return RulesFile{}, false, ErrTwoRulesFiles
	case 2:
		return RulesFile{}, false, r.hasNoRulesFile(ctx, sha)
	}
	for _, err := range errs {
		if err != nil && !IsNotFound(err) {
			return RulesFile{}, false, err
		}
	}
	return file, true, nil
}

// hasNoRulesFile returns nil if a commit's tree has the file in neither place.
//
// A 404 of the contents API does not prove that. GitHub also answers 404 for a commit or
// repository that it does not show and, for a moment, for a commit that was just pushed.
// A listing of the commit's tree is proof. If the tree has the file, the error says that
// waiting helps.
func (r *Repository) hasNoRulesFile(ctx context.Context, sha string) error {
	id, err := ParseID(sha)
	if err != nil {
		return err
	}
	w := &walk{repository: r}
	for _, path := range []string{rulesPath, rulesPathDotted} {
		_, found, err := w.find(ctx, id, path)
		if err != nil {
			return err
		}
		if found {
			return &Error{
				Op: "read " + path + " at " + sha, Status: http.StatusNotFound, kind: kindUnavailable,
				Message: "the commit's tree has the file, and GitHub does not show it yet",
			}
		}
	}
	return nil
}

// find looks for a path in a commit's tree, one folder after the other. entry is valid
// only if found is true. The folders come from the cache if they were read before.
func (w *walk) find(ctx context.Context, commit ID, path string) (entry folderEntry, found bool, err error) {
	entries, err := w.list(ctx, &commit, true)
	names := strings.Split(path, "/")
	for i, name := range names {
		if err != nil {
			return entry, false, err
		}
		at := slices.IndexFunc(entries, func(e folderEntry) bool { return e.name == name })
		if at < 0 {
			return entry, false, nil
		}
		if entry = entries[at]; i == len(names)-1 {
			return entry, true, nil
		}
		if entry.mode != modeFolder {
			return entry, false, nil
		}
		entries, err = w.list(ctx, &entries[at].id, false)
	}
	return entry, false, err
}

// PlainRulesFile reports whether a commit's rules file is itself a file. It is false for
// a symbolic link: the contents API answers with the link's target and does not say so.
func (r *Repository) PlainRulesFile(ctx context.Context, sha, path string) (bool, error) {
	id, err := ParseID(sha)
	if err != nil {
		return false, fmt.Errorf("read rules file of %s: %w", r, err)
	}
	entry, found, err := (&walk{repository: r}).find(ctx, id, path)
	return found && (entry.mode == ModeFile || entry.mode == ModeExecutable), err
}

// content reads a file of a commit, at most [RulesFileBytes] of it. Its
// [*RulesFileError]s are about the file; all other errors are about the call.
func (r *Repository) content(ctx context.Context, sha, path string) ([]byte, error) {
	var answer struct {
		Type     string `json:"type"`
		Encoding string `json:"encoding"`
		Content  string `json:"content"`
		Size     int64  `json:"size"`
		Target   string `json:"target"`
	}
	var list []struct{}
	c := call{
		op:     "read " + path + " at " + sha,
		path:   "contents/" + escapePath(path),
		query:  url.Values{"ref": {sha}},
		pinned: true,
		most:   2 * RulesFileBytes, // base64 makes four bytes of three, plus line breaks and the other fields
	}
	_, err := r.do(ctx, c, oneOrMany(&answer, &list))
	switch {
	// Up to 100 MB GitHub answers with the encoding "none" and no content, beyond that
	// with an error. Both must read as "too large", not as an empty file.
	case tooLarge(err), answer.Size > RulesFileBytes, answer.Encoding == "none":
		return nil, &RulesFileError{path, "the file is larger than 1 MiB"}
	case err != nil:
		return nil, err
	case list != nil:
		return nil, &RulesFileError{path, "this is a folder; it must be a file"}
	// GitHub answers with the link itself only if it cannot follow it to a file.
	case answer.Type == "symlink":
		return nil, &RulesFileError{path, fmt.Sprintf("this is a symbolic link to %q, which GitHub can't follow", answer.Target)}
	case answer.Type == "submodule":
		return nil, &RulesFileError{path, "this is a submodule; it must be a file"}
	case answer.Type != "file" || answer.Encoding != "base64":
		return nil, &Error{
			Op: c.op, Status: http.StatusOK, kind: kindUnavailable,
			Message: fmt.Sprintf("the answer is a %q encoded as %q", answer.Type, answer.Encoding),
		}
	}
	source, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(answer.Content, "\n", ""))
	// A file that was cut would lack rules, and a purge would miss objects without an
	// error.
	if err != nil || int64(len(source)) != answer.Size {
		return nil, &Error{Op: c.op, Status: http.StatusOK, kind: kindUnavailable, Message: "the file's content is not whole", err: err}
	}
	return source, nil
}

// tooLarge recognises the 403 by which GitHub refuses a file over 100 MB.
func tooLarge(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == http.StatusForbidden &&
		(strings.Contains(e.Message, "returns blobs up to") || strings.Contains(e.Message, "too_large"))
}
