package command_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/purgebot/purgebot/internal/command"
)

// TestDocumentedCommands reads every command that docs/comments.md shows: in
// the block of the language, a command ends where its explanation begins; an
// ellipsis and the bars between alternatives are no part of it.
func TestDocumentedCommands(t *testing.T) {
	page, err := os.ReadFile("../../docs/comments.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(page), "```\n")
	block, _, _ = strings.Cut(block, "```")
	var all []string
	for line := range strings.Lines(block) {
		shown := regexp.MustCompile(` {3,}`).Split(strings.TrimSpace(line), 2)[0]
		shown = strings.TrimSuffix(shown, " …")
		if !strings.HasPrefix(shown, "/purge") {
			shown = "/purge " + shown // the flags
		}
		for v := range strings.SplitSeq(strings.TrimPrefix(shown, "/purge"), " | ") {
			all = append(all, "/purge "+strings.TrimSpace(v))
		}
	}
	if len(all) < 10 {
		t.Fatalf("the page shows only %q", all)
	}
	for _, c := range all {
		if _, err := command.Parse(c); err != nil {
			t.Errorf("%q: %v", c, err)
		}
	}
}
