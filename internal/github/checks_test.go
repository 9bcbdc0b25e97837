package github_test

import (
	"fmt"
	"testing"

	"github.com/purgebot/purgebot/internal/github"
	ghstandin "github.com/purgebot/purgebot/internal/standin/github"
)

// TestFindCheckRun finds one of many runs with the same name, on a later page, and never
// another App's run.
func TestFindCheckRun(t *testing.T) {
	t.Parallel()
	h := randomHistory(t, 6, 1)
	g, repository := h.serve(t, ghstandin.Limits{})
	sha, wanted := h.commits[0], int64(0)
	for i := range 104 {
		run := github.CheckRun{Name: "Purge preview", HeadSHA: sha, Status: "in_progress", ExternalID: fmt.Sprint("preview-", i), Title: "x", Summary: "x"}
		if i == 1 {
			run.Annotations = []github.Annotation{{Path: "x", StartLine: 1, EndLine: 1, Level: "notice", Message: "m"}}
		}
		id, err := repository.CreateCheckRun(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			wanted = id
		}
	}
	if _, err := g.Check(t.Context(), "acme/site", sha, "netlify", "Purge preview", "success"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, external string
		id             int64
		annotations    int
	}{
		{"Purge preview", "preview-1", wanted, 1},
		{"Purge preview", "preview-104", 0, 0},
		{"Purge production", "preview-1", 0, 0},
		{"Purge preview", "", 0, 0}, // as the other App's has it
	} {
		id, annotations, found, err := repository.FindCheckRun(t.Context(), sha, test.name, test.external)
		if err != nil || id != test.id || annotations != test.annotations || found != (test.id != 0) {
			t.Errorf("%s %q: %d, %d annotations, %v, %v", test.name, test.external, id, annotations, found, err)
		}
	}
	if _, _, _, err := repository.FindCheckRun(t.Context(), "ffffffffffffffffffffffffffffffffffffffff", "Purge preview", "preview-1"); !github.IsNotFound(err) {
		t.Errorf("of a commit that is gone: %v", err)
	}
	for _, c := range g.UnknownCalls() {
		t.Errorf("unknown call %+v", c)
	}
}
