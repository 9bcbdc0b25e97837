package model

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/purgebot/purgebot/internal/server"
	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/standin/github"
)

// nowhere is where GitHub's webhooks go while the server is down.
const nowhere = "http://127.0.0.1:1/webhook"

// slow is how long a slow answer of Akamai takes.
const slow = 200 * time.Millisecond

// life is one script on a stage: what happens to a site, with the model of what should
// come of it.
type life struct {
	*stage.Stage
	ref  *reference
	said servertest.Log

	commits     map[string]*modelCommit // by their names in the script
	deployments map[string]*modelDeployment
	head        string // of main: a commit's name
	begun       bool   // the server has been started once
	pull        int    // the pull request that people comment on

	ahead   atomic.Int64    // how far all clocks are ahead of the real one
	further atomic.Int64    // how much further ahead the server's clock is: at the end, so that nobody waits
	wrong   [2]atomic.Int64 // how far each replica's clock is ahead of that
	second  func() error    // stops the second replica; nil: there is none
	route   atomic.Int32
	akamaiF faults
	githubF faults
	refused atomic.Pointer[string] // the object that Akamai refuses; nil: none
	sending atomic.Int64           // until when a slow request is under way
}

// modelCommit is a commit of the script.
type modelCommit struct {
	name, sha string
	tree      tree
	parent    string
	before    []string // what main was at when this commit was pushed
}

// modelDeployment is a deployment of the script.
type modelDeployment struct {
	id          int64
	commit      *modelCommit
	environment string    // folded
	unseen      bool      // it succeeded before the server first started
	last        time.Time // when it succeeded last
}

// faults is what goes wrong with the next few calls.
type faults struct {
	kind atomic.Pointer[string]
	left atomic.Int32
}

func (f *faults) set(kind string, n int) {
	f.kind.Store(&kind)
	f.left.Store(int32(n))
}

func (f *faults) next() string {
	if f.left.Add(-1) < 0 {
		f.left.Store(0)
		return ""
	}
	return *f.kind.Load()
}

// runModel plays a script to its end, lets everything come to rest, and returns what is
// not as it should be, one line each. The error is about the test itself.
func runModel(ctx context.Context, dir, database string, script []string) (problems []string, said string, err error) {
	p, err := newLife(ctx, dir, database)
	if err != nil {
		return nil, "", err
	}
	defer func() {
		if p.second != nil {
			err = errors.Join(err, p.second())
		}
		err = errors.Join(err, p.Close(context.WithoutCancel(ctx)))
	}()
	for _, line := range script {
		if err := p.step(ctx, strings.Fields(line)); err != nil {
			return nil, p.said.String(), fmt.Errorf("%s: %w", line, err)
		}
	}
	problems, err = p.end(ctx)
	return problems, p.said.String(), err
}

// newLife makes a site with one commit and the stage for it. The server is not started
// yet.
func newLife(ctx context.Context, dir, database string) (*life, error) {
	ref, err := newReference()
	if err != nil {
		return nil, err
	}
	p := &life{ref: ref, commits: map[string]*modelCommit{}, deployments: map[string]*modelDeployment{}, head: "c0"}
	site, err := stage.NewSite(ctx, filepath.Join(dir, "site"))
	if err != nil {
		return nil, err
	}
	first := &modelCommit{name: "c0", tree: tree{"purge-rules.yaml": modelRules, "layouts/base.html": "c0"}}
	for i := range 4 {
		first.tree[pageFile(fmt.Sprintf("p%d", i))] = "c0"
	}
	if err := p.write(ctx, site.Dir, first); err != nil {
		return nil, err
	}
	p.Stage, err = stage.Open(ctx, stage.Config{
		Dir: dir, Database: database, Now: p.now, ServerNow: p.serverNow,
		Repositories: []github.Repository{{ID: 1, Owner: "acme", Name: "site", Dir: site.Dir}},
		Policy:       servertest.Policy(),
		Akamai:       akamai.Config{Estimate: time.Second},
		StatusEvery:  50 * time.Millisecond,
		Log:          slog.New(slog.NewTextHandler(&p.said, nil)),
	})
	if err != nil {
		return nil, err
	}
	p.GitHub.Route(p.routed)
	p.GitHub.Fault(p.githubFault)
	p.Akamai.Fault(p.akamaiFault)
	return p, p.openPull(ctx, site.Dir)
}

