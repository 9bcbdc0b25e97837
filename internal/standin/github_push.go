package standin

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// GitHubPushOptions are the less usual sides of a push.
type GitHubPushOptions struct {
	Pusher string // login; the repository's owner if empty
	Quiet  bool   // the branch moves, no event is sent
}

// Push moves a branch that the API serves (refs/tags/… moves a tag) and sends
// `push`, and gives the event's guid. An empty after deletes the branch. The
// clone's own branches stay as they are. A pull request of the branch moves too.
func (g *GitHub) Push(ctx context.Context, repo, branch, after string, o GitHubPushOptions) (guid string, err error) {
	g.mu.Lock()
	r, err := g.lookup(repo)
	g.mu.Unlock()
	if err != nil {
		return "", err
	}
	p := githubPush{repo: r, ref: branch, after: after, pusher: o.Pusher}
	if !strings.HasPrefix(branch, "refs/") {
		p.ref = "refs/heads/" + branch
	}
	if p.pusher == "" {
		p.pusher = r.Owner
	}
	if err := g.preparePush(ctx, &p); err != nil {
		return "", fmt.Errorf("push %s to %s of %s: %w", after, branch, repo, err)
	}
	g.mu.Lock()
	events := g.finishPush(&p)
	g.mu.Unlock()
	if o.Quiet {
		return "", nil
	}
	for i, e := range events {
		if sent := g.send(ctx, e); i == 0 {
			guid = sent
		}
	}
	return guid, nil
}

type githubPush struct {
	repo                     *githubRepo
	ref, before, after       string
	pusher                   string
	forced, created, deleted bool
	head                     *githubCommit   // nil for a deletion
	commits                  []*githubCommit // oldest first
	distinct                 map[string]bool // those that no other branch had
}

// preparePush reads from git what the event tells.
func (g *GitHub) preparePush(ctx context.Context, p *githubPush) error {
	g.mu.Lock()
	p.before = p.repo.refs[p.ref]
	var known []string
	for _, id := range p.repo.refs {
		known = append(known, "^"+id)
	}
	g.mu.Unlock()
	p.created = p.before == ""
	if p.created {
		p.before = githubZero
	}
	if p.after == "" || p.after == githubZero {
		p.after, p.deleted = githubZero, true
		return nil
	}
	head, err := p.repo.git.commit(p.after)
	if err != nil {
		return err
	}
	if _, full, _, err := p.repo.git.object(p.after); err == nil {
		p.after = full // an annotated tag's own id
	}
	p.head = head
	p.distinct = map[string]bool{}
	fresh, err := p.repo.git.history(ctx, g.cfg.Limits.PushCommits, head.id, known...)
	if err != nil {
		return err
	}
	for _, c := range fresh {
		p.distinct[c.id] = true
	}
	if p.commits = fresh; !p.created {
		p.forced = !p.repo.git.ancestor(ctx, p.before, p.after)
		p.commits, err = p.repo.git.history(ctx, g.cfg.Limits.PushCommits, head.id, "^"+p.before)
	}
	return err
}

// history lists the newest commits up to one, oldest first, but for those that
// other arguments of git rev-list exclude.
func (s *githubGit) history(ctx context.Context, limit int, id string, other ...string) ([]*githubCommit, error) {
	out, err := s.run(ctx, append([]string{"rev-list", "--topo-order", "--max-count=" + strconv.Itoa(limit), id}, other...)...)
	if err != nil {
		return nil, err
	}
	var commits []*githubCommit
	for id := range strings.FieldsSeq(out) {
		c, err := s.commit(id)
		if err != nil {
			return nil, err
		}
		commits = append(commits, c)
	}
	slices.Reverse(commits)
	return commits, nil
}

// finishPush moves the reference and makes the events, the push first. The caller holds g.mu.
func (g *GitHub) finishPush(p *githubPush) []*GitHubDelivery {
	r := p.repo
	if p.deleted {
		delete(r.refs, p.ref)
	} else {
		r.refs[p.ref] = p.after
	}
	r.pushedAt = g.cfg.Now()
	events := []*GitHubDelivery{g.newEvent(r, "push", "", p.pusher, g.pushJSON(p))}
	branch, isBranch := strings.CutPrefix(p.ref, "refs/heads/")
	kind, name := "branch", branch
	if !isBranch {
		kind, name = "tag", strings.TrimPrefix(p.ref, "refs/tags/")
	}
	named := githubObject{"ref": name, "ref_type": kind, "master_branch": r.DefaultBranch, "description": nil, "pusher_type": "user"}
	if p.created {
		events = append(events, g.newEvent(r, "create", "", p.pusher, named))
	}
	if p.deleted {
		events = append(events, g.newEvent(r, "delete", "", p.pusher, named))
	}
	if isBranch && !p.deleted {
		suite := g.suite(r, p.head.id, branch)
		events = append(events, g.newEvent(r, "check_suite", "requested", p.pusher, githubObject{"check_suite": g.suiteJSON(g.cfg.URL, r, suite)}))
		events = append(events, g.movePulls(p, branch)...)
	}
	g.notify()
	return events
}

