package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/standin"
	"github.com/purgebot/purgebot/mapping"
)

// replay plays the last commits of somebody's clone through the whole
// product: what would purgebot have done for this site?
type replay struct {
	demo
	clone   gitClone // whose objects GitHub's stand-in serves
	owner   string
	name    string
	commits []string // oldest first; the first one is live at the start
	env     mapping.Environment
	live    string // as the server should see it: a commit with broken rules waits
}

// openReplay reads the clone's history. With a rules file every commit gets
// it, in a repository of its own that borrows the clone's objects.
func openReplay(ctx context.Context, dir, repo, rules string, last int) (*replay, error) {
	r := &replay{clone: gitClone{dir: repo}}
	var err error
	if r.owner, r.name, err = r.clone.repository(ctx, ""); err != nil {
		return nil, err
	}
	if r.owner == "" {
		abs, err := filepath.Abs(repo)
		if err != nil {
			return nil, err
		}
		r.owner, r.name = "local", repositoryName(filepath.Base(abs))
	}
	if r.clone.line(ctx, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") == "" {
		if _, err := r.clone.output(ctx, "rev-parse", "--git-dir"); err != nil {
			return nil, usage("look into the clone %s: %w", repo, err)
		}
		return nil, usage("%s has no commits yet", repo)
	}
	out, err := r.clone.output(ctx, "rev-list", "--first-parent", "--reverse", "--max-count="+strconv.Itoa(last+1), "HEAD")
	if err != nil {
		return nil, usage("read the history of %s: %w", repo, err)
	}
	if r.commits = strings.Fields(string(out)); len(r.commits) < 2 {
		hint := ""
		if r.clone.line(ctx, "rev-parse", "--is-shallow-repository") == "true" {
			hint = " (it is a shallow clone: git fetch --unshallow)"
		}
		return nil, usage("%s has %s; a replay needs two%s", repo, plural(len(r.commits), "commit"), hint)
	}
	if rules != "" {
		if err := r.graft(ctx, filepath.Join(dir, "graft.git"), rules); err != nil {
			return nil, err
		}
	}
	return r, r.chooseEnvironment(ctx)
}

// repositoryName makes a name that GitHub would take of a folder's.
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

// graft writes the commits anew with the rules file in each of them.
func (r *replay) graft(ctx context.Context, dir, rules string) error {
	src, err := os.ReadFile(rules) //nolint:gosec // a path of the user's own
	if err != nil {
		return usage("read rules: %w", err)
	}
	if file, faults := mapping.Parse(src); file == nil {
		return usage("%s", strings.TrimSuffix(faults.Errors().In(rules), "\n"))
	}
	objects, err := r.clone.output(ctx, "rev-parse", "--path-format=absolute", "--git-path", "objects")
	if err != nil {
		return err
	}
	s := &site{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if _, err := s.git(ctx, "init", "--quiet", "--bare", "--initial-branch=main"); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "objects", "info", "alternates"), objects, 0o600); err != nil {
		return err
	}
	path, err := filepath.Abs(rules)
	if err != nil {
		return err
	}
	blob, err := s.git(ctx, "hash-object", "-w", "--no-filters", "--", path)
	if err != nil {
		return err
	}
	parent := ""
	for i, commit := range r.commits {
		if parent, err = s.graft(ctx, commit, parent, blob); err != nil {
			return err
		}
		r.commits[i] = parent
	}
	_, err = s.git(ctx, "update-ref", "refs/heads/main", parent)
	r.clone = gitClone{dir: dir}
	return err
}

// graft writes one commit anew, with a rules file and another parent.
func (s *site) graft(ctx context.Context, commit, parent, blob string) (string, error) {
	for _, args := range [][]string{
		{"read-tree", commit},
		{"--work-tree=.", "update-index", "--force-remove", mapping.GitHubPlace}, // a work tree is asked for, not looked at
		{"update-index", "--add", "--cacheinfo", "100644," + blob + "," + mapping.RootPlace},
	} {
		if _, err := s.git(ctx, args...); err != nil {
			return "", err
		}
	}
	tree, err := s.git(ctx, "write-tree")
	if err != nil {
		return "", err
	}
	subject, err := s.git(ctx, "show", "--no-patch", "--format=%s", commit)
	if err != nil {
		return "", err
	}
	args := []string{"commit-tree", tree, "-m", subject}
	if parent != "" {
		args = append(args, "-p", parent)
	}
	return s.git(ctx, args...)
}