// openPull opens the pull request that people comment on.
func (p *life) openPull(ctx context.Context, dir string) (err error) {
	change := &modelCommit{name: "pull", parent: "c0", tree: maps.Clone(p.commits["c0"].tree)}
	change.tree[pageFile("p0")] = "pull"
	if err := p.write(ctx, dir, change); err != nil {
		return err
	}
	if _, err := p.GitHub.Push(ctx, p.FullName(), "pull", change.sha, github.PushOptions{}); err != nil {
		return err
	}
	if err := p.GitHub.SetPermission(p.FullName(), "walt", "write"); err != nil {
		return err
	}
	p.pull, err = p.GitHub.OpenPullRequest(ctx, p.FullName(), github.PullRequest{Title: "Change", Login: "walt", Head: "pull"})
	return err
}

// now is the script's clock: the real one plus what the script waited.
func (p *life) now() time.Time { return time.Now().Add(time.Duration(p.ahead.Load())) }

// serverNow is the server's clock, which runs ahead at the end.
func (p *life) serverNow() time.Time { return p.replicaNow(0) }

func (p *life) replicaNow(i int) time.Time {
	return p.now().Add(time.Duration(p.further.Load() + p.wrong[i].Load()))
}

// startSecond starts a second replica, to which no webhook goes and which the script does
// not stop.
func (p *life) startSecond(ctx context.Context) (err error) {
	if strings.HasPrefix(p.Config.Database, "sqlite:") {
		return nil // a file has one process
	}
	_, p.second, err = p.Beside(ctx, func(c *server.Config) { c.Now = func() time.Time { return p.replicaNow(1) } })
	return err
}

// write makes a commit of a whole tree.
func (p *life) write(ctx context.Context, dir string, c *modelCommit) error {
	var in bytes.Buffer
	branch := "refs/keep/" + c.name
	if c.parent == "" {
		branch = "refs/heads/main"
	}
	fmt.Fprintf(&in, "commit %s\nmark :1\ncommitter Editor <editor@example.com> %d +0000\ndata <<.\n%s\n.\n",
		branch, 1700000000+len(p.commits), c.name)
	if c.parent != "" {
		fmt.Fprintf(&in, "from %s\n", p.commits[c.parent].sha)
	}
	fmt.Fprintln(&in, "deleteall")
	for _, file := range slices.Sorted(maps.Keys(c.tree)) {
		fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", file, len(c.tree[file]), c.tree[file])
	}
	fmt.Fprintln(&in, "get-mark :1")
	cmd := exec.CommandContext(ctx, "git", "fast-import", "--quiet", "--force")
	cmd.Dir, cmd.Stdin = dir, &in
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("git fast-import: %w: %s", err, out)
	}
	c.sha = strings.TrimSpace(string(out))
	p.commits[c.name] = c
	return nil
}

// routed decides what becomes of the events that the script causes. The script does not
// decide when the events come that purgebot itself causes.
func (p *life) routed(d github.Delivery) github.Route {
	way := github.Route(p.route.Load())
	switch {
	case d.Event != "push" && d.Event != "deployment_status" && d.Event != "issue_comment":
		return github.Send
	case d.Event != "deployment_status" && way == github.Drop:
		return github.Lose // nobody could learn of it otherwise
	default:
		return way
	}
}

// githubFault is what goes wrong with the next call to GitHub, if anything.
func (p *life) githubFault(*http.Request) github.Fault {
	switch p.githubF.next() {
	case "503":
		return github.Fault{Status: http.StatusServiceUnavailable}
	case "403":
		return servertest.LimitedAnswer(http.StatusForbidden, http.Header{"Retry-After": {"1"}})
	case "drop":
		return github.Fault{Drop: true}
	case "lost":
		return github.Fault{LoseAnswer: true}
	}
	return github.Fault{}
}

// akamaiFault decides what becomes of a request. It tells the model of the accepted ones,
// at the moment when they come.
func (p *life) akamaiFault(r *http.Request, body []byte) (fault akamai.Fault) {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/") // ccu/v3/invalidate/url/production
	var sent struct{ Objects []string }
	if err := json.Unmarshal(body, &sent); err != nil || len(path) != 5 {
		return fault // the strict stand-in refuses it
	}
	switch p.akamaiF.next() {
	case "503":
		return akamai.Fault{Status: http.StatusServiceUnavailable, Body: "<html>"}
	case "429":
		return akamai.Fault{Status: http.StatusTooManyRequests, Body: "<html>", Header: http.Header{"Retry-After": {"1"}}}
	case "drop":
		return akamai.Fault{Drop: true}
	case "lost":
		fault = akamai.Fault{Drop: true, Accept: true}
	case "slow":
		fault = akamai.Fault{Delay: slow}
		p.sending.Store(time.Now().Add(slow).UnixNano())
	}
	if refused := p.refused.Load(); refused != nil && slices.Contains(sent.Objects, *refused) {
		return akamai.Fault{
			Status: http.StatusForbidden, Header: http.Header{"Content-Type": {"application/api-problem+json"}},
			Body: fmt.Sprintf(`{"supportId":"17PY-1","title":"unauthorized arl","httpStatus":403,"detail":%q}`, *refused),
		}
	}
	p.ref.purge(path[4], path[3], sent.Objects)
	return fault
}

