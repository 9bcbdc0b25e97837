package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/purgebot/purgebot/mapping"
)

type rulesCheckCmd struct {
	File       string `arg:"" optional:"" help:"The rules file. Default: purge-rules.yaml or .github/purge-rules.yaml, whichever is there."`
	Format     string `enum:"text,json,github" default:"text" help:"How to print faults: text, json, or github (annotations of a workflow)."`
	Repository string `placeholder:"OWNER/NAME" help:"What {owner} and {repo} stand for in tests. Default: the clone's remote."`
}

// checkReport is the answer as JSON.
type checkReport struct {
	File   string         `json:"file"`
	Faults mapping.Faults `json:"faults"`
}

// Run checks the file and prints its faults to standard output.
func (c *rulesCheckCmd) Run(ctx context.Context, std streams) error {
	report, err := c.check(ctx)
	if err != nil {
		return err
	}
	switch c.Format {
	case "json":
		enc := json.NewEncoder(std.out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	case "github":
		_, err = fmt.Fprint(std.out, annotations(report))
	default:
		_, err = fmt.Fprint(std.out, report.Faults.In(report.File))
	}
	switch {
	case err != nil:
		return fmt.Errorf("print faults: %w", err)
	case report.Faults.HasErrors():
		return failed()
	case c.Format == "text":
		fmt.Fprintf(std.err, "%s is good\n", report.File)
	}
	return nil
}

func (c *rulesCheckCmd) check(ctx context.Context) (checkReport, error) {
	report := checkReport{File: c.File, Faults: mapping.Faults{}}
	if report.File == "" {
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
	src, err := os.ReadFile(report.File)
	if err != nil {
		return report, usage("read rules: %w", err)
	}
	file, faults := mapping.Parse(src)
	report.Faults = append(report.Faults, faults...)
	if file == nil {
		return report, nil
	}
	clone := gitClone{dir: filepath.Dir(report.File)}
	owner, repo, err := clone.repository(ctx, c.Repository)
	if err != nil {
		return report, err
	}
	if owner == "" {
		owner, repo = "owner", "repo"
	}
	report.Faults = append(report.Faults, file.Check(owner, repo, clone.defaultBranch(ctx))...)
	return report, nil
}

// rulesPlace finds the rules file below dir.
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

// annotations renders faults as workflow commands of GitHub Actions:
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
