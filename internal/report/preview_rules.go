package report

import (
	"fmt"
	"iter"
	"slices"

	"github.com/purgebot/purgebot/mapping"
)

// Bounds of what is shown of a file. maxAnnotations is for faults at their lines, of
// which GitHub takes 50 in one request; maxFaults is for faults in the summary.
const (
	maxAnnotations = 200
	maxFaults      = 50
	maxReach       = 50 // rules whose matching files are shown
)

// annotations puts each fault on its line. A file that can't be read at all has one, on
// line 1.
func (r *PreviewRules) annotations() (all []Annotation) {
	switch {
	case r == nil:
		return nil
	case r.Fault != "":
		return []Annotation{{Path: r.Path, Line: 1, Level: "failure", Message: r.Fault}}
	}
	for _, f := range r.Faults[:min(len(r.Faults), maxAnnotations)] {
		level := "warning"
		if f.Severity == mapping.Error {
			level = "failure"
		}
		all = append(all, Annotation{Path: r.Path, Line: max(1, f.Line), Column: f.Column, Level: level, Message: f.Message})
	}
	return all
}

// write tells of the pull request's own rules. What they would change is said only of a
// file without errors: with a broken file no purge would be planned at all.
func (r *PreviewRules) write(w *budget) {
	if r == nil {
		return
	}
	w.add(fmt.Sprintf("### This pull request changes %s\n\n", Quote(r.Path)))
	errors := r.Faults.Errors()
	warnings := len(r.Faults) - len(errors)
	switch {
	case r.Gone:
		w.add("It removes the rules: after its deployment nothing is purged any more.\n\n")
		return
	case r.Fault != "":
		w.add("**It can't be used.** Purges would wait until it is fixed: " + Quote(r.Fault) + "\n\n")
		return
	case len(errors) > 0:
		w.add(fmt.Sprintf("**%s.** Purges would wait until this file is fixed.\n\n", Amount(len(errors), "error", "errors")))
	case warnings > 0:
		w.add(fmt.Sprintf("It is valid and its tests pass, with %s.\n\n", Amount(warnings, "warning", "warnings")))
	default:
		w.add("It is valid, and its tests pass.\n\n")
	}
	w.list(slices.Collect(r.faultLines()), "- ")
	if len(errors) > 0 {
		return
	}
	if len(r.Changes) == 0 {
		w.add("For the files of this pull request it would purge the same as the current rules.\n\n")
	} else {
		w.add("For the files of this pull request it would change:\n\n")
	}
	for _, c := range r.Changes {
		c.write(w)
	}
	r.writeReach(w)
}

// writeReach says how many of the repository's files each rule matches. The pull
// request's own files don't show how far a new rule reaches.
func (r *PreviewRules) writeReach(w *budget) {
	var rows [][]string
	for _, rule := range r.Reach[:min(len(r.Reach), maxReach)] {
		rows = append(rows, []string{Quote(rule.Rule), Number(rule.Files), Number(rule.Excluded)})
	}
	if len(rows) > 0 {
		w.add("How many of the repository's files each rule fits:\n\n")
		w.table(len(rows) > folds, []string{"rule", "files", "excluded"}, rows)
	}
}

func (r *PreviewRules) faultLines() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, f := range r.Faults[:min(len(r.Faults), maxFaults)] {
			if !yield(Quote(f.In(r.Path))) {
				return
			}
		}
	}
}

// write tells what changes in one environment: + for more targets, − for fewer.
func (c RulesChange) write(w *budget) {
	head := Quote(c.Environment)
	switch {
	case c.Added:
		head += " (new)"
	case c.Dropped:
		head += " (removed)"
	}
	if c.BeyondCompare != "" {
		w.add("**" + head + "**: " + Quote(c.BeyondCompare) + "\n\n")
		return
	}
	w.add(fmt.Sprintf("**%s**: %s more, %s fewer\n\n", head, Number(len(c.More)), Number(len(c.Less))))
	var rows [][]string
	for _, side := range []struct {
		sign    string
		targets []mapping.Target
	}{{"+", c.More}, {"−", c.Less}} {
		for _, t := range side.targets {
			object := Quote(Object(t.Kind, t.Object))
			if t.Action == mapping.Delete {
				object += " (delete)"
			}
			rows = append(rows, []string{side.sign, object, Quote(t.Rule)})
		}
	}
	if len(rows) > 0 {
		w.table(len(rows) > folds, []string{"", "item", "rule"}, rows)
	}
}

// quoted quotes one text after the other.
func quoted(all []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, s := range all {
			if !yield(Quote(s)) {
				return
			}
		}
	}
}