// step plays one line. A line does nothing if it needs what an earlier line would have
// made and that line is not there. So a script can be shrunk.
func (p *life) step(ctx context.Context, w []string) (err error) {
	arg := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	n, _ := strconv.Atoi(arg(len(w) - 1))
	switch w[0] {
	case "commit":
		return p.commit(ctx, w[1:])
	case "push":
		return p.push(ctx, p.commits[arg(1)])
	case "deploy":
		return p.deploy(ctx, arg(1), arg(2), p.commits[arg(3)])
	case "status":
		return p.status(ctx, p.deployments[arg(1)], arg(2), arg(4))
	case "route":
		p.route.Store(int32(slices.Index([]string{"send", "drop", "lose", "hold"}, arg(1))))
	case "release":
		if held := p.GitHub.Held(); len(held) > 0 && p.Running() {
			p.GitHub.Release(ctx, held[n%len(held)].GUID)
		}
	case "redeliver":
		return p.redeliver(ctx, n)
	case "comment":
		p.ref.ask("production", "url "+pageURL("www.acme.com", arg(1)))
		_, err = p.GitHub.Comment(ctx, p.FullName(), p.pull, "walt", "/purge "+pageURL("www.acme.com", arg(1)))
	case "akamai":
		p.akamaiTrouble(arg(1), arg(2), n)
	case "github":
		p.githubF.set(arg(1), n)
	case "wait":
		p.ahead.Add(int64(time.Duration(n) * time.Second))
	case "clock":
		p.wrong[slices.Index([]string{"a", "b"}, arg(1))].Store(int64(time.Duration(n) * time.Second))
	case "second":
		return p.startSecond(context.WithoutCancel(ctx))
	case "start":
		return p.up(ctx)
	case "stop":
		return p.down()
	case "crash":
		return p.crash(ctx)
	case "sending": // wait for a slow request to be under way, but not for long
		for end := time.Now().Add(time.Second); time.Now().UnixNano() > p.sending.Load() && time.Now().Before(end); {
			runtime.Gosched()
		}
	case "settle":
		p.settle(ctx, 3*time.Second)
	default:
		err = errors.New("no such step")
	}
	return err
}

func (p *life) akamaiTrouble(kind, what string, n int) {
	switch kind {
	case "refuse":
		object := pageURL("www.acme.com", what)
		p.refused.Store(&object)
	case "allow":
		p.refused.Store(nil)
	default:
		p.akamaiF.set(kind, n)
	}
}

// commit c5 on c3: edit p1 remove p2 rename p3 p9 shell | like c1
func (p *life) commit(ctx context.Context, w []string) error {
	c := &modelCommit{name: w[0], parent: strings.TrimSuffix(w[2], ":")}
	parent := p.commits[c.parent]
	if parent == nil {
		return nil
	}
	c.tree = maps.Clone(parent.tree)
	for i := 3; i < len(w); i++ {
		arg := func() string { i++; return w[i] }
		switch w[i] {
		case "edit":
			c.tree[pageFile(arg())] = c.name
		case "remove":
			delete(c.tree, pageFile(arg()))
		case "rename":
			from := pageFile(arg())
			if to := pageFile(arg()); c.tree[from] != "" {
				c.tree[to] = c.tree[from]
				delete(c.tree, from)
			}
		case "shell":
			c.tree["layouts/base.html"] = c.name
		case "like":
			if other := p.commits[arg()]; other != nil {
				c.tree = maps.Clone(other.tree)
			}
		default:
			return fmt.Errorf("no such change: %s", w[i])
		}
	}
	return p.write(ctx, p.Config.Repositories[0].Dir, c)
}

// push moves main to a commit, and tells the model that the follower serves it.
func (p *life) push(ctx context.Context, c *modelCommit) error {
	if c == nil || c.name == p.head {
		return nil
	}
	before := p.commits[p.head]
	c.before = append(c.before, p.head)
	p.head = c.name
	p.ref.push(c.sha)
	p.ref.assume(follower, c.tree, before.tree)
	p.ref.serve(follower, modelSuccess{sha: c.sha, unseen: !p.begun, untold: !p.delivers()}, c.tree)
	_, err := p.GitHub.Push(ctx, p.FullName(), "main", c.sha, github.PushOptions{})
	return err
}

