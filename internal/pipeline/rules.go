package pipeline

import (
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/planner"
	"github.com/purgebot/purgebot/mapping"
)

type rules = planner.Rules

// contextName is the environment's name in its statuses: as the file writes
// it, so that GitHub's "Production" and the file's "production" are one.
func contextName(env mapping.Environment) string {
	if env.Glob {
		return env.Name
	}
	return env.Key
}

func branchOf(env mapping.Environment, repo ledger.Repository) string {
	if env.Branch != "" {
		return env.Branch
	}
	return repo.DefaultBranch
}
