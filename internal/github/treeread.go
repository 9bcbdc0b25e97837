package github

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
)

// oneOrMany reads a JSON object into one and an array into many. The contents API answers
// with an array if the path is a folder.
func oneOrMany(one, many any) reader {
	return func(body io.Reader) error {
		b := bufio.NewReader(body)
		for {
			first, err := b.Peek(1)
			if err != nil {
				return fmt.Errorf("read answer: %w", err)
			}
			into := one
			switch {
			case bytes.ContainsAny(first, " \t\r\n"):
				_, _ = b.Discard(1)
				continue
			case first[0] == '[':
				into = many
			}
			if err := json.NewDecoder(b).Decode(into); err != nil {
				return fmt.Errorf("read answer: %w", err)
			}
			return nil
		}
	}
}

// Tree reads the whole listing of a commit. It takes one call, unless GitHub truncates
// the listing (over 100,000 entries or 7 MB). Then it takes one call for each folder that
// GitHub can list whole. The result is exact, or an error.
func (r *Repository) Tree(ctx context.Context, commit string) (*Tree, error) {
	tree, err := r.listing(ctx, commit)
	if err != nil || tree != nil {
		return tree, err
	}
	return r.walkFrom(ctx, &Tree{}, commit)
}

// treeNear reads a whole tree with the help of a known one, which may be nil. The result
// is nil if GitHub truncates the listing and no tree is known to start from.
func (r *Repository) treeNear(ctx context.Context, known *Tree, commit string) (*Tree, error) {
	// A repository whose last tree was truncated is walked at once: asking for the
	// listing would cost up to 64 MiB for nothing.
	if known == nil || !known.walked {
		if tree, err := r.listing(ctx, commit); err != nil || tree != nil || known == nil {
			return tree, err
		}
	}
	return r.walkFrom(ctx, known, commit)
}

// walkFrom reads a whole tree by its difference from a known one, which may be empty but
// not nil.
func (r *Repository) walkFrom(ctx context.Context, known *Tree, commit string) (*Tree, error) {
	w := &walk{repository: r}
	if known.Len() > 0 {
		w.remember(known)
	}
	edits, err := w.run(ctx, "", commit)
	if err != nil {
		return nil, err
	}
	return known.apply(commit, edits)
}

// listing reads the recursive tree of a commit. nil means that GitHub truncates it.
func (r *Repository) listing(ctx context.Context, commit string) (*Tree, error) {
	tree, err := r.recursive(ctx, commit)
	if IsNotFound(err) {
		// GitHub accepts a commit's id in the place of its tree's id; another server may
		// not. The call also tells a missing commit from a missing tree.
		c, commitErr := r.Commit(ctx, commit)
		if commitErr != nil {
			return nil, commitErr
		}
		tree, err = r.recursive(ctx, c.Tree)
	}
	if err != nil || tree == nil {
		return nil, err
	}
	tree.commit = commit
	return tree, nil
}

// recursive reads all files below a tree, which may be a commit's id. nil means that
// GitHub truncates the listing.
func (r *Repository) recursive(ctx context.Context, sha string) (*Tree, error) {
	var b *treeBuilder
	truncated := false
	err := r.readTree(ctx, sha, true, func() { b = &treeBuilder{} }, func(e treeEntry) error {
		if e.mode != modeFolder {
			b.add(e.Path, e.mode, e.id)
		}
		return nil
	}, &truncated)
	if err != nil || truncated {
		return nil, err
	}
	tree, err := b.tree()
	if err != nil {
		return nil, fmt.Errorf("read tree %s of %s: %w", sha, r, err)
	}
	return tree, nil
}

// folderEntry is one name in a folder. Equal values mean equal content.
type folderEntry struct {
	name string
	mode Mode
	id   ID
}

// folder reads one tree's own entries. GitHub is not known to truncate such a listing; if
// it does, that is an error, since there is no smaller listing to ask for.
func (r *Repository) folder(ctx context.Context, sha string) ([]folderEntry, error) {
	var entries []folderEntry
	truncated := false
	err := r.readTree(ctx, sha, false, func() { entries = nil }, func(e treeEntry) error {
		entries = append(entries, folderEntry{e.Path, e.mode, e.id})
		return nil
	}, &truncated)
	if err == nil && truncated {
		err = fmt.Errorf("read tree %s of %s: a single folder has more entries than GitHub lists", sha, r)
	}
	return entries, err
}

// treeEntry is an element of a tree in GitHub's answer. The lower-case fields are parsed
// from the texts above them.
type treeEntry struct {
	Path string `json:"path"`
	Mode string `json:"mode"`
	SHA  string `json:"sha"`

	mode Mode
	id   ID
}

// readTree streams a tree's entries. restart is called before each attempt and must drop
// what each was given before: a connection may break in the middle of a listing.
// truncated counts only if the error is nil.
func (r *Repository) readTree(ctx context.Context, sha string, recursive bool, restart func(), each func(treeEntry) error, truncated *bool) error {
	if _, err := ParseID(sha); err != nil {
		return fmt.Errorf("read tree of %s: %w", r, err)
	}
	c := call{op: "read tree " + sha, path: "git/trees/" + sha, pinned: true, most: listingBytes}
	if recursive {
		c.query = url.Values{"recursive": {"1"}}
		c.slow = true
	}
	_, err := r.do(ctx, c, reader(func(body io.Reader) error {
		restart()
		*truncated = false
		return decodeTree(body, each, truncated)
	}))
	return err
}

var errNoTree = errors.New(`no "tree" in the answer`)

// decodeTree reads {"tree": [entry, …], "truncated": bool, …}. It never holds the whole
// text, which for a large tree is many times the size of the tree itself. The two keys
// may come in any order.
func decodeTree(body io.Reader, each func(treeEntry) error, truncated *bool) error {
	d := json.NewDecoder(body)
	if err := expect(d, '{'); err != nil {
		return err
	}
	found := false
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		switch key {
		case "tree":
			found = true
			err = decodeEntries(d, each)
		case "truncated":
			err = d.Decode(truncated)
		default:
			err = d.Decode(new(json.RawMessage))
		}
		if err != nil {
			return fmt.Errorf("read %v of answer: %w", key, err)
		}
	}
	if err := expect(d, '}'); err != nil {
		return err
	}
	if !found {
		return errNoTree
	}
	return nil
}

// decodeEntries gives the entries of a listing one by one. A listing has up to 100,000,
// and tens of megabytes of JSON would otherwise be in memory at once.
func decodeEntries(d *json.Decoder, each func(treeEntry) error) error {
	if err := expect(d, '['); err != nil {
		return err
	}
	for d.More() {
		var e treeEntry
		err := d.Decode(&e)
		if err != nil {
			return fmt.Errorf("read entry: %w", err)
		}
		if e.mode, err = parseMode(e.Mode); err != nil {
			return err
		}
		if e.id, err = ParseID(e.SHA); err != nil {
			return err
		}
		if err := each(e); err != nil {
			return err
		}
	}
	return expect(d, ']')
}

// expect reads one delimiter. Anything else is an error, such as a proxy's JSON of
// another form.
func expect(d *json.Decoder, want json.Delim) error {
	token, err := d.Token()
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if token != want {
		return fmt.Errorf("read answer: %v where %v should be", token, want)
	}
	return nil
}
