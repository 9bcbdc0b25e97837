package github

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PushOptions are the less usual properties of a push.
type PushOptions struct {
	Pusher string // login; "": the repository's owner
	Quiet  bool   // the branch moves and no event is sent
}

// Push moves a branch that the API serves, or a tag if its name begins with refs/tags/.
// It sends `push` and returns the event's guid. An empty after deletes the branch. The
// clone's own branches do not change. An open pull request of the branch moves too.
func (g *Server) Push(ctx context.Context, repo, branch, after string, o PushOptions) (guid string, err error) {
	g.mu.Lock()
	r, err := g.lookup(repo)
	g.mu.Unlock()
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(branch, "refs/") {
		branch = "refs/heads/" + branch
	}
	var events []*Delivery
	for moved := false; !moved; { // another push may happen between reading and moving
		p := pushEvent{repo: r, ref: branch, after: after, pusher: o.Pusher, quiet: o.Quiet}
		if err := g.preparePush(ctx, &p); err != nil {
			return "", fmt.Errorf("push %s to %s of %s: %w", after, branch, repo, err)
		}
		g.mu.Lock()
		events, moved = g.finishPush(&p)
		g.mu.Unlock()
	}
	for i, e := range events {
		if sent := g.send(ctx, e); i == 0 {
			guid = sent
		}
	}
	return guid, nil
}

type pushEvent struct {
	repo                     *repository
	ref, before, after       string
	pusher                   string
	quiet                    bool
	forced, created, deleted bool
	head                     *pushedCommit   // nil for a deletion
	commits                  []*pushedCommit // oldest first
	sizes                    map[*issue]diffSize
}

// pushedCommit is a commit with its changes against its first parent.
type pushedCommit struct {
	*commit
	distinct                 bool // no other branch had it before
	added, removed, modified []string
}

// preparePush reads from git what the event contains.
func (g *Server) preparePush(ctx context.Context, p *pushEvent) error {
	g.mu.Lock()
	p.before = p.repo.refs[p.ref]
	var known []string
	for _, id := range p.repo.refs {
		known = append(known, "^"+id)
	}
	g.mu.Unlock()
	if p.before == "" {
		p.before, p.created = zeroID, true
	}
	if p.after == "" || p.after == zeroID {
		p.after, p.deleted = zeroID, true
		return nil
	}
	head, err := p.repo.git.commit(p.after)
	if err != nil {
		return err
	}
	if _, full, _, err := p.repo.git.object(p.after); err == nil {
		p.after = full // an annotated tag's own id
	}
	if err := g.measurePulls(ctx, p); err != nil {
		return err
	}
	return g.readPush(ctx, p, head, known)
}

// measurePulls reads how much the branch's pull requests change.
func (g *Server) measurePulls(ctx context.Context, p *pushEvent) error {
	bases := map[*issue]string{}
	g.mu.Lock()
	for _, i := range p.pulls() {
		bases[i] = i.pull.BaseSHA
	}
	g.mu.Unlock()
	p.sizes = map[*issue]diffSize{}
	for i, base := range bases {
		size, err := p.repo.git.size(ctx, base, p.after)
		if err != nil {
			return err
		}
		p.sizes[i] = size
	}
	return nil
}

// pulls lists the open pull requests of the branch. The caller holds Server.mu.
func (p *pushEvent) pulls() []*issue {
	var pulls []*issue
	for _, i := range p.repo.issues {
		if i.pull != nil && i.state == "open" && "refs/heads/"+i.pull.Head == p.ref && i.pull.HeadRepository == "" && !p.deleted {
			pulls = append(pulls, i)
		}
	}
	return pulls
}

// readPush reads the commits that the event lists. A commit is new if no reference in
// known has it; each of those has a ^ in front.
func (g *Server) readPush(ctx context.Context, p *pushEvent, head *commit, known []string) error {
	if p.quiet {
		p.head = &pushedCommit{commit: head}
		return nil
	}
	fresh, err := p.repo.git.history(ctx, g.cfg.Limits.PushCommits, head.id, known...)
	if err != nil {
		return err
	}
	commits := fresh
	if !p.created {
		p.forced = !p.repo.git.ancestor(ctx, p.before, p.after)
		if commits, err = p.repo.git.history(ctx, g.cfg.Limits.PushCommits, head.id, "^"+p.before); err != nil {
			return err
		}
	}
	for _, c := range append(commits, head) {
		pushed, err := p.repo.git.pushed(c)
		if err != nil {
			return err
		}
		pushed.distinct = slices.Contains(fresh, c)
		p.commits, p.head = append(p.commits, pushed), pushed
	}
	p.commits = p.commits[:len(commits)]
	return nil
}

// pushed reads what a commit changes. The lists have at most 3,000 paths, like GitHub's.
func (s *gitReader) pushed(c *commit) (*pushedCommit, error) {
	from := emptyTree
	if len(c.parents) > 0 {
		if parent, err := s.commit(c.parents[0]); err == nil { // a shallow clone ends somewhere
			from = parent.tree
		}
	}
	p := &pushedCommit{commit: c, added: []string{}, removed: []string{}, modified: []string{}}
	err := s.changes(from, c.tree, "", func(name string, before, after bool) {
		list := &p.modified
		if !before {
			list = &p.added
		} else if !after {
			list = &p.removed
		}
		if len(p.added)+len(p.removed)+len(p.modified) < 3000 {
			*list = append(*list, name)
		}
	})
	return p, err
}

