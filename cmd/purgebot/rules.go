package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/purgebot/purgebot/internal/git"
	"github.com/purgebot/purgebot/mapping"
)

// rulesCheckCmd is purgebot rules check.
type rulesCheckCmd struct {
	Files      []string    `arg:"" optional:"" name:"file" help:"The rules files; - is standard input. Default: purge-rules.yaml or .github/purge-rules.yaml, whichever is there."`
	Format     string      `enum:"text,json,github" default:"text" help:"How to print faults: text, json, or github (annotations of a workflow)."`
	Extends    sharedRules `placeholder:"DIR" help:"A clone or folder of the repository whose rules this file extends, or that rules file."`
	Repository string      `placeholder:"OWNER/NAME" help:"What {owner} and {repo} stand for in tests. Default: the clone's remote."`

	Built   string  `placeholder:"DIR" xor:"built" help:"Hold the rules against the site that was built from HEAD into this folder."`
	Sitemap string  `placeholder:"FILE-OR-URL" xor:"built" help:"Hold the rules against the pages of a sitemap."`
	AtLeast float64 `placeholder:"PERCENT" help:"Fail if fewer of the files map to a page of --built or --sitemap that exists."`
	Env     string  `help:"The environment for --built and --sitemap. Default: the rules' first."`
}

// checkReport is the result for one file, and the JSON of it.
type checkReport struct {
	File   string         `json:"file"`
	Faults mapping.Faults `json:"faults"`
	*builtReport

	rules   *mapping.File // nil: the file has errors and can't be used
	extends string        // the repository whose rules it extends, if they were not given
}

// Run checks the files and prints their faults to standard output. That a file is good
// goes to standard error, so that a program finds no faults as empty output.
//
// A file that can't be read does not hide the faults of the others: Run checks them all,
// and exits with 2 at the end. Errors in a file exit with 1, warnings alone with 0.
func (c *rulesCheckCmd) Run(ctx context.Context, std streams) error {
	if c.AtLeast != 0 && c.Built == "" && c.Sitemap == "" {
		return usage("--at-least goes with --built or --sitemap")
	}
	if i := slices.Index(c.Files, stdinName); i >= 0 && slices.Contains(c.Files[i+1:], stdinName) {
		return usage("- is standard input, which can be read once")
	}
	files := c.Files
	if len(files) == 0 {
		files = []string{""}
	}
	var reports []checkReport
	var unread []error
	for _, name := range files {
		report, err := c.check(ctx, name, std.in)
		// check marks a file that can't be read as wrong usage. Any other error, such as
		// one of git, concerns every file and ends the run.
		var wrong *exitError
		switch {
		case err == nil:
			reports = append(reports, report)
		case errors.As(err, &wrong):
			unread = append(unread, err)
		default:
			return err
		}
	}
	if err := c.print(std.out, reports); err != nil {
		return fmt.Errorf("print faults: %w", err)
	}
	if c.Format == "text" {
		for _, report := range reports {
			fmt.Fprint(std.err, report.praise())
		}
	}
	switch {
	case len(unread) > 0:
		return usage("%w", errors.Join(unread...))
	case slices.ContainsFunc(reports, func(r checkReport) bool { return r.Faults.HasErrors() || r.fitsLess(c.AtLeast) }):
		return failed()
	}
	return nil
}

