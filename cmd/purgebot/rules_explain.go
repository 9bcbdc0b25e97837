package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/git"
	"github.com/purgebot/purgebot/mapping"
)

// rulesExplainCmd is purgebot rules explain. It answers in both directions: what a file
// purges, and which files purge a URL.
type rulesExplainCmd struct {
	What       string `arg:"" name:"path-or-url" help:"A file's path from the repository's root, or a URL, tag:NAME or cpcode:NUMBER."`
	Env        string `help:"The environment, as GitHub names it. Default: the rules' first."`
	Rules      string `placeholder:"FILE" help:"Rules to use. Default: those of the clone's working tree."`
	Repo       string `default:"." placeholder:"DIR" help:"The local clone: its HEAD has the files."`
	Repository string `placeholder:"OWNER/NAME" help:"What {owner} and {repo} stand for. Default: the clone's remote."`
	JSON       bool   `name:"json" help:"Print JSON."`
}

// explained is one link between a file and an object.
type explained struct {
	File   string `json:"file"`
	Rule   string `json:"rule"`
	Object string `json:"object"`
	Reason string `json:"reason,omitempty"` // why it can't be sent as written
}

// Run prints the links to standard output. It exits with 1 if there is none.
func (c *rulesExplainCmd) Run(ctx context.Context, std streams) error {
	site, err := openSite(ctx, c.Repo, c.Rules, c.Env, c.Repository, std.err)
	if err != nil {
		return err
	}
	links, err := c.links(ctx, site)
	if err != nil {
		return err
	}
	if c.JSON {
		enc := json.NewEncoder(std.out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err = enc.Encode(map[string]any{"environment": site.env.Name, "links": links})
	} else {
		_, err = fmt.Fprint(std.out, c.text(site, links))
	}
	if err != nil {
		return fmt.Errorf("print the rules' reach: %w", err)
	}
	if len(links) == 0 {
		return failed()
	}
	return nil
}

// links finds what a file purges or, for an object, the files that purge it. For an
// object it plans each file of HEAD alone, because a template can't be evaluated
// backwards.
func (c *rulesExplainCmd) links(ctx context.Context, site *site) ([]explained, error) {
	files, wanted := []string{c.What}, ""
	if isObject(c.What) {
		wanted = c.What
		var err error
		if files, err = site.files(ctx); err != nil {
			return nil, err
		}
	}
	links := []explained{}
	for _, file := range files {
		plan, err := site.plan(ctx, file)
		if err != nil {
			return nil, err
		}
		for t := range plan.Targets() {
			if wanted == "" || t.String() == wanted {
				links = append(links, explained{strings.ToValidUTF8(file, "\ufffd"), t.Rule, t.String(), t.Reason})
			}
		}
	}
	return links, nil
}

// isObject tells an object from the path of a file.
func isObject(what string) bool {
	return strings.Contains(what, "://") || strings.HasPrefix(what, "tag:") || strings.HasPrefix(what, "cpcode:")
}

// text writes the links for people.
func (c *rulesExplainCmd) text(site *site, links []explained) string {
	var b strings.Builder
	if len(links) == 0 {
		if isObject(c.What) {
			fmt.Fprintf(&b, "No file of HEAD purges %s in %s.\n", c.What, site.env.Name)
			return b.String()
		}
		fmt.Fprintf(&b, "A change of %s purges nothing in %s.\n", oneLine(c.What), site.env.Name)
		return b.String()
	}
	for _, l := range links {
		fmt.Fprintf(&b, "%s  (%s: %s)", l.Object, l.Rule, oneLine(l.File))
		if l.Reason != "" {
			fmt.Fprintf(&b, "  can't be sent: %s", l.Reason)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// site is a clone with its rules and one of their environments.
type site struct {
	clone git.Clone
	rules *mapping.File
	query mapping.Query
	env   mapping.Environment
}

// openSite reads the rules, from a file or from the clone's working tree, and selects an
// environment.
func openSite(ctx context.Context, dir, rules, env, repository string, messages interface{ Write([]byte) (int, error) }) (*site, error) {
	file, err := readRules(dir, rules, messages)
	if err != nil {
		return nil, err
	}
	return newSite(ctx, git.Clone{Dir: dir}, file, env, repository)
}

// newSite selects an environment: the given one, or the first of the rules. If the clone
// has no remote, "owner" and "repo" stand for its name.
func newSite(ctx context.Context, clone git.Clone, file *mapping.File, env, repository string) (*site, error) {
	s := &site{clone: clone, rules: file}
	var ok bool
	var err error
	if s.env, ok = file.Environment(cmp.Or(env, file.Environments()[0].Key)); !ok {
		return nil, usage("no environment %q in the rules; there is: %s", env, environmentNames(file))
	}
	s.query = mapping.Query{Environment: s.env.Name, DefaultBranch: s.clone.DefaultBranch(ctx)}
	s.query.Owner, s.query.Repo, err = s.clone.Repository(ctx, repository)
	if err != nil {
		return nil, usage("%w", err)
	}
	if s.query.Owner == "" {
		s.query.Owner, s.query.Repo = "owner", "repo"
	}
	return s, nil
}

// files lists the files of HEAD.
func (s *site) files(ctx context.Context) ([]string, error) {
	head, err := s.clone.Revision(ctx, "HEAD")
	if err != nil {
		return nil, usage("%w", err)
	}
	return s.clone.Files(ctx, head)
}

// plan is what a change of one file alone purges.
func (s *site) plan(ctx context.Context, file string) (mapping.Plan, error) {
	q := s.query
	q.Changes = slices.Values([]mapping.Change{{Path: file, Op: mapping.Modified}})
	return s.rules.Plan(ctx, q)
}
