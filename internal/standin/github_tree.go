package standin

import (
	"encoding/base64"
	"net/http"
	"path"
	"strings"
)

const githubEmptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904" // git's id of the tree without entries

const githubMega = 1 << 20 // GitHub's megabyte

// githubTreeEntry is an entry as the trees API tells it.
type githubTreeEntry struct {
	Path string `json:"path"`
	Mode string `json:"mode"`
	Type string `json:"type"`
	SHA  string `json:"sha"`
	Size *int   `json:"size,omitempty"`
	URL  string `json:"url,omitempty"`
}

// getTree is GET /repos/{owner}/{repo}/git/trees/{tree}: the tree may be named
// by its id, a commit or a branch. Any value of `recursive` means all levels.
func (g *GitHub) getTree(x *githubExchange) githubReply {
	id := x.params["tree"]
	if c, err := g.resolve(x.repo, id); err == nil {
		id = c.tree
	}
	if _, err := x.repo.git.tree(id); err != nil {
		return githubNotFound()
	}
	walk := githubWalk{git: x.repo.git, limits: g.cfg.Limits, url: x.self + "/git/", entries: []githubTreeEntry{}}
	_, walk.recursive = x.URL.Query()["recursive"]
	if err := walk.add(id, ""); err != nil {
		return githubFail(http.StatusInternalServerError, err.Error())
	}
	return githubOK(githubObject{
		"sha": id, "url": x.self + "/git/trees/" + id, "tree": walk.entries, "truncated": walk.truncated,
	})
}

// githubWalk gathers a tree's entries up to GitHub's limits.
type githubWalk struct {
	git       *githubGit
	limits    GitHubLimits
	url       string
	recursive bool
	bytes     int
	entries   []githubTreeEntry
	truncated bool
}

func (w *githubWalk) add(tree, dir string) error {
	entries, err := w.git.tree(tree)
	if err != nil {
		return err
	}
	for _, e := range entries {
		entry := githubTreeEntry{Path: path.Join(dir, e.name), Mode: e.mode, Type: e.kind, SHA: e.id}
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

// getBlob is GET /repos/{owner}/{repo}/git/blobs/{sha}.
func (g *GitHub) getBlob(x *githubExchange) githubReply {
	kind, id, data, err := x.repo.git.object(x.params["sha"])
	if err != nil || kind != "blob" {
		return githubNotFound()
	}
	if len(data) > 100*githubMega {
		return githubFail(http.StatusForbidden, "This API returns blobs up to 100 MB in size.")
	}
	if strings.Contains(x.Header.Get("Accept"), ".raw") {
		return githubRaw(data)
	}
	return githubOK(githubObject{
		"sha": id, "node_id": githubNode("B", id), "size": len(data), "url": x.self + "/git/blobs/" + id,
		"content": githubBase64(data), "encoding": "base64",
	})
}

func githubRaw(data []byte) githubReply {
	header := http.Header{"Content-Type": {"application/vnd.github.raw+json; charset=utf-8"}}
	return githubReply{status: http.StatusOK, header: header, body: append([]byte{}, data...)}
}

// githubBase64 breaks lines after 60 characters, as GitHub does.
func githubBase64(data []byte) string {
	text := base64.StdEncoding.EncodeToString(data)
	var b strings.Builder
	for len(text) > 0 {
		n := min(60, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return b.String()
}

// getContents is GET /repos/{owner}/{repo}/contents/{path}: a file up to 1 MB in
// base64, up to 100 MB by the raw media type, a folder's first 1,000 entries, a
// symbolic link's target if that is a file of the repository.
func (g *GitHub) getContents(x *githubExchange) githubReply {
	name := strings.Trim(x.params["path"], "/")
	ref := x.URL.Query().Get("ref")
	c, err := g.resolve(x.repo, ref)
	if err != nil {
		return githubFail(http.StatusNotFound, "No commit found for the ref "+ref)
	}
	e, err := x.repo.git.entry(c.tree, name)
	if err != nil {
		return githubNotFound()
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
			return githubNotFound()
		}
		to, err := x.repo.git.entry(c.tree, path.Join(path.Dir(name), string(target)))
		if err != nil || to.kind != "blob" || to.mode == "120000" {
			body := x.contentJSON(e, name, ref, len(target))
			body["target"] = string(target)
			return githubOK(body)
		}
		e.id, e.mode = to.id, to.mode
	}
	return x.file(e, name, ref)
}

func (x *githubExchange) file(e githubEntry, name, ref string) githubReply {
	if e.kind == "commit" {
		body := x.contentJSON(e, name, ref, 0)
		body["submodule_git_url"] = nil
		return githubOK(body)
	}
	_, _, data, err := x.repo.git.object(e.id)
	accept := x.Header.Get("Accept")
	switch {
	case err != nil:
		return githubNotFound()
	case len(data) > 100*githubMega:
		return githubFail(http.StatusForbidden, "This API returns blobs up to 100 MB in size.")
	case strings.Contains(accept, ".raw"):
		return githubRaw(data)
	}
	body := x.contentJSON(e, name, ref, len(data))
	if body["content"], body["encoding"] = githubBase64(data), "base64"; len(data) > githubMega {
		body["content"], body["encoding"] = "", "none"
	}
	return githubOK(body)
}

func (x *githubExchange) folder(e githubEntry, name, ref string) githubReply {
	entries, err := x.repo.git.tree(e.id)
	if err != nil {
		return githubNotFound()
	}
	items := []githubObject{}
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
		return githubOK(body)
	}
	return githubOK(items)
}

func (x *githubExchange) contentJSON(e githubEntry, name, ref string, size int) githubObject {
	kind, object := "file", "blobs"
	switch {
	case e.kind == "tree":
		kind, object = "dir", "trees"
	case e.kind == "commit":
		kind, object = "submodule", "trees"
	case e.mode == "120000":
		kind = "symlink"
	}
	escaped := githubEscapePath(name)
	self := x.self + "/contents/" + escaped + "?ref=" + ref
	git, html := x.self+"/git/"+object+"/"+e.id, x.page+"/blob/"+ref+"/"+escaped
	var download any
	if e.kind == "blob" {
		download = "https://raw.githubusercontent.com/" + x.full + "/" + ref + "/" + escaped
	}
	return githubObject{
		"name": path.Base(name), "path": name, "sha": e.id, "size": size, "type": kind, "url": self, "html_url": html,
		"git_url": git, "download_url": download, "_links": githubObject{"self": self, "git": git, "html": html},
	}
}
