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

// oneOrMany reads a JSON object into one and an array into many: the contents
// API answers with a list where the path is a folder.
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

// Tree reads the whole listing of a commit: one call, or, where GitHub
// truncates it (over 100,000 entries or 7 MB), one for each folder that it
// lists whole. The result is exact or an error.
func (r *Repository) Tree(ctx context.Context, commit string) (*Tree, error) {
	tree, err := r.listing(ctx, commit)
	if err != nil || tree != nil {
		return tree, err
	}
	return r.walkFrom(ctx, &Tree{}, commit)
}

// treeNear reads a whole tree by means of a known one, which may be nil. A nil
// result says that GitHub truncates it, and that there is no tree to start from.
func (r *Repository) treeNear(ctx context.Context, known *Tree, commit string) (*Tree, error) {
	if known == nil || !known.walked {
		if tree, err := r.listing(ctx, commit); err != nil || tree != nil || known == nil {
			return tree, err
		}
	}
	return r.walkFrom(ctx, known, commit)
}

// walkFrom reads a whole tree by its difference from a known one.
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

// listing reads the recursive tree of a commit; nil: GitHub truncates it.
func (r *Repository) listing(ctx context.Context, commit string) (*Tree, error) {
	tree, err := r.recursive(ctx, commit)
	if IsNotFound(err) {
		// GitHub takes a commit's id for its tree's; another server may not.
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

// recursive reads all files below a tree; nil: GitHub truncates it.
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

// folderEntry is one name in a folder.
type folderEntry struct {
	name string
	mode Mode
	id   ID
}

// folder reads one tree's own entries. GitHub never truncates that.
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

// treeEntry is an element of a tree in GitHub's answer.
type treeEntry struct {
	Path string `json:"path"`
	Mode string `json:"mode"`
	SHA  string `json:"sha"`

	mode Mode
	id   ID
}

// readTree streams a tree's entries; restart is called before each attempt.
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

// decodeTree reads {"tree": [entry, …], "truncated": bool, …} without holding
// the text, which for a large tree is many times the tree itself.
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

// decodeEntries gives the entries of a listing one by one: a site's may have 100,000,
// and 10 MB of JSON would be there at once.
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
