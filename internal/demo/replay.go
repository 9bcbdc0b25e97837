package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/git"
	"github.com/purgebot/purgebot/internal/needs"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/report"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/akamai"
	"github.com/purgebot/purgebot/internal/standin/github"
	"github.com/purgebot/purgebot/mapping"
)

// replay plays the last commits of a user's clone through the whole product. It answers
// what purgebot would have done for this site.
type replay struct {
	teller
	clone   git.Clone // its objects are served by the GitHub stand-in
	owner   string
	name    string
	commits []string // oldest first; the first one is live at the start
	own     []string // short ids that graft made, each before the id in the clone
	env     mapping.Environment
	live    string // as the server should see it: a commit with broken rules waits

	wanted func(ctx context.Context, from, to string) ([]string, error) // what a step should send to Akamai
}

// openReplay reads the clone's history. If there is a rules file, every commit gets it,
// in a separate repository that borrows the clone's objects.
func openReplay(ctx context.Context, cfg Config) (_ *replay, err error) {
	r := &replay{teller: teller{out: cfg.Out}, clone: git.Clone{Dir: cfg.Repo}}
	r.wanted = r.byTheRules
	if r.owner, r.name, err = r.clone.Repository(ctx, ""); err != nil {
		return nil, err
	}
	if r.owner == "" {
		abs, err := filepath.Abs(cfg.Repo)
		if err != nil {
			return nil, err
		}
		r.owner, r.name = "local", repositoryName(filepath.Base(abs))
	}
	if r.clone.Line(ctx, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") == "" {
		if _, err := r.clone.Output(ctx, "rev-parse", "--git-dir"); err != nil {
			return nil, fmt.Errorf("look into the clone %s: %w", cfg.Repo, err)
		}
		return nil, fmt.Errorf("%s has no commits yet", cfg.Repo)
	}
	out, err := r.clone.Output(ctx, "rev-list", "--first-parent", "--reverse", "--max-count="+strconv.Itoa(cfg.Last+1), "HEAD")
	if err != nil {
		return nil, fmt.Errorf("read the history of %s: %w", cfg.Repo, err)
	}
	if r.commits = strings.Fields(string(out)); len(r.commits) < 2 {
		hint := ""
		if r.clone.Line(ctx, "rev-parse", "--is-shallow-repository") == "true" {
			hint = " (it is a shallow clone: git fetch --unshallow)"
		}
		return nil, fmt.Errorf("%s has %s; a replay needs two%s", cfg.Repo, report.Amount(len(r.commits), "commit", "commits"), hint)
	}
	if cfg.Rules != "" {
		if err := r.graft(ctx, filepath.Join(cfg.Dir, "graft.git"), cfg.Rules); err != nil {
			return nil, err
		}
	}
	return r, r.chooseEnvironment(ctx)
}

// repositoryName turns a folder's name into a repository's name that GitHub would accept.
func repositoryName(folder string) string {
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)) {
			return r
		}
		return '-'
	}, strings.TrimSuffix(folder, ".git"))
	if strings.Trim(name, ".-") == "" {
		return "site"
	}
	return name
}

// graft writes the commits again with the rules file in each of them.
func (r *replay) graft(ctx context.Context, dir, rules string) error {
	src, err := os.ReadFile(rules) //nolint:gosec // a path of the user's own
	if err != nil {
		return fmt.Errorf("read rules: %w", err)
	}
	if file, faults := mapping.Parse(src); file == nil {
		return fmt.Errorf("%s", strings.TrimSuffix(faults.Errors().In(rules), "\n"))
	}
	objects, err := r.clone.Output(ctx, "rev-parse", "--path-format=absolute", "--git-path", "objects")
	if err != nil {
		return err
	}
	s := &stage.Site{Dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if _, err := s.Git(ctx, "init", "--quiet", "--bare", "--initial-branch=main"); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "objects", "info", "alternates"), objects, 0o600); err != nil {
		return err
	}
	path, err := filepath.Abs(rules)
	if err != nil {
		return err
	}
	blob, err := s.Git(ctx, "hash-object", "-w", "--no-filters", "--", path)
	if err != nil {
		return err
	}
	parent := ""
	for i, commit := range r.commits {
		if parent, err = graft(ctx, s, commit, parent, blob); err != nil {
			return err
		}
		r.own = append(r.own, report.Short(parent), report.Short(commit))
		r.commits[i] = parent
	}
	_, err = s.Git(ctx, "update-ref", "refs/heads/main", parent)
	r.clone = git.Clone{Dir: dir}
	return err
}

// named replaces the ids that graft made by the short ids of the clone's own commits.
func (r *replay) named(text string) string {
	if len(text) == 40 {
		text = report.Short(text)
	}
	return strings.NewReplacer(r.own...).Replace(text)
}

