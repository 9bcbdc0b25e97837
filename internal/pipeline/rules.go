package pipeline

import (
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/planner"
	"github.com/purgebot/purgebot/mapping"
)

// rules are the rules of one commit.
type rules = planner.Rules

// contextName is the environment's name in its statuses: as the rules file writes it, so
// that GitHub's "Production" and the file's "production" share one context. The key of a
// glob is a pattern, so there the name is GitHub's.
func contextName(env mapping.Environment) string {
	if env.Glob {
		return env.Name
	}
	return env.Key
}

// branchOf is the branch that an environment follows: the one that the rules name, else
// the default branch.
func branchOf(env mapping.Environment, repo ledger.Repository) string {
	if env.Branch != "" {
		return env.Branch
	}
	return repo.DefaultBranch
}
