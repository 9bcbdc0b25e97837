package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts in testdata/script run this very code as
// purgebot.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"purgebot": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			for _, v := range []string{
				"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
				"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@acme.com", "GIT_AUTHOR_DATE=2026-11-22T10:00:00Z",
				"GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@acme.com", "GIT_COMMITTER_DATE=2026-11-22T10:00:00Z",
			} {
				env.Vars = append(env.Vars, v)
			}
			return nil
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}