// movePulls makes `synchronize` for the open pull requests of a branch. The caller holds g.mu.
func (g *GitHub) movePulls(p *githubPush, branch string) []*GitHubDelivery {
	var events []*GitHubDelivery
	for _, i := range p.repo.issues {
		if i.pull != nil && i.state == "open" && i.pull.Head == branch && i.pull.HeadRepository == "" && !p.created {
			i.pull.HeadSHA = p.after
			events = append(events, g.newEvent(p.repo, "pull_request", "synchronize", p.pusher, githubObject{
				"number": i.number, "before": p.before, "after": p.after, "pull_request": g.pullJSON(g.cfg.URL, p.repo, i),
			}))
		}
	}
	return events
}

func (g *GitHub) pushJSON(p *githubPush) githubObject {
	r := p.repo
	repository := g.repositoryJSON(g.cfg.URL, r)
	owner := g.userJSON(g.cfg.URL, r.Owner)
	owner["name"], owner["email"] = r.Owner, githubEmail(r.Owner)
	repository["owner"], repository["master_branch"], repository["stargazers"] = owner, r.DefaultBranch, 0
	repository["created_at"], repository["pushed_at"] = r.createdAt.Unix(), r.pushedAt.Unix()
	repository["url"] = r.html()
	commits := []githubObject{}
	for _, c := range p.commits {
		commits = append(commits, g.pushCommitJSON(p, c))
	}
	var head any
	if p.head != nil {
		head = g.pushCommitJSON(p, p.head)
	}
	compare := fmt.Sprintf("%s/compare/%.12s...%.12s", r.html(), p.before, p.after)
	return githubObject{
		"ref": p.ref, "before": p.before, "after": p.after, "repository": repository,
		"pusher":  githubObject{"name": p.pusher, "email": githubEmail(p.pusher)},
		"created": p.created, "deleted": p.deleted, "forced": p.forced, "base_ref": nil, "compare": compare,
		"commits": commits, "head_commit": head,
	}
}

func githubEmail(login string) string { return login + "@users.noreply.github.com" }

func (g *GitHub) pushCommitJSON(p *githubPush, c *githubCommit) githubObject {
	r := p.repo
	person := func(s githubSignature) githubObject {
		return githubObject{"name": s.name, "email": s.email, "date": s.when.Format(time.RFC3339), "username": s.name}
	}
	added, removed, modified := []string{}, []string{}, []string{}
	from := githubEmptyTree
	if len(c.parents) > 0 {
		if parent, err := r.git.commit(c.parents[0]); err == nil {
			from = parent.tree
		}
	}
	err := r.git.changes(from, c.tree, "", func(name string, before, after bool) {
		list := &modified
		if !before {
			list = &added
		} else if !after {
			list = &removed
		}
		if len(added)+len(removed)+len(modified) < 3000 {
			*list = append(*list, name)
		}
	})
	if err != nil {
		g.cfg.Log.Error("github stand-in can't read a commit's changes", "commit", c.id, "error", err)
	}
	return githubObject{
		"id": c.id, "tree_id": c.tree, "distinct": p.distinct[c.id], "message": c.message, "timestamp": c.committer.when.Format(time.RFC3339),
		"url": r.html() + "/commit/" + c.id, "author": person(c.author), "committer": person(c.committer),
		"added": added, "removed": removed, "modified": modified,
	}
}

// changes calls found for every path that is not the same in two trees.
func (s *githubGit) changes(from, to, dir string, found func(name string, before, after bool)) error {
	if from == to {
		return nil
	}
	sides := [2]map[string]githubEntry{{}, {}}
	var names []string
	for i, id := range []string{from, to} {
		if id == "" {
			continue
		}
		entries, err := s.tree(id)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if _, both := sides[0][e.name]; !both {
				names = append(names, e.name)
			}
			sides[i][e.name] = e
		}
	}
	for _, name := range names {
		before, after := sides[0][name], sides[1][name]
		if before == after {
			continue
		}
		full := path.Join(dir, name)
		if isBefore, isAfter := before.id != "" && before.kind != "tree", after.id != "" && after.kind != "tree"; isBefore || isAfter {
			found(full, isBefore, isAfter)
		}
		subtree := [2]string{}
		for i, e := range []githubEntry{before, after} {
			if e.kind == "tree" {
				subtree[i] = e.id
			}
		}
		if err := s.changes(subtree[0], subtree[1], full, found); err != nil {
			return err
		}
	}
	return nil
}