// delivers reports whether a webhook will tell of an event. The comparison with GitHub
// finds any deployment that no webhook told of, but of pushes only the last one.
func (p *life) delivers() bool {
	way := github.Route(p.route.Load())
	return p.Running() && (way == github.Send || way == github.Hold)
}

func (p *life) deploy(ctx context.Context, name, environment string, c *modelCommit) error {
	if c == nil {
		return nil
	}
	id, err := p.GitHub.Deploy(ctx, p.FullName(), github.Deployment{SHA: c.sha, Environment: environment, RequiredContexts: []string{}})
	p.deployments[name] = &modelDeployment{id: id, commit: c, environment: strings.ToLower(environment)}
	return err
}

// status reports a deployment's state to GitHub. A success also goes to the model;
// renamed gives the environment another name with it.
func (p *life) status(ctx context.Context, d *modelDeployment, state, renamed string) error {
	if d == nil {
		return nil
	}
	if renamed != "" {
		d.environment = strings.ToLower(renamed)
	}
	if state == "success" {
		if d.last.Unix() == p.now().Unix() { // GitHub's seconds can't tell them apart
			p.ahead.Add(int64(time.Second))
		}
		d.last = p.now()
		d.unseen = d.unseen || !p.begun
		p.assume(d)
		p.ref.serve(d.environment, modelSuccess{sha: d.commit.sha, unseen: !p.begun}, d.commit.tree)
	}
	if state == "failure" {
		p.ref.fail(d.environment, d.commit.sha)
	}
	id, err := p.GitHub.DeployStatus(ctx, p.FullName(), d.id, github.DeploymentStatus{State: state, Environment: renamed})
	if state == "success" {
		p.ref.recorded(d.environment, id)
	}
	return err
}

// assume says where an environment may start that was never deployed to before: see
// docs/decisions/0004.
func (p *life) assume(d *modelDeployment) {
	var before []tree
	for _, name := range append([]string{d.commit.parent}, d.commit.before...) {
		if c := p.commits[name]; c != nil {
			before = append(before, c.tree)
		}
	}
	if len(before) == 0 { // the first commit: every file
		before = []tree{{}}
	}
	p.ref.assume(d.environment, d.commit.tree, before...)
	if d.unseen { // that its success is told once more does not say where the environment started
		p.ref.allow(d.environment, d.commit.tree, before...)
	}
}

// redeliver sends an event again under its own id.
func (p *life) redeliver(ctx context.Context, n int) error {
	var guids []string
	for _, d := range p.GitHub.Deliveries() {
		if !d.Redelivery && (d.Event == "push" || d.Event == "deployment_status") {
			guids = append(guids, d.GUID)
		}
	}
	if len(guids) == 0 {
		return nil
	}
	_, err := p.GitHub.Redeliver(ctx, guids[n%len(guids)])
	return err
}

// up starts the server. It never saw what happened before its first start.
func (p *life) up(ctx context.Context) error {
	if p.Running() {
		return nil
	}
	if !p.begun {
		p.begun = true
		p.ref.fresh()
	}
	return p.Start(context.WithoutCancel(ctx))
}

func (p *life) down() error {
	p.GitHub.SetWebhook(nowhere, p.Secret)
	if err := p.Stop(); !errors.Is(err, context.Canceled) { // it may have got no further than its start
		return err
	}
	return nil
}

// crash leaves what a kill -9 would leave: the database as it was at one moment. Nothing
// outside changes after that.
func (p *life) crash(ctx context.Context) error {
	if !p.Running() {
		return nil
	}
	p.GitHub.SetWebhook(nowhere, p.Secret)
	file, isFile := strings.CutPrefix(p.Config.Database, "sqlite:")
	if isFile {
		if err := snapshot(ctx, file, file+".left"); err != nil {
			return err
		}
	}
	p.Akamai.Fault(func(*http.Request, []byte) akamai.Fault { return akamai.Fault{Drop: true} })
	p.GitHub.Fault(func(*http.Request) github.Fault { return github.Fault{Drop: true} })
	err := p.down()
	p.GitHub.Fault(p.githubFault)
	p.Akamai.Fault(p.akamaiFault)
	if !isFile {
		return err
	}
	for _, old := range []string{file + "-wal", file + "-shm"} {
		if gone := os.Remove(old); gone != nil && !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return errors.Join(err, os.Rename(file+".left", file))
}

// snapshot copies what is committed in a SQLite file.
func snapshot(ctx context.Context, file, to string) error {
	db, err := sql.Open("sqlite", file)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", to)
	return errors.Join(err, db.Close())
}

// settle waits until the server is idle, but no longer than most.
func (p *life) settle(ctx context.Context, most time.Duration) {
	if !p.Running() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	_ = p.Server.Idle(ctx) // what is held back or fails goes on later
}