// print writes the reports in the format of the flags. As JSON it is one object for one
// file and a list for several, so that the form does not depend on which of them could be
// read.
func (c *rulesCheckCmd) print(w io.Writer, reports []checkReport) error {
	if c.Format == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		switch {
		case len(c.Files) > 1:
			return enc.Encode(slices.Concat([]checkReport{}, reports))
		case len(reports) == 1:
			return enc.Encode(reports[0])
		}
		return nil
	}
	for _, report := range reports {
		text := annotations(report)
		if c.Format == "text" {
			if text = report.Faults.In(report.File); report.builtReport != nil {
				text += report.text()
			}
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return nil
}

// praise says that a file is good; "" if it has faults.
func (r checkReport) praise() string {
	switch {
	case r.Faults.HasErrors(), r.builtReport != nil && len(r.Missing) > 0:
		return ""
	case r.extends != "":
		return fmt.Sprintf("%s is good by itself; its tests need the rules of %s: give them with --extends DIR\n", r.File, r.extends)
	}
	return r.File + " is good\n"
}

// stdinName is the argument that stands for standard input. Reports use it as the name of
// the file.
const stdinName = "-"

// check reads a file and checks it. For "" it looks for the rules in the current folder.
func (c *rulesCheckCmd) check(ctx context.Context, name string, stdin io.Reader) (checkReport, error) {
	report := checkReport{File: name, Faults: mapping.Faults{}}
	if name == stdinName {
		src, err := io.ReadAll(stdin)
		if err != nil {
			return report, fmt.Errorf("read rules from standard input: %w", err)
		}
		return c.checkSource(ctx, report, src)
	}
	if name == "" {
		place, both, err := rulesPlace(".")
		if err != nil {
			return report, err
		}
		report.File = place
		if both {
			report.Faults = mapping.BothPlaces()
			return report, nil
		}
	}
	// The server refuses a symbolic link too. In a workflow the file comes from a pull
	// request, and a link could make this command print a file of the machine as faults.
	if link := symlink(report.File); link != "" {
		report.Faults = mapping.Faults{{
			Line: 1, Column: 1, Severity: mapping.Error,
			Message: link + " is a symbolic link: a pull request could point it to another file of this machine; use a file",
		}}
		return report, nil
	}
	src, err := os.ReadFile(report.File)
	if err != nil {
		return report, usage("read rules: %w", err)
	}
	return c.checkSource(ctx, report, src)
}

// checkSource adds to a report what is wrong with the source. The clone is the one that
// contains the file or, for standard input, the one of the current folder.
func (c *rulesCheckCmd) checkSource(ctx context.Context, report checkReport, src []byte) (checkReport, error) {
	file, faults, err := c.parse(ctx, src)
	if err != nil {
		return report, err
	}
	report.Faults = append(report.Faults, faults...)
	if file == nil {
		return report, nil
	}
	report.rules, report.extends = file, file.Extends()
	clone := git.Clone{Dir: filepath.Dir(report.File)}
	owner, repo, err := clone.Repository(ctx, c.Repository)
	if err != nil {
		return report, usage("%w", err)
	}
	// Tests may use {owner} and {repo}. Placeholders let them run without a remote.
	if owner == "" {
		owner, repo = "owner", "repo"
	}
	report.Faults = append(report.Faults, file.Check(ctx, owner, repo, clone.DefaultBranch(ctx))...)
	warnings, err := warningsOfFiles(ctx, clone, file, report.File)
	report.Faults = append(report.Faults, warnings...)
	if err == nil && (c.Built != "" || c.Sitemap != "") {
		report.builtReport, err = c.against(ctx, clone, file)
	}
	return report, err
}

// against compares the rules with a built site or with a sitemap.
func (c *rulesCheckCmd) against(ctx context.Context, clone git.Clone, file *mapping.File) (*builtReport, error) {
	var built *builtSite
	var err error
	if c.Built != "" {
		built, err = builtDir(c.Built)
	} else {
		built, err = sitemap(ctx, c.Sitemap)
	}
	if err != nil {
		return nil, err
	}
	if clone.Dir = clone.Top(ctx); clone.Dir == "" {
		return nil, usage("the rules file stands in no git clone, whose files could be held against the site")
	}
	s, err := newSite(ctx, clone, file, c.Env, c.Repository)
	if err != nil {
		return nil, err
	}
	return holdAgainst(ctx, s, built)
}

// warningsOfFiles compares the rules with the files of HEAD. It returns nothing unless
// the rules file is at one of its two places in a clone: elsewhere it is an example or a
// draft, and the files say nothing about it.
func warningsOfFiles(ctx context.Context, clone git.Clone, file *mapping.File, name string) (mapping.Faults, error) {
	place, err := filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("look for the clone: %w", err)
	}
	top := clone.Top(ctx)
	if top == "" {
		return nil, nil
	}
	if real, err := filepath.EvalSymlinks(place); err == nil { // git tells the real one
		place = real
	}
	inside, _ := filepath.Rel(top, place)
	if !slices.Contains([]string{mapping.RootPlace, mapping.GitHubPlace}, filepath.ToSlash(inside)) {
		return nil, nil
	}
	head, err := clone.Revision(ctx, "HEAD")
	if err != nil {
		return nil, nil //nolint:nilerr // there is no commit yet
	}
	files, err := clone.Files(ctx, head)
	if err != nil {
		return nil, err
	}
	_, warnings, err := file.Reach(ctx, slices.Values(files))
	return warnings, err
}

