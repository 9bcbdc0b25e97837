package model

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/purgebot/purgebot/internal/servertest"
)

// modelRules has an environment of each kind: two that deployments reach, on different
// networks, and one that follows the branch.
const modelRules = `version: 1
environments:
  production:
    network: production
    hosts: [www.acme.com, m.acme.com]
  staging:
    network: staging
    hosts: [staging.acme.com]
  follower:
    network: staging
    hosts: [follower.acme.com]
    trigger: push
rules:
  - name: pages
    match: content/**/*.md
    urls: ["https://{host}/{1}/{2}/"]
  - name: shell
    match: layouts/**
    tags: ["acme-shell-{env}"]
`

// follower is the environment to which a push deploys.
const follower = "follower"

// tree is everything that a commit holds: content by path.
type tree map[string]string

// reference is the model: what each environment's origin serves, and what Akamai's caches
// may hold of it. It knows nothing of ledgers, differences, jobs or retries.
//
// An origin changes when GitHub records a success. A cache may fetch an object at any
// moment, and keeps it until a purge begins after that. So the caches may hold, of each
// object, whatever was served since the last purge began. At the end they may hold only
// what is served then.
type reference struct {
	rules *servertest.NaiveRules

	mu     sync.Mutex
	views  map[string]map[string]string // by environment and target: what is served
	copies map[string]map[string]bool   // by target: what the caches may hold
	asked  map[string]bool              // targets that a change touched or a person named
	purged map[string]bool              // targets that Akamai was told to purge
	untold map[string]bool              // targets whose present content the server may never hear of
	live   map[string]modelSuccess      // by environment: the success that GitHub recorded last
	all    map[string][]modelSuccess    // by environment: every success, in GitHub's order
	failed map[string]map[string]bool   // by environment: commits with a deployment that failed since the last success
	again  map[string]map[string]bool   // by environment: commits that were pushed once more since they were last deployed
}

// modelSuccess is a success as GitHub recorded it.
type modelSuccess struct {
	sha    string
	status int64 // 0: a push
	unseen bool  // it was before the first start of the server
	untold bool  // only its own webhook, which is lost, could tell of it once it is overtaken
}

func newReference() (*reference, error) {
	rules, err := servertest.ReadNaive([]byte(modelRules))
	return &reference{
		rules: rules, views: map[string]map[string]string{}, copies: map[string]map[string]bool{},
		asked: map[string]bool{}, purged: map[string]bool{}, untold: map[string]bool{}, live: map[string]modelSuccess{}, all: map[string][]modelSuccess{},
		failed: map[string]map[string]bool{}, again: map[string]map[string]bool{},
	}, err
}

// target names an object with its network. No two environments share one.
func target(environment, object string) string {
	if environment == "production" {
		return "production " + object
	}
	return "staging " + object
}

// view is what an environment serves of a tree, by target.
func (r *reference) view(environment string, t tree) map[string]string {
	view := map[string]string{}
	for _, file := range slices.Sorted(maps.Keys(t)) {
		for _, object := range r.rules.Objects(environment, file) {
			name := target(environment, strings.ReplaceAll(object, "{env}", environment))
			view[name] += file + "=" + t[file] + ";"
		}
	}
	return view
}

// serve is a success: from now on the environment's origin serves a commit.
func (r *reference) serve(environment string, s modelSuccess, t tree) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, after := r.views[environment], r.view(environment, t)
	for name := range merged(before, after) {
		if before[name] != after[name] {
			r.asked[name] = true
		}
		r.untold[name] = s.untold
		if !s.untold {
			r.mayHold(name, after[name])
		}
	}
	r.views[environment] = after
	r.live[environment], r.all[environment] = s, append(r.all[environment], s)
	r.failed[environment] = map[string]bool{}
	if r.again[environment] == nil {
		r.again[environment] = map[string]bool{}
	}
	delete(r.again[environment], s.sha)
}

// push is a commit that comes to the branch. If it was deployed before, its status may be
// told anew.
func (r *reference) push(sha string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, pushed := range r.again {
		pushed[sha] = true
	}
}

// fail is a deployment that failed: the origin serves the same as before.
func (r *reference) fail(environment, sha string) {
	if r.failed[environment] == nil {
		r.failed[environment] = map[string]bool{}
	}
	r.failed[environment][sha] = true
}

// mayHold adds to what the caches may hold of an object. From the start they may hold
// that it does not exist.
func (r *reference) mayHold(name, content string) {
	if r.copies[name] == nil {
		r.copies[name] = map[string]bool{"": true}
	}
	r.copies[name][content] = true
}

// recorded says which id GitHub gave to the success that was served last.
func (r *reference) recorded(environment string, status int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.live[environment]
	s.status = status
	r.live[environment] = s
}

// assume says what an environment may have served before the first success of which the
// server could know. Nothing is certain there: what that success changes against all of
// these trees must be purged, and what it changes against any of them may be.
func (r *reference) assume(environment string, first tree, before ...tree) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.views[environment]; known || len(before) == 0 {
		return
	}
	after := r.view(environment, first)
	view := maps.Clone(after)
	r.views[environment] = view
	defer r.hold(view)
	for i, t := range before {
		old := r.view(environment, t)
		for name := range merged(old, after) {
			if old[name] == after[name] {
				view[name] = after[name]
				continue
			}
			r.asked[name] = true
			if i == 0 {
				view[name] = old[name]
			}
		}
	}
}

// allow permits purges of what a tree changes against others.
func (r *reference) allow(environment string, after tree, before ...tree) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.view(environment, after)
	for _, t := range before {
		old := r.view(environment, t)
		for name := range merged(old, now) {
			if old[name] != now[name] {
				r.asked[name] = true
			}
		}
	}
}

// hold says that the caches hold what a view serves.
func (r *reference) hold(view map[string]string) {
	for name, content := range view {
		r.copies[name] = map[string]bool{content: true}
	}
}

func merged(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// fresh says that the caches hold nothing old.
func (r *reference) fresh() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.copies)
	clear(r.asked)
	for _, view := range r.views {
		r.hold(view)
	}
}

// ask permits a purge that a person names.
func (r *reference) ask(environment string, objects ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, object := range objects {
		r.asked[target(environment, object)] = true
	}
}

// purge is a purge that Akamai begins now and accepts.
func (r *reference) purge(network, kind string, objects []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, object := range objects {
		name := network + " " + kind + " " + object
		r.purged[name] = true
		r.copies[name] = map[string]bool{}
		if !r.untold[name] {
			r.copies[name][r.serves(name)] = true
		}
	}
}

func (r *reference) serves(name string) string {
	for _, view := range r.views {
		if content, ok := view[name]; ok {
			return content
		}
	}
	return ""
}

// problems says what is wrong with the caches now, one line each.
func (r *reference) problems() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, copies := range r.copies {
		for content := range copies {
			if now := r.serves(name); content != now {
				all = append(all, fmt.Sprintf("stale: %s may be cached as %q, deployed is %q", name, content, now))
			}
		}
	}
	for name := range r.purged {
		if !r.asked[name] {
			all = append(all, "purged without need: "+name)
		}
	}
	slices.Sort(all)
	return all
}

// pageFile is the file of a page of the model.
func pageFile(page string) string { return path.Join("content", "life", page+".md") }

// pageURL is the address of a page of the model.
func pageURL(host, page string) string { return "https://" + host + "/life/" + page + "/" }
