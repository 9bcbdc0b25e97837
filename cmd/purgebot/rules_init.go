package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/purgebot/purgebot/internal/generator"
	"github.com/purgebot/purgebot/internal/git"
	"github.com/purgebot/purgebot/mapping"
)

// rulesInitCmd is purgebot rules init.
type rulesInitCmd struct {
	Repo string `default:"." placeholder:"DIR" help:"The local clone."`
	Host string `help:"The site's host name. Default: the one in the generator's configuration."`
}

// Run writes purge-rules.yaml into the clone, with rules for the generator that builds
// the site. It never overwrites rules: an existing file at either place exits with 2.
func (c *rulesInitCmd) Run(ctx context.Context, std streams) error {
	clone := git.Clone{Dir: c.Repo}
	if top := clone.Top(ctx); top != "" {
		clone.Dir = top
	}
	for _, place := range []string{mapping.RootPlace, mapping.GitHubPlace} {
		if _, err := os.Lstat(filepath.Join(clone.Dir, place)); !errors.Is(err, fs.ErrNotExist) {
			return usage("%s is there already, and is never overwritten", filepath.Join(clone.Dir, place))
		}
	}
	head, err := clone.Revision(ctx, "HEAD")
	if err != nil {
		return usage("%w", err)
	}
	files, err := clone.Files(ctx, head)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(clone.Dir) // a symbolic link in the clone can't lead outside it
	if err != nil {
		return fmt.Errorf("read the clone: %w", err)
	}
	defer func() { _ = root.Close() }()
	site := generator.Recognise(root.FS(), files)
	site.Host = cmp.Or(c.Host, site.Host)
	// The rules name the branch only where it is not the default one.
	if branch := clone.Line(ctx, "symbolic-ref", "--short", "-q", "HEAD"); branch != clone.DefaultBranch(ctx) {
		site.Branch = branch
	}
	text, err := site.Rules(ctx)
	if err != nil {
		return err
	}
	name := filepath.Join(clone.Dir, mapping.RootPlace)
	// A symbolic link of a foreign clone, which Lstat sees, could lead anywhere.
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil { //nolint:gosec // a file of the repository, for everybody to read
		return fmt.Errorf("write the rules: %w", err)
	}
	fmt.Fprintf(std.out, "Wrote %s: %s.\n", name, site.Seen())
	if site.Host == "" {
		fmt.Fprintln(std.out, "No host name was found: put yours in the place of www.example.com.")
	}
	fmt.Fprintln(std.out, "Next: build the site, and run purgebot rules check --built DIR with the folder that it is built into.")
	return nil
}