// chooseEnvironment takes production, or the first environment that is named
// and not a glob, of the newest commit's rules.
func (r *replay) chooseEnvironment(ctx context.Context) error {
	newest := r.commits[len(r.commits)-1]
	place, file, faults, err := rulesAt(ctx, r.clone, newest)
	switch {
	case err != nil:
		return err
	case place == "":
		return usage("%s has no %s: give one with --rules FILE", short(newest), mapping.RootPlace)
	case file == nil:
		return usage("%s", strings.TrimSuffix(faults.Errors().In(place), "\n"))
	}
	envs := slices.DeleteFunc(slices.Clone(file.Environments()), func(e mapping.Environment) bool { return e.Glob })
	if len(envs) == 0 {
		return usage("%s names no environment that is not a glob", place)
	}
	i := max(0, slices.IndexFunc(envs, func(e mapping.Environment) bool { return strings.EqualFold(e.Name, "production") }))
	r.env = envs[i]
	return nil
}

// open opens the stage for the replay; the policy allows what the rules ask.
func (r *replay) open(ctx context.Context, dir, listen string, log *slog.Logger) error {
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
		if _, _, faults, _ := rulesAt(ctx, r.clone, to); !faults.HasErrors() {
			live = to
		}
	}
	branch := r.branch(ctx)
	var err error
	r.stage, err = newStage(ctx, stageConfig{
		dir: dir, listen: listen, log: log, policy: policy.Policy{entry},
		repo: standin.GitHubRepository{
			ID: 1, Owner: r.owner, Name: r.name, Dir: r.clone.dir, DefaultBranch: branch,
			Branches: map[string]string{branch: r.commits[0]},
		},
		akamai:      standin.AkamaiConfig{Estimate: time.Second, Log: log},
		statusEvery: 200 * time.Millisecond,
	})
	return err
}

// branch is the branch that the commits are played on.
func (r *replay) branch(ctx context.Context) string {
	if r.env.Branch != "" {
		return r.env.Branch
	}
	return r.clone.defaultBranch(ctx)
}

// plan is what git and the rules say of a step, without GitHub and Akamai.
func (r *replay) plan(ctx context.Context, from, to string) ([]mapping.Target, error) {
	_, now, _, err := rulesAt(ctx, r.clone, to)
	if err != nil || now == nil {
		return nil, err
	}
	_, old, _, err := rulesAt(ctx, r.clone, from)
	if err != nil {
		return nil, err
	}
	changes, failure := r.clone.changes(ctx, from, to)
	plan, err := now.Plan(mapping.Query{
		Environment: r.env.Name, Owner: r.owner, Repo: r.name, DefaultBranch: r.clone.defaultBranch(ctx), Old: old, Changes: changes,
	})
	if errors.Is(err, mapping.ErrUnknownEnvironment) {
		return nil, failure()
	}
	if plan.Held {
		return nil, errors.Join(err, failure())
	}
	return plan.Targets, errors.Join(err, failure())
}

// play deploys one commit after the other.
func (r *replay) play(ctx context.Context) error {
	first := r.commits[0]
	r.live = first
	if err := r.succeed(ctx, r.env, first); err != nil {
		return err
	}
	if err := r.stage.start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	r.say("%s of %s/%s, deployed to %s one after the other, from %s on. The server is at http://%s",
		plural(len(r.commits)-1, "commit"), r.owner, r.name, r.env.Name, short(first), r.stage.server.addr())
	for _, commit := range r.commits[1:] {
		if err := r.playStep(ctx, commit); err != nil {
			return err
		}
	}
	counts := r.stage.akamai.Counts()
	r.say("\nAltogether %s in %s to Akamai.", plural(counts.Objects, "object"), plural(counts.Purges, "request"))
	return nil
}

