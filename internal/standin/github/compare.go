package github

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// changedFile is a changed file in the form that comparisons, commits and pull requests
// list.
type changedFile struct {
	name, previous, status, id string
	additions, deletions       int
}

// diff compares two commits or trees directly, without a merge base. git detects the
// renames.
func (s *gitReader) diff(ctx context.Context, from, to string) ([]changedFile, error) {
	s.mu.Lock()
	latest := s.latest
	s.mu.Unlock()
	if latest.from == from && latest.to == to {
		return latest.files, nil
	}
	out, err := s.run(ctx, "diff-tree", "-r", "-z", "-M", "-l1000", "--no-abbrev", "--raw", "--numstat", "--no-ext-diff", "--no-textconv", from, to)
	if err != nil {
		return nil, err
	}
	fields := strings.Split(out, "\x00")
	files, rest, err := parseRaw(fields)
	if err != nil {
		return nil, err
	}
	parseCounts(files, rest)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = diffEntries{from, to, files}
	return files, nil
}

// parseRaw reads git's ":mode mode id id status", then the path and, for a rename, the
// new path. It stops where the counts begin.
func parseRaw(fields []string) (files []changedFile, rest []string, err error) {
	for len(fields) > 1 && strings.HasPrefix(fields[0], ":") {
		raw := strings.Fields(fields[0])
		if len(raw) != 5 {
			return nil, nil, fmt.Errorf("git diff-tree says %q", fields[0])
		}
		f := changedFile{name: fields[1], id: raw[3]}
		fields = fields[2:]
		switch raw[4][0] {
		case 'A':
			f.status = "added"
		case 'D':
			f.status, f.id = "removed", raw[2]
		case 'R':
			f.status, f.previous, f.name = "renamed", f.name, fields[0]
			fields = fields[1:]
		case 'T':
			f.status = "changed"
		default:
			if f.status = "modified"; raw[2] == raw[3] {
				f.status = "changed" // only the mode changed
			}
		}
		files = append(files, f)
	}
	return files, fields, nil
}

// parseCounts reads git's "added TAB removed TAB path". For a rename the path is empty
// and both names follow. The order is that of the files.
func parseCounts(files []changedFile, fields []string) {
	for i := range files {
		if len(fields) == 0 {
			return
		}
		added, rest, _ := strings.Cut(fields[0], "\t")
		removed, name, _ := strings.Cut(rest, "\t")
		files[i].additions, _ = strconv.Atoi(added) // "-" for binary files counts as 0, as on GitHub
		files[i].deletions, _ = strconv.Atoi(removed)
		if fields = fields[1:]; name == "" && len(fields) >= 2 {
			fields = fields[2:]
		}
	}
}

// filesJSON is a list of changed files in an answer.
func (x *exchange) filesJSON(files []changedFile, head string) []jsonObject {
	items := []jsonObject{}
	for _, f := range files {
		escaped := escapePath(f.name)
		item := jsonObject{
			"sha": f.id, "filename": f.name, "status": f.status,
			"additions": f.additions, "deletions": f.deletions, "changes": f.additions + f.deletions,
			"blob_url":     x.page + "/blob/" + head + "/" + escaped,
			"raw_url":      x.page + "/raw/" + head + "/" + escaped,
			"contents_url": x.self + "/contents/" + escaped + "?ref=" + head,
		}
		if f.previous != "" {
			item["previous_filename"] = f.previous
		}
		items = append(items, item)
	}
	return items
}

func escapePath(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// compare is GET /repos/{owner}/{repo}/compare/{base}...{head}: what head has since the
// merge base. Only the first page has files.
// https://docs.github.com/rest/commits/commits#compare-two-commits
func (g *Server) compare(x *exchange) response {
	baseName, headName, ok := strings.Cut(x.params["basehead"], "...")
	if !ok {
		return notFound()
	}
	base, errBase := g.resolve(x.repo, ownRef(x, baseName))
	head, errHead := g.resolve(x.repo, ownRef(x, headName))
	if errBase != nil || errHead != nil || baseName == "" || headName == "" {
		return notFound()
	}
	out, err := x.repo.git.run(x.Context(), "merge-base", base.id, head.id)
	mergeBase, errCommit := x.repo.git.commit(strings.TrimSpace(out))
	if err != nil || errCommit != nil {
		return refuse(http.StatusNotFound, "No common ancestor between "+baseName+" and "+headName+".")
	}
	behind, ahead, err := x.repo.git.distance(x.Context(), base.id, head.id)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	body := jsonObject{
		"url":           x.self + "/compare/" + x.params["basehead"],
		"html_url":      x.page + "/compare/" + x.params["basehead"],
		"permalink_url": x.page + "/compare/" + base.id + "..." + head.id,
		"diff_url":      x.page + "/compare/" + x.params["basehead"] + ".diff",
		"patch_url":     x.page + "/compare/" + x.params["basehead"] + ".patch",
		"base_commit":   g.commitJSON(x, base), "merge_base_commit": g.commitJSON(x, mergeBase),
		"status": compareStatus(ahead, behind), "ahead_by": ahead, "behind_by": behind, "total_commits": ahead,
	}
	return g.comparePage(x, body, mergeBase, head)
}

// comparePage adds commits and files: 250 commits in one answer, or pages of them.
func (g *Server) comparePage(x *exchange, body jsonObject, mergeBase, head *commit) response {
	out, err := x.repo.git.run(x.Context(), "rev-list", "--reverse", "--topo-order", head.id, "^"+body["base_commit"].(jsonObject)["sha"].(string))
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	ids, links := strings.Fields(out), http.Header{}
	query, files := x.URL.Query(), []changedFile{}
	if query.Has("page") || query.Has("per_page") {
		ids, links = paginate(x, ids)
	} else if n := len(ids) - g.cfg.Limits.CompareCommits; n > 0 {
		ids = ids[n:]
	}
	if queryNumber(query.Get("page"), 1, 1<<30) == 1 {
		if files, err = x.repo.git.diff(x.Context(), mergeBase.id, head.id); err != nil {
			return refuse(http.StatusInternalServerError, err.Error())
		}
		files = files[:min(len(files), g.cfg.Limits.CompareFiles)]
	}
	commits := []jsonObject{}
	for _, id := range ids {
		if c, err := x.repo.git.commit(id); err == nil {
			commits = append(commits, g.commitJSON(x, c))
		}
	}
	body["commits"], body["files"] = commits, x.filesJSON(files, head.id)
	return response{status: http.StatusOK, header: links, body: body}
}

// ownRef accepts "owner:branch" for a branch of this same repository.
func ownRef(x *exchange, name string) string {
	own, _, _ := strings.Cut(x.full, "/")
	if owner, branch, ok := strings.Cut(name, ":"); ok && strings.EqualFold(owner, own) {
		return branch
	}
	return name
}

func compareStatus(ahead, behind int) string {
	switch {
	case ahead > 0 && behind > 0:
		return "diverged"
	case ahead > 0:
		return "ahead"
	case behind > 0:
		return "behind"
	}
	return "identical"
}

// distance counts the commits that only one of the two sides has.
func (s *gitReader) distance(ctx context.Context, left, right string) (onlyLeft, onlyRight int, err error) {
	out, err := s.run(ctx, "rev-list", "--left-right", "--count", left+"..."+right)
	if err != nil {
		return 0, 0, err
	}
	_, err = fmt.Sscan(out, &onlyLeft, &onlyRight)
	return onlyLeft, onlyRight, err
}
