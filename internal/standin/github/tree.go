package github

import (
	"encoding/base64"
	"net/http"
	"path"
	"strings"
)

const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904" // git's id of the tree without entries

const megabyte = 1 << 20 // GitHub's megabyte

// treeEntry is an entry in the form of the trees API.
type treeEntry struct {
	Path string `json:"path"`
	Mode string `json:"mode"`
	Type string `json:"type"`
	SHA  string `json:"sha"`
	Size *int   `json:"size,omitempty"`
	URL  string `json:"url,omitempty"`
}

// getTree is GET /repos/{owner}/{repo}/git/trees/{tree}. The tree is named by its id, a
// commit or a branch. Any value of `recursive` means all levels.
func (g *Server) getTree(x *exchange) response {
	id := x.params["tree"]
	if c, err := g.resolve(x.repo, id); err == nil {
		id = c.tree
	}
	if _, err := x.repo.git.tree(id); err != nil {
		return notFound()
	}
	walk := treeWalk{git: x.repo.git, limits: g.cfg.Limits, url: x.self + "/git/", entries: []treeEntry{}}
	_, walk.recursive = x.URL.Query()["recursive"]
	if err := walk.add(id, ""); err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	return okResponse(jsonObject{
		"sha": id, "url": x.self + "/git/trees/" + id, "tree": walk.entries, "truncated": walk.truncated,
	})
}

// treeWalk gathers a tree's entries up to GitHub's limits.
type treeWalk struct {
	git       *gitReader
	limits    Limits
	url       string
	recursive bool
	bytes     int
	entries   []treeEntry
	truncated bool
}

// add adds the entries of one tree, and of those below it if the walk is recursive. It
// stops at the first limit: GitHub applies the limits to recursive listings only.
func (w *treeWalk) add(tree, dir string) error {
	entries, err := w.git.tree(tree)
	if err != nil {
		return err
	}
	for _, e := range entries {
		entry := treeEntry{Path: path.Join(dir, e.name), Mode: e.mode, Type: e.kind, SHA: e.id}
		if e.kind != "commit" {
			entry.URL = w.url + e.kind + "s/" + e.id
		}
		w.bytes += len(entry.Path) + len(entry.URL) + len(`{"path":"","mode":"040000","type":"blob","sha":"","size":1000,"url":""},`) + len(e.id)
		if w.recursive && (len(w.entries) >= w.limits.TreeEntries || w.bytes > w.limits.TreeBytes) {
			w.truncated = true
			return nil
		}
		w.entries = append(w.entries, entry)
		if w.recursive && e.kind == "tree" {
			if err := w.add(e.id, entry.Path); err != nil {
				return err
			}
			if w.truncated {
				return nil
			}
		}
	}
	return nil
}

func rawResponse(data []byte) response {
	header := http.Header{"Content-Type": {"application/vnd.github.raw+json; charset=utf-8"}}
	return response{status: http.StatusOK, header: header, body: append([]byte{}, data...)}
}

// wrapBase64 breaks lines after 60 characters, as GitHub does.
func wrapBase64(data []byte) string {
	text := base64.StdEncoding.EncodeToString(data)
	var b strings.Builder
	for len(text) > 0 {
		n := min(60, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return b.String()
}

// getContents is GET /repos/{owner}/{repo}/contents/{path}. It gives a file up to 1 MB in
// base64, or up to 100 MB with the raw media type; the first 1,000 entries of a folder;
// or the target of a symbolic link, if that is a file of the repository.
func (g *Server) getContents(x *exchange) response {
	name := strings.Trim(x.params["path"], "/")
	ref := x.URL.Query().Get("ref")
	c, err := g.resolve(x.repo, ref)
	if err != nil {
		return refuse(http.StatusNotFound, "No commit found for the ref "+ref)
	}
	e, err := x.repo.git.entry(c.tree, name)
	if err != nil {
		return notFound()
	}
	if ref == "" {
		ref = x.repo.DefaultBranch
	}
	if e.kind == "tree" {
		return x.folder(e, name, ref)
	}
	if e.mode == "120000" {
		_, _, target, err := x.repo.git.object(e.id)
		if err != nil {
			return notFound()
		}
		to, err := x.repo.git.entry(c.tree, path.Join(path.Dir(name), string(target)))
		if err != nil || to.kind != "blob" || to.mode == "120000" {
			body := x.contentJSON(e, name, ref, len(target))
			body["target"] = string(target)
			return okResponse(body)
		}
		e.id, e.mode = to.id, to.mode
	}
	return x.file(e, name, ref)
}

// file is a file in the contents API. Over 1 MB it has the encoding "none" and no
// content, over 100 MB it is refused.
func (x *exchange) file(e gitEntry, name, ref string) response {
	if e.kind == "commit" {
		body := x.contentJSON(e, name, ref, 0)
		body["submodule_git_url"] = nil
		return okResponse(body)
	}
	_, _, data, err := x.repo.git.object(e.id)
	accept := x.Header.Get("Accept")
	switch {
	case err != nil:
		return notFound()
	case len(data) > 100*megabyte:
		return refuse(http.StatusForbidden, "This API returns blobs up to 100 MB in size.")
	case strings.Contains(accept, ".raw"):
		return rawResponse(data)
	}
	body := x.contentJSON(e, name, ref, len(data))
	if body["content"], body["encoding"] = wrapBase64(data), "base64"; len(data) > megabyte {
		body["content"], body["encoding"] = "", "none"
	}
	return okResponse(body)
}

// folder is a folder in the contents API: a list, or an object with that media type.
func (x *exchange) folder(e gitEntry, name, ref string) response {
	entries, err := x.repo.git.tree(e.id)
	if err != nil {
		return notFound()
	}
	items := []jsonObject{}
	for _, child := range entries[:min(len(entries), 1000)] {
		size := 0
		if child.kind == "blob" {
			if _, _, data, err := x.repo.git.object(child.id); err == nil {
				size = len(data)
			}
		}
		items = append(items, x.contentJSON(child, path.Join(name, child.name), ref, size))
	}
	if strings.Contains(x.Header.Get("Accept"), ".object") {
		body := x.contentJSON(e, name, ref, 0)
		body["entries"] = items
		return okResponse(body)
	}
	return okResponse(items)
}

// contentJSON is what the contents API says of a file, a folder, a symbolic link or a
// submodule.
func (x *exchange) contentJSON(e gitEntry, name, ref string, size int) jsonObject {
	kind, object := "file", "blobs"
	switch {
	case e.kind == "tree":
		kind, object = "dir", "trees"
	case e.kind == "commit":
		kind, object = "submodule", "trees"
	case e.mode == "120000":
		kind = "symlink"
	}
	escaped := escapePath(name)
	self := x.self + "/contents/" + escaped + "?ref=" + ref
	git, html := x.self+"/git/"+object+"/"+e.id, x.page+"/blob/"+ref+"/"+escaped
	var download any
	if e.kind == "blob" {
		download = "https://raw.githubusercontent.com/" + x.full + "/" + ref + "/" + escaped
	}
	return jsonObject{
		"name": path.Base(name), "path": name, "sha": e.id, "size": size, "type": kind, "url": self, "html_url": html,
		"git_url": git, "download_url": download, "_links": jsonObject{"self": self, "git": git, "html": html},
	}
}
