package store

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/ledger"
)

// sources are the store's own files without states.go, and its schema's.
func sources(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*.go", "*.sql"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(file, "_test.go") && file != "states.go" {
				texts[file] = string(text)
			}
		}
	}
	if len(texts) < 40 {
		t.Fatalf("%d files", len(texts))
	}
	return texts
}

// writesState finds a statement that sets a state by itself. What follows CASE WHEN `+ is
// made by a change.
var writesState = regexp.MustCompile("UPDATE (purge|target|request|proof) SET(?:(?:[^;W]|W[^H]|WHEN)*?,)?\\s+state = (?:'|\\$|CASE WHEN [^`])")

func TestStatesAreWrittenByTransitionsAlone(t *testing.T) {
	for query, writes := range map[string]bool{
		"UPDATE purge SET state = 'open' WHERE id = $1":           true,
		"UPDATE target SET reason = $2,\n\t\tstate = $3 WHERE id": true,
		"UPDATE request SET next_at = 0 WHERE state = 'ready'":    false,
		"UPDATE post SET state = 'pending' WHERE 1 = 1":           false,
		"UPDATE proof SET tries = CASE WHEN state = 'done'":       false,
	} {
		if writesState.MatchString(query) != writes {
			t.Errorf("%s: %v", query, !writes)
		}
	}
	for file, text := range sources(t) {
		for _, found := range writesState.FindAllString(text, -1) {
			t.Errorf("%s writes a state that no change does:\n%s", file, found)
		}
	}
}

// Every state that SQL asks for is one that rows can have.
func TestStatesThatAreAskedForExist(t *testing.T) {
	known := []string{
		"success", "failure", "error", "pending", // GitHub's
		"available", "running", "completed", // River's
	}
	known = slices.Concat(known, names(ledger.Purges()), names(ledger.Targets()), names(ledger.Requests()), names(ledger.Proofs()))
	for file, text := range sources(t) {
		for _, condition := range regexp.MustCompile(`\bstate (?:=|<>|IN|NOT IN) (?:'[a-z]+'|\([^()$]*\))`).FindAllString(text, -1) {
			for _, literal := range regexp.MustCompile(`'([a-z]+)'`).FindAllStringSubmatch(condition, -1) {
				if !slices.Contains(known, literal[1]) {
					t.Errorf("%s: %s: there is no such state", file, condition)
				}
			}
		}
	}
}

func names[S ~string](all ledger.Transitions[S]) (states []string) {
	for _, one := range all {
		states = append(states, string(one.To))
	}
	return states
}