// history lists the newest commits up to one, the oldest first. The other arguments are
// for git rev-list and exclude commits.
func (s *gitReader) history(ctx context.Context, limit int, id string, other ...string) ([]*commit, error) {
	out, err := s.run(ctx, append([]string{"rev-list", "--topo-order", "--max-count=" + strconv.Itoa(limit), id}, other...)...)
	if err != nil {
		return nil, err
	}
	var commits []*commit
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

// finishPush moves the reference and makes the events, the push first. ok is false if the
// reference has moved since it was read. The caller holds g.mu.
func (g *Server) finishPush(p *pushEvent) (events []*Delivery, ok bool) {
	r := p.repo
	if now := r.refs[p.ref]; now != p.before && (now != "" || !p.created) {
		return nil, false
	}
	if p.pusher == "" {
		p.pusher = r.Owner
	}
	if p.deleted {
		delete(r.refs, p.ref)
	} else {
		r.refs[p.ref] = p.after
	}
	r.pushedAt = g.now()
	defer g.notify()
	if p.quiet {
		g.movePulls(p)
		return nil, true
	}
	events = []*Delivery{g.newEvent(r, "push", "", p.pusher, g.pushJSON(p))}
	branch, isBranch := strings.CutPrefix(p.ref, "refs/heads/")
	kind, name := "branch", branch
	if !isBranch {
		kind, name = "tag", strings.TrimPrefix(p.ref, "refs/tags/")
	}
	named := jsonObject{"ref": name, "ref_type": kind, "master_branch": r.DefaultBranch, "description": nil, "pusher_type": "user"}
	if p.created {
		events = append(events, g.newEvent(r, "create", "", p.pusher, named))
	}
	if p.deleted {
		events = append(events, g.newEvent(r, "delete", "", p.pusher, named))
	}
	if isBranch && !p.deleted {
		suite := g.suite(r, p.head.id, branch)
		events = append(events, g.newEvent(r, "check_suite", "requested", p.pusher, jsonObject{"check_suite": g.suiteJSON(g.cfg.URL, r, suite)}))
		events = append(events, g.movePulls(p)...)
	}
	return events, true
}

// movePulls makes `synchronize` for the open pull requests of a branch. The caller holds g.mu.
func (g *Server) movePulls(p *pushEvent) []*Delivery {
	var events []*Delivery
	for _, i := range p.pulls() {
		i.pull.HeadSHA, i.size = p.after, p.sizes[i]
		events = append(events, g.newEvent(p.repo, "pull_request", "synchronize", p.pusher, jsonObject{
			"number": i.number, "before": p.before, "after": p.after, "pull_request": g.pullJSON(g.cfg.URL, p.repo, i),
		}))
	}
	return events
}

// pushJSON is the payload of a push. Its repository differs from REST: times are Unix
// seconds there. The caller holds g.mu.
func (g *Server) pushJSON(p *pushEvent) jsonObject {
	r := p.repo
	repository := g.repositoryJSON(g.cfg.URL, r)
	owner := g.userJSON(g.cfg.URL, r.Owner)
	owner["name"], owner["email"] = r.Owner, emailOf(r.Owner)
	repository["owner"], repository["master_branch"], repository["stargazers"] = owner, r.DefaultBranch, 0
	repository["created_at"], repository["pushed_at"] = r.createdAt.Unix(), r.pushedAt.Unix()
	repository["url"] = r.html()
	commits := []jsonObject{}
	for _, c := range p.commits {
		commits = append(commits, c.json(r))
	}
	var head any
	if p.head != nil {
		head = p.head.json(r)
	}
	compare := fmt.Sprintf("%s/compare/%.12s...%.12s", r.html(), p.before, p.after)
	return jsonObject{
		"ref": p.ref, "before": p.before, "after": p.after, "repository": repository,
		"pusher":  jsonObject{"name": p.pusher, "email": emailOf(p.pusher)},
		"created": p.created, "deleted": p.deleted, "forced": p.forced, "base_ref": nil, "compare": compare,
		"commits": commits, "head_commit": head,
	}
}

func emailOf(login string) string { return login + "@users.noreply.github.com" }

func (c *pushedCommit) json(r *repository) jsonObject {
	person := func(s gitSignature) jsonObject {
		return jsonObject{"name": s.name, "email": s.email, "date": s.when.Format(time.RFC3339), "username": s.name}
	}
	return jsonObject{
		"id": c.id, "tree_id": c.tree, "distinct": c.distinct, "message": c.message, "timestamp": c.committer.when.Format(time.RFC3339),
		"url": r.html() + "/commit/" + c.id, "author": person(c.author), "committer": person(c.committer),
		"added": c.added, "removed": c.removed, "modified": c.modified,
	}
}

// changes calls found for every path that differs between two trees.
func (s *gitReader) changes(from, to, dir string, found func(name string, before, after bool)) error {
	if from == to {
		return nil
	}
	sides := [2]map[string]gitEntry{{}, {}}
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
		for i, e := range []gitEntry{before, after} {
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