// graft writes one commit again with a rules file and another parent.
func graft(ctx context.Context, s *stage.Site, commit, parent, blob string) (string, error) {
	for _, args := range [][]string{
		{"read-tree", commit},
		{"--work-tree=.", "update-index", "--force-remove", mapping.GitHubPlace}, // a work tree is asked for, not looked at
		{"update-index", "--add", "--cacheinfo", "100644," + blob + "," + mapping.RootPlace},
	} {
		if _, err := s.Git(ctx, args...); err != nil {
			return "", err
		}
	}
	tree, err := s.Git(ctx, "write-tree")
	if err != nil {
		return "", err
	}
	subject, err := s.Git(ctx, "show", "--no-patch", "--format=%s", commit)
	if err != nil {
		return "", err
	}
	args := []string{"commit-tree", tree, "-m", subject}
	if parent != "" {
		args = append(args, "-p", parent)
	}
	return s.Git(ctx, args...)
}

// chooseEnvironment takes production, or else the first environment in the newest
// commit's rules whose name is no glob.
func (r *replay) chooseEnvironment(ctx context.Context) error {
	newest := r.commits[len(r.commits)-1]
	place, file, faults, err := r.clone.Rules(ctx, newest)
	switch {
	case err != nil:
		return err
	case place == "":
		return fmt.Errorf("%s has no %s: give one with --rules FILE", report.Short(newest), mapping.RootPlace)
	case file == nil:
		return fmt.Errorf("%s", strings.TrimSuffix(faults.Errors().In(place), "\n"))
	}
	envs := slices.DeleteFunc(slices.Clone(file.Environments()), func(e mapping.Environment) bool { return e.Glob })
	if len(envs) == 0 {
		return fmt.Errorf("%s names no environment that is not a glob", place)
	}
	i := max(0, slices.IndexFunc(envs, func(e mapping.Environment) bool { return strings.EqualFold(e.Name, "production") }))
	r.env = envs[i]
	return nil
}

// open opens the stage for the replay. Its policy allows what the rules ask for.
func (r *replay) open(ctx context.Context, cfg Config) error {
	entry := policy.NewEntry()
	entry.Repositories, entry.Hosts, entry.Tags = []string{"**"}, []string{"*"}, []string{"*"}
	live := r.commits[0]
	for _, to := range r.commits[1:] {
		plan, err := r.plan(ctx, live, to)
		if err != nil {
			return err
		}
		for _, t := range plan {
			if code, err := strconv.ParseInt(t.Object, 10, 64); err == nil && t.Kind == mapping.CPCode && !slices.Contains(entry.CPCodes, code) {
				entry.CPCodes = append(entry.CPCodes, code)
			}
		}
		if _, _, faults, _ := r.clone.Rules(ctx, to); !faults.HasErrors() {
			live = to
		}
	}
	branch := r.branch(ctx)
	var err error
	r.stage, err = stage.Open(ctx, stage.Config{
		Dir: cfg.Dir, Listen: cfg.Listen, Log: cfg.Log, Policy: policy.Policy{entry},
		Repositories: []github.Repository{{
			ID: 1, Owner: r.owner, Name: r.name, Dir: r.clone.Dir, DefaultBranch: branch,
			Branches: map[string]string{branch: r.commits[0]},
		}},
		With:        []string{needs.Of(r.env.Trigger.Kind).Option},
		Akamai:      akamai.Config{Estimate: time.Second, Log: cfg.Log},
		StatusEvery: 200 * time.Millisecond,
	})
	return err
}

// branch is the branch on which the commits are played.
func (r *replay) branch(ctx context.Context) string {
	if r.env.Branch != "" {
		return r.env.Branch
	}
	return r.clone.DefaultBranch(ctx)
}

// plan is what git and the rules say about a step, without GitHub and Akamai.
func (r *replay) plan(ctx context.Context, from, to string) ([]mapping.Target, error) {
	_, now, _, err := r.clone.Rules(ctx, to)
	if err != nil || now == nil {
		return nil, err
	}
	_, old, _, err := r.clone.Rules(ctx, from)
	if err != nil {
		return nil, err
	}
	changes, failure := r.clone.Changes(ctx, from, to)
	plan, err := now.Plan(ctx, mapping.Query{
		Environment: r.env.Name, Owner: r.owner, Repo: r.name, DefaultBranch: r.clone.DefaultBranch(ctx), Old: old, Changes: changes,
	})
	if errors.Is(err, mapping.ErrUnknownEnvironment) {
		return nil, failure()
	}
	if plan.Held {
		return nil, errors.Join(err, failure())
	}
	return slices.Collect(plan.Targets()), errors.Join(err, failure())
}