// readRules reads a rules file by its name or, for "", where the clone has it. It prints
// the errors of the file to messages and then fails with exit 1. A file that extends
// another one is wrong usage here: the caller has no way to give that other file.
func readRules(dir, name string, messages io.Writer) (*mapping.File, error) {
	if name == "" {
		place, both, err := rulesPlace(dir)
		if err != nil {
			return nil, err
		}
		if name = filepath.Join(dir, place); both {
			fmt.Fprint(messages, mapping.BothPlaces().In(name))
			return nil, failed()
		}
	}
	src, err := os.ReadFile(name) //nolint:gosec // the caller's own choice
	if err != nil {
		return nil, usage("read rules: %w", err)
	}
	file, faults := mapping.Parse(src)
	switch {
	case file == nil:
		fmt.Fprint(messages, faults.Errors().In(name))
		return nil, failed()
	case file.Extends() != "":
		return nil, usage("%s extends %s: its rules can't be told without that file", name, file.Extends())
	}
	return file, nil
}

// symlink returns the first part of a relative path that is a symbolic link, "" if there
// is none. An absolute path is trusted: it comes from the person who called the command,
// and not from a repository.
func symlink(path string) string {
	if filepath.IsAbs(path) {
		return ""
	}
	part := ""
	for name := range strings.SplitSeq(filepath.ToSlash(filepath.Clean(path)), "/") {
		part = filepath.Join(part, name)
		if info, err := os.Lstat(part); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return part
		}
	}
	return ""
}

// parse parses the rules, together with the file that they extend if that was given.
func (c *rulesCheckCmd) parse(ctx context.Context, src []byte) (*mapping.File, mapping.Faults, error) {
	base, _, err := c.Extends.read(ctx)
	if err != nil {
		return nil, nil, err
	}
	file, faults := git.Clone{Base: base}.Parse(src)
	return file, faults, nil
}

// rulesPlace finds the rules file below dir. both means that there is one at each of the
// two places, which is a fault of the repository.
func rulesPlace(dir string) (place string, both bool, err error) {
	var there []string
	for _, p := range []string{mapping.RootPlace, mapping.GitHubPlace} {
		info, err := os.Stat(filepath.Join(dir, p))
		switch {
		case err == nil && !info.IsDir():
			there = append(there, p)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", false, usage("look for rules: %w", err)
		}
	}
	if len(there) == 0 {
		return "", false, usage("no rules here: there is neither %s nor %s", mapping.RootPlace, mapping.GitHubPlace)
	}
	return there[0], len(there) > 1, nil
}

// annotations writes faults as workflow commands of GitHub Actions. A property, such as
// the file, needs more characters escaped than the message.
// https://docs.github.com/actions/reference/workflow-commands-for-github-actions
func annotations(report checkReport) string {
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	var b strings.Builder
	for _, f := range report.Faults {
		fmt.Fprintf(&b, "::%s file=%s,line=%d,col=%d::%s\n",
			f.Severity, property.Replace(filepath.ToSlash(report.File)), f.Line, f.Column, data.Replace(f.Message))
	}
	return b.String()
}