func (r *replay) playStep(ctx context.Context, to string) error {
	subject := r.clone.line(ctx, "show", "--no-patch", "--format=%s", to)
	r.step("%s %s", short(to), subject)
	if _, err := r.stage.github.Push(ctx, r.stage.fullName(), r.branch(ctx), to, standin.GitHubPushOptions{}); err != nil {
		return err
	}
	env := r.env
	_, rules, faults, err := rulesAt(ctx, r.clone, to)
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
	if err := r.stage.server.idle(wait); err != nil {
		r.wrongly("%v", err)
		return nil
	}
	for _, s := range latestStatuses(r.stage.github.Statuses(r.stage.fullName(), to)) {
		r.say("   %s %s: %s", statusMark(s.State), s.Context, s.Description)
		if s.TargetURL != "" {
			r.say("     %s", s.TargetURL)
		}
	}
	if faults.HasErrors() { // the purge waits for a commit with good rules
		r.judge(ctx, map[string]int{})
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

// succeed lets a commit be deployed, as the environment's trigger has it, by
// somebody who counts.
func (r *replay) succeed(ctx context.Context, env mapping.Environment, sha string) error {
	by := "github-actions[bot]"
	if len(env.Creators) > 0 {
		by = env.Creators[0]
	}
	repo := r.stage.fullName()
	var err error
	switch env.Trigger.Kind {
	case mapping.OnPush: // it was pushed
	case mapping.OnStatus:
		_, err = r.stage.github.Status(repo, standin.GitHubStatus{SHA: sha, State: "success", Context: env.Trigger.Name, Creator: by}) //nolint:contextcheck // the stand-in sends its webhook in its own time
	case mapping.OnCheck:
		_, err = r.stage.github.Check(ctx, repo, sha, strings.TrimSuffix(by, "[bot]"), env.Trigger.Name, "success")
	case mapping.OnWorkflow:
		path := env.Trigger.Name
		if !strings.Contains(path, "/") {
			path = ".github/workflows/" + path
		}
		_, err = r.stage.github.CompleteWorkflow(ctx, repo, standin.GitHubWorkflowRun{
			Path: path, SHA: sha, Branch: r.branch(ctx), Actor: by, Conclusion: "success",
		})
	case mapping.OnDeployment:
		var id int64
		if id, err = r.stage.github.Deploy(ctx, repo, standin.GitHubDeployment{
			SHA: sha, Environment: env.Name, Creator: by,
			RequiredContexts: []string{}, // what waits or is at fault is deployed all the same
		}); err == nil {
			_, err = r.stage.github.DeployStatus(ctx, repo, id, standin.GitHubDeploymentStatus{State: "success"})
		}
	}
	if err != nil {
		return fmt.Errorf("deploy %s to %s: %w", short(sha), env.Name, err)
	}
	return nil
}

// wanted is what should reach Akamai: by git and a naive reading of the rules
// where there is one, else by git and the rules themselves.
func (r *replay) wanted(ctx context.Context, from, to string) (map[string]int, error) {
	if r.rules != nil {
		changes, err := gitDifference(ctx, r.clone.dir, from, to)
		return r.expect(changes, r.env.Name, string(r.env.Network), string(mapping.Invalidate), nil), err
	}
	targets, err := r.plan(ctx, from, to)
	want := map[string]int{}
	for _, t := range targets {
		if t.Reason == "" {
			want[string(r.env.Network)+" "+string(t.Action)+" "+string(t.Kind)+" "+t.Object] = 1
		}
	}
	return want, err
}

// latestStatuses keeps the newest status of each context, in their order.
func latestStatuses(all []standin.GitHubStatus) []standin.GitHubStatus {
	var out []standin.GitHubStatus
	for i, s := range all {
		if !slices.ContainsFunc(all[i+1:], func(later standin.GitHubStatus) bool { return later.Context == s.Context }) {
			out = append(out, s)
		}
	}
	return out
}