// play deploys one commit after the other.
func (r *replay) play(ctx context.Context) error {
	first := r.commits[0]
	r.live = first
	if err := r.succeed(ctx, r.env, first); err != nil {
		return err
	}
	if err := r.stage.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	r.say("%s of %s/%s, deployed to %s one after the other, from %s on. The server is at http://%s",
		report.Amount(len(r.commits)-1, "commit", "commits"), r.owner, r.name, r.env.Name, r.named(first), r.stage.Server.Addr())
	for _, commit := range r.commits[1:] {
		if err := r.playStep(ctx, commit); err != nil {
			return err
		}
	}
	counts := r.stage.Akamai.Counts()
	r.say("\nAltogether %s in %s to Akamai.", report.Amount(counts.Objects, "object", "objects"), report.Amount(counts.Purges, "request", "requests"))
	return nil
}

func (r *replay) playStep(ctx context.Context, to string) error {
	subject := r.clone.Line(ctx, "show", "--no-patch", "--format=%s", to)
	r.step("%s %s", r.named(to), subject)
	if _, err := r.stage.GitHub.Push(ctx, r.stage.FullName(), r.branch(ctx), to, github.PushOptions{}); err != nil {
		return err
	}
	env := r.env
	_, rules, faults, err := r.clone.Rules(ctx, to)
	if err != nil {
		return err
	}
	if rules != nil {
		if named, ok := rules.Environment(r.env.Name); ok {
			env = named
		}
	}
	if err := r.succeed(ctx, env, to); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if err := r.stage.Server.Idle(wait); err != nil {
		r.wrongly("%v", err)
		return nil
	}
	for _, s := range latestStatuses(r.stage.GitHub.Statuses(r.stage.FullName(), to)) {
		r.say("   %s %s: %s", statusMark(s.State), s.Context, r.named(s.Description))
		if s.TargetURL != "" {
			r.say("     %s", s.TargetURL)
		}
	}
	if faults.HasErrors() { // the purge waits for a commit with valid rules
		r.judge(ctx, nil)
		return nil
	}
	want, err := r.wanted(ctx, r.live, to)
	if err != nil {
		return err
	}
	r.judge(ctx, want)
	r.live = to
	return nil
}

// succeed makes a commit deployed, in the way that the environment's trigger expects and
// by an actor that the rules trust.
func (r *replay) succeed(ctx context.Context, env mapping.Environment, sha string) error {
	by := "github-actions[bot]"
	if len(env.Creators) > 0 {
		by = env.Creators[0]
	}
	repo := r.stage.FullName()
	var err error
	switch env.Trigger.Kind {
	case mapping.OnPush: // the push was enough
	case mapping.OnStatus:
		_, err = r.stage.GitHub.Status(repo, github.Status{SHA: sha, State: "success", Context: env.Trigger.Name, Creator: by}) //nolint:contextcheck // the stand-in sends its webhook in its own time
	case mapping.OnCheck:
		_, err = r.stage.GitHub.Check(ctx, repo, sha, strings.TrimSuffix(by, "[bot]"), env.Trigger.Name, "success")
	case mapping.OnWorkflow:
		path := env.Trigger.Name
		if !strings.Contains(path, "/") {
			path = ".github/workflows/" + path
		}
		_, err = r.stage.GitHub.CompleteWorkflow(ctx, repo, github.WorkflowRun{
			Path: path, SHA: sha, Branch: r.branch(ctx), Actor: by, Conclusion: "success",
		})
	case mapping.OnDeployment:
		var id int64
		if id, err = r.stage.GitHub.Deploy(ctx, repo, github.Deployment{
			SHA: sha, Environment: env.Name, Creator: by,
			RequiredContexts: []string{}, // deploy even with pending or failed statuses
		}); err == nil {
			_, err = r.stage.GitHub.DeployStatus(ctx, repo, id, github.DeploymentStatus{State: "success"})
		}
	}
	if err != nil {
		return fmt.Errorf("deploy %s to %s: %w", report.Short(sha), env.Name, err)
	}
	return nil
}

// byTheRules is what should reach Akamai according to git and the rules.
func (r *replay) byTheRules(ctx context.Context, from, to string) (want []string, err error) {
	targets, err := r.plan(ctx, from, to)
	for _, t := range targets {
		if t.Reason == "" {
			want = append(want, string(r.env.Network)+" "+string(t.Action)+" "+string(t.Kind)+" "+t.Object)
		}
	}
	return want, err
}

// latestStatuses keeps the newest status of each context, in their order.
func latestStatuses(all []github.Status) []github.Status {
	var out []github.Status
	for i, s := range all {
		if !slices.ContainsFunc(all[i+1:], func(later github.Status) bool { return later.Context == s.Context }) {
			out = append(out, s)
		}
	}
	return out
}
